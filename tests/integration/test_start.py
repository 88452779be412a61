"""What commands on a real store load: nothing that only others need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from casmodels.cli import process
code = process.run(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
sys.exit(code)
"""
COMMON = {"casstore.store", "casmodels.config"}
NEVER = {"numpy", "numba", "requests", "rich", "tomllib", "unicodedata", "casmodels.addresses"}
WRITERS = {"casstore.pipeline", "casstore.chunkers", "casmodels.formats"}


def loaded(store: Path, *arguments: str | Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "--store", store, "-q", *arguments],
        cwd=store.parent,
        capture_output=True,
        check=True,
        text=True,
        env={"HOME": str(store.parent), "XDG_CONFIG_HOME": str(store.parent)},
    )
    return set(done.stderr.split())


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    assert loaded(tmp_path / "store", "checkpoint", "mine", tmp_path / "model") >= COMMON | WRITERS
    return tmp_path / "store"


@pytest.mark.parametrize(
    ("command", "results"),
    [("list", "models"), ("checkpoint mine", "checkpoints"), ("checkout mine", "checkouts")],
)
def test_a_command_loads_what_it_needs(store: Path, command: str, results: str) -> None:
    modules = loaded(store, *command.split())
    assert modules >= COMMON
    assert modules & (NEVER | WRITERS) == set()
    assert {name for name in modules if name.startswith("casmodels.results.")} == {f"casmodels.results.{results}"}
