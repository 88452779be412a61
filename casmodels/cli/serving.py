"""`serve`: the Hub's HTTP API over the store."""

from __future__ import annotations

from typing import Annotated

import typer

from casmodels.cli.command import Command
from casmodels.cli.help import epilog
from casmodels.cli.output import flush_out
from casmodels.cli.session import Session

app = typer.Typer(rich_markup_mode=None)


@app.command(
    cls=Command,
    epilog=epilog(
        [
            "casmodels serve",
            "casmodels serve --metrics --port 9090",
            "HF_ENDPOINT=http://127.0.0.1:8080 casmodels pull ada-002   (elsewhere)",
        ]
    ),
)
def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="0 takes a free one.")] = 8080,
    token: Annotated[
        str | None,
        typer.Option("--token", metavar="SECRET", help="Ask guests for it; needed when others can reach HOST."),
    ] = None,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Tell figures for Prometheus at /metrics. Needs the extra: metrics.")
    ] = False,
) -> None:
    """Serve the store to the Hub's clients, until Ctrl-C.

    They find it through HF_ENDPOINT. Needs the extra: pip install 'casmodels[serve]'.
    """
    from casmodels.formats import find_spans
    from casmodels.registry import Registry
    from casmodels.serve.app import run
    from casstore.store import Store

    session = Session.of(context)
    config = session.config()
    with Store.open(config.store_path, finder=find_spans) as store:
        run(
            store,
            host,
            port,
            token,
            lambda line: _announce(session, line),
            Registry.from_config(config),
            metrics=metrics,
        )


def _announce(session: Session, line: str) -> None:
    output = session.output
    url = line.rpartition(" ")[2]
    output.report({"url": url}, lambda: output.line(line))
    flush_out()
    if not output.json:
        output.note(f"the Hub's clients find it with HF_ENDPOINT={url}")
