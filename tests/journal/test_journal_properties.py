"""Any interleaving of appends, endings and a close leaves a journal without gaps, halves or latecomers."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codex_api.rows import FENCED_KINDS, RowKind, SessionClosedPayload
from codex_journal.errors import SessionClosed, TurnEnded
from codex_journal.journal import Journal
from codex_journal.rows import Appended, Row
from codex_journal.testing import DatabaseUrls, event_row, item_row, open_example


@dataclass(frozen=True)
class Append:
    claim: int
    turn: int
    size: int
    fenced: bool


@dataclass(frozen=True)
class EndTurn:
    turn: int


@dataclass(frozen=True)
class Close:
    pass


Operation = Append | EndTurn | Close
TURNS = st.integers(1, 3)
APPENDS = st.builds(Append, claim=st.integers(0, 5), turn=TURNS, size=st.integers(1, 3), fenced=st.booleans())
OPERATIONS = st.one_of(APPENDS, APPENDS, APPENDS, st.builds(EndTurn, turn=TURNS), st.just(Close()))
INTERLEAVINGS = st.lists(st.lists(OPERATIONS, min_size=1, max_size=6), min_size=1, max_size=4)


async def perform(journal: Journal, session: str, operation: Operation) -> Appended | TurnEnded | SessionClosed:
    try:
        match operation:
            case Append(claim, turn, size, fenced):
                row = item_row(turn, 1) if fenced else event_row(turn)
                return await journal.append(session, f"claim/{claim}", [row] * size)
            case EndTurn(turn):
                return await journal.end_turn(session, turn, lambda ending: [event_row(ending.turn)])
            case Close():
                return await journal.close_session(session, SessionClosedPayload(reason="SessionCancelled"))
    except (TurnEnded, SessionClosed) as refusal:
        return refusal


async def check(url: str, interleaving: Sequence[Sequence[Operation]]) -> None:
    journals = [await Journal.connect(url, application="test", pool_size=2) for _ in range(2)]
    session = str(uuid.uuid4())
    await open_example(journals[0], session)
    outcomes = []
    for together in interleaving:
        outcomes += await asyncio.gather(
            *(perform(journals[n % 2], session, operation) for n, operation in enumerate(together))
        )
    rows = await journals[0].read(session)
    record = await journals[0].session(session)
    for journal in journals:
        await journal.close()

    assert record is not None
    assert [row.seq for row in rows] == list(range(1, record.last_seq + 1))
    pieces = [list(piece) for _, piece in itertools.groupby(rows, key=lambda row: row.claim)]
    claims = {piece[0].claim: piece for piece in pieces}
    assert len(claims) == len(pieces), "a claim stands in two pieces"
    assert all([row.ordinal for row in piece] == list(range(len(piece))) for piece in pieces)
    for outcome in outcomes:
        if isinstance(outcome, Appended) and outcome.rows:
            assert outcome.rows == claims[outcome.rows[0].claim]
    inserted = [outcome for outcome in outcomes if isinstance(outcome, Appended) and outcome.inserted]
    assert len(inserted) == len(pieces) - 1, "each claim but the first was inserted by exactly one call"
    check_nobody_came_late(rows)


def check_nobody_came_late(rows: Sequence[Row]) -> None:
    ended, closed = 0, False
    for row in rows:
        if row.claim.startswith("t") and row.claim.endswith("/end"):
            ended = max(ended, row.turn)
        elif row.kind in FENCED_KINDS:
            assert not closed
            assert row.turn > ended
        closed = closed or row.kind is RowKind.SESSION_CLOSED


@pytest.fixture(scope="session")
def examples_file(sqlite_template: Path) -> Path:
    """One file for all examples: each has a session of its own."""
    return Path(shutil.copy(sqlite_template, sqlite_template.with_name("examples.sqlite")))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(interleaving=INTERLEAVINGS)
def test_any_interleaving_on_sqlite(examples_file: Path, interleaving: list[list[Operation]]) -> None:
    asyncio.run(check(f"sqlite+aiosqlite:///{examples_file}", interleaving))


@pytest.mark.database
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(interleaving=INTERLEAVINGS)
def test_any_interleaving_on_postgresql(shared_urls: DatabaseUrls, interleaving: list[list[Operation]]) -> None:
    asyncio.run(check(shared_urls.operator, interleaving))
