"""Recipes: where ranges fall, and that damaged bytes are never taken for a recipe."""

from __future__ import annotations

import struct
from itertools import chain

import pytest

from casstore import recipes
from casstore.digests import Digest, blake3_digest, git_blob_digest, sha256_digest
from casstore.errors import DamagedError
from casstore.recipes import Outline, Part, Recipe

A, B, C = (bytes([number]) * 32 for number in (1, 2, 3))
RECIPE = Recipe(sha256_digest(b"blob"), 60, (Part(A, 0, 10), Part(B, 5, 20), Part(C, 0, 0), Part(A, 2, 30)))


def test_encoded_and_decoded() -> None:
    with_git = Recipe(RECIPE.sha256, 60, RECIPE.parts, git_blob_digest(b"blob"))
    for recipe in (RECIPE, with_git, Recipe(sha256_digest(b""), 0, ())):
        assert Recipe.decode(recipe.encoded, recipe.digest) == recipe
    assert with_git.digest != RECIPE.digest


def test_an_outline_says_the_same_without_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    outline = Outline.decode(RECIPE.encoded, RECIPE.digest)
    assert (outline.sha256, outline.size_bytes, outline.git) == (RECIPE.sha256, 60, None)
    assert list(outline.chunks()) == [[A, B, C]]
    monkeypatch.setattr(recipes, "_BATCH", 3)
    assert list(chain(*outline.chunks())) == [A, B, C, A]
    empty = Recipe(sha256_digest(b""), 0, ())
    assert list(Outline.decode(empty.encoded, empty.digest).chunks()) == []


@pytest.mark.parametrize(
    ("start", "stop", "found"),
    [
        (0, 60, [(0, A), (10, B), (30, A)]),
        (0, 1, [(0, A)]),
        (9, 10, [(0, A)]),
        (9, 11, [(0, A), (10, B)]),
        (10, 30, [(10, B)]),
        (29, 31, [(10, B), (30, A)]),
        (59, 60, [(30, A)]),
        (59, 1000, [(30, A)]),
        (60, 61, []),
        (5, 5, []),
        (7, 3, []),
    ],
)
def test_parts_of_a_range(start: int, stop: int, found: list[tuple[int, bytes]]) -> None:
    assert [(begin, part.chunk) for begin, part in RECIPE.parts_between(start, stop)] == found


def test_nothing_lies_before_the_start() -> None:
    with pytest.raises(ValueError, match="before its start"):
        RECIPE.parts_between(-1, 5)


def test_the_empty_blob_has_no_parts() -> None:
    empty = Recipe(sha256_digest(b""), 0, ())
    assert empty.parts_between(0, 10) == []
    assert empty.starts == (0,)


def _damaged() -> dict[str, bytes]:
    good = RECIPE.encoded
    return {
        "empty": b"",
        "header cut short": good[:40],
        "a part cut short": good[:-1],
        "a part too many": good + bytes(40),
        "other magic": b"XRCP" + good[4:],
        "other version": good[:4] + b"\x02" + good[5:],
        "another size": good[:8] + struct.pack("<Q", 61) + good[16:],
        "count larger": good[: 8 + 8 + 32 + 20] + struct.pack("<I", 2**32 - 1) + good[8 + 8 + 32 + 20 + 4 :],
    }


@pytest.mark.parametrize("what", _damaged())
def test_what_is_no_recipe_is_damage_even_under_its_own_digest(what: str) -> None:
    data = _damaged()[what]
    with pytest.raises(DamagedError):
        Recipe.decode(data, blake3_digest(data))


def test_every_flipped_bit_is_damage() -> None:
    good = RECIPE.encoded
    for position in range(len(good)):
        data = bytearray(good)
        data[position] ^= 0x10
        with pytest.raises(DamagedError, match="do not match"):
            Recipe.decode(bytes(data), RECIPE.digest)


def test_a_recipe_is_no_other_recipe() -> None:
    with pytest.raises(DamagedError):
        Recipe.decode(RECIPE.encoded, Digest("blake3", bytes(32)))
