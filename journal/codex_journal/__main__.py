"""codex-temporal-journal: makes and checks the journal's database."""

from __future__ import annotations

import asyncio

import typer
from pydantic import ValidationError

from codex_journal import migrating
from codex_journal.errors import JournalError
from codex_journal.roles import MissingRole
from codex_journal.settings import Settings

app = typer.Typer(
    help="Make and check the journal's database; its address is CODEX_DATABASE_URL.",
    no_args_is_help=True,
    add_completion=False,
)


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        fields = ", ".join(f"CODEX_DATABASE_{problem['loc'][0]}".upper() for problem in error.errors())
        raise typer.BadParameter(f"missing or invalid in the environment: {fields}") from error


@app.command()
def migrate() -> None:
    """Bring the database to this release's schema and grant the roles theirs; safe to repeat."""
    settings = _settings()
    revision = asyncio.run(migrating.migrate(settings.url, password=settings.password(), roles=settings.roles()))
    typer.echo(f"journal at revision {revision}")


@app.command()
def current() -> None:
    """Print the revision of the database."""
    settings = _settings()
    typer.echo(asyncio.run(migrating.current(settings.url, password=settings.password())) or "none")


@app.command()
def check() -> None:
    """Exit with 1 where the database has another schema than this release needs."""
    settings = _settings()
    found = asyncio.run(migrating.current(settings.url, password=settings.password()))
    if found != migrating.newest():
        typer.echo(f"the database is at revision {found or 'none'}, this release needs {migrating.newest()}", err=True)
        raise typer.Exit(1)
    typer.echo(f"journal at revision {found}")


def main() -> None:
    try:
        app()
    except (JournalError, MissingRole, OSError, ValueError) as error:
        typer.echo(f"codex-temporal-journal: {error}", err=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
