"""Versions: one canonical encoding, and nothing in the metadata that has none."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from casstore.digests import blake3_digest
from casstore.errors import DamagedError, InvalidInputError
from casstore.versions import Version

TREE = blake3_digest(b"tree")
VERSION = Version(TREE, blake3_digest(b"parent"), "hf://org/name", 1_700_000_000_000_000_000, "a message", {"b": 1})


def test_encoded_and_decoded() -> None:
    for version in (VERSION, Version(TREE, None, "", 0), Version(TREE, None, "\udcff", 1, metadata={"ü": "\ud800"})):
        assert Version.decode(version.encoded, version.id) == version


def test_the_order_of_keys_does_not_matter() -> None:
    one = Version(TREE, None, "", 0, metadata={"a": {"x": 1, "y": [True, None]}, "b": 2})
    other = Version(TREE, None, "", 0, metadata={"b": 2, "a": {"y": [True, None], "x": 1}})
    assert one.id == other.id


@pytest.mark.parametrize(
    "change",
    [
        {"tree": blake3_digest(b"x")},
        {"parent": None},
        {"source": "x"},
        {"created_ns": 1},
        {"message": "x"},
        {"metadata": {}},
    ],
)
def test_every_field_counts(change: dict[str, Any]) -> None:
    assert replace(VERSION, **change).id != VERSION.id


@pytest.mark.parametrize(
    "value", [1.5, math.nan, [1.0], {"x": [{"y": -0.0}]}, (1, 2), {1: "x"}, {"x": {None: 1}}, b"x", {"x"}]
)
def test_metadata_without_one_form_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError):
        _ = Version(TREE, None, "", 0, metadata={"x": value}).id


def test_revision() -> None:
    assert Version(TREE, None, "", 0, metadata={"revision": "abc"}).revision == "abc"
    assert Version(TREE, None, "", 0, metadata={"revision": 1}).revision is None
    assert Version(TREE, None, "", 0).revision is None


def _record(**changes: object) -> bytes:
    record = {**json.loads(VERSION.encoded), **changes}
    return json.dumps(
        {key: value for key, value in record.items() if value is not ...}, sort_keys=True, separators=(",", ":")
    ).encode("ascii")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"7",
        b"[" * 100_000,
        _record(format=2),
        _record(format=...),
        _record(tree=...),
        _record(tree="blake3:00"),
        _record(tree=7),
        _record(parent=7),
        _record(metadata=[]),
        _record(source=[]),
        _record(message=None),
        _record(created_ns="now"),
        _record(created_ns=True),
        _record(created_ns=1 << 70),
        _record(metadata={"x": 1.5}),
        _record(extra=1),
        VERSION.encoded + b"\n",
        VERSION.encoded.replace(b":", b": ", 1),
        json.dumps(dict(reversed(json.loads(VERSION.encoded).items())), separators=(",", ":")).encode(),
    ],
)
def test_bytes_that_are_no_version_are_damage_even_under_their_own_digest(data: bytes) -> None:
    with pytest.raises(DamagedError):
        Version.decode(data, blake3_digest(data))


def test_the_hand_made_record_is_a_version() -> None:
    assert Version.decode(_record(), VERSION.id) == VERSION


def test_other_bytes_than_the_ids_are_damage() -> None:
    with pytest.raises(DamagedError, match="do not match"):
        Version.decode(_record(message="another"), VERSION.id)
