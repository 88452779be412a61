"""Finding commands: words of other tools, typos, help."""

from __future__ import annotations

import pytest

from casmodels.cli.verbs import VERBS
from tests.models.cli.conftest import Runner


@pytest.mark.parametrize(
    ("word", "verb"),
    [
        ("download", "pull"),
        ("get", "pull"),
        ("install", "pull"),
        ("clone", "pull"),
        ("download-all", "pull --all"),
        ("rm", "remove"),
        ("delete", "remove"),
        ("show", "info"),
        ("prune", "gc"),
        ("du", "stats"),
        ("import", "checkpoint"),
        ("add", "checkpoint"),
        ("commit", "checkpoint"),
        ("save", "checkpoint"),
        ("push", "checkpoint"),
        ("snapshot", "checkpoint"),
        ("backup", "checkpoint"),
        ("snapshots", "versions"),
        ("log", "versions"),
        ("fsck", "verify"),
        ("lst", "list"),
        ("verfy", "verify"),
        ("chekout", "checkout"),
        ("PULL", "pull"),
        ("downlod", "pull"),
        ("repack", "compact"),
        ("compare", "diff"),
    ],
)
def test_other_words_and_typos_are_refused_with_the_right_verb(command: Runner, word: str, verb: str) -> None:
    ran = command(word, "ada-002")
    assert (ran.code, ran.out, ran.calls) == (2, "", [])
    assert ran.err.count("\n") == 1
    assert f"`casmodels {verb}`" in ran.err
    assert command(word, "--json").document["error"]["remedy"] in ran.err


def test_a_word_like_nothing_gets_no_guess(command: Runner) -> None:
    assert command("xyzzy").err == "error: there is no command 'xyzzy'; `casmodels --help` lists the commands\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_has_an_example_and_exit_codes(command: Runner, verb: str) -> None:
    ran = command(verb, "--help")
    assert ran.code == 0
    assert f"    casmodels {verb}" in ran.out or f"(casmodels {verb}" in ran.out
    assert "Exit codes:" in ran.out
    assert "130  interrupted" in ran.out
    assert "<str>" not in ran.out
    assert "list[" not in ran.out
    assert command("help", verb).out == ran.out


def test_the_help_of_the_program_names_every_command(command: Runner) -> None:
    out = command("--help").out
    for verb in VERBS:
        assert f"\n  {verb} " in out
    assert "..." not in out.replace("COMMAND ...", "")
    assert "Exit codes:" in out
    assert command("help").out == out


def test_no_command_at_all(command: Runner) -> None:
    ran = command()
    assert (ran.code, ran.out) == (2, "")
    assert "Usage: casmodels" in ran.err
    assert command("--json").document["error"]["kind"] == "usage"


def test_version(command: Runner) -> None:
    assert command("-q", "--version").out == "casmodels 0.1.0\n"
    assert command("--json", "--version").document == {"version": "0.1.0"}
