"""Everything that the command line prints: one JSON document, or short tables and sentences for people.

Answers go to stdout, all else to stderr. What is printed for people is escaped, so that a name with a newline,
a terminal's escape sequence or bytes that are no UTF-8 can neither break a table nor the terminal.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Final, Literal

from casmodels.errors import with_remedy
from casstore.errors import FailedError

_LAST_COLUMN_CHARACTERS: Final = 10
# EINVAL is what Windows says of a pipe that nobody reads any more.
_CLOSED = {errno.EPIPE, errno.EINVAL, errno.EBADF} if os.name == "nt" else {errno.EPIPE, errno.EBADF}


class ClosedOutputError(Exception):
    """Whoever read stdout has gone, as in ``| head -1``: there is nobody left to answer."""


def short_id(version: str) -> str:
    """The first digits of a version's id: enough to name it."""
    return version.rpartition(":")[2][:12]


def moment(created: str) -> str:
    """An ISO 8601 time as the local time, to the minute."""
    from datetime import datetime

    return f"{datetime.fromisoformat(created).astimezone():%Y-%m-%d %H:%M}"


def count(number: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shown(text: object) -> str:
    """Text that is safe on one line of a terminal: what cannot be printed is escaped."""
    plain = str(text)
    return plain if plain.isprintable() else "".join(map(_shown_character, plain))


def _shown_character(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"  # a byte of a file name that is no UTF-8
    return character.encode("unicode_escape").decode("ascii")


def some(items: Sequence[str], most: int = 3) -> str:
    """The first few of a list: ``a, b, c and 4 more``."""
    listed = ", ".join(shown(item) for item in items[:most])
    return f"{listed} and {len(items) - most} more" if len(items) > most else listed


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for people. ``right`` are the columns of numbers.

    On a narrow terminal the ``expendable`` columns are left out, the first of them first, and the last of the
    others is cut.
    """

    headers: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    right: frozenset[int] = frozenset()
    expendable: tuple[int, ...] = ()


class Output:
    """Where a command's answer goes.

    ``quiet`` leaves out everything that was not asked for; with ``log_json`` every line on stderr is a JSON line.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False, log_json: bool = False) -> None:
        self.json = json
        self.quiet = quiet
        self.log_json = log_json
        self._answered = False

    def answer(self, document: object, people: Callable[[], None]) -> None:
        """What was asked for: the document as JSON, or whatever ``people`` prints."""
        if self.json:
            self.document(document)
        else:
            people()

    def report(self, document: object, people: Callable[[], None]) -> None:
        """What was done: as `answer`, but ``quiet`` spares people from it."""
        if self.json or not self.quiet:
            self.answer(document, people)

    def document(self, document: object) -> None:
        """Write one JSON document to stdout. ASCII only: bytes that are no UTF-8 become ``\\udcXX``."""
        from casmodels.json_text import json_text

        self._answered = True
        write_out(json_text(document, _jsonable, indent=2) + "\n")

    def line(self, text: str) -> None:
        """One line for people on stdout."""
        write_out(shown(text) + "\n")

    def table(self, table: Table, empty: str = "") -> None:
        """A table for people on stdout: drawn for a terminal, else aligned columns that nothing cuts.

        ``empty`` is what to note where there are no rows.
        """
        if not table.rows:
            self.note(empty)
            return
        rows = [tuple(shown(cell) for cell in row) for row in table.rows]
        widths = [max(map(len, column)) for column in zip(table.headers, *rows, strict=True)]
        if sys.stdout.isatty() and _draw(table, rows, widths):
            return
        for row in (table.headers, *rows):
            cells = [
                cell.rjust(width) if place in table.right else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            write_out("  ".join(cells).rstrip() + "\n")

    def note(self, text: str) -> None:
        """A hint or a warning on stderr; with ``quiet`` nobody wants it."""
        if not self.quiet:
            self._tell("info", text)

    def complain(self, message: str, remedy: str | None) -> None:
        """Say on stderr what failed, where the answer on stdout tells it to programs."""
        self._tell("error", with_remedy(message, remedy))

    def interrupted(self, remedy: str) -> None:
        """Say that the work was stopped from outside."""
        self._tell("info", with_remedy("interrupted", remedy))

    def error(self, kind: str, message: str, remedy: str | None) -> None:
        """Say on stderr in one sentence what failed and what to do; programs get it as a document, too."""
        self.complain(message, remedy)
        if self.json:
            self.error_document(kind, message, remedy)

    def error_document(self, kind: str, message: str, remedy: str | None) -> None:
        """Tell programs what failed, unless stdout has its document; if it is what failed there is nobody to tell."""
        if self._answered:
            return
        with suppress(ClosedOutputError, FailedError):
            self.document({"error": {"kind": kind, "message": message, "remedy": remedy}})

    def _tell(self, level: str, text: str) -> None:
        if self.log_json:
            from casmodels.cli import logs
            from casmodels.events import log_event

            logs.configure(verbosity=0, as_json=True)
            log_event({"logger": "casmodels.cli", "level": level, "text": text})
        else:
            write_err(f"error: {text}" if level == "error" else text)


def write_out(text: str) -> None:
    """Text to stdout. Raises ClosedOutputError when nobody reads it any more, FailedError when it is full."""
    try:
        sys.stdout.write(text)
    except OSError as error:
        raise _closed_or(error) from None


def write_out_bytes(pieces: Iterable[bytes | memoryview]) -> None:
    """Bytes to stdout, as they are. Raises as `write_out`."""
    sys.stdout.flush()
    for piece in pieces:
        try:
            sys.stdout.buffer.write(piece)
        except OSError as error:
            raise _closed_or(error) from None


def flush_out() -> None:
    """Make sure that stdout took everything. Raises as `write_out`."""
    try:
        sys.stdout.flush()
    except OSError as error:
        raise _closed_or(error) from None


def write_err(text: str) -> None:
    """One line to stderr; if that is closed there is nobody to tell."""
    try:
        print(shown(text), file=sys.stderr, flush=True)
    except OSError:
        return


def _closed_or(error: OSError) -> Exception:
    if error.errno in _CLOSED:
        return ClosedOutputError()
    return FailedError(f"stdout cannot be written: {error.strerror}", remedy="see where it was directed to")


def _jsonable(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _draw(table: Table, rows: Sequence[Sequence[str]], widths: Sequence[int]) -> bool:
    """Draw a table without its empty columns; False when there is no room for it."""
    from rich.console import Console
    from rich.table import Table as Drawing
    from rich.text import Text

    console = Console()
    places = [place for place in range(len(widths)) if any(row[place] for row in rows)]
    expendable = [place for place in table.expendable if place in places]
    while sum(widths[place] + 2 for place in places[:-1]) + _LAST_COLUMN_CHARACTERS > console.width:
        if not expendable:
            return False
        places.remove(expendable.pop(0))
    drawing = Drawing(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for place in places:
        justify: Literal["left", "right"] = "right" if place in table.right else "left"
        drawing.add_column(table.headers[place], justify=justify, no_wrap=place != places[-1])
    for row in rows:
        drawing.add_row(*(Text(row[place], no_wrap=True, overflow="ellipsis") for place in places))
    try:
        console.print(drawing)
    except OSError as error:
        raise _closed_or(error) from None
    return True
