"""Paths that are one on file systems that do not tell upper from lower case, or two ways to write an accent apart."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from casmodels.views.clones import temporary_in
from casstore.errors import InvalidInputError
from casstore.trees import check_links


def refuse_clashes(paths: Iterable[str], directory: Path) -> None:
    """Raise InvalidInputError if two of the paths would be one in that directory, which must exist.

    Only names that might clash are tried there; so nothing at all for nearly every version.
    """
    for names in _lookalikes(paths):
        with _trial(directory) as trial:
            for name in names:
                try:
                    (trial / name).touch(exist_ok=False)
                except FileExistsError as error:
                    shown = " and ".join(repr(other) for other in names)
                    raise InvalidInputError(
                        f"{shown} are one name on the file system of {directory}",
                        remedy="choose a directory on a file system that tells them apart",
                    ) from error


def refuse_strays(links: Mapping[str, str], directory: Path) -> None:
    """Raise InvalidInputError if a link (path to target) would lead out of that directory because its file system
    takes two names for one: the tree was checked as one that tells all names apart.
    """
    try:
        check_links({_folded(path): _folded(target) for path, target in links.items()})
    except InvalidInputError as error:
        if _folds_names(directory):
            raise InvalidInputError(
                f"on the file system of {directory}, where names that look alike are one, {error.message}",
                remedy="choose a directory on a file system that tells them apart",
            ) from error


def _folded(path: str) -> str:
    return "/".join(map(_key, path.split("/")))


def _folds_names(directory: Path) -> bool:
    with _trial(directory) as trial:
        for one, other in (("a", "A"), ("\u00e9", "e\u0301")):
            (trial / one).touch()
            if (trial / other).exists():
                return True
    return False


def _lookalikes(paths: Iterable[str]) -> list[list[str]]:
    """Groups of names that lie in one directory and fold to the same."""
    groups: dict[tuple[str, str], set[str]] = {}
    for path in paths:
        folded = ""
        for name in path.split("/"):
            key = _key(name)
            groups.setdefault((folded, key), set()).add(name)
            folded = f"{folded}/{key}"
    return [sorted(names) for names in groups.values() if len(names) > 1]


def _key(name: str) -> str:
    return name.casefold() if name.isascii() else _fold(name)


def _fold(name: str) -> str:
    from unicodedata import normalize  # its tables are large, and ASCII needs none of them

    return normalize("NFC", normalize("NFC", name).casefold())


@contextlib.contextmanager
def _trial(directory: Path) -> Iterator[Path]:
    trial = temporary_in(directory)
    trial.mkdir()
    try:
        yield trial
    finally:
        shutil.rmtree(trial)
