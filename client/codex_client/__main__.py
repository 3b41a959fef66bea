"""The command line. Commands import what they need when they run, so that ``--help`` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="codex-temporal",
    help="Codex-style coding agents as Kubernetes resources.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def codex_temporal() -> None:
    """Codex-style coding agents as Kubernetes resources."""


@app.command()
def model_server(
    script: Annotated[Path, typer.Option(help="YAML file that says what the model answers.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8089,
    require_key: Annotated[str | None, typer.Option(help="Refuse requests with another API key.")] = None,
) -> None:
    """Serve a scripted model that speaks the Responses API."""
    from codex_client.model_server.command import run

    run(script, host, port, require_key)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
