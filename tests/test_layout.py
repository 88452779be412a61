"""The house rules that a machine can hold: how long files and functions may be, and what the documents name."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from casmodels.cli.verbs import VERBS

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path for folder in ("casmodels", "store", "tests", "benchmarks", "demo") for path in (ROOT / folder).rglob("*.py")
)
READERS = {
    "casmodels/config.py",
    "casmodels/cli/completion.py",  # a shell asks for completions through variables
    "casmodels/loaders/builtin/keras.py",  # Keras is told its backend through one
    "casmodels/loaders/builtin/onnx.py",  # onnxruntime is told through one to report nothing
    "casmodels/loaders/builtin/ultralytics.py",  # ultralytics is told to stay offline through some
    "casmodels/runtime/memory.py",  # NumPy's libraries are told how many threads to have through one
}
FILE_LINES = 600
FUNCTION_LINES = 70


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= FILE_LINES
    long = [
        f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    ]
    assert not long


@pytest.mark.parametrize("package", ["casmodels", "store/casstore"])
def test_only_the_configuration_reads_the_environment(package: str) -> None:
    readers = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.relative_to(ROOT).as_posix() not in READERS
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb", "putenv")
    ]
    assert readers == []


def test_every_command_stands_in_the_documents() -> None:
    text = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert re.findall(r"^\| `([a-z]+)[ `]", text, re.MULTILINE) == list(VERBS)


def test_every_extra_stands_in_the_documents() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    text = "".join((ROOT / "docs" / page).read_text("utf-8") for page in ("installing.md", "loaders.md"))
    tables = "".join(line for line in text.splitlines() if line.startswith("|"))
    assert [extra for extra in extras if f"`{extra}`" not in tables] == []
