"""What ``codex-temporal model-server`` does once its arguments are read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from codex_client.model_server.running import serve
from codex_client.model_server.script_file import ScriptError, read_script
from codex_client.model_server.server import ModelServer


def run(script: Path, host: str, port: int, require_key: str | None) -> None:
    """Serve the script until a signal; exit code 2 for a script that cannot be used, 1 for an address in use."""
    try:
        server = ModelServer(read_script(script), require_key=require_key)
    except ScriptError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error

    def announce(actual_port: int) -> None:
        typer.echo(f"model server listening on http://{host}:{actual_port}/v1")

    try:
        asyncio.run(serve(server, host, port, announce))
    except OSError as error:
        typer.echo(f"cannot listen on {host}:{port}: {error}", err=True)
        raise typer.Exit(1) from error
