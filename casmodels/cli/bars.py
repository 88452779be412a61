"""What shows that work goes on: a bar per file and one for the total, on a terminal; log lines everywhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from casmodels.cli.output import shown
from casmodels.progress import Progress, SilentProgress
from casmodels.quantities import size

if TYPE_CHECKING:
    from rich.progress import Progress as Drawing
    from rich.progress import TaskID

_SHORTEST_LABEL: Final = 16
_LONGEST_LABEL: Final = 40
_ENDING_CHARACTERS: Final = len(".safetensors")


@contextmanager
def drawn_progress(*, bars: bool, logs: bool) -> Iterator[Progress]:
    """Who is told of the work in the block: bars on stderr, logs, both or nobody."""
    if not bars:
        yield Logged() if logs else SilentProgress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Drawing
    from rich.text import Text

    class SpeedColumn(ProgressColumn):
        # In the units of everything else here; rich counts speeds in powers of ten.
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{size(int(speed))}/s" if speed else "", style="progress.data.speed")

    console = Console(stderr=True)
    # Sizes, speed and the time that is left take some 40 characters; a narrow terminal has a short bar.
    bar_characters = 24 if console.width >= 100 else 12
    label_characters = max(_SHORTEST_LABEL, min(_LONGEST_LABEL, console.width - bar_characters - 42))
    with Drawing(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=bar_characters),
        DownloadColumn(binary_units=True),
        SpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,
    ) as drawing:
        yield Bars(drawing, logs=logs, label_characters=label_characters)


class Logged(SilentProgress):
    """Logs, and draws nothing."""

    def log(self, event: Mapping[str, object]) -> None:
        """See Progress."""
        _write(event)


class Bars:
    """Bars on the terminal; safe to use from several threads."""

    def __init__(self, drawing: Drawing, *, logs: bool, label_characters: int) -> None:
        self._drawing = drawing
        self._label_characters = label_characters
        self._logs = logs
        self._lock = threading.Lock()
        self._total: TaskID | None = None
        self._expected_files = 0
        self._expected_bytes = 0
        self._started_files = 0
        self._started_bytes = 0

    def expect(self, files: int, size_bytes: int) -> None:
        """See Progress."""
        with self._lock:
            self._expected_files += files
            self._expected_bytes += size_bytes
            self._grow_total()

    def start(self, label: str, total_bytes: int | None) -> Bar:
        """See Progress."""
        with self._lock:
            self._started_files += 1
            self._started_bytes += total_bytes or 0
            self._grow_total()
            return Bar(
                self, self._drawing, self._drawing.add_task(shortened(label, self._label_characters), total=total_bytes)
            )

    def log(self, event: Mapping[str, object]) -> None:
        """See Progress."""
        if self._logs:
            _write(event)

    def advance_total(self, n: int) -> None:
        """Count bytes of any file."""
        with self._lock:
            if self._total is not None:
                self._drawing.advance(self._total, n)

    def _grow_total(self) -> None:
        if max(self._expected_files, self._started_files) < 2:
            return  # a single file's own bar is the total
        total_bytes = max(self._expected_bytes, self._started_bytes)
        if self._total is None:
            done = sum(task.completed for task in self._drawing.tasks)
            self._total = self._drawing.add_task("total", total=total_bytes, completed=int(done))
        else:
            self._drawing.update(self._total, total=total_bytes)


class Bar:
    """One file's bar."""

    def __init__(self, bars: Bars, drawing: Drawing, task: TaskID) -> None:
        self._bars = bars
        self._drawing = drawing
        self._task = task

    def advance(self, n: int) -> None:
        """See Task."""
        self._drawing.advance(self._task, n)
        self._bars.advance_total(n)

    def done(self) -> None:
        """See Task."""
        self._drawing.update(self._task, visible=False)


def shortened(label: str, most: int) -> str:
    """A label that leaves room for the bar: its folders go first, then what lies before a file name's ending."""
    plain = shown(label)
    if len(plain) > most:
        plain = plain.rpartition("/")[2] or plain
    if len(plain) <= most:
        return plain
    return f"{plain[: most - _ENDING_CHARACTERS - 3]}...{plain[-_ENDING_CHARACTERS:]}"


def _write(event: Mapping[str, object]) -> None:
    from casmodels.events import log_event

    log_event(event)
