"""The commands by name: each lives in a module that is imported when it is asked for, so that starting is quick."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from casmodels.cli.command import Command, spare_conversion
from casmodels.cli.session import Session, UsageError

_SECTIONS: dict[str, dict[str, str]] = {
    "Models": {
        "pull": "pulling",
        "redownload": "pulling",
        "list": "models",
        "aliases": "models",
        "info": "models",
        "view": "views",
        "path": "views",
        "bench": "benching",
        "serve": "serving",
    },
    "Versions": {
        "checkpoint": "saving",
        "quantize": "quantising",
        "versions": "versions",
        "checkout": "saving",
        "restore": "saving",
        "ls": "looking",
        "cat": "looking",
        "diff": "comparing",
        "tag": "versions",
        "pin": "versions",
        "unpin": "versions",
        "sign": "signing",
        "remove": "versions",
    },
    "Care": {
        "stats": "care",
        "verify": "care",
        "repair": "care",
        "gc": "care",
        "compact": "care",
        "cleanup": "care",
    },
}
VERBS = {verb: module for section in _SECTIONS.values() for verb, module in section.items()}

# What people type who know another tool: the verb is ours, the words are git's, pip's, docker's, restic's, hf's.
_FOREIGN: dict[str, tuple[str, ...]] = {
    "pull": ("download", "get", "fetch", "install", "clone", "update", "upgrade", "sync"),
    "pull --all": ("download-all", "pull-all"),
    "list": ("models", "search", "find", "available", "ps"),
    "info": ("show", "inspect", "describe"),
    "checkpoint": ("import", "add", "commit", "save", "snapshot", "backup", "push", "archive", "store", "put"),
    "quantize": ("quantise", "convert", "cast"),
    "versions": ("log", "history", "snapshots", "checkpoints", "tags", "branches"),
    "checkout": ("export", "extract", "unpack", "load", "switch", "copy", "cp"),
    "restore": ("revert", "rollback", "reset", "undo", "recover"),
    "remove": ("rm", "delete", "del", "uninstall", "forget", "rmi"),
    "gc": ("prune", "purge", "vacuum"),
    "compact": ("repack", "optimize", "optimise", "shrink", "dedup"),
    "cleanup": ("clean", "clear", "tidy"),
    "stats": ("du", "df", "size", "usage", "status", "st"),
    "verify": ("fsck", "check", "scan", "validate", "test"),
    "repair": ("fix", "mend", "rebuild"),
    "view": ("mount", "env", "cache", "use", "activate"),
    "path": ("where", "which", "locate"),
    "ls": ("tree", "files", "dir"),
    "diff": ("compare", "delta", "changes"),
    "cat": ("print", "type", "head", "dump"),
    "pin": ("lock", "protect", "hold"),
    "unpin": ("unlock", "unprotect"),
    "tag": ("label",),
    "sign": ("attest",),
    "aliases": ("alias",),
    "bench": ("benchmark", "time", "speed", "profile"),
    "serve": ("server", "start", "daemon", "web", "http"),
}
_RIGHT_VERBS = {word: verb for verb, words in _FOREIGN.items() for word in words}


def right_verb(word: str) -> str:
    """What to say to someone who typed a word that is no command: the verb for it, or the nearest ones."""
    from difflib import get_close_matches

    if word in _RIGHT_VERBS:
        return f"here it is `casmodels {_RIGHT_VERBS[word]}`"
    nearest = get_close_matches(word.lower(), [*VERBS, *_RIGHT_VERBS], n=3, cutoff=0.7)
    verbs = dict.fromkeys(_RIGHT_VERBS.get(match, match) for match in nearest)
    if verbs:
        return f"did you mean {' or '.join(f'`casmodels {verb}`' for verb in verbs)}?"
    return "`casmodels --help` lists the commands"


class LazyGroup(TyperGroup):
    """Finds a command's module when the command is asked for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See TyperGroup."""
        spare_conversion(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """See TyperGroup."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """See TyperGroup."""
        if cmd_name not in VERBS:
            return None
        if cmd_name not in self.commands:
            from importlib import import_module

            from typer.main import get_command_from_info

            app = import_module(f"casmodels.cli.{VERBS[cmd_name]}").app
            # Only this one: to make a command, typer evaluates and inspects its function's signature several times.
            (found,) = (each for each in app.registered_commands if cmd_name in (each.name, each.callback.__name__))
            command = get_command_from_info(
                found,
                pretty_exceptions_short=app.pretty_exceptions_short,
                rich_markup_mode=app.rich_markup_mode,
            )
            if isinstance(command, Command):
                command.share(param for param in self.params if param.name in Session.__slots__)
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """See TyperGroup; knows the words of other tools, and ``help``."""
        word, *rest = args
        if word == "help":
            args = [*rest[:1], "--help"] if rest else ["--help"]
            if not rest:
                self.parse_args(ctx, args)
        elif word not in VERBS and not word.startswith("-") and not ctx.resilient_parsing:
            raise UsageError(f"there is no command {word!r}", remedy=right_verb(word))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """See TyperGroup; by sections."""
        for title, verbs in _SECTIONS.items():
            with formatter.section(title):
                limit = formatter.width - 6 - max(map(len, VERBS))
                formatter.write_dl([(verb, self.get_command(ctx, verb).get_short_help_str(limit)) for verb in verbs])
