"""`sign`: signatures of versions. `verify --key` checks them."""

from __future__ import annotations

import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from casmodels.cli.arguments import Target
from casmodels.cli.command import Command
from casmodels.cli.exits import Exit
from casmodels.cli.help import epilog
from casmodels.cli.output import Output, count, short_id, some
from casmodels.cli.session import Session, UsageError
from casmodels.errors import SigningKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casmodels.results import SignResult

app = typer.Typer(rich_markup_mode=None)

_MOST_BYTES = 4096


@app.command(
    cls=Command,
    epilog=epilog(
        [
            "casmodels sign mine --key private.pem",
            "casmodels sign mine@v1 --key private.pem --output model.sig",
            "casmodels sign mine@v1 --output model.sig",
            "casmodels verify mine --key public.pem",
        ],
        Exit.PARTLY,
        Exit.NOT_FOUND,
        Exit.INTEGRITY,
    ),
)
def sign(
    context: typer.Context,
    target: Target,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="The private key: PEM, on P-256, P-384 or P-521.")
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--password-file", metavar="FILE", help="Whose first line decrypts the key; else it is asked for."
        ),
    ] = None,
    output_path: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write the signature there, too; without --key, the one kept."),
    ] = None,
) -> None:
    """Sign a version, and keep the signature with it.

    The signature is one of OpenSSF model signing over the version's files, and fits any checkout of it. No network is
    needed. `casmodels verify NAME --key PUBLIC` checks it.
    """
    session = Session.of(context)
    output = session.output
    if key is None and output_path is None:
        raise UsageError("--key is missing", remedy="name your private key: --key private.pem")
    if password_file is not None and key is None:
        raise UsageError("--password-file belongs to --key", remedy="say both, or neither")
    with session.store() as store:
        if key is not None:
            result = store.sign(target, key, _password(key, password_file), output_path)
            output.report(result, lambda: _tell_signed(output, result))
            note_unsigned(output, result.unsigned)
        elif output_path is not None:
            written = store.write_signature(target, output_path)
            whose = f"{written.name}@{short_id(written.version)}"
            output.report(written, lambda: output.line(f"the signature of {whose} is in {written.output}"))


def note_unsigned(output: Output, paths: Sequence[str]) -> None:
    """Say to people which files a signature is not about; programs find them in the document."""
    if paths and not output.json:
        output.note(f"not signed, as model signing leaves them out: {some(paths)}")


def _password(key: Path, password_file: Path | None) -> Callable[[], str | None]:
    """How to come by the password of an encrypted key."""

    def read() -> str | None:
        if password_file is not None:
            return _first_line(password_file)
        if sys.stdin is None or not sys.stdin.isatty():  # None: closed by whoever started us
            raise SigningKeyError(
                f"the key {key} is encrypted, and there is no terminal to ask for its password",
                remedy="say --password-file FILE",
            )
        try:
            return getpass(f"Password of {key}: ")
        except EOFError:
            return None

    return read


def _first_line(path: Path) -> str:
    from casmodels.signatures.reading import read_start

    line = read_start(path, _MOST_BYTES).partition(b"\n")[0].rstrip(b"\r")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise SigningKeyError(f"the password in {path} is not UTF-8", remedy="write it as UTF-8") from error


def _tell_signed(output: Output, result: SignResult) -> None:
    whose = f"{result.name}@{short_id(result.version)}"
    output.line(f"signed {whose} ({count(result.files, 'file')}) with the key {short_id(result.key)}")
    if result.replaced is not None and result.replaced != result.key:
        output.line(f"in place of the signature with the key {short_id(result.replaced)}")
    if result.output is not None:
        output.line(f"the signature is in {result.output}, too")
