"""Decisions: the first one counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from codex_api.approvals import Decision, DecisionKind
from codex_journal.errors import UnknownSession
from codex_journal.journal import Journal
from codex_journal.testing import open_example

OpenJournal = Callable[..., Awaitable[Journal]]
APPROVED = Decision("t1-c0-abc", DecisionKind.APPROVE, "", "alice")
DENIED = Decision("t1-c0-abc", DecisionKind.DENY, "too risky", "bob")


async def test_the_first_decision_counts_and_later_ones_learn_of_it(journal: Journal) -> None:
    await open_example(journal)
    assert await journal.decide("session-1", APPROVED) == (APPROVED, True)
    assert await journal.decide("session-1", DENIED) == (APPROVED, False)
    assert await journal.decide("session-1", APPROVED) == (APPROVED, False)


async def test_decisions_are_found_by_session_and_id_with_their_time(journal: Journal) -> None:
    await open_example(journal, "a")
    await open_example(journal, "b")
    other = Decision("t1-c1-def", DecisionKind.ABORT)
    for decision in (DENIED, other):
        await journal.decide("a", decision)
    found = await journal.decisions("a")
    assert {approval: decision for approval, (decision, _) in found.items()} == {
        "t1-c0-abc": DENIED,
        "t1-c1-def": other,
    }
    assert abs(found["t1-c0-abc"][1] - datetime.now(UTC)) < timedelta(minutes=1)
    assert set(await journal.decisions("a", ["t1-c1-def", "unknown"])) == {"t1-c1-def"}
    assert await journal.decisions("a", []) == {}
    assert await journal.decisions("b") == {}


async def test_of_many_deciders_at_once_one_counts(journal_url: str, open_journal: OpenJournal) -> None:
    journals = [await open_journal(journal_url) for _ in range(4)]
    await open_example(journals[0])
    for round_ in range(10):
        choices = [
            Decision(f"id-{round_}", DecisionKind.APPROVE if n % 2 else DecisionKind.DENY, "", f"user-{n}")
            for n in range(8)
        ]
        results = await asyncio.gather(*(journals[n % 4].decide("session-1", choices[n]) for n in range(8)))
        assert sum(inserted for _, inserted in results) == 1
        assert len({decision for decision, _ in results}) == 1


async def test_a_decision_on_an_unknown_session_is_refused(journal: Journal) -> None:
    with pytest.raises(UnknownSession):
        await journal.decide("nobody", APPROVED)


async def test_a_reason_that_the_database_cannot_hold_is_kept_in_part(journal: Journal) -> None:
    await open_example(journal)
    decision, _ = await journal.decide("session-1", Decision("id", DecisionKind.DENY, "no\x00 \ud800!", "alice"))
    assert decision.reason == "no\ufffd ?!"
