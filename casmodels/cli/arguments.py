"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from casmodels.cli.completion import complete_model, complete_target

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL",
        help="An alias, a registered id, org/name[@revision], a name of your own, a URL or a directory.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="An alias, an id or a name.", autocompletion=complete_model)
]
OptionalModel = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="An alias, an id or a name; else all.", autocompletion=complete_model),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What owns the versions.", autocompletion=complete_model)]
OptionalName = Annotated[
    str | None, typer.Argument(metavar="NAME", help="A name; else all.", autocompletion=complete_model)
]
_TARGET_HELP = "A name; after @ a tag, a revision, the first digits of a version's id, or ~N."
Target = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help=_TARGET_HELP, autocompletion=complete_target)]
OptionalTarget = Annotated[
    str | None,
    typer.Argument(metavar="NAME[@VERSION]", help=_TARGET_HELP, autocompletion=complete_target, show_default=False),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that you made or edited.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")]
ViewPath = Annotated[Path | None, typer.Option("--path", metavar="DIR", help="The view; else the store's own.")]
ModelKind = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only models of this type.")]
