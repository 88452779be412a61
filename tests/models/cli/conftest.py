"""Running commands against the fake library."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import casmodels.library
from casmodels.cli.program import run
from tests.models.cli.fake import ANSWERS, FakeStore


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, stdout, stderr, and the library's calls."""

    code: int
    out_bytes: bytes
    err: str
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]]

    @property
    def out(self) -> str:
        return self.out_bytes.decode("utf-8", "surrogateescape")

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class Runner:
    def __init__(self, capture: pytest.CaptureFixture[bytes]) -> None:
        self._capture = capture

    def __call__(self, *arguments: str) -> Ran:
        FakeStore.calls.clear()
        self._capture.readouterr()
        code = run(arguments)
        captured = self._capture.readouterr()
        return Ran(code, captured.out, captured.err.decode(), list(FakeStore.calls))

    def answer(self, method: str, answer: Any) -> None:
        """Let the library answer so, or raise it."""
        FakeStore.answers[method] = answer


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> Iterator[Runner]:
    monkeypatch.setattr(casmodels.library, "Store", FakeStore, raising=False)
    for variable in ("CASMODELS_CONFIG", "CASMODELS_LOG", "HF_HOME", "HF_TOKEN", "NO_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("CASMODELS_HOME", str(tmp_path / "store"))
    FakeStore.answers = dict(ANSWERS)
    FakeStore.opened.clear()
    yield Runner(capsysbinary)
    FakeStore.answers = dict(ANSWERS)
    for package in ("casmodels", "casstore"):
        logger = logging.getLogger(package)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
