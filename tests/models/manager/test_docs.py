"""The examples of docs/downloads.md, run as they stand there."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from types import CodeType, FunctionType

import pytest

from tests.examples import examples_of
from tests.hub import FakeHub

ROOT = Path(__file__).parents[3]
FILES = {"config.json": b"{}", "model.safetensors": b"0" * 1000}
EXAMPLES = examples_of("docs/downloads.md")
SAID = [
    r"completed /.*/snapshots/\w{40} 0.0 MB in \d+\.\d s\nada-002 cached\nmpnet-base completed\nTrue\n",
    r"(ada-002: \d+ of 1002 bytes\n)*ada-002: 1002 of 1002 bytes\n",
    r"completed\n",
    r"/.*/\.cache/slice_models/ada-002 completed sentence-transformers/all-MiniLM-L6-v2\n",
]


@pytest.mark.parametrize(("example", "said"), list(zip(EXAMPLES, SAID, strict=True)), ids=range(len(SAID)))
def test_an_example_works(
    environment: dict[str, str],
    hub: FakeHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    example: str,
    said: str,
) -> None:
    hub.add("sentence-transformers/all-MiniLM-L6-v2", FILES)
    hub.add("sentence-transformers/all-mpnet-base-v2", FILES)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CASMODELS_HOME", str(tmp_path / "store"))
    old = tmp_path / ".cache/slice_models/ada-002"
    old.mkdir(parents=True)
    (old / "config.json").write_bytes(b"{}")
    code: CodeType = compile(example, "docs/downloads.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    cell = FunctionType(code, {"__name__": "example"})
    if code.co_flags & inspect.CO_COROUTINE:  # as a notebook does it: in a loop that runs already
        asyncio.run(cell())
    else:
        cell()
    assert re.fullmatch(said, capsys.readouterr().out)
