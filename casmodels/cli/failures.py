"""What is said when a command fails, and the exit code that goes with it."""

from __future__ import annotations

import errno

import typer

from casmodels.cli.exits import Exit, exit_of_error
from casmodels.cli.output import Output, count, write_err
from casmodels.cli.session import Session, UsageError
from casmodels.errors import InterruptedPullError
from casstore.errors import StoreError


def refused(error: typer.TyperException | UsageError, output: Output, program: str) -> Exit:
    """A command line that makes no sense."""
    if isinstance(error, UsageError):
        output.error(error.kind, error.message, error.remedy)
        return Exit.USAGE
    context = getattr(error, "ctx", None)
    remedy = f"see `{context.command_path if context is not None else program} --help`"
    message = error.format_message()
    if possible := getattr(error, "possibilities", None):
        message, remedy = error.message, f"did you mean {' or '.join(sorted(possible))}?"
    message = " ".join(message.split()).rstrip(".")
    output.error(UsageError.kind, message[:1].lower() + message[1:], remedy)
    return Exit.USAGE


def interrupted(session: Session) -> Exit:
    """Ctrl-C, or a polite request to end."""
    output, remedy = session.output, "the next run resumes" if session.resumes else "the next run begins anew"
    output.interrupted(remedy)
    if output.json:
        output.error_document(InterruptedPullError.kind, "interrupted", remedy)
    return Exit.INTERRUPTED


def failed(error: Exception, session: Session) -> Exit:
    """Any exception: one sentence, and the traceback only for those who asked for every detail."""
    if session.verbosity > 1:
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            write_err(line)
    session.output.error(*_told(error))
    return exit_of_error(error)


def exit_of_damaged(output: Output, versions: int) -> Exit:
    """What a list ends with that has so many versions whose records are damaged."""
    if not versions:
        return Exit.DONE
    output.complain(
        f"{count(versions, 'version')} damaged", "run `casmodels repair`, and `casmodels remove` what is lost"
    )
    return Exit.INTEGRITY


def _told(error: Exception) -> tuple[str, str, str | None]:
    if isinstance(error, StoreError):
        return error.kind, error.message, error.remedy
    if isinstance(error, OSError) and error.strerror:
        # With the two paths of a rename or a link, the second is the one that could not be made.
        paths = [str(path) for path in (error.filename2 or error.filename,) if path is not None]
        remedy = "choose a shorter name" if error.errno == errno.ENAMETOOLONG else None
        return "io", ": ".join([*paths, error.strerror[:1].lower() + error.strerror[1:]]), remedy
    if isinstance(error, MemoryError):
        return "memory", "there is not enough memory", "close other programs, or let it do less at a time"
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return "unexpected", f"unexpected error: {what}", "run again with -vv"
