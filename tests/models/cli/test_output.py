"""Sizes, escapes, tables and documents."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest

from casmodels.cli.output import Output, Table, count, moment, short_id, shown, some
from casmodels.results import EntryResult
from tests.models.cli.conftest import Runner
from tests.models.cli.fake import MODEL, VERSION
from tests.terminal import Terminal


def test_small_words() -> None:
    assert count(1, "file") == "1 file"
    assert count(0, "file") == "0 files"
    assert some(["a", "b\n"]) == "a, b\\n"
    assert some(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert short_id("blake3:0123456789abcdef") == short_id("0123456789abcdef") == "0123456789ab"
    assert re.fullmatch(r"2026-01-0[12] \d\d:\d\d", moment("2026-01-02T03:04:05+00:00"))


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain é 漢字", "plain é 漢字"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("byte \udcff", "byte \\xff"),
        ("lone \ud800", "lone \\ud800"),
        ("\u202eexe.txt", "\\u202eexe.txt"),
    ],
)
def test_what_people_see_is_safe(text: str, safe: str) -> None:
    assert shown(text) == safe
    assert shown(text).isprintable()


NASTY = "a\nb\x1b[2J\udcff"


@pytest.mark.parametrize("terminal", [False, True])
def test_nasty_names_break_no_table(command: Runner, monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    out = _terminal(monkeypatch) if terminal else None
    command.answer("ls", [EntryResult(NASTY, "file", 1, "100644"), EntryResult("d", "directory", 0, "040000")])
    ran = command("ls", "mine")
    lines = _plain(out.getvalue() if out is not None else ran.out).splitlines()
    assert len(lines) == 3
    assert r"a\nb\x1b[2J\xff" in lines[1]
    assert lines[2].rstrip().endswith("d/")


def test_nasty_names_survive_in_json(command: Runner) -> None:
    command.answer("ls", [EntryResult(NASTY, "link", 0, "120000", target=NASTY)])
    ran = command("ls", "mine", "--json")
    assert ran.out.isascii()
    assert "\\udcff" in ran.out
    assert ran.document[0]["path"] == ran.document[0]["target"] == NASTY


def test_nasty_names_everywhere_else(command: Runner) -> None:
    command.answer("list", [replace(MODEL, name=NASTY, aliases=(NASTY,), type=NASTY)])
    command.answer("info", [replace(MODEL, name=NASTY, description=NASTY)])
    command.answer("versions", [replace(VERSION, message=NASTY, tags=(NASTY,))])
    for line in ("list", "list --available", "aliases", "info", "versions"):
        out = command(*line.split()).out
        assert "\x1b" not in out
        assert r"a\nb\x1b[2J\xff" in out


def _terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 60, term: str = "xterm") -> Terminal:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    terminal = Terminal(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr("sys.stdout", terminal)
    return terminal


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _drawn(monkeypatch: pytest.MonkeyPatch, columns: int) -> list[str]:
    terminal = _terminal(monkeypatch, columns)
    rows = [("1.0 MiB", "a" * 12, "", "m" * 40), ("2 B", "b", "", "m")]
    Output().table(Table(("SIZE", "NAME", "NONE", "MESSAGE"), rows, frozenset({0}), (0,)))
    return [line.rstrip() for line in _plain(terminal.getvalue()).splitlines()]


def test_a_terminal_gets_a_table_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _drawn(monkeypatch, 80) == [
        "   SIZE  NAME          MESSAGE",
        f"1.0 MiB  {'a' * 12}  {'m' * 40}",
        "    2 B  b             m",
    ]
    # First the last column gives way, then the expendable ones.
    assert _drawn(monkeypatch, 34)[1] == f"1.0 MiB  {'a' * 12}  {'m' * 10}\u2026"
    assert _drawn(monkeypatch, 30)[1] == f"{'a' * 12}  {'m' * 15}\u2026"


def test_a_terminal_that_is_too_narrow_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _drawn(monkeypatch, 20)[1] == f"1.0 MiB  {'a' * 12}        {'m' * 40}"


def test_in_a_pipe_nothing_is_cut(command: Runner) -> None:
    command.answer("versions", [replace(VERSION, message="m" * 300)])
    assert "m" * 300 in command("versions", "mine").out


def test_no_colour_when_it_is_not_wanted(command: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _terminal(monkeypatch, 120)
    command("list")
    assert "\x1b[1mMODEL" in terminal.getvalue()
    terminal = _terminal(monkeypatch, 120, term="dumb")
    command("list")
    assert "\x1b" not in terminal.getvalue()


def test_a_document_is_ascii_whatever_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=True).document({"name": "é\udc80", "nothing": None})
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == {"name": "é\udc80", "nothing": None}


def test_what_a_narrow_terminal_cuts_says_the_least(command: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "file:///home/someone/experiments/of%20last%20year/my%20run"
    command.answer("list", [MODEL])
    command.answer("versions", [replace(VERSION, message="", revision=None, source=source)])
    for line, said in (("list --available", "ada-002"), ("versions mine", "my run in")):
        out = _terminal(monkeypatch, 80)
        command(*line.split())
        (_, row, *_) = _plain(out.getvalue()).splitlines()
        assert said in row
        assert "\u2026" in row
