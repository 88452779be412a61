"""A store: open it, then read or write within operations that each hold a lease."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from casstore import files
from casstore.catalog import Reader
from casstore.engine import Engine, Settings, no_spans
from casstore.errors import NeedsRepairError, NotAStoreError, StoreError
from casstore.index.places import Places
from casstore.layout import Layout
from casstore.leases import Lease, exclusive
from casstore.ledger import Ledger
from casstore.packs import PackReader
from casstore.workers import Workers

if TYPE_CHECKING:  # who only reads does not wait for the writers' modules
    from casstore.chunkers.spans import SpanFinder
    from casstore.transactions import Transaction

_CREATE_WAIT_SECONDS = 60.0
_ODD = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""What code raises that meets a value which it does not expect."""


class Store:
    """An open store. Safe for threads; a forked child opens it anew by itself.

    ``finder`` tells where tensors lie in a file; ``workers`` is how many threads code chunks (None: one per core) and
    ``initializer`` runs at the start of each.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        finder: SpanFinder = no_spans,
        workers: int | None = None,
        initializer: Callable[[], object] | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.layout = layout
        self._finder = finder
        self._worker_count = workers
        self._initializer = initializer
        self._settings = settings or Settings()
        self._lock = threading.Lock()
        self._opened: Engine | None = None
        self._process = os.getpid()
        self._left_to_parent: list[Engine] = []
        self._replaced: list[Engine] = []
        self._operations = 0

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        create: bool = False,
        finder: SpanFinder = no_spans,
        workers: int | None = None,
        initializer: Callable[[], object] | None = None,
        settings: Settings | None = None,
    ) -> Store:
        """Open the store in a directory; with ``create``, make one where there is none.

        Raises NotAStoreError, NewerFormatError, NotWritableError, UnfitFileSystemError, NeedsRepairError.
        """
        layout = Layout(path.resolve())
        if not layout.exists():
            if not create:
                raise NotAStoreError(
                    f"there is no store at {layout.root}", remedy="`casmodels pull` or `checkpoint` makes one"
                )
            _create(layout)
        layout.check()
        layout.make_directories()
        store = cls(layout, finder=finder, workers=workers, initializer=initializer, settings=settings)
        store.engine  # noqa: B018 (opens journal and index, so that what is wrong with them is said now)
        return store

    @property
    def path(self) -> Path:
        """The store's directory."""
        return self.layout.root

    @property
    def engine(self) -> Engine:
        """The parts, opened again where a fork or a repair has made the old ones unfit."""
        with self._lock:
            if os.getpid() != self._process:
                # SQLite forbids even closing what was opened before the fork: keep it from being collected.
                self._left_to_parent += self._replaced
                if self._opened is not None:
                    self._left_to_parent.append(self._opened)
                self._opened, self._replaced, self._process = None, [], os.getpid()
            if self._opened is not None and self._opened.ledger.is_replaced():
                self._replaced.append(self._opened)  # another thread's operation may be in it
                self._opened = None
            if self._opened is None:
                self._opened = self._open_engine()
            return self._opened

    @property
    def places(self) -> Places:
        """What is known of directories outside."""
        ledger = self.engine.ledger
        return Places(ledger.database, ledger.locked)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reader]:
        """One operation that reads."""
        with self._lease():
            yield Reader(self.engine)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Transaction]:
        """One operation that writes; what was not committed when the block is left is dropped."""
        from casstore.transactions import Transaction

        with self._lease() as lease:
            engine = self.engine
            engine.ledger.check_packs()
            transaction = Transaction(engine, lease.name)
            try:
                yield transaction
            finally:
                transaction.abandon()

    def close(self) -> None:
        """End the threads and close the files."""
        with self._lock:
            if os.getpid() != self._process:
                return
            if self._opened is not None:
                _close(self._opened)
            self._opened = None
            self._close_replaced()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _lease(self) -> Iterator[Lease]:
        lease = Lease.take(self.layout.leases)
        with self._lock:
            self._operations += 1
        try:
            yield lease
        except _ODD as error:
            if self._is_damaged(error):
                raise NeedsRepairError(f"the index of {self.layout.root} is damaged") from error
            raise
        finally:
            lease.release()
            with self._lock:
                self._operations -= 1
                if not self._operations and os.getpid() == self._process:
                    self._rest()

    def _is_damaged(self, error: Exception) -> bool:
        """Whether the index is damaged, where an error was raised in this package: then rows have values that nothing
        here is made for."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        is_ours = trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("casstore.")
        engine = self._opened
        if not is_ours or engine is None or os.getpid() != self._process:
            return False
        try:
            return not engine.ledger.database.is_sound()
        except StoreError:
            return False

    def _rest(self) -> None:
        """Keep no packs open while nothing runs: an idle server must not hold the space of those that gc unlinks."""
        if self._opened is not None:
            self._opened.packs.close()
        self._close_replaced()

    def _close_replaced(self) -> None:
        if os.getpid() == self._process:
            while self._replaced:
                _close(self._replaced.pop())

    def _open_engine(self) -> Engine:
        if not self.layout.index.exists():
            raise NeedsRepairError(f"the index of {self.layout.root} is missing")
        ledger = Ledger(self.layout)
        try:
            ledger.open()
        except BaseException:
            ledger.close()
            raise
        return Engine(
            self.layout,
            ledger,
            PackReader(self.layout.packs),
            Workers(self._worker_count, self._initializer),
            ThreadPoolExecutor(1, "casstore-sealer"),
            self._settings,
            self._finder,
        )


def _create(layout: Layout) -> None:
    files.make_directory(layout.root)
    with exclusive(layout.commit_lock, _CREATE_WAIT_SECONDS, busy=f"the store {layout.root} is being made"):
        if layout.mark.exists():
            return
        layout.make_directories()
        Ledger.create(layout)
        layout.write_mark()


def _close(engine: Engine) -> None:
    engine.workers.close()
    engine.sealer.shutdown(wait=True)
    engine.packs.close()
    engine.ledger.close()
