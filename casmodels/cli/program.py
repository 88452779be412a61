"""The command line: parse, run, and turn whatever happens into one sentence and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import casmodels
from casmodels.cli import failures
from casmodels.cli.completion import join_bash_words
from casmodels.cli.exits import Exit
from casmodels.cli.help import epilog
from casmodels.cli.output import ClosedOutputError, Output, flush_out, write_err
from casmodels.cli.session import Session, UsageError
from casmodels.cli.verbs import LazyGroup
from casmodels.errors import InterruptedPullError

_PROGRAM = "casmodels"

app = typer.Typer(
    cls=LazyGroup,
    name=_PROGRAM,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="COMMAND ...",
    invoke_without_command=True,
    epilog=epilog(
        [
            "casmodels pull ada-002                 bring a model in",
            'eval "$(casmodels view ada-002)"        give it to the Hugging Face libraries',
            "casmodels checkpoint mine ./my-model   keep a model of your own",
        ],
        *Exit,
    ).rpartition("\n\n")[0],
)


@app.callback()
def options(
    context: typer.Context,
    store_path: Annotated[
        Path | None,
        typer.Option("--store", metavar="DIR", help="The store; else $CASMODELS_HOME, else the configured one."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else there.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only what was asked for, and errors.")] = False,
    verbosity: Annotated[
        int,
        typer.Option(
            "-v", "--verbose", count=True, show_default=False, help="Log what happens; -vv: all of it, and tracebacks."
        ),
    ] = 0,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log JSON lines to stderr.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Keep machine-learning models once, exactly, and give them back."""
    session = Session.of(context)
    session.store_path, session.json, session.quiet = store_path, json, quiet
    session.verbosity, session.log_json = verbosity, log_json
    if version:
        _print_version(session.output)
        raise typer.Exit
    if context.invoked_subcommand is None:
        if json:
            raise UsageError("no command was given", remedy="`casmodels --help` lists them")
        for line in context.get_help().splitlines():
            write_err(line)
        raise typer.Exit(Exit.USAGE)


def _print_version(output: Output) -> None:
    version = casmodels.__version__
    output.answer({"version": version}, lambda: output.line(f"{_PROGRAM} {version}"))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return the exit code."""
    session = Session()
    try:
        code = _obey(arguments, session)
        flush_out()
    except (typer.TyperException, UsageError) as error:
        # What makes no sense was perhaps not read as far as --json.
        return failures.refused(
            error, Output(json=session.json or "--json" in arguments, log_json=session.log_json), _PROGRAM
        )
    except (KeyboardInterrupt, typer.Abort, InterruptedPullError):
        return failures.interrupted(session)
    except ClosedOutputError:
        return Exit.DONE
    except Exception as error:
        return failures.failed(error, session)
    return code


def _obey(arguments: Sequence[str], session: Session) -> int:
    root = typer.main.get_command(app)
    try:
        if arguments:
            with root.make_context(_PROGRAM, list(arguments), obj=session) as context:
                answer = root.invoke(context)
        else:
            join_bash_words()
            # A shell that asks for completions says so in the environment, which typer reads in here.
            answer = root.main([], prog_name=_PROGRAM, standalone_mode=False, obj=session)
    except typer.Exit as leave:
        return leave.exit_code
    return answer if isinstance(answer, int) else Exit.DONE
