"""Examples of the documents that strict type checkers take as they stand there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples import ROOT, examples_of

pytest.importorskip("mypy")


@pytest.mark.slow
def test_the_examples_pass_mypy_in_its_strict_mode(tmp_path: Path) -> None:
    for page in ("metrics", "quantise"):
        (tmp_path / f"{page}_page.py").write_text("\n".join(examples_of(f"docs/{page}.md")), "utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=pyproject.toml"]
    pages = sorted(str(path) for path in tmp_path.glob("*.py"))
    done = subprocess.run(
        [*command, f"--cache-dir={tmp_path}", *pages], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
