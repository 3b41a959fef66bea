"""The shapes that go into the journal and come out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from codex_api.rows import RowKind, SessionSettings


@dataclass(frozen=True)
class NewRow:
    """A row to append; ``payload`` is a JSON object, its shape belongs to ``kind`` (codex_api.rows)."""

    kind: RowKind
    payload: Mapping[str, Any]
    turn: int = 0
    step: int = 0
    position: int = 0


@dataclass(frozen=True)
class Row:
    session: str
    seq: int
    """1, 2, 3, … within the session, without gaps, in the order of commits."""
    turn: int
    step: int
    position: int
    kind: RowKind
    claim: str
    ordinal: int
    """0, 1, 2, … within the claim."""
    payload: dict[str, Any]
    at: datetime
    """UTC, aware; the database's clock."""


@dataclass(frozen=True)
class Appended:
    rows: list[Row]
    """What stands in the journal under the claim: the caller goes on with these, not with what it sent."""
    inserted: bool
    """False: the claim was there already."""


@dataclass(frozen=True)
class SessionRecord:
    session: str
    """The uid of the CodexSession."""
    installation: str
    namespace: str
    name: str
    settings: SessionSettings
    last_seq: int
    ended_turn: int
    """Every turn up to this one has ended."""
    closed: bool
    projected_seq: int
    """The projector has shown everything up to here."""
    created_at: datetime


@dataclass(frozen=True)
class TurnEnding:
    """What the end of a turn has to settle, as it stands under the session's lock."""

    turn: int
    open_calls: list[Row]
    """tool_call rows of the turn that may run or ask and have no tool_result."""
    waiting_messages: list[Row]
    """Messages with delivery Steer that no request has admitted."""
    last_step: int
    """0 where the turn has no step yet."""


@dataclass(frozen=True)
class Hint:
    """Something of ``session`` was committed up to ``seq``; hints may be lost, doubled or late, rows may not."""

    session: str
    seq: int
