"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from casmodels.cli.completion import complete_model, complete_target


def check_word(word: str | None) -> str | None:
    """Refuse a name that is no text: nothing in a store can have it. Raises typer.BadParameter."""
    if word is not None and not word.isascii():
        try:
            word.encode()
        except UnicodeEncodeError:
            raise typer.BadParameter(f"{word!r} is not UTF-8") from None
    return word


def check_words(words: list[str] | None) -> list[str] | None:
    """As `check_word`, for several."""
    for word in words or ():
        check_word(word)
    return words


_MODEL_HELP = "An alias, a registered id, a Hub id or a name of your own."
_TARGET_HELP = "A name; after @ a tag, a revision, the first digits of a version's id, or ~N."

Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL",
        help="An alias, a registered id, org/name[@revision], a name of your own, a URL or a directory.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL",
        help=_MODEL_HELP,
        autocompletion=complete_target,
        show_default=False,
        callback=check_words,
    ),
]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help=_MODEL_HELP, autocompletion=complete_model, callback=check_word)
]
OptionalModel = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help=f"{_MODEL_HELP} Else all.",
        autocompletion=complete_model,
        show_default=False,
        callback=check_word,
    ),
]
Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="What owns the versions.", autocompletion=complete_model, callback=check_word),
]
OptionalName = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="A name; else all.",
        autocompletion=complete_model,
        show_default=False,
        callback=check_word,
    ),
]
Target = Annotated[
    str,
    typer.Argument(metavar="NAME[@VERSION]", help=_TARGET_HELP, autocompletion=complete_target, callback=check_word),
]
OptionalTarget = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME[@VERSION]",
        help=f"{_TARGET_HELP} Else all.",
        autocompletion=complete_target,
        show_default=False,
        callback=check_word,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that you made or edited.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")]
ViewPath = Annotated[Path | None, typer.Option("--path", metavar="DIR", help="The view; else the store's own.")]
ModelKind = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only models of this type.")]
