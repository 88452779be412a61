"""The command line. Nothing is imported here that a mere ``--version`` does not need."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The program ``casmodels``: runs one command line and ends the process."""
    try:
        from casmodels.cli.process import run_and_leave
    except KeyboardInterrupt:
        sys.exit(130)
    run_and_leave(sys.argv[1:] if arguments is None else arguments)
