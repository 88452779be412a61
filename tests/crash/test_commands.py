"""A kill at any moment of a command leaves every finished version readable, with no hand-work."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.crash.scene import COMMANDS, Size, prepared
from tests.crash.sweeping import sweep

SIZE = Size(files=3, versions=2, garbage=2)
POINTS = 20
"""There are more places in which torture kills a command (`tests.torture.groups.kills`)."""


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_killed_at_many_points(command: str, tmp_path: Path) -> None:
    with prepared([tmp_path], random.Random(command), SIZE) as environ:
        (swept,) = sweep(tmp_path, [command], environ, seam=POINTS)
    assert swept.failures == []
    assert swept.kills >= 4
