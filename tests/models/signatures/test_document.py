"""docs/signing.md, run as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples import ROOT, examples_of
from tests.models.signatures.pems import Pair

_SHELL = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/signing.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not here")
def test_the_page(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("casmodels", "model_signing"):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {name} "$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'store'}")
    monkeypatch.setenv("CASMODELS_HOME", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    first, second = _SHELL
    (example,) = examples_of("docs/signing.md")
    assert "is signed with this key: 3 files (kept in the store)" in _run(first)
    exec(compile(example, "docs/signing.md", "exec"), {})
    assert capsys.readouterr().out == "3 ('.gitattributes',)\nkept True\n"
    assert _run(second).endswith("Verification succeeded\n")


def _run(lines: str) -> str:
    done = subprocess.run(["bash", "-ec", lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_password_from_a_file_and_a_key_from_a_pipe(model: Path, tmp_path: Path, key: Pair) -> None:
    encrypted, store = tmp_path / "encrypted.pem", tmp_path / "store"
    run = f'"{sys.executable}" -m casmodels -q --store "{store}"'
    lines = (
        f'{run} checkpoint mine "{model}"\n'
        f'openssl pkcs8 -topk8 -in "{key.private}" -passout pass:sesame -out "{encrypted}"\n'
        f'{run} sign mine --key <(cat "{encrypted}") --password-file <(echo sesame)\n'
        f'{run} verify mine --key <(cat "{key.public}") --json\n'
    )
    assert '"source": "kept"' in _run(lines)
