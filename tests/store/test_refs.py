"""Refs: which names and tags there can be."""

from __future__ import annotations

import pytest

from casstore.errors import InvalidInputError
from casstore.refs import check_label, check_name


@pytest.mark.parametrize("name", ["gpt2", "org/name", "a", "A_b-c.d", "_x", "0/1", "a" * 96, "a" * 96 + "/" + "b" * 96])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "/", "a/", "/a", "a/b/c", "a//b", ".", "..", ".a", "a/..", "a/../b", "-a", "a-", "a.", "a--b", "a..b", "a.git",
     "a b", "a\n", "ä", "a\0", "a\\b", "a" * 97, "c:d", "~", "a/-b", "a/.b"],
)  # fmt: skip
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(InvalidInputError):
        check_name(name)


@pytest.mark.parametrize("label", ["v1", "v1.0/rc-1", "main", "0", "a" * 128])
def test_labels(label: str) -> None:
    assert check_label(label) == label


@pytest.mark.parametrize(
    "label", ["", "/a", "a/", "a//b", "a..b", ".a", "-a", "a.lock", "a.", "a b", "a\n", "ä", "a" * 129, "a:b", "a@b"]
)
def test_what_is_no_label(label: str) -> None:
    with pytest.raises(InvalidInputError):
        check_label(label)
