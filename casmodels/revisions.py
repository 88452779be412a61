"""Which version a branch of a name means, for whoever speaks the Hub's language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from casmodels.specs import is_commit
from casstore.versions import Version

MAIN: Final = "main"


def asked_for(version: Version) -> str:
    """The upstream revision that a version was pulled as; what was made here is on `main`."""
    asked = version.metadata.get("requested_revision")
    return asked if isinstance(asked, str) and asked else MAIN


def main_of(versions: Sequence[Version]) -> Version:
    """Of versions, newest first, the one that `main` means.

    The newest, but for those that were pulled as another upstream branch, tag or commit while there is another.
    """
    return next((version for version in versions if asked_for(version) == MAIN), versions[0])


def branches_of(versions: Sequence[Version]) -> dict[str, Version]:
    """`main`, and the upstream branches and tags that versions (newest first) were pulled as, each with its newest."""
    found = {MAIN: main_of(versions)} if versions else {}
    for version in versions:
        name = asked_for(version)
        if not is_commit(name):
            found.setdefault(name, version)
    return found
