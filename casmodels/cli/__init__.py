"""The command line. Nothing is imported here that a mere ``--version`` does not need."""

from __future__ import annotations

import gc
import sys
from typing import NoReturn


def main() -> NoReturn:
    """The program ``casmodels``: runs the command line that the process was given, and ends the process."""
    # What is imported stays, so looking for garbage in it again and again finds none; see process.collect_garbage.
    gc.disable()
    try:
        from casmodels.cli.process import run_and_leave
    except KeyboardInterrupt:
        sys.exit(130)
    run_and_leave(sys.argv[1:])
