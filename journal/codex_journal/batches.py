"""A batch: the rows of one claim, encoded, with the fence they have to pass. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from codex_api.rows import FENCED_KINDS, RowKind
from codex_journal.errors import SessionClosed, TurnEnded
from codex_journal.rows import NewRow, Row, SessionRecord

_SUBJECT_FIELDS = {
    RowKind.TOOL_CALL: "call_id",
    RowKind.TOOL_INTENT: "call_id",
    RowKind.TOOL_RESULT: "call_id",
    RowKind.ADMISSION: "message",
}


@dataclass(frozen=True)
class EncodedRow:
    kind: RowKind
    turn: int
    step: int
    position: int
    subject: str
    payload: str


@dataclass(frozen=True)
class Batch:
    """All rows of one claim: they are written together or not at all."""

    session: str
    claim: str
    rows: list[EncodedRow]
    fence_turn: int | None
    """The lowest turn of a fenced row; None: nothing here is fenced."""
    ends_turn: int = 0
    closes: bool = False


@dataclass(frozen=True)
class Written:
    """What the database gave a batch: the first row's seq and the time of its transaction's write."""

    first_seq: int
    at: datetime


def encode_payload(payload: Mapping[str, Any]) -> str:
    """Return JSON in ASCII, so that lone surrogates and NUL survive every encoding; raises ValueError for NaN."""
    return json.dumps(payload, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def encode_row(row: NewRow) -> EncodedRow:
    """Encode a row; raises ValueError for a payload that lacks what its kind is looked up by."""
    field = _SUBJECT_FIELDS.get(row.kind)
    if field is not None and field not in row.payload:
        raise ValueError(f"the payload of a {row.kind} row needs {field!r}")
    subject = "" if field is None else str(row.payload[field])
    return EncodedRow(row.kind, row.turn, row.step, row.position, subject, encode_payload(row.payload))


def make_batch(session: str, claim: str, rows: Sequence[NewRow], *, closes: bool = False) -> Batch:
    """Return the batch of an ordinary append; raises ValueError without rows: a claim is held by its rows."""
    if not rows:
        raise ValueError(f"claim {claim!r} of session {session}: no rows")
    fenced = [row.turn for row in rows if row.kind in FENCED_KINDS]
    return Batch(session, claim, [encode_row(row) for row in rows], min(fenced, default=None), closes=closes)


def make_ending(session: str, claim: str, turn: int, rows: Sequence[NewRow]) -> Batch:
    """Return the batch that ends a turn: it passes the fence and closes it behind itself."""
    return Batch(session, claim, [encode_row(row) for row in rows], None, ends_turn=turn)


def check_fence(batch: Batch, record: SessionRecord) -> None:
    """Raise SessionClosed or TurnEnded where the session's state refuses the batch."""
    if batch.fence_turn is None:
        return
    if record.closed:
        raise SessionClosed(f"session {batch.session} is closed; {batch.claim} came too late")
    if record.ended_turn >= batch.fence_turn:
        raise TurnEnded(f"turn {batch.fence_turn} of session {batch.session} has ended; {batch.claim} came too late")


def written_rows(batch: Batch, written: Written) -> list[Row]:
    """Return the rows as a later read would."""
    return [
        Row(
            session=batch.session,
            seq=written.first_seq + ordinal,
            turn=row.turn,
            step=row.step,
            position=row.position,
            kind=row.kind,
            claim=batch.claim,
            ordinal=ordinal,
            payload=json.loads(row.payload),
            at=written.at,
        )
        for ordinal, row in enumerate(batch.rows)
    ]
