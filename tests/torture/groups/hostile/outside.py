"""What lies outside of the directory that something hostile is given: nobody may read, change or add to it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

SECRET: Final = b"nobody may read this"
_GIVEN: Final = ("store", "out", "view")


class Outside:
    """A directory ``root`` with secrets beside ``store``, ``out`` and ``view``, and how all but these three was."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        (root / "secret").write_bytes(SECRET)
        (root / "outside").mkdir()
        (root / "outside" / "secret").write_bytes(SECRET)
        self._before = self._look()

    def touched(self, given: Path) -> list[str]:
        """What is not as it was, and which links in ``given`` lead out of it."""
        now = self._look()
        changed = [f"{path} was changed or made" for path in sorted(now) if now[path] != self._before.get(path)]
        changed += [f"{path} is gone" for path in sorted(self._before.keys() - now.keys())]
        return changed + _links_out(given)

    def _look(self) -> dict[Path, bytes | None]:
        there = [path for path in self.root.iterdir() if path.name not in _GIVEN]
        there += [inner for path in there for inner in path.rglob("*")]
        return {path: path.read_bytes() if path.is_file() else None for path in there}


def _links_out(given: Path) -> list[str]:
    inside = os.path.realpath(given) + os.sep
    links = [path for path in given.rglob("*") if path.is_symlink()]
    return [
        f"the link {str(link)!r} leads to {end!r}"
        for link in links
        if (end := _end(link)) is not None and not f"{end}{os.sep}".startswith(inside)
    ]


def _end(link: Path) -> str | None:
    """Where a link leads, be there something or not; None where it goes round in a loop."""
    try:
        return os.path.realpath(link, strict=True)
    except OSError as error:
        return None if error.errno == errno.ELOOP else os.path.realpath(link)
