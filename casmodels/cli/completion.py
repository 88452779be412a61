"""What a shell completes: models, and after an ``@`` the versions of a name.

A shell asks by running the program with variables of typer's making in its environment, and no arguments.
"""

from __future__ import annotations

import os
from typing import Any

import typer

from casmodels.cli.output import short_id

_split_off = ""  # what bash keeps to itself of the word under the cursor: see join_bash_words


def join_bash_words() -> None:
    """Put a NAME@VERSION together again that bash has split: to bash an ``@`` ends a word, as in user@host.

    bash replaces only what stands behind the ``@``, so the answers must leave the name out.
    """
    global _split_off  # the completers get nothing but the word from typer
    words = os.environ.get("COMP_WORDS", "").split()
    place = int(os.environ.get("COMP_CWORD", "0"))
    typed = words[place] if place < len(words) else ""
    at = place if typed == "@" else place - 1
    if at >= 2 and words[at : at + 1] == ["@"]:
        _split_off = f"{words[at - 1]}@"
        words[at - 1 :] = ["" if typed == "@" else typed]
        os.environ["COMP_WORDS"] = "\n".join(words)
        os.environ["COMP_CWORD"] = str(at - 1)


def complete_model(ctx: typer.Context, incomplete: str) -> list[str]:
    """Aliases, registered ids and names that begin so."""
    if _split_off:
        return []
    try:
        with _store(ctx) as store:
            names: list[str] = store.complete_names(incomplete)
            return names
    except Exception:
        return []  # a shell has no place for errors while somebody types


def complete_target(ctx: typer.Context, incomplete: str) -> list[str]:
    """As `complete_model`, and after an ``@`` the versions of a name."""
    name, at, typed = f"{_split_off}{incomplete}".rpartition("@")
    if not at:
        return complete_model(ctx, incomplete)
    try:
        with _store(ctx) as store:
            versions = store.versions(name)
    except Exception:
        return []
    labels = (label for version in versions for label in (*version.tags, short_id(version.version)))
    return [label if _split_off else f"{name}@{label}" for label in labels if label.startswith(typed)]


def _store(ctx: typer.Context) -> Any:
    from casmodels.cli.session import Session

    return Session(store_path=ctx.find_root().params.get("store_path")).store()
