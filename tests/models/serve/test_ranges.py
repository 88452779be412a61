"""Ranges and conditions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casmodels.serve.ranges import Conditions, is_known, read_range

SIZE = 100


def read(wanted: str | None, if_range: str | None = None, size: int = SIZE) -> tuple[int, int, bool] | None:
    extent = read_range(Conditions(wanted, if_range), "tag", size)
    return (extent.start, extent.stop, extent.partial) if extent is not None else None


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, (0, 100, False)),
        ("bytes=0-0", (0, 1, True)),
        ("bytes=10-19", (10, 20, True)),
        ("Bytes = 10 - 19", (10, 20, True)),
        ("bytes=90-", (90, 100, True)),
        ("bytes=90-900", (90, 100, True)),
        ("bytes=-5", (95, 100, True)),
        ("bytes=-500", (0, 100, True)),
        ("bytes=0-99", (0, 100, True)),
        ("bytes=100-", None),
        ("bytes=100-200", None),
        ("bytes=-0", None),
        ("bytes=5-4", (0, 100, False)),
        ("bytes=0-1,5-6", (0, 100, False)),
        ("bytes=-", (0, 100, False)),
        ("lines=0-1", (0, 100, False)),
        ("bytes=a-b", (0, 100, False)),
        ("bytes=--1", (0, 100, False)),
        ("bytes=٣-٤", (0, 100, False)),
        ("bytes=0-1" + "0" * 30, (0, 100, False)),
    ],
)
def test_ranges(wanted: str | None, found: tuple[int, int, bool] | None) -> None:
    assert read(wanted) == found


def test_of_an_empty_file_no_byte_can_be_had() -> None:
    assert read(None, size=0) == (0, 0, False)
    assert read("bytes=0-", size=0) is None
    assert read("bytes=-1", size=0) is None


@pytest.mark.parametrize(
    ("if_range", "partial"),
    [('"tag"', True), ('"other"', False), ('W/"tag"', False), ("Sat, 21 Nov 2026 09:42:38 GMT", False)],
)
def test_if_range_wants_the_very_same_tag(if_range: str, partial: bool) -> None:
    assert read("bytes=0-1", if_range) == ((0, 2, True) if partial else (0, 100, False))


@pytest.mark.parametrize(
    ("header", "known"),
    [
        (None, False),
        ("*", True),
        ('"tag"', True),
        ('W/"tag"', True),
        ('"a", "tag"', True),
        ('"a"', False),
        ("tag", False),
    ],
)
def test_if_none_match(header: str | None, known: bool) -> None:
    assert is_known(Conditions(if_none_match=header), "tag") is known


@given(st.text() | st.from_regex(r"bytes=[0-9]*-[0-9]*", fullmatch=True), st.integers(0, 1000))
def test_whatever_is_asked_lies_inside_the_file(wanted: str, size: int) -> None:
    extent = read_range(Conditions(wanted), "tag", size)
    if extent is not None:
        assert 0 <= extent.start <= extent.stop <= size
        assert extent.partial or (extent.start, extent.stop) == (0, size)
