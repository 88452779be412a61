"""A name of the store as a repository of the Hub: its branches, tags and commits."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from casmodels.revisions import MAIN, branches_of, main_of
from casmodels.serve.refusals import RefusalError, revision_not_found, version_damaged
from casmodels.specs import commit_of
from casstore.catalog import Reader
from casstore.digests import Digest
from casstore.errors import DamagedError, InvalidInputError, NotFoundError
from casstore.refs import RefKind, check_name
from casstore.versions import Version

_MAIN_NAMES = (MAIN, "HEAD", "refs/heads/main")
_SOME_HEX = re.compile(r"[0-9a-fA-F]{7,64}\Z")
"""Fewer than 7 digits are no commit id, as in git: too many words are made of these letters."""


@dataclass(frozen=True, slots=True)
class Repo:
    """One name: its versions, newest first, and its tags; ``damaged`` are those whose records cannot be read, and are
    not among the versions, ``damaged_newest`` is the newest of all if it is one of them."""

    name: str
    versions: tuple[Version, ...]
    tags: dict[str, Digest]
    damaged: tuple[Digest, ...] = ()
    damaged_newest: Digest | None = None

    @property
    def main(self) -> Version:
        """The newest version, but for those that were pulled as another upstream branch, tag or commit.

        Raises RefusalError when the newest of all is damaged: nobody knows whether it is the one.
        """
        if self.damaged_newest is not None:
            raise version_damaged(self.name, self.damaged_newest)
        return main_of(self.versions)

    @property
    def shown(self) -> Version | None:
        """What a list of models shows: `main`, or what that would be without the versions that are damaged."""
        return main_of(self.versions) if self.versions else None

    @property
    def branches(self) -> dict[str, Version]:
        """`main`, and the upstream branches and tags that versions were pulled as, each with its newest."""
        found = branches_of(self.versions)
        if self.damaged_newest is not None:
            found.pop(MAIN, None)
        return found

    def find(self, revision: str) -> Version:
        """The version that a revision means.

        Tried in this order: `main`; a tag; the upstream revision that a version was pulled as; a commit id or
        version id, or the beginning of one (7 digits or more). Raises RefusalError for none, several, or one that is
        damaged.
        """
        if revision in _MAIN_NAMES:
            return self.main
        tagged = self.tags.get(revision.removeprefix("refs/tags/"))
        if tagged is not None:
            if tagged in self.damaged:
                raise version_damaged(self.name, tagged)
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
            raise revision_not_found(self.name, revision, len(self.damaged))
        prefix = revision.lower()
        found: dict[str, Version | Digest] = {
            digest.hex: digest for digest in self.damaged if digest.hex.startswith(prefix)
        }
        for version in reversed(self.versions):
            if commit_of(version).startswith(prefix) or version.id.hex.startswith(prefix):
                found[commit_of(version)] = version
        if len(found) > 1:
            message = f"{revision!r} is the beginning of {len(found)} commits of {self.name!r}"
            raise RefusalError(404, "RevisionNotFound", message)
        if not found:
            raise revision_not_found(self.name, revision, len(self.damaged))
        _, version_or_damaged = found.popitem()
        if isinstance(version_or_damaged, Digest):
            raise version_damaged(self.name, version_or_damaged)
        return version_or_damaged


def read_repo(reader: Reader, name: str, load: Callable[[Digest], Version]) -> Repo | None:
    """What the store holds under a name, None when that is nothing. ``load`` reads a version's record.

    One whose record is damaged must not hide the others.
    """
    try:
        check_name(name)
    except InvalidInputError:
        return None  # nothing can have it, and the index takes no text that is not Unicode
    refs = reader.refs(RefKind.VERSION, name)
    if not refs:
        return None
    newest_first = sorted(refs, key=lambda ref: ref.order, reverse=True)
    tags = {ref.key.label: ref.target for ref in reader.refs(RefKind.TAG, name)}
    versions, damaged = [], []
    for ref in newest_first:
        try:
            versions.append(load(ref.target))
        except (DamagedError, NotFoundError):
            damaged.append(ref.target)
    newest = newest_first[0].target
    return Repo(name, tuple(versions), tags, tuple(damaged), newest if newest in damaged else None)
