"""Which files of a version a signature is about."""

from __future__ import annotations

import pytest

from casmodels.signatures.coverage import Listing
from casstore.digests import sha256_digest
from casstore.trees import Entry, Tree

BLOB = sha256_digest(b"blob")
PATHS = (
    "a",
    "sub/b",
    "sub/.gitignore",
    ".gitignore",
    ".git/config",
    ".github/x",
    ".gitattributes",
    "model.sig",
    ".gitx",
)


def listing(*paths: str, links: dict[str, str] | None = None, empty: str = "empty") -> Listing:
    files = [Entry.file(path, BLOB, 4) for path in paths]
    return Listing(
        Tree.of([*files, Entry.directory(empty), *(Entry.link(path, to) for path, to in (links or {}).items())])
    )


def test_what_is_left_out_by_default() -> None:
    assert set(listing(*PATHS).covered()) == {"a", "sub/b", "sub/.gitignore", ".gitx"}


@pytest.mark.parametrize(
    ("ignored", "covered"),
    [
        (["sub"], {"a", ".gitx"}),
        (["sub/"], {"a", ".gitx"}),
        (["./sub/./b"], {"a", "sub/.gitignore", ".gitx"}),
        (["su", "a/b", "../a", "/a", "sub/../a"], {"a", "sub/b", "sub/.gitignore", ".gitx"}),
        (["."], set()),
        ([""], set()),
    ],
)
def test_what_the_signer_left_out(ignored: list[str], covered: set[str]) -> None:
    assert set(listing(*PATHS).covered(ignored)) == covered


def test_what_is_listed_is_checked_though_it_is_to_be_ignored() -> None:
    assert set(listing(*PATHS).covered(["a"], ["a", ".git/config"])) == {
        *("a", ".git/config", "sub/b", "sub/.gitignore", ".gitx")
    }


def test_links() -> None:
    linked = listing("dir/a", links={"to-file": "dir/a", "to-dir": "dir", "to-empty": "empty", "again": "to-file"})
    assert linked.has_links
    assert linked.dead_link is None
    assert set(linked.covered()) == {"dir/a", "to-file", "again"}
    assert linked.files["again"].blob == BLOB
    assert not listing("dir/a").has_links


@pytest.mark.parametrize("target", ["none", "dead"])
def test_a_link_that_leads_nowhere(target: str) -> None:
    assert listing("a", links={"dead": target}).dead_link == "dead"
