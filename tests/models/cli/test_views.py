"""The lines that a shell evaluates."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from casmodels.cli.views import Shell, export_line
from tests.models.cli.conftest import Runner
from tests.models.cli.fake import VIEW

VALUES = ["/plain", "/a view", "it's", 'say "x"', "$HOME `id` \\n \\", "a\nb", "é\udcff", ";", ""]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(("program", "shell"), [("bash", Shell.BASH), ("sh", Shell.BASH), ("fish", Shell.FISH)])
def test_shells_read_the_value_back(program: str, shell: Shell, value: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    line = export_line("HF_HOME", value, shell)
    script = f"{line}\nprintenv HF_HOME"
    done = subprocess.run([program, "-c", script.encode("utf-8", "surrogateescape")], capture_output=True, check=True)
    assert done.stdout == value.encode("utf-8", "surrogateescape") + b"\n"


def test_fish_and_powershell_lines() -> None:
    assert export_line("A", "it's\\\n", Shell.FISH) == "set -gx A 'it\\'s\\\\'\\n'';"
    assert export_line("A", "it's $x", Shell.POWERSHELL) == "$env:A = 'it''s $x'"


def test_view_prints_nothing_but_exports(command: Runner) -> None:
    ran = command("view", "ada-002")
    assert ran.out == "export HF_HOME='/tmp/a view'\nexport HF_HUB_OFFLINE=1\n"
    assert ran.err == ""
    assert command("view", "--shell", "fish").out.startswith("set -gx HF_HOME ")
    assert command("view", "--shell", "powershell").out.startswith("$env:HF_HOME = ")


def test_a_view_whose_path_is_no_utf8(command: Runner) -> None:
    command.answer("view", replace(VIEW, exports={"HF_HOME": "/tmp/\udcff"}))
    assert command("view", "x").out_bytes == b"export HF_HOME='/tmp/\xff'\n"
    command.answer("path", "/tmp/\udcff\n")
    assert command("path", "x").out_bytes == b"/tmp/\xff\n\n"


def test_remove_prints_nothing_to_evaluate(command: Runner) -> None:
    ran = command("view", "--remove", "ada-002")
    assert ran.out == ""
    assert "/tmp/a view: 1 model left" in ran.err


def test_what_was_kept_is_named_on_stderr(command: Runner) -> None:
    command.answer("view", replace(VIEW, kept=("mine.txt",), link="hardlink"))
    ran = command("view", "x")
    assert "kept 1 file that others made: mine.txt" in ran.err
    assert "hard-linked" in ran.err
    assert ran.out.count("\n") == 2


def test_a_view_by_category_says_where_and_how_much(command: Runner) -> None:
    ran = command("view", "--layout", "categories", "models")
    assert ran.calls == [("view_categories", (Path("models"), "auto", ran.calls[0][1][2]), {})]
    assert ran.out == "export HF_HOME='/tmp/a view'\nexport HF_HUB_OFFLINE=1\n"
    assert ran.err == "/tmp/models: 1 model, 90.0 MiB\n"
    assert command("view", "--layout", "categories", "--path", "models").out == ran.out
    removed = command("view", "--remove", "--layout", "categories", "models")
    assert (removed.out, removed.calls[0][0]) == ("", "remove_categories")
    assert "/tmp/models: 0 models left" in removed.err
