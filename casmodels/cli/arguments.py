"""Arguments that several commands share, and how a shell completes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from casmodels.cli.output import short_id


def complete_model(ctx: typer.Context, incomplete: str) -> list[str]:
    """Aliases, registered ids and names that begin so."""
    return _completed(ctx, incomplete)


def complete_target(ctx: typer.Context, incomplete: str) -> list[str]:
    """As `complete_model`, and after an ``@`` the versions of a name."""
    name, at, version = incomplete.rpartition("@")
    if not at or not name:
        return _completed(ctx, incomplete)
    return [f"{name}@{found}" for found in _versions(ctx, name) if found.startswith(version)]


def _completed(ctx: typer.Context, incomplete: str) -> list[str]:
    try:
        with _store(ctx) as store:
            names: list[str] = store.complete_names(incomplete)
            return names
    except Exception:
        return []  # a shell has no place for errors while somebody types


def _versions(ctx: typer.Context, name: str) -> list[str]:
    try:
        with _store(ctx) as store:
            versions = store.versions(name)
    except Exception:
        return []
    return [word for version in versions for word in (*version.tags, short_id(version.version))]


def _store(ctx: typer.Context) -> Any:
    from casmodels.cli.session import Session

    return Session(store_path=ctx.find_root().params.get("store_path")).store()


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
