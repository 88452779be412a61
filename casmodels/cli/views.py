"""`view` and `path`: models for the Hugging Face libraries."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from casmodels.cli.arguments import Target, Targets, ViewPath
from casmodels.cli.command import Command
from casmodels.cli.exits import Exit
from casmodels.cli.help import epilog
from casmodels.cli.output import Output, count, some, write_out_bytes
from casmodels.cli.session import Session, UsageError
from casmodels.quantities import size

if TYPE_CHECKING:
    from casmodels.results import ViewResult

app = typer.Typer(rich_markup_mode=None)


class Shell(StrEnum):
    """Whose words the exports are written in."""

    BASH = "bash"
    FISH = "fish"
    POWERSHELL = "powershell"


class Link(StrEnum):
    """How a view's files are made."""

    AUTO = "auto"
    REFLINK = "reflink"
    HARDLINK = "hardlink"
    COPY = "copy"


class Layout(StrEnum):
    """How a view is laid out."""

    HUB = "hub"
    CATEGORIES = "categories"


@app.command(
    cls=Command,
    epilog=epilog(
        [
            'eval "$(casmodels view ada-002)"',
            "eval (casmodels view ada-002 --shell fish)",
            "casmodels view ada-002 --shell powershell | Out-String | Invoke-Expression",
            "casmodels view --layout categories ./models",
        ],
        Exit.NOT_FOUND,
        Exit.INTEGRITY,
    ),
)
def view(
    context: typer.Context,
    models: Targets = None,
    path: ViewPath = None,
    all_models: Annotated[bool, typer.Option("--all", help="Every model that is here.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the models out of the view.")] = False,
    shell: Annotated[
        Shell | None, typer.Option("--shell", help="Whose syntax to print; bash also suits sh and zsh.")
    ] = None,
    link: Annotated[
        Link, typer.Option("--link", help="How files are made: auto reflinks where it can, and copies elsewhere.")
    ] = Link.AUTO,
    layout: Annotated[
        Layout,
        typer.Option("--layout", help="categories: every model by type, in the directory that stands for MODEL."),
    ] = Layout.HUB,
) -> None:
    """Make a Hub cache of models, and print how to use it.

    With no MODEL it shows the view that is there. With --layout categories every model that is here lies as a plain
    directory in the folder of its type, and cache/huggingface there is a Hub cache.
    """
    session = Session.of(context)
    wanted = list(models or ())
    if layout is Layout.CATEGORIES:
        directory = _category_directory(wanted, path)
    elif wanted and all_models:
        raise UsageError("--all is every model that is here and takes no others", remedy="leave one of them out")
    with session.store() as store, session.progress() as progress:
        if layout is Layout.CATEGORIES:
            result = (
                store.remove_categories(directory) if remove else store.view_categories(directory, link.value, progress)
            )
        elif remove:
            result = store.remove_view(wanted, path)
        elif wanted or all_models:
            result = store.view(wanted, path, all_models, link.value, progress)
        else:
            result = store.show_view(path)
    output = session.output
    exports = {} if remove else result.exports
    output.answer(result, lambda: _print_exports(exports, shell or _usual_shell()))
    _tell(output, result, removed=remove)
    if exports and not output.json and sys.stdout.isatty():
        output.note('the lines above do nothing by themselves: eval "$(casmodels view ...)" sets them in this shell')


@app.command(cls=Command, epilog=epilog(['ls "$(casmodels path ada-002)"'], Exit.NOT_FOUND, Exit.INTEGRITY))
def path(context: typer.Context, target: Target) -> None:
    """Print where a model's files are in the view.

    The view is made if needed.
    """
    session = Session.of(context)
    with session.store() as store:
        found = store.path(target)
    session.output.answer({"path": found}, lambda: write_out_bytes([os.fsencode(found), b"\n"]))


def _category_directory(words: Sequence[str], path: Path | None) -> Path:
    if len(words) + (path is not None) != 1:
        raise UsageError(
            "--layout categories takes one directory, and every model that is here",
            remedy="name it, as in `casmodels view --layout categories ./models`",
        )
    return path if path is not None else Path(words[0])


def _tell(output: Output, result: ViewResult, *, removed: bool) -> None:
    if result.kept:
        output.note(f"kept {count(len(result.kept), 'file')} that others made: {some(result.kept)}")
    if result.path is not None and not removed and not output.json:
        output.note(f"{result.path}: {count(len(result.models), 'model')}, {size(result.views_bytes)}")
    if removed and not output.json:
        output.note(
            f"{result.path or result.hf_home}: {count(len(result.models), 'model')} left, {size(result.views_bytes)}"
        )
    if result.link == Link.HARDLINK:
        output.note("warning: a write to a hard-linked file changes every view that shares it")


def _print_exports(exports: Mapping[str, str], shell: Shell) -> None:
    # As bytes: a directory's name need not be UTF-8, and the shell wants it as it is.
    write_out_bytes(os.fsencode(export_line(name, value, shell) + "\n") for name, value in exports.items())


_POWERSHELL_QUOTES = re.compile("['\u2018\u2019\u201a\u201b]")
"""What PowerShell takes for a single quote; doubled, it stands for itself."""


def export_line(name: str, value: str, shell: Shell) -> str:
    """The line that sets a variable in a shell, whatever characters the value has."""
    if shell is Shell.POWERSHELL:
        return f"$env:{name} = '" + _POWERSHELL_QUOTES.sub(r"\g<0>\g<0>", value) + "'"
    if shell is Shell.FISH:
        # fish cuts a command's output at newlines before `eval` sees it, so a newline is written as an escape.
        quoted = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "'\\n'")
        return f"set -gx {name} '{quoted}';"
    return f"export {name}={shlex.quote(value)}"


def _usual_shell() -> Shell:
    return Shell.POWERSHELL if os.name == "nt" else Shell.BASH
