"""A name of the store as a repository of the Hub: its branches, tags and commits."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from casmodels.revisions import MAIN, branches_of, main_of
from casmodels.serve.refusals import RefusalError, revision_not_found
from casmodels.specs import commit_of
from casstore.catalog import Reader
from casstore.digests import Digest
from casstore.errors import InvalidInputError
from casstore.refs import RefKind, check_name
from casstore.versions import Version

_MAIN_NAMES = (MAIN, "HEAD", "refs/heads/main")
_SOME_HEX = re.compile(r"[0-9a-fA-F]{7,64}\Z")
"""Fewer than 7 digits are no commit id, as in git: too many words are made of these letters."""


@dataclass(frozen=True, slots=True)
class Repo:
    """One name: its versions, newest first, and its tags."""

    name: str
    versions: tuple[Version, ...]
    tags: dict[str, Digest]

    @property
    def main(self) -> Version:
        """The newest version, but for those that were pulled as another upstream branch, tag or commit."""
        return main_of(self.versions)

    @property
    def branches(self) -> dict[str, Version]:
        """`main`, and the upstream branches and tags that versions were pulled as, each with its newest."""
        return branches_of(self.versions)

    def find(self, revision: str) -> Version:
        """The version that a revision means.

        Tried in this order: `main`; a tag; the upstream revision that a version was pulled as; a commit id or
        version id, or the beginning of one (7 digits or more). Raises RefusalError for none, or several.
        """
        if revision in _MAIN_NAMES:
            return self.main
        tagged = self.tags.get(revision.removeprefix("refs/tags/"))
        if tagged is not None:
            for version in self.versions:
                if version.id == tagged:
                    return version
        branch = self.branches.get(revision.removeprefix("refs/heads/"))
        if branch is not None:
            return branch
        return self._of_commit(revision)

    def history(self, newest: Version) -> list[Version]:
        """The versions from that one back, newest first; of several with one commit id, the newest."""
        commits = {commit_of(version): version for version in reversed(self.versions)}
        kept = [version for version in self.versions if commits[commit_of(version)] is version]
        start = commits[commit_of(newest)]
        return kept[kept.index(start) :]

    def _of_commit(self, revision: str) -> Version:
        if not _SOME_HEX.match(revision):
            raise revision_not_found(self.name, revision)
        prefix = revision.lower()
        found = {}
        for version in reversed(self.versions):
            if commit_of(version).startswith(prefix) or version.id.hex.startswith(prefix):
                found[commit_of(version)] = version
        if len(found) > 1:
            message = f"{revision!r} is the beginning of {len(found)} commits of {self.name!r}"
            raise RefusalError(404, "RevisionNotFound", message)
        if not found:
            raise revision_not_found(self.name, revision)
        return found.popitem()[1]


def read_repo(reader: Reader, name: str, load: Callable[[Digest], Version]) -> Repo | None:
    """What the store holds under a name, None when that is nothing. ``load`` reads a version's record."""
    try:
        check_name(name)
    except InvalidInputError:
        return None  # nothing can have it, and the index takes no text that is not Unicode
    refs = reader.refs(RefKind.VERSION, name)
    if not refs:
        return None
    newest_first = sorted(refs, key=lambda ref: ref.order, reverse=True)
    tags = {ref.key.label: ref.target for ref in reader.refs(RefKind.TAG, name)}
    return Repo(name, tuple(load(ref.target) for ref in newest_first), tags)
