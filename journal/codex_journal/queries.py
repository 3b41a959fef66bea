"""Reading: statements and the mapping of their rows."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from codex_api.approvals import Decision, DecisionKind
from codex_api.rows import CONVERSATION_KINDS, Classification, Delivery, RowKind, SessionSettings
from codex_journal.errors import UnknownSession
from codex_journal.rows import Row, SessionRecord, TurnEnding
from codex_journal.tables import decisions, journal, sessions

_OPEN_CLASSIFICATIONS = frozenset({Classification.AUTOMATIC, Classification.ASK})


ROWS_AFTER = (
    sa.select(journal)
    .where(journal.c.session == sa.bindparam("session_uid"), journal.c.seq > sa.bindparam("after"))
    .order_by(journal.c.seq)
)


def stored_row(found: Any) -> Row:
    """Return a row of the table journal as it is told of outside."""
    return Row(
        session=found.session,
        seq=found.seq,
        turn=found.turn,
        step=found.step,
        position=found.position,
        kind=RowKind(found.kind),
        claim=found.claim,
        ordinal=found.ordinal,
        payload=json.loads(found.payload),
        at=found.at,
    )


def session_record(found: Any) -> SessionRecord:
    return SessionRecord(
        session=found.session,
        installation=found.installation,
        namespace=found.namespace,
        name=found.name,
        settings=SessionSettings.model_validate_json(found.settings),
        last_seq=found.last_seq,
        ended_turn=found.ended_turn,
        closed=found.closed,
        projected_seq=found.projected_seq,
        created_at=found.created_at,
    )


async def _rows(connection: AsyncConnection, statement: sa.Select[Any]) -> list[Row]:
    return [stored_row(found) for found in await connection.execute(statement)]


async def read_rows(
    connection: AsyncConnection,
    session: str,
    *,
    after: int = 0,
    kinds: Collection[RowKind] | None = None,
    turn: int | None = None,
    step: int | None = None,
    claim: str | None = None,
    limit: int | None = None,
) -> list[Row]:
    statement = sa.select(journal).where(journal.c.session == session, journal.c.seq > after)
    if kinds is not None:
        statement = statement.where(journal.c.kind.in_(sorted(kinds)))
    for column, wanted in ((journal.c.turn, turn), (journal.c.step, step), (journal.c.claim, claim)):
        if wanted is not None:
            statement = statement.where(column == wanted)
    return await _rows(connection, statement.order_by(journal.c.seq).limit(limit))


async def read_conversation(connection: AsyncConnection, session: str, after: int) -> list[Row]:
    order = (journal.c.turn, journal.c.step, journal.c.position, journal.c.seq)
    return await _rows(
        connection,
        sa.select(journal)
        .where(journal.c.session == session, journal.c.seq > after, journal.c.kind.in_(sorted(CONVERSATION_KINDS)))
        .order_by(*order),
    )


async def read_waiting_messages(connection: AsyncConnection, session: str) -> list[Row]:
    admission = journal.alias("admission")
    admitted = sa.exists().where(
        admission.c.session == session,
        admission.c.kind == RowKind.ADMISSION,
        admission.c.subject == sa.cast(journal.c.seq, sa.Text),
    )
    return await _rows(
        connection,
        sa.select(journal)
        .where(journal.c.session == session, journal.c.kind == RowKind.MESSAGE, ~admitted)
        .order_by(journal.c.seq),
    )


async def read_turn_ending(connection: AsyncConnection, session: str, turn: int) -> TurnEnding:
    """Return what the end of the turn has to settle; the caller holds the session's lock."""
    result = journal.alias("result")
    answered = sa.exists().where(
        result.c.session == session, result.c.kind == RowKind.TOOL_RESULT, result.c.subject == journal.c.subject
    )
    of_turn = (journal.c.session == session, journal.c.turn == turn)
    calls = await _rows(
        connection,
        sa.select(journal).where(*of_turn, journal.c.kind == RowKind.TOOL_CALL, ~answered).order_by(journal.c.seq),
    )
    last_step = await connection.scalar(sa.select(sa.func.max(journal.c.step)).where(*of_turn))
    waiting = await read_waiting_messages(connection, session)
    return TurnEnding(
        turn=turn,
        open_calls=[row for row in calls if row.payload["classification"] in _OPEN_CLASSIFICATIONS],
        waiting_messages=[row for row in waiting if row.payload["delivery"] == Delivery.STEER],
        last_step=last_step or 0,
    )


async def find_session(connection: AsyncConnection, session: str) -> SessionRecord | None:
    found = (await connection.execute(sa.select(sessions).where(sessions.c.session == session))).one_or_none()
    return None if found is None else session_record(found)


async def lock_session(connection: AsyncConnection, session: str) -> SessionRecord:
    """Take the session's lock until the transaction ends; raises UnknownSession."""
    statement = sa.select(sessions).where(sessions.c.session == session).with_for_update()
    found = (await connection.execute(statement)).one_or_none()
    if found is None:
        raise UnknownSession(f"session {session} is not in the journal")
    return session_record(found)


async def list_sessions(
    connection: AsyncConnection, *conditions: sa.ColumnElement[bool], limit: int | None = None
) -> list[SessionRecord]:
    statement = sa.select(sessions).where(*conditions).order_by(sessions.c.created_at, sessions.c.session).limit(limit)
    return [session_record(found) for found in await connection.execute(statement)]


async def read_decisions(
    connection: AsyncConnection, session: str, approval_ids: Collection[str] | None
) -> dict[str, tuple[Decision, Any]]:
    statement = sa.select(decisions).where(decisions.c.session == session)
    if approval_ids is not None:
        statement = statement.where(decisions.c.approval_id.in_(sorted(approval_ids)))
    return {
        found.approval_id: (
            Decision(found.approval_id, DecisionKind(found.kind), found.reason, found.decided_by),
            found.at,
        )
        for found in await connection.execute(statement)
    }
