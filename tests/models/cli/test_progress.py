"""Bars and logs."""

from __future__ import annotations

import io
import json
import logging
import re
import threading

import pytest
from rich.console import Console
from rich.progress import Progress as Drawing

from casmodels.cli.bars import Bars, drawn_progress, shortened
from casmodels.progress import Progress, SilentProgress
from tests.models.cli.conftest import Runner
from tests.models.cli.fake import PULLED


def _drawing() -> Drawing:
    return Drawing(console=Console(file=io.StringIO(), force_terminal=True), auto_refresh=False)


def test_a_bar_per_file_and_one_for_the_total() -> None:
    drawing = _drawing()
    bars: Progress = Bars(drawing, logs=False, label_characters=40)
    bars.expect(2, 30)
    first, second = bars.start("a", 10), bars.start("b", 20)
    first.advance(10)
    second.advance(15)
    second.advance(-5)  # a connection broke, and bytes have to come again
    first.done()
    first.done()
    total, one, two = drawing.tasks
    assert (total.description, total.completed, total.total) == ("total", 20, 30)
    assert (one.completed, one.total, one.visible) == (10, 10, False)
    assert (two.completed, two.total, two.visible) == (10, 20, True)


def test_a_single_file_needs_no_total() -> None:
    drawing = _drawing()
    bars = Bars(drawing, logs=False, label_characters=40)
    bars.expect(1, 10)
    bars.start("a", 10).advance(10)
    assert [task.description for task in drawing.tasks] == ["a"]


def test_what_was_not_announced_counts_when_it_starts() -> None:
    drawing = _drawing()
    bars = Bars(drawing, logs=False, label_characters=40)
    bars.start("a", 10).advance(4)
    bars.start("b", None).advance(3)
    bars.start("c", 5)
    total = next(task for task in drawing.tasks if task.description == "total")
    assert (total.completed, total.total) == (7, 15)


def test_bars_count_right_from_several_threads() -> None:
    drawing = _drawing()
    bars = Bars(drawing, logs=False, label_characters=40)
    bars.expect(4, 4000)

    def work() -> None:
        bar = bars.start("x", 1000)
        for _ in range(1000):
            bar.advance(1)
        bar.done()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drawing.tasks[0].completed == 4000


def test_labels_cannot_break_the_bars() -> None:
    assert shortened("a\n[red]", 40) == "a\\n[red]"
    assert shortened("x" * 100, 40) == "x" * 25 + "..." + "x" * 12
    assert shortened("org/name/model-00002-of-00004.safetensors", 26) == "model-00002....safetensors"
    assert shortened("org/name/model-00002-of-00004.safetensors", 40) == "model-00002-of-00004.safetensors"
    assert shortened("org/name/model-00002-of-00004.safetensors", 41).startswith("org/name/model-0")


def test_nobody_is_told_without_a_terminal() -> None:
    with drawn_progress(bars=False, logs=False) as progress:
        assert isinstance(progress, SilentProgress)
        progress.expect(1, 1)
        task = progress.start("a", 1)
        task.advance(1)
        task.done()
        progress.log({"text": "x"})


EVENT = {
    "logger": "casmodels.pull",
    "model": "ada-002",
    "status": "failed",
    "path": "a\nb.bin",
    "size_bytes": 1024,
    "duration_seconds": 1.5,
    "error": "a wrong byte",
}


def _pull_logging(command: Runner) -> None:
    def pull(models: object, options: object, progress: Progress) -> list[object]:
        progress.log(EVENT)
        progress.log({"text": "Low-resource mode configured", "logger": "casmodels.runtime"})
        logging.getLogger("casstore.packs").debug("a detail")
        return [PULLED]

    command.answer("pull", pull)


def test_logs_are_time_logger_level_and_text(command: Runner) -> None:
    _pull_logging(command)
    assert command("pull", "x").err == ""
    lines = command("-v", "pull", "x").err.splitlines()
    pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} casmodels\.pull INFO "
    assert re.match(pattern, lines[0])
    assert lines[0].endswith("ada-002 failed a\\nb.bin 1.0 KiB in 1.5 s (a wrong byte)")
    assert lines[1].endswith(" casmodels.runtime INFO Low-resource mode configured")
    assert len(lines) == 2
    assert command("pull", "x", "-vv").err.splitlines()[-1].endswith(" casstore.packs DEBUG a detail")


@pytest.mark.parametrize(("option", "are_shown"), [("-q", False), ("-v", True), ("--log-json", True)])
def test_quiet_spares_people_from_warnings(command: Runner, option: str, are_shown: bool) -> None:
    shown = []

    def pull(models: object, options: object, progress: Progress) -> list[object]:
        shown.append(logging.getLogger("casmodels.runtime").isEnabledFor(logging.WARNING))
        return [PULLED]

    command.answer("pull", pull)
    command(option, "pull", "x")
    assert shown == [are_shown]


@pytest.mark.parametrize("asked_by", ["option", "environment"])
def test_logs_as_json_lines(command: Runner, monkeypatch: pytest.MonkeyPatch, asked_by: str) -> None:
    _pull_logging(command)
    if asked_by == "environment":
        monkeypatch.setenv("CASMODELS_LOG", "json")
        ran = command("pull", "x", "--json")
    else:
        ran = command("pull", "x", "--json", "--log-json")
    assert ran.document[0]["model"] == "ada-002"
    first, second = [json.loads(line) for line in ran.err.splitlines()]
    assert first.items() >= EVENT.items()
    assert first.keys() >= {"time", "level", "text"}
    assert second["text"] == "Low-resource mode configured"
    assert second["level"] == "info"


def test_with_json_logs_errors_are_lines_too(command: Runner) -> None:
    command.answer("list", ValueError("bad"))
    line = json.loads(command("list", "--log-json").err)
    assert (line["logger"], line["level"]) == ("casmodels.cli", "error")
    assert line["text"] == "unexpected error: ValueError: bad; run again with -vv"
    command.answer("list", KeyboardInterrupt())
    assert json.loads(command("list", "--log-json").err)["text"] == "interrupted; the next run resumes"
    command.answer("list", [])
    assert json.loads(command("list", "--log-json").err)["level"] == "info"
