"""What lies outside of the directory that something hostile is given: nobody may read, change or add to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

SECRET: Final = b"nobody may read this"


class Outside:
    """A directory ``root`` with a secret beside and above the directories that are given away, and how it was."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        (root / "secret").write_bytes(SECRET)
        (root / "outside").mkdir()
        (root / "outside" / "secret").write_bytes(SECRET)
        self._before = self._look()

    def touched(self, given: Path) -> list[str]:
        """What of it is not as it was, ``given`` apart, and which links in ``given`` lead out of it."""
        now = self._look()
        changed = [f"{path} was changed or made" for path in sorted(now) if now[path] != self._before.get(path)]
        changed += [f"{path} is gone" for path in sorted(self._before.keys() - now.keys())]
        return [what for what in changed if not what.startswith(given.name)] + list(_links_out(given))

    def _look(self) -> dict[str, bytes | str]:
        found: dict[str, bytes | str] = {}
        for path in self.root.rglob("*"):
            name = str(path.relative_to(self.root))
            if path.is_symlink():
                found[name] = str(path.readlink())
            elif path.is_file() and not name.startswith(("store", "out/", "view")):
                found[name] = path.read_bytes()
            elif not name.startswith(("store", "out", "view")):
                found[name] = "a directory"
        return found


def _links_out(given: Path) -> list[str]:
    inside = os.path.realpath(given)
    leading = []
    for directory, folders, files in os.walk(given):
        for name in [*folders, *files]:
            path = os.path.join(directory, name)
            if os.path.islink(path) and not os.path.realpath(path).startswith(f"{inside}{os.sep}"):
                leading.append(f"the link {path!r} leads to {os.path.realpath(path)!r}")
    return leading
