"""Revisions: what a branch, tag or commit of the Hub's world means in the store."""

from __future__ import annotations

import pytest

from casmodels.serve.refusals import RefusalError
from casmodels.serve.repos import Repo
from casmodels.specs import commit_of
from casstore.digests import blake3_digest
from casstore.versions import Version

UPSTREAM = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
OTHER = "c9745ed000000000000000000000000000000000"


def version(number: int, revision: str | None = None, asked: str | None = None) -> Version:
    metadata = {"revision": revision, "requested_revision": asked}
    told = {key: value for key, value in metadata.items() if value is not None}
    return Version(blake3_digest(b"%d" % number), None, "file:///x", number, "", told)


PULLED = version(1, UPSTREAM, "main")
BRANCH = version(2, OTHER, "refs/pr/1")
OLD, NEW = version(3), version(4)
REPO = Repo("a/b", (NEW, OLD, BRANCH, PULLED), {"v1": OLD.id, "beef1234": PULLED.id, "gone": blake3_digest(b"")})


@pytest.mark.parametrize(
    ("revision", "expected"),
    [
        ("main", NEW),
        ("HEAD", NEW),
        ("refs/heads/main", NEW),
        ("v1", OLD),
        ("refs/tags/v1", OLD),
        ("refs/pr/1", BRANCH),
        (UPSTREAM, PULLED),
        (UPSTREAM.upper(), PULLED),
        (UPSTREAM[:9], PULLED),
        (OLD.id.hex, OLD),
        (OLD.id.hex[:40], OLD),
        (OLD.id.hex[:7], OLD),
        (PULLED.id.hex, PULLED),
        ("beef1234", PULLED),
    ],
)
def test_a_revision_is_found(revision: str, expected: Version) -> None:
    assert REPO.find(revision) == expected


@pytest.mark.parametrize(
    "revision", ["dev", "", "v2", "gone", UPSTREAM[:6], UPSTREAM[:7], "0" * 40, UPSTREAM + "0" * 30, "refs/tags/main"]
)
def test_what_names_no_version_or_several_is_refused(revision: str) -> None:
    with pytest.raises(RefusalError) as refusal:
        REPO.find(revision)
    assert (refusal.value.status, refusal.value.code) == (404, "RevisionNotFound")


def test_main_is_not_what_was_pulled_as_something_else() -> None:
    assert Repo("a", (BRANCH, PULLED), {}).main == PULLED
    assert Repo("a", (BRANCH,), {}).main == BRANCH


def test_the_branches_are_main_and_what_was_asked_for_by_name() -> None:
    by_commit = version(5, OTHER, OTHER)
    assert Repo("a", (by_commit, *REPO.versions), {}).branches == {"main": NEW, "refs/pr/1": BRANCH}


def test_history_goes_back_from_a_version() -> None:
    assert REPO.history(NEW) == [NEW, OLD, BRANCH, PULLED]
    assert REPO.history(OLD) == [OLD, BRANCH, PULLED]


def test_two_versions_of_one_commit_are_one_commit_the_newest() -> None:
    again = version(6, UPSTREAM, "main")
    repo = Repo("a", (again, OLD, PULLED), {})
    assert commit_of(again) == commit_of(PULLED)
    assert repo.find(UPSTREAM) == again
    assert repo.history(again) == [again, OLD]
    assert repo.history(PULLED) == [again, OLD]
