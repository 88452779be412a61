"""Records as properties: everything comes back, in one form only; garbage is damage and nothing else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.digests import blake3_digest
from casstore.errors import DamagedError, InvalidInputError
from casstore.frames import MAX_RAW_BYTES, Frame, FrameHeader, FrameKind, parse_frame
from casstore.journal import Journal, Operation
from casstore.recipes import MAX_CHUNK_BYTES, Recipe
from casstore.testing import strategies
from casstore.trees import Entry, Tree, path_bytes, path_text
from casstore.versions import Version
from tests.quick_disk import quick_directory


@given(strategies.trees())
def test_trees_come_back(tree: Tree) -> None:
    assert Tree.decode(tree.encoded, tree.digest) == tree
    assert Tree.of(reversed(tree.entries)) == tree


@given(strategies.recipes())
def test_recipes_come_back(recipe: Recipe) -> None:
    assert Recipe.decode(recipe.encoded, recipe.digest) == recipe


@given(strategies.recipes(), st.integers(0, 2**34), st.integers(0, 2**34))
def test_parts_of_a_range_are_those_that_overlap_it(recipe: Recipe, start: int, stop: int) -> None:
    expected = [
        (begin, part)
        for begin, part in zip(recipe.starts[:-1], recipe.parts, strict=True)
        if part.length and start < stop and begin < stop and start < begin + part.length
    ]
    assert recipe.parts_between(start, stop) == expected


@given(strategies.versions)
def test_versions_come_back(version: Version) -> None:
    again = Version.decode(version.encoded, version.id)
    assert again == version
    assert again.id == version.id


@given(st.binary(max_size=200), st.sampled_from([Tree, Recipe, Version]))
def test_garbage_is_damage(data: bytes, record: type[Tree | Recipe | Version]) -> None:
    with pytest.raises(DamagedError):
        record.decode(data, blake3_digest(data))


@given(strategies.trees() | strategies.recipes() | strategies.versions, st.data())
def test_what_decodes_after_a_change_is_in_its_one_form(record: Tree | Recipe | Version, data: st.DataObject) -> None:
    changed = bytearray(record.encoded)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(changed) - 1))
        changed[position] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DamagedError):
        again = type(record).decode(bytes(changed), blake3_digest(changed))
        if not isinstance(again, Recipe):
            assert again.encoded == bytes(changed)


@given(st.lists(st.tuples(strategies.paths, strategies.paths), max_size=6))
def test_no_link_of_a_tree_leads_out(links: list[tuple[str, str]]) -> None:
    """Against a real directory: a kernel that follows the links of an accepted tree stays inside."""
    with quick_directory() as directory:
        inside = directory / "inside"
        inside.mkdir()
        made = []
        for path, target in links:
            try:
                Tree.of([*made, Entry.link(path, target.replace("a", ".."))])
            except InvalidInputError:
                continue
            made.append(Entry.link(path, target.replace("a", "..")))
        for entry in made:
            place = Path(str(inside), entry.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(entry.target)
        for entry in made:
            with contextlib.suppress(OSError, RuntimeError):
                end = Path(str(inside), entry.path).resolve(strict=False)
                assert end == inside.resolve() or inside.resolve() in end.parents


@given(st.binary(min_size=1).filter(lambda raw: b"\0" not in raw))
def test_every_name_of_a_posix_system_is_text_and_back(raw: bytes) -> None:
    assert path_bytes(path_text(raw)) == raw


def _headers(kind: FrameKind) -> st.SearchStrategy[FrameHeader]:
    return st.builds(
        FrameHeader,
        st.just(kind),
        strategies.chunk_names,
        st.integers(0, 255),
        st.integers(0, MAX_CHUNK_BYTES if kind is FrameKind.CHUNK else MAX_RAW_BYTES),
        st.just(5),
        st.just(b"") | strategies.chunk_names.filter(any),
        st.integers(0, 255),
        st.binary(max_size=100),
    )


@given(st.sampled_from(FrameKind).flatmap(_headers))
def test_frames_come_back(header: FrameHeader) -> None:
    frame = Frame.of(header, b"12345")
    parsed, payload = parse_frame(frame.front + bytes(frame.payload))
    assert (parsed, bytes(payload)) == (header, b"12345")


@given(st.lists(st.lists(strategies.operations, min_size=1, max_size=4), max_size=5))
def test_journals_come_back(transactions: list[list[Operation]]) -> None:
    with quick_directory() as directory:
        journal = Journal(directory / "journal")
        position = journal.rewrite((), 0)
        for operations in transactions:
            position = journal.append(position, operations)
        entries = list(journal.entries(journal.begins()))
    assert [list(entry.operations) for entry in entries] == [[], *transactions]
    assert entries[-1].after == position
