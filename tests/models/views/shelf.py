"""A store with small models in it, and a way to die."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from casmodels.results import CheckoutResult
from casmodels.views.checkouts import Checkout, checkout
from casmodels.views.hub_cache import Added, HubView
from casstore.digests import Digest
from casstore.refs import RefKey, RefKind
from casstore.store import Store
from casstore.trees import Entry, Tree
from casstore.versions import Version

Content = Mapping[str, bytes | tuple[bytes, int] | str | None]
"""Path to a file's bytes (or bytes and mode), a link's target, or None for an empty directory."""


@dataclass
class Shelf:
    """A store with small models in it."""

    store: Store
    made: int = field(default=0)

    def put(self, name: str, content: Content, *, tag: str | None = None, **metadata: Any) -> Digest:
        """Keep a version of a name."""
        self.made += 1
        with self.store.writing() as tx:
            entries = []
            for path, value in content.items():
                if value is None:
                    entries.append(Entry.directory(path))
                elif isinstance(value, str):
                    entries.append(Entry.link(path, value))
                else:
                    data, mode = value if isinstance(value, tuple) else (value, 0o644)
                    entries.append(Entry.file(path, tx.add_bytes(data, path).info.sha256, len(data), mode))
            tree = tx.add_tree(Tree.of(entries))
            version = Version(
                tree, None, f"file:///{name}", time.time_ns(), str(self.made), {"kind": "checkpoint"} | metadata
            )
            tx.add_version(version)
            tx.set_ref(RefKey(RefKind.VERSION, name, version.id.hex), version.id)
            if tag is not None:
                tx.set_ref(RefKey(RefKind.TAG, name, tag), version.id)
            tx.commit()
        return version.id

    def remove(self, name: str, version: Digest) -> None:
        """Forget a version's ref."""
        with self.store.writing() as tx:
            tx.set_ref(RefKey(RefKind.VERSION, name, version.hex), None)
            tx.commit()

    def checkout(self, version: Digest, directory: Path, name: str = "mine", **options: Any) -> CheckoutResult:
        """Check a version out."""
        include = options.pop("include", ())
        with self.store.reading() as reader:
            tree = reader.tree(reader.version(version).tree)
            wanted = Checkout(name, version, tree, include)
            return checkout(reader, self.store.places, self.store.path, wanted, directory, **options)

    def view(self, home: Path, **options: Any) -> HubView:
        """A view of the store."""
        return HubView(home, self.store.path, self.store.places, **options)

    def add(self, view: HubView, *wanted: tuple[str, Digest], **options: Any) -> Added:
        """Put versions into a view."""
        with self.store.reading() as reader:
            return view.add(reader, wanted, **options)


class KilledError(BaseException):
    pass


class Killer:
    """Kills at the n-th change of the disk; from then on nothing is done, as the process is gone."""

    def __init__(self) -> None:
        self.left: int | None = None

    def __call__(self, operation: str, path: str) -> None:
        if self.left is not None:
            self.left -= 1
            self.refuse_the_dead()

    def refuse_the_dead(self) -> None:
        if self.left is not None and self.left <= 0:
            raise KilledError

    def guard(self, change: Callable[..., None]) -> Callable[..., None]:
        def guarded(*args: Any, **options: Any) -> None:
            self.refuse_the_dead()
            change(*args, **options)

        return guarded
