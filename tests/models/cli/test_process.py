"""The program as a process: pipes, signals, locales, completion, and what it imports to start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 60


def _launch(
    scenario: str,
    *arguments: str | bytes,
    environment: dict[str, str] | None = None,
    stdout: int | None = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("CASMODELS", "HF_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.models.cli.launch", scenario, *arguments],
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**inherited, "XDG_CONFIG_HOME": "/nonexistent", **(environment or {})},
    )


def _ran(scenario: str, *arguments: str | bytes, environment: dict[str, str] | None = None) -> tuple[int, bytes, bytes]:
    with _launch(scenario, *arguments, environment=environment) as process:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, out, err


@pytest.mark.parametrize("arguments", [["list"], ["cat", "mine", "f"], ["list", "--json"]], ids=lambda words: words[0])
def test_a_closed_pipe_ends_quietly(arguments: list[str]) -> None:
    with _launch("much", *arguments) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE_SECONDS) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_full_disk_under_stdout_is_an_error(options: list[str]) -> None:
    with open("/dev/full", "w") as full, _launch("plain", "list", *options, stdout=full.fileno()) as process:
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert err.startswith(b"error: stdout cannot be written: ")
    assert err.count(b"\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="POSIX shells close descriptors so")
def test_no_stdout_at_all() -> None:
    script = 'exec "$0" -m tests.models.cli.launch plain list >&-'
    done = subprocess.run(["sh", "-c", script, sys.executable], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("scenario", ["hang", "thread"])
def test_an_interrupted_process_says_one_line(number: signal.Signals, scenario: str) -> None:
    with _launch(scenario, "pull", "ada-002") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"begun\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out) == (130, b"")
    assert err == b"interrupted; the next run resumes\n"


def test_threads_that_are_still_at_work_are_waited_for() -> None:
    assert _ran("outlived", "-q", "list") == (0, b"", b"thread\n")


def test_what_others_do_at_the_end_is_done_and_flushed() -> None:
    assert _ran("handler", "-q", "list") == (0, b"handler\n", b"")


def test_garbage_is_collected_during_the_work_but_not_among_the_imports() -> None:
    assert _ran("garbage", "-q", "list") == (0, b"", b"True True\n")


def test_the_process_is_not_taken_apart() -> None:
    script = (
        "import sys; from casmodels.cli import main\n"
        "class Kept: pass\n"
        "Kept.__del__ = lambda self: sys.stdout.write('taken apart')\n"
        "kept = Kept(); sys.argv[1:] = ['--version']; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout == b"casmodels 0.1.0\n"


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii:strict"},
    ],
    ids=["locale C", "Windows", "ascii"],
)
def test_names_that_the_console_lacks_are_escaped(environment: dict[str, str]) -> None:
    code, out, err = _ran("foreign", "list", environment=environment)
    assert (code, err) == (0, b"")
    assert rb"\u6f22\xff" in out


def test_arguments_need_not_be_utf8() -> None:
    assert _ran("echo", "cat", "mine", b"a\xff\n") == (0, b"a\xff\n", b"")


def test_the_module_is_the_program() -> None:
    done = subprocess.run([sys.executable, "-m", "casmodels", "--version"], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout == b"casmodels 0.1.0\n"


@pytest.mark.parametrize(
    ("line", "imported"),
    [
        ("--version", []),
        ("list", ["typer"]),
        ("info ada-002", ["typer"]),
        ("pull ada-002", ["typer"]),
        ("view ada-002", ["typer"]),
        ("versions mine --json", ["typer"]),
        ("-q checkpoint mine . -m text", ["typer"]),
    ],
)
def test_only_what_is_needed_is_imported(line: str, imported: list[str]) -> None:
    code, _, err = _ran("imports", *line.split())
    assert code == 0
    assert json.loads(err) == imported


def _completed(shell: str, words: str, scenario: str = "plain") -> list[str]:
    environment = {
        "_CASMODELS_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    code, out, err = _ran(scenario, environment=environment)
    assert (code, err) == (0, b"")
    return [line.partition("\t")[0] for line in out.decode().splitlines() if line]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("casmodels ver", ["versions", "verify"]),
        ("casmodels pull ad", ["ada-002", "adam"]),
        ("casmodels info ad", ["ada-002", "adam"]),
        ("casmodels checkout ad", ["ada-002", "adam"]),
        ("casmodels checkout mine@", ["mine@best", "mine@abababababab"]),
        ("casmodels checkout mine@b", ["mine@best"]),
        ("casmodels pull --dry", ["--dry-run"]),
        ("casmodels view --link re", ["reflink"]),
    ],
)
def test_completion(words: str, found: list[str]) -> None:
    assert _completed("bash", words) == found
    assert sorted(_completed("fish", words)) == sorted(found)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("casmodels checkout mine @", ["best", "abababababab"]),
        ("casmodels checkout mine @ b", ["best"]),
        ("casmodels tag mine @ x", []),
        ("casmodels pull mine @ a", []),
    ],
)
def test_bash_gets_only_what_stands_behind_the_at_sign(words: str, found: list[str]) -> None:
    assert _completed("bash", words) == found


def test_completion_says_nothing_of_errors() -> None:
    assert _completed("bash", "casmodels checkout mi", "broken") == []
    assert _completed("bash", "casmodels checkout mine@", "broken") == []
