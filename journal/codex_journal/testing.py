"""For tests: real databases (a migrated SQLite file, a PostgreSQL server of one's own) and rows to fill them with."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from codex_api.rows import (
    POSITION_ITEM,
    POSITION_OUTPUT,
    Classification,
    Delivery,
    RowKind,
    SessionSettings,
    ToolCallPayload,
    UsagePayload,
)
from codex_journal.journal import Journal
from codex_journal.migrating import migrate
from codex_journal.postgres_server import PostgresServer as PostgresServer
from codex_journal.roles import Role, Roles
from codex_journal.rows import NewRow, SessionRecord

OPERATOR_ROLE = "codex_operator"
WORKER_ROLE = "codex_worker"


@asynccontextmanager
async def sqlite_journal(path: Path) -> AsyncIterator[Journal]:
    """Give a migrated journal in the SQLite file at ``path``."""
    url = f"sqlite+aiosqlite:///{path}"
    await migrate(url)
    journal = await Journal.connect(url, application="test")
    try:
        yield journal
    finally:
        await journal.close()


@dataclass(frozen=True)
class DatabaseUrls:
    """SQLAlchemy URLs of one database, with passwords."""

    owner: str
    operator: str
    worker: str


async def migrated_database(server: PostgresServer) -> DatabaseUrls:
    """Create a fresh database with the journal's tables and roles, and return the URLs of its three users."""
    operator, worker = (Role(role, server.password) for role in (OPERATOR_ROLE, WORKER_ROLE))
    template, name = "journal_template", f"journal_{secrets.token_hex(6)}"
    if not server.has_template:
        await server.execute(f"CREATE DATABASE {template}")
        await migrate(server.url(template), roles=Roles(operator, worker))
        server.has_template = True
    await server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return DatabaseUrls(server.url(name), server.url(name, operator.name), server.url(name, worker.name))


async def open_example(
    journal: Journal, session: str = "session-1", installation: str = "installation"
) -> SessionRecord:
    """Create a session whose seqs 1 and 2 are session_opened and the prompt."""
    rows = [NewRow(RowKind.SESSION_OPENED, {}), message_row("prompt")]
    return await journal.create_session(session, installation, "default", session, SessionSettings(), rows)


def message_row(key: str, delivery: Delivery = Delivery.STEER) -> NewRow:
    return NewRow(RowKind.MESSAGE, {"key": key, "text": f"text of {key}", "delivery": delivery.value})


def admission_row(message: int, turn: int, step: int) -> NewRow:
    item = {"type": "message", "role": "user", "content": f"message {message}"}
    return NewRow(RowKind.ADMISSION, {"message": message, "item": item}, turn, step)


def item_row(turn: int, step: int, index: int = 0) -> NewRow:
    item = {"type": "message", "role": "assistant", "content": f"item {turn}.{step}.{index}"}
    return NewRow(RowKind.ITEM, {"item": item}, turn, step, POSITION_ITEM + index)


def call_row(turn: int, step: int, index: int = 0, classification: Classification = Classification.AUTOMATIC) -> NewRow:
    call = ToolCallPayload(
        call_id=f"t{turn}.s{step}.c{index}",
        provider_call_id=f"call_{index}",
        index=index,
        tool="exec_command",
        classification=classification,
        argv=["ls"],
    )
    return NewRow(RowKind.TOOL_CALL, call.model_dump(mode="json"), turn, step, POSITION_ITEM + index)


def result_row(turn: int, step: int, index: int = 0, output: str = "done") -> NewRow:
    item = {"type": "function_call_output", "call_id": f"call_{index}", "output": output}
    payload = {"call_id": f"t{turn}.s{step}.c{index}", "item": item, "outcome": "completed"}
    return NewRow(RowKind.TOOL_RESULT, payload, turn, step, POSITION_OUTPUT + index)


def usage_row(turn: int, step: int) -> NewRow:
    usage = UsagePayload(model="scripted", input_tokens=10, output_tokens=5)
    return NewRow(RowKind.USAGE, usage.model_dump(mode="json"), turn, step)


def event_row(turn: int, type_: str = "TurnComplete") -> NewRow:
    return NewRow(RowKind.EVENT, {"type": type_, "turn": turn}, turn)
