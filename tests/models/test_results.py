"""Results are made when they are asked for, each command's own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import is_dataclass
from enum import StrEnum
from pathlib import Path

import pytest

from casmodels import results

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", results.__all__)
def test_every_name_is_there(name: str) -> None:
    found = getattr(results, name)
    assert found.__name__ == name
    assert is_dataclass(found) or issubclass(found, StrEnum)


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        results.Nothing  # noqa: B018


def test_one_does_not_bring_the_others() -> None:
    script = (
        "import sys; from casmodels.results import CheckpointResult;"
        "print(*[name for name in sys.modules if name.startswith('casmodels.results.')])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["casmodels.results.checkpoints"]
