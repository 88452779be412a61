"""The end of every ``--help``: examples and exit codes."""

from __future__ import annotations

from collections.abc import Sequence

from casmodels.cli.exits import MEANINGS, Exit

_ALWAYS = (Exit.DONE, Exit.USAGE, Exit.STORE, Exit.INTERRUPTED)


def epilog(examples: Sequence[str], *codes: Exit) -> str:
    """The text below a command's options; the codes that every command has are added.

    The marks (``\\b``) keep the lines from being run together.
    """
    listed = sorted({*_ALWAYS, *codes})
    return "\n".join(
        [
            "\b",
            "Examples:",
            *(f"  {example}" for example in examples),
            "",
            "\b",
            "Exit codes:",
            *(f"  {code:>3}  {MEANINGS[code]}" for code in listed),
            "",
            "The global options (casmodels --help) may stand here, too.",
        ]
    )
