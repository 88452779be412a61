"""Versions as a read-only file system of fsspec: ``casmodels://NAME[@VERSION]/path``.

Where fsspec is installed it finds this by itself. NAME may have one slash, as on the Hub; a version whose name has one
(``@refs/pr/1``) is given by its id. Without a path it is the version's directory, and ``casmodels://`` lists the names.
"""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any, NoReturn

from fsspec import AbstractFileSystem

from casmodels.library import Store
from casmodels.results import EntryResult
from casstore.errors import InvalidInputError, NotFoundError


class ModelFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """The versions of one store: the configured one, or that at ``store``.

    Reading decodes only the chunks that a range touches, and checks them. Whatever would write raises OSError (EROFS).
    """

    protocol = "casmodels"
    root_marker = ""

    def __init__(self, store: str | os.PathLike[str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._store = Store(Path(store) if store is not None else None)

    def ls(self, path: str, detail: bool = True, **_options: Any) -> list[Any]:
        """See AbstractFileSystem."""
        found = self._listing(self._strip_protocol(path))
        return found if detail else [entry["name"] for entry in found]

    def info(self, path: str, **_options: Any) -> dict[str, Any]:
        """See AbstractFileSystem; a file has its ``sha256``, too."""
        path = self._strip_protocol(path)
        target, inner = self._split(path)
        if target is None:
            if path and not self._names_below(path):
                raise FileNotFoundError(errno.ENOENT, "no such model", path)
            return _directory(path)
        entries = self._entries(target, path)
        if not inner:
            return _directory(path)
        for entry in entries:
            if entry.path == inner and entry.kind != "link":
                return _info(path, entry)
        if any(entry.path.startswith(inner + "/") for entry in entries):
            return _directory(path)
        return self._followed(target, path, inner)

    def ukey(self, path: str) -> str:
        """The SHA-256: whatever has it is the same file."""
        return str(self.info(path).get("sha256") or path)

    def checksum(self, path: str) -> str:
        """See AbstractFileSystem."""
        return self.ukey(path)

    def _open(self, path: str, mode: str = "rb", *_arguments: Any, **_options: Any) -> io.BufferedReader:
        if mode != "rb":
            _refuse(path)
        target, inner = self._split(path)
        if target is None or not inner:
            raise IsADirectoryError(errno.EISDIR, "a directory", path)
        try:
            return self._store.open(target, inner)
        except NotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, error.message, path) from error

    def open(self, path: str, mode: str = "rb", *arguments: Any, **options: Any) -> Any:
        """See AbstractFileSystem."""
        if set(mode) - set("rbt"):
            _refuse(path)
        return super().open(path, mode, *arguments, **options)

    def _listing(self, path: str) -> list[dict[str, Any]]:
        target, inner = self._split(path)
        if target is None:
            below = self._names_below(path)
            if path and not below:
                raise FileNotFoundError(errno.ENOENT, "no such model", path)
            return [_directory(name) for name in below]
        found: dict[str, dict[str, Any]] = {}
        prefix = inner + "/" if inner else ""
        root = path.removesuffix(inner).rstrip("/")
        for entry in self._entries(target, path):
            if entry.path.startswith(prefix):
                name, slash, _ = entry.path.removeprefix(prefix).partition("/")
                full = f"{root}/{prefix}{name}"
                if slash:
                    found[full] = _directory(full)
                else:
                    found[full] = self.info(full) if entry.kind == "link" else _info(full, entry)
        return list(found.values()) if found or not inner else [self.info(path)]

    def _followed(self, target: str, path: str, inner: str) -> dict[str, Any]:
        """What a path leads to by a link."""
        try:
            with self._store.open(target, inner) as file:
                return {"name": path, "size": file.seek(0, io.SEEK_END), "type": "file"}
        except NotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, error.message, path) from error

    def _entries(self, target: str, path: str) -> list[EntryResult]:
        try:
            return [entry for entry in self._store.ls(target) if isinstance(entry, EntryResult)]
        except (NotFoundError, InvalidInputError) as error:
            raise FileNotFoundError(errno.ENOENT, error.message, path) from error

    def _split(self, path: str) -> tuple[str | None, str]:
        """Of NAME[@VERSION]/path what is before and after the slash; None for what is above the names."""
        parts = path.strip("/").split("/")
        known = set(self._store.complete_names(""))
        for length in (2, 1):
            target = "/".join(parts[:length])
            name = target.partition("@")[0]
            if name.count("/") == length - 1 and name in known:
                return target, "/".join(parts[length:])
        return None, ""

    def _names_below(self, path: str) -> list[str]:
        prefix = path + "/" if path else ""
        names = [model.name for model in self._store.list() if model.name.startswith(prefix)]
        return sorted({prefix + name.removeprefix(prefix).partition("/")[0] for name in names})

    def _refusing(self, path: object = "", *_arguments: Any, **_options: Any) -> NoReturn:
        _refuse(path)

    mkdir = makedirs = rmdir = rm = rm_file = _rm = touch = _refusing
    cp_file = copy = mv = move = rename = put = put_file = upload = pipe = pipe_file = write_text = write_bytes = (
        _refusing
    )
    start_transaction = _refusing


def _refuse(path: object) -> NoReturn:
    message = "a store is read here; `casmodels checkpoint` and `pull` put versions in"
    raise OSError(errno.EROFS, message, str(path))


def _info(path: str, entry: EntryResult) -> dict[str, Any]:
    if entry.kind == "directory":
        return _directory(path)
    sha256 = (entry.digest or "").partition(":")[2]
    return {"name": path, "size": entry.size_bytes, "type": "file", "mode": int(entry.mode, 8), "sha256": sha256}


def _directory(path: str) -> dict[str, Any]:
    return {"name": path, "size": 0, "type": "directory"}
