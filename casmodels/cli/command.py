"""What every command has: the global options, a quick start, and a help that shows no Python types."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from casmodels.cli.session import Session

_TYPE = re.compile(r" <[^>]*>(\.\.\.)?\Z")


class Command(TyperCommand):
    """A command that takes the global options, too: ``casmodels list --json`` is what people type.

    What typer's contexts, parameters and formatters are called is its own affair, so they are Any here.
    """

    def share(self, options: Iterable[Any]) -> None:
        """Take the program's options, out of sight of ``--help``."""
        for option in options:
            shared = copy.copy(option)
            vars(shared).pop("process_value", None)  # it is bound to the option that it was copied from
            shared.hidden, shared.expose_value, shared.callback = True, False, _add_to_session
            self.params.append(shared)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See TyperCommand."""
        spare_conversion(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """See TyperCommand."""
        for title, kind in (("Arguments", "argument"), ("Options", "option")):
            params = [param for param in self.get_params(ctx) if param.param_type_name == kind]
            records = [record for param in params if (record := param.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl([(_TYPE.sub("", name), text) for name, text in records])


def spare_conversion(params: Iterable[Any]) -> None:
    """Let values pass that have their type already.

    typer (since 0.29) hands every value to pydantic, also those that were not given; importing that takes as
    long as importing typer itself.
    """
    for param in params:
        annotation = getattr(getattr(param, "type_descriptor", None), "annotation", None)
        if annotation is not None and "process_value" not in vars(param):
            param.process_value = _sparing(param, annotation)


def _sparing(param: Any, annotation: Any) -> Any:
    convert = param.process_value

    def process_value(ctx: Any, value: Any) -> Any:
        if param.required and param.value_is_missing(value):
            return convert(ctx, value)  # which refuses it
        if annotation is Path and isinstance(value, str):
            value = Path(value)
        elif not _fits(value, annotation):
            return convert(ctx, value)
        return value if param.callback is None else param.callback(ctx, param, value)

    return process_value


def _fits(value: Any, annotation: Any) -> bool:
    if value is None:
        return True
    if annotation == list[str]:
        return isinstance(value, list | tuple)
    return isinstance(annotation, type) and isinstance(value, annotation)


def _add_to_session(ctx: Any, param: Any, value: Any) -> Any:
    session = ctx.find_root().obj
    if value and isinstance(session, Session):
        before = getattr(session, param.name)
        setattr(session, param.name, before + value if param.name == "verbosity" else value)
    return value
