"""Everything that gives bytes out, asked for everything: what comes must be right, or an error."""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from casmodels.library import Store
from casstore.errors import StoreError
from tests.models.serve.shelf import hub
from tests.torture.groups.damage.shelf import WEIGHTS, Held, Shelf


@dataclass(frozen=True, slots=True)
class Answer:
    """What one way of reading gave for a file: ``is_right`` is None where it was an error."""

    way: str
    held: Held
    path: str
    is_right: bool | None
    error: str = ""


def read_all(shelf: Shelf, store: Store, *, over_http: bool) -> Iterator[Answer]:
    """Read every file of every version in every way."""
    for held in shelf.held:
        yield from (_cat(store, held, path) for path in held.files)
        yield from _checkout(shelf, store, held)
        if WEIGHTS in held.files:
            yield _load(store, held)
    if over_http:
        yield from _serve(shelf, store)


def cat_all(shelf: Shelf, store: Store) -> Iterator[Answer]:
    """Read every file of every version in one way."""
    return (_cat(store, held, path) for held in shelf.held for path in held.files)


def _answer(way: str, held: Held, path: str, read: Callable[[], bool]) -> Answer:
    try:
        return Answer(way, held, path, read())
    except StoreError as error:
        return Answer(way, held, path, None, str(error))


def _cat(store: Store, held: Held, path: str) -> Answer:
    return _answer("cat", held, path, lambda: b"".join(store.cat(held.target, path)) == held.files[path])


def _checkout(shelf: Shelf, store: Store, held: Held) -> Iterator[Answer]:
    """A checkout that fails may have written some files, each of them whole."""
    out = shelf.work / "out"
    shutil.rmtree(out, ignore_errors=True)
    try:
        store.checkout(held.target, out)
        error = ""
    except StoreError as failed:
        error = str(failed)
    for path, data in held.files.items():
        there = (out / path).read_bytes() if (out / path).exists() else None
        if there is not None or not error:
            yield Answer("checkout", held, path, there == data)
        else:
            yield Answer("checkout", held, path, None, error)


def _load(store: Store, held: Held) -> Answer:
    def read() -> bool:
        """The tensors of the file, end to end as they lie in it."""
        loaded = store.load_tensors(held.target)
        return held.files[WEIGHTS].endswith(b"".join(loaded[name].tobytes() for name in sorted(loaded)))

    return _answer("load_tensors", held, WEIGHTS, read)


def _serve(shelf: Shelf, store: Store) -> Iterator[Answer]:
    with hub(store._context.engine()) as served:
        for held in shelf.held:
            for path, data in held.files.items():
                try:
                    reply = served.ask(f"/{held.name}/resolve/main/{path}")
                except (http.client.IncompleteRead, ConnectionError) as error:
                    yield Answer("serve", held, path, None, str(error))
                    continue
                is_right = reply.body == data if reply.status == http.client.OK else None
                yield Answer("serve", held, path, is_right, str(reply.status))


def files_below(directory: Path) -> list[Path]:
    """All regular files."""
    return sorted(path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
