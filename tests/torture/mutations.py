"""Breaking the product on purpose: a copy of the tree gets one fault, and the short form of a group must notice it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.torture.plan import Mutation

_ROOT: Final = Path(__file__).resolve().parents[2]
_PARTS: Final = ("casmodels", "store", "tests")
_LIMIT_SECONDS: Final = 900


def is_noticed(group: str, mutation: Mutation, seed: int, work: Path) -> bool:
    """Whether the group fails on a tree with that fault. Raises ValueError where the fault does not fit the source."""
    tree = work / "tree"
    for part in _PARTS:
        shutil.copytree(_ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__", "results"))
    file = tree / mutation.file
    text = file.read_text()
    if text.count(mutation.before) != 1:
        raise ValueError(f"{mutation.file} does not have this exactly once: {mutation.before!r}")
    file.write_text(text.replace(mutation.before, mutation.after))
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
        return True
    finally:
        shutil.rmtree(tree)
    return done.returncode != 0
