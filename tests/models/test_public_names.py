"""What the package offers, to the eye and to completion, without importing any of it."""

from __future__ import annotations

import subprocess
import sys

import casmodels


def test_each_name_is_shown_and_is_there() -> None:
    assert dir(casmodels) == sorted(casmodels.__all__)
    assert all(getattr(casmodels, name) is not None for name in dir(casmodels))


def test_showing_them_imports_nothing() -> None:
    program = "import sys, casmodels; dir(casmodels); print([name for name in sys.modules if 'casmodels.' in name])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "['casmodels.release']\n"
