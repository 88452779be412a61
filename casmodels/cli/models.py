"""`list`, `aliases` and `info`: what is here, and what is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from casmodels.cli.arguments import ModelKind, OptionalModel
from casmodels.cli.command import Command
from casmodels.cli.exits import Exit
from casmodels.cli.failures import exit_of_damaged
from casmodels.cli.help import epilog
from casmodels.cli.output import Output, Table, shown
from casmodels.cli.session import Session
from casmodels.quantities import size

if TYPE_CHECKING:
    from casmodels.results import ModelResult

app = typer.Typer(rich_markup_mode=None)

_SIGNATURES = {
    "kept": "of the newest version, kept in the store",
    "model.sig": "of the newest version, its own model.sig",
}


@app.command(
    "list",
    cls=Command,
    epilog=epilog(["casmodels list", "casmodels list --available --type instruct"], Exit.INTEGRITY),
)
def list_models(
    context: typer.Context,
    available: Annotated[
        bool, typer.Option("--available", help="Also the registered models that are not here yet.")
    ] = False,
    kind: ModelKind = None,
) -> int:
    """List the models that are here."""
    session = Session.of(context)
    output = session.output
    with session.store() as store:
        models = store.list(available=available, type=kind)
    what = "nothing" if kind is None else f"no {kind} model"
    empty = f"{what} is here yet; `casmodels list --available` shows what is known"
    output.answer(models, lambda: output.table(_available(models) if available else _installed(models), empty))
    return exit_of_damaged(output, sum(model.damaged for model in models))


@app.command(cls=Command, epilog=epilog(["casmodels aliases"]))
def aliases(context: typer.Context, kind: ModelKind = None) -> None:
    """List the short names of models and what they stand for."""
    session = Session.of(context)
    output = session.output
    with session.store() as store:
        models = [model for model in store.list(available=True, type=kind) if model.aliases]
    output.answer(models, lambda: output.table(_aliases(models), "no model has an alias"))


@app.command(cls=Command, epilog=epilog(["casmodels info ada-002", "casmodels info"], Exit.NOT_FOUND))
def info(context: typer.Context, model: OptionalModel = None, kind: ModelKind = None) -> None:
    """Show all that is known about a model, or about all of them.

    Models of your own become known by tables [models.ID] with type and huggingface_id in the configuration
    file: $CASMODELS_CONFIG, else casmodels/config.toml where the system keeps such files (~/.config).
    """
    session = Session.of(context)
    output = session.output
    with session.store() as store:
        models = store.info(model, type=kind)
    output.answer(models[0] if model is not None and models else models, lambda: _tell(output, models))


def _installed(models: Sequence[ModelResult]) -> Table:
    rows = [
        (
            model.name,
            model.type or "",
            _versions(model),
            size(model.size_bytes),
            size(model.stored_bytes),
            _short_first(model.aliases),
        )
        for model in models
    ]
    return Table(("MODEL", "TYPE", "VERSIONS", "SIZE", "STORED", "ALIASES"), rows, frozenset({2, 3, 4}), (2, 5, 1))


def _versions(model: ModelResult) -> str:
    return f"{model.versions} ({model.damaged} damaged)" if model.damaged else str(model.versions)


def _available(models: Sequence[ModelResult]) -> Table:
    rows = [
        (
            model.id,
            "yes" if model.installed else "no",
            model.type or "",
            model.parameters or "",
            str(model.context_length or ""),
            _short_first(model.aliases),
        )
        for model in models
    ]
    headers = ("MODEL", "HERE", "TYPE", "SIZE", "CONTEXT", "ALIASES")
    return Table(headers, rows, frozenset({3, 4}), (4, 3))


def _short_first(aliases: Sequence[str]) -> str:
    """What a narrow terminal cuts is the longest, which says the least."""
    return ", ".join(sorted(aliases, key=len))


def _aliases(models: Sequence[ModelResult]) -> Table:
    rows = [(alias, model.id, model.repo or "") for model in models for alias in model.aliases]
    return Table(("ALIAS", "MODEL", "REPO"), sorted(rows))


def _tell(output: Output, models: Sequence[ModelResult]) -> None:
    for place, model in enumerate(models):
        if place:
            output.line("")
        output.line(model.name)
        for label, value in _facts(model):
            if value:
                output.line(f"  {label + ':':<17}{shown(value)}")


def _quantised(model: ModelResult) -> str | None:
    if model.quantised is None:
        return None
    from casmodels.cli.quantised import told

    return told(model.quantised)


def _facts(model: ModelResult) -> list[tuple[str, str | None]]:
    here = f"{size(model.size_bytes)}, stored in {size(model.stored_bytes)}"
    return [
        ("about", model.description),
        ("id", model.id if model.id != model.name else None),
        ("repo", model.repo if model.repo != model.name else None),
        ("aliases", ", ".join(model.aliases)),
        ("type", model.type),
        ("parameters", model.parameters),
        ("context length", str(model.context_length) if model.context_length else None),
        ("licence", model.licence),
        ("made from", ", ".join(model.base_models)),
        ("quantised", _quantised(model)),
        ("versions", _versions(model) if model.installed else "none here; `casmodels pull` brings it in"),
        ("size", here if model.installed else None),
        ("signature", _SIGNATURES.get(model.signature) if model.signature is not None else None),
    ]
