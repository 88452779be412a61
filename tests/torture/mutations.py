"""Breaking the product on purpose: a copy of the tree gets one fault, and the short form of a group must notice it.

The copy without a fault must hold: one that does not run at all would seem to notice everything.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.torture.plan import Mutation

ROOT: Final = Path(__file__).resolve().parents[2]
_PARTS: Final = ("casmodels", "store", "tests")
_FIGURES: Final = Path(__file__).parent / "results"
_LIMIT_SECONDS: Final = 900


def is_noticed(group: str, mutation: Mutation, seed: int, work: Path) -> bool:
    """Whether the group fails on a tree with that fault. Raises ValueError where the fault does not fit the source."""
    tree = _copy(work)
    file = tree / mutation.file
    text = file.read_text()
    if text.count(mutation.before) != 1:
        raise ValueError(f"{mutation.file} does not have this exactly once: {mutation.before!r}")
    file.write_text(text.replace(mutation.before, mutation.after))
    return not _holds(group, tree, seed, work)


def holds_unbroken(group: str, seed: int, work: Path) -> bool:
    """Whether the group holds on a copy without a fault."""
    return _holds(group, _copy(work), seed, work)


def _copy(work: Path) -> Path:
    def left_out(directory: str, names: list[str]) -> set[str]:
        return {name for name in names if name == "__pycache__" or Path(directory) / name == _FIGURES}

    tree = work / "tree"
    for part in _PARTS:
        shutil.copytree(ROOT / part, tree / part, ignore=left_out)
    return tree


def _holds(group: str, tree: Path, seed: int, work: Path) -> bool:
    command = [sys.executable, "-m", "tests.torture", "--short", "--seed", str(seed), group]
    try:
        # The copy comes before what is installed.
        done = subprocess.run(
            command,
            cwd=tree,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(work), "PYTHONPATH": f"{tree}:{tree / 'store'}"},
            capture_output=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    finally:
        shutil.rmtree(tree)
    return done.returncode == 0
