"""What failing commands say, in words and as documents, and the codes that they end with."""

from __future__ import annotations

import errno
import inspect
from dataclasses import replace

import pytest

import casmodels.errors
import casstore.errors
from casmodels.cli.exits import Exit, exit_of_all, exit_of_error, exit_of_kind
from casmodels.errors import (
    AccessError,
    ConfigurationError,
    InterruptedPullError,
    MissingUpstreamError,
    NetworkError,
    UnknownModelError,
    WrongBytesError,
)
from casmodels.results import Damage, ErrorResult, PullStatus, RepairResult, VerifyResult
from casstore.errors import (
    BusyError,
    DamagedError,
    DiskError,
    FailedError,
    FullError,
    InvalidInputError,
    NewerFormatError,
    StoreError,
    TooManyFilesError,
)
from tests.models.cli.conftest import Runner
from tests.models.cli.fake import PULLED

ERRORS: list[tuple[Exception, int, str]] = [
    (FailedError("it failed"), 1, "failed"),
    (InvalidInputError("no"), 2, "invalid-input"),
    (ConfigurationError("no"), 2, "configuration"),
    (UnknownModelError("adaa", ["ada-002"]), 3, "unknown-model"),
    (MissingUpstreamError("no"), 3, "missing-upstream"),
    (DamagedError("chunk x", "it is short"), 4, "damaged"),
    (WrongBytesError("no"), 4, "wrong-bytes"),
    (BusyError("no"), 5, "busy"),
    (FullError("no"), 5, "full"),
    (NewerFormatError("no"), 5, "newer-format"),
    (NetworkError("no"), 6, "network"),
    (AccessError("no"), 6, "access"),
    (DiskError("no"), 5, "io"),
    (TooManyFilesError("/x"), 5, "too-many-files"),
    (OSError(errno.ENOSPC, "No space left on device", "/x"), 5, "io"),
    (OSError(errno.EMFILE, "Too many open files", "/x"), 5, "io"),
    (PermissionError(errno.EACCES, "Permission denied", "/x"), 5, "io"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"), 3, "io"),
    (ConnectionResetError(errno.ECONNRESET, "Connection reset"), 6, "io"),
    (OSError("odd"), 1, "unexpected"),
    (MemoryError(), 1, "memory"),
    (RecursionError("too deep"), 1, "unexpected"),
    (ValueError("bad"), 1, "unexpected"),
]


@pytest.mark.parametrize(("error", "code", "kind"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_is_one_sentence_a_document_and_a_code(
    command: Runner, error: Exception, code: int, kind: str
) -> None:
    command.answer("list", error)
    ran = command("list")
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    ran = command("--json", "list")
    assert ran.code == code
    assert ran.document["error"].keys() == {"kind", "message", "remedy"}
    assert ran.document["error"]["kind"] == kind


def test_the_sentence_names_the_thing_and_the_remedy(command: Runner) -> None:
    command.answer("info", UnknownModelError("adaa", ["ada-002", "ada-003"]))
    assert command("info", "adaa").err == "error: no model is called 'adaa'; did you mean ada-002 or ada-003?\n"
    command.answer("info", OSError(errno.ENOSPC, "No space left on device", "/x"))
    assert command("info").err == "error: /x: no space left on device\n"
    command.answer("info", ValueError("bad"))
    assert command("info").err == "error: unexpected error: ValueError: bad; run again with -vv\n"


def test_only_vv_shows_a_traceback(command: Runner) -> None:
    command.answer("list", ValueError("bad"))
    assert "Traceback" not in command("-v", "list").err
    ran = command("list", "-vv")
    assert "Traceback" in ran.err
    assert ran.err.splitlines()[-1] == "error: unexpected error: ValueError: bad; run again with -vv"
    assert command("-vv", "list", "--json").document["error"]["kind"] == "unexpected"


def test_an_error_message_cannot_write_to_the_terminal(command: Runner) -> None:
    command.answer("list", InvalidInputError("bad \x1b[2J name\nwith \udcff"))
    assert command("list").err == "error: bad \\x1b[2J name\\nwith \\xff\n"


def _error_classes() -> list[type[StoreError]]:
    modules = (casstore.errors, casmodels.errors)
    found = {cls for module in modules for _, cls in inspect.getmembers(module, inspect.isclass)}
    return sorted((cls for cls in found if issubclass(cls, StoreError)), key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", _error_classes(), ids=lambda cls: cls.__name__)
def test_an_error_as_data_has_the_code_of_the_error_itself(cls: type[StoreError]) -> None:
    assert exit_of_kind(cls.kind) == exit_of_error(cls.__new__(cls))


def test_the_code_of_several_jobs() -> None:
    assert exit_of_all([None, None]) == Exit.DONE
    assert exit_of_all([]) == Exit.DONE
    assert exit_of_all(["network", "network"]) == Exit.UPSTREAM
    assert exit_of_all(["network", "access"]) == Exit.UPSTREAM
    assert exit_of_all(["network", None]) == Exit.PARTLY
    assert exit_of_all(["network", "wrong-bytes"]) == Exit.PARTLY
    assert exit_of_all(["never heard of"]) == Exit.PARTLY


FAILED = replace(
    PULLED,
    model="org/gated",
    status=PullStatus.FAILED,
    error=ErrorResult("access", "org/gated is gated", "ask for access"),
)


def test_a_failed_pull_is_told_and_coded(command: Runner) -> None:
    command.answer("pull", [FAILED])
    ran = command("pull", "org/gated")
    assert (ran.code, ran.out) == (6, "")
    assert ran.err == "error: org/gated is gated; ask for access\n"
    ran = command("pull", "org/gated", "--json")
    assert ran.code == 6
    assert ran.document[0]["status"] == "failed"
    assert ran.document[0]["error"] == {
        "kind": "access",
        "message": "org/gated is gated",
        "remedy": "ask for access",
    }


def test_a_pull_that_failed_in_part_ends_with_1(command: Runner) -> None:
    command.answer("pull", [PULLED, FAILED])
    ran = command("pull", "ada-002", "org/gated")
    assert ran.code == 1
    assert ran.out.splitlines()[-1] == 'next: eval "$(casmodels view ada-002)"'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pull", "pull needs a model"),
        ("pull --all a", "--all"),
        ("pull a b --name x", "--name is for a single model"),
        ("pull a b --checksum sha256:00", "--checksum is for a single model"),
        ("pull a --workers 0", "--workers"),
        ("pull a --workers many", "--workers"),
        ("pull a --frce", "did you mean --force"),
        ("pull a --revision", "--revision"),
        ("checkout", "missing argument"),
        ("checkout a b c", "unexpected extra argument"),
        ("view a --all", "--all"),
        ("view a --link soft", "--link"),
        ("verify --since 7d", "--since belongs to --data"),
        ("verify --key k.pem", "--key is for one version"),
        ("verify mine --signature out.sig", "--signature belongs to --key"),
        ("sign mine", "--key is missing"),
        ("sign mine --password-file p --output o", "--password-file belongs to --key"),
        ("sign --key k.pem", "missing argument"),
        ("gc --views -1", "--views"),
        ("--bogus list", "--bogus"),
        ("versions bad\udcff", "'bad\\udcff' is not UTF-8"),
        ("view ok bad\udcff", "not UTF-8"),
        ("checkout bad\udcff", "not UTF-8"),
        ("checkpoint mine . --base bad\udcff", "not UTF-8"),
        ("pull gpt2 --name bad\udcff", "not UTF-8"),
    ],
)
def test_wrong_usage(command: Runner, line: str, words: str) -> None:
    ran = command(*line.split())
    assert (ran.code, ran.out, ran.calls) == (2, "", [])
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert words in ran.err
    ran = command(*line.split(), "--json") if "--revision" not in line else command("--json", *line.split())
    assert ran.code == 2
    assert ran.document["error"]["kind"] == "usage"


def test_damage_ends_with_4(command: Runner) -> None:
    damage = Damage("mine", "blake3:" + "ab" * 32, "a\nb", "blake3:" + "cd" * 32, "its digest is wrong")
    command.answer("verify", VerifyResult(False, True, 10, (damage,)))
    ran = command("verify", "--data")
    assert ran.code == 4
    assert "a\\nb" in ran.out
    assert "run `casmodels repair`" in ran.err
    ran = command("verify", "--data", "--json")
    assert ran.code == 4
    assert ran.document["damaged"][0].keys() == {"model", "version", "path", "chunk", "reason"}
    command.answer("repair", RepairResult(1, 0, (damage,)))
    assert command("repair").code == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InterruptedPullError("stopped")])
def test_an_interrupted_command(command: Runner, error: BaseException) -> None:
    command.answer("pull", error)
    ran = command("pull", "ada-002")
    assert (ran.code, ran.out, ran.err) == (130, "", "interrupted; the next run resumes\n")
    assert command("pull", "ada-002", "--json").document["error"]["kind"] == "interrupted"


def test_the_remedy_for_too_little_memory_names_no_option(command: Runner) -> None:
    command.answer("sign", MemoryError())
    assert command("sign", "mine", "--key", "k.pem").err == (
        "error: there is not enough memory; close other programs, or let it do less at a time\n"
    )
