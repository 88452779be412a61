"""`sign` and `verify --key`: what the library is asked, what people are told, where a password comes from."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from casmodels.errors import NotSignedError, SignatureError, SigningKeyError
from casmodels.results import Damage, VerifyResult
from casmodels.signatures.keys import read_private_key
from tests.models.cli.conftest import Runner
from tests.models.cli.fake import ANSWERS, ID, KEY
from tests.models.signatures.pems import write_pair

WHOSE = f"mine@{ID[7:19]}"


def asked_for_password(target: str, key: Path, password: Any, output: Path | None) -> Any:
    """What `Store.sign` answers to a key that is encrypted."""
    given = password()
    return replace(ANSWERS["sign"], key=given)


def test_what_the_library_is_asked(command: Runner) -> None:
    ((method, (target, key, password, output), _),) = command(
        "sign", "mine@v1", "--key", "k.pem", "--output", "o"
    ).calls
    assert (method, target, key, output) == ("sign", "mine@v1", Path("k.pem"), Path("o"))
    assert callable(password)
    assert command("sign", "mine", "--output", "o").calls == [("write_signature", ("mine", Path("o")), {})]
    first, second = command("verify", "mine", "--key", "k.pem", "--data").calls
    assert first == ("verify_signature", ("mine", Path("k.pem"), None), {})
    assert (second[0], second[1][:3]) == ("verify", (f"mine@{ID}", True, None))
    first, _ = command("verify", "mine", "--key", "k.pem", "--signature", "s").calls
    assert first == ("verify_signature", ("mine", Path("k.pem"), Path("s")), {})
    assert [method for method, _, _ in command("verify", "mine").calls] == ["verify"]


def test_what_people_are_told(command: Runner) -> None:
    ran = command("sign", "mine", "--key", "k.pem")
    assert ran.out == f"signed {WHOSE} (3 files) with the key {KEY[:12]}\n"
    assert ran.err == "not signed, as model signing leaves them out: .gitattributes\n"
    command.answer("sign", replace(ANSWERS["sign"], replaced="ef" * 32, output="a/o.sig", unsigned=()))
    ran = command("sign", "mine", "--key", "k.pem")
    assert ran.err == ""
    assert ran.out.splitlines()[1:] == [
        f"in place of the signature with the key {'ef' * 6}",
        "the signature is in a/o.sig, too",
    ]
    command.answer("sign", replace(ANSWERS["sign"], replaced=KEY))
    assert command("sign", "mine", "--key", "k.pem").out.count("\n") == 1
    assert command("sign", "mine", "--output", "out.sig").out == f"the signature of {WHOSE} is in out.sig\n"
    said = command("verify", "mine", "--key", "k.pem").out.splitlines()
    assert said[1] == f"{WHOSE} is signed with this key: 3 files (kept in the store)"
    assert command("-q", "sign", "mine", "--key", "k.pem").out_bytes == b""


def test_what_is_listed(command: Runner) -> None:
    command.answer("versions", [replace(ANSWERS["versions"][0], signature="kept")])
    assert "best, (pinned), (signed)" in command("versions", "mine").out
    for signature, said in (("kept", "kept in the store"), ("model.sig", "its own model.sig")):
        command.answer("info", [replace(ANSWERS["info"][0], signature=signature)])
        assert f"signature:       of the newest version, {said}\n" in command("info", "mine").out
    command.answer("info", ANSWERS["info"])
    assert "signature" not in command("info", "mine").out


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (SignatureError("the signature does not fit", remedy="trust it not"), 4, "signature"),
        (NotSignedError("mine@1"), 3, "not-signed"),
        (SigningKeyError("it is no key", remedy="make one"), 2, "signing-key"),
    ],
)
def test_exit_codes(command: Runner, error: Exception, code: int, kind: str) -> None:
    command.answer("verify_signature", error)
    ran = command("verify", "mine", "--key", "k.pem")
    assert (ran.code, ran.out, [method for method, _, _ in ran.calls]) == (code, "", ["verify_signature"])
    assert ran.err.startswith("error: ")
    assert command("verify", "mine", "--key", "k.pem", "--json").document["error"]["kind"] == kind


def test_a_right_signature_of_damaged_bytes_ends_with_4(command: Runner) -> None:
    damage = Damage("mine", ID, "a", None, "its digest is wrong")
    command.answer("verify", VerifyResult(False, True, 10, (damage,)))
    ran = command("verify", "mine", "--key", "k.pem", "--data", "--json")
    assert ran.code == 4
    assert (ran.document["ok"], ran.document["signature"]["key"]) == (False, KEY)
    assert "1 piece damaged" in ran.err


@pytest.mark.parametrize("content", ["sesame", "sesame\n", "sesame\r\nmore\n"])
def test_a_password_from_a_file(command: Runner, tmp_path: Path, content: str) -> None:
    command.answer("sign", asked_for_password)
    (tmp_path / "password").write_bytes(content.encode())
    ran = command("sign", "mine", "--key", "k.pem", "--password-file", str(tmp_path / "password"), "--json")
    assert ran.document["key"] == "sesame"


@pytest.mark.parametrize(
    ("content", "code", "said"), [(None, 3, "there is no file"), (b"\xff\n", 2, "is not UTF-8")], ids=["none", "latin"]
)
def test_a_password_file_that_cannot_be_read(
    command: Runner, tmp_path: Path, content: bytes | None, code: int, said: str
) -> None:
    command.answer("sign", asked_for_password)
    if content is not None:
        (tmp_path / "password").write_bytes(content)
    ran = command("sign", "mine", "--key", "k.pem", "--password-file", str(tmp_path / "password"))
    assert (ran.code, ran.err.count("\n")) == (code, 1)
    assert said in ran.err


def test_a_password_at_a_terminal(command: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    command.answer("sign", asked_for_password)
    prompts: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("casmodels.cli.signing.getpass", lambda prompt: prompts.append(prompt) or "sesame")
    assert command("sign", "mine", "--key", "k.pem", "--json").document["key"] == "sesame"
    assert prompts == ["Password of k.pem: "]
    command.answer("sign", ANSWERS["sign"])
    command("sign", "mine", "--key", "k.pem")
    assert len(prompts) == 1


def test_a_password_that_ends_before_it_begins(
    command: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def end_of_file(prompt: str) -> str:
        raise EOFError

    command.answer("sign", lambda *asked: read_private_key(*asked[1:3]))
    pair = write_pair(tmp_path, password="sesame")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("casmodels.cli.signing.getpass", end_of_file)
    ran = command("sign", "mine", "--key", str(pair.private))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"error: the key {pair.private} is encrypted, and no password was given; give its password\n"


@pytest.mark.parametrize("closed", [False, True])
def test_nobody_is_asked_where_there_is_no_terminal(
    command: Runner, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    command.answer("sign", asked_for_password)
    if closed:
        monkeypatch.setattr(sys, "stdin", None)
    else:
        monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    ran = command("sign", "mine", "--key", "k.pem")
    assert (ran.code, ran.out) == (2, "")
    assert "there is no terminal to ask for its password; say --password-file FILE" in ran.err
