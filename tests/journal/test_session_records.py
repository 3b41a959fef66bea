"""Sessions: created once, found again, listed for the projector and the sweep."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from codex_api.rows import RowKind, SessionClosedPayload, SessionSettings
from codex_api.session import ApprovalPolicy
from codex_journal.journal import Journal
from codex_journal.rows import NewRow
from codex_journal.testing import event_row, message_row, open_example

OpenJournal = Callable[..., Awaitable[Journal]]


async def test_a_session_is_created_with_its_settings_and_first_rows(journal: Journal) -> None:
    settings = SessionSettings(model="gpt-5.4", approval_policy=ApprovalPolicy.NEVER, max_tokens=7)
    rows = [NewRow(RowKind.SESSION_OPENED, {}), message_row("prompt")]
    record = await journal.create_session("uid", "cluster", "team", "fix-tests", settings, rows)
    assert record == await journal.session("uid")
    assert record.settings == settings
    assert (record.installation, record.namespace, record.name) == ("cluster", "team", "fix-tests")
    assert (record.last_seq, record.ended_turn, record.closed, record.projected_seq) == (2, 0, False, 0)
    assert {row.claim for row in await journal.read("uid")} == {"open"}


async def test_creating_it_again_changes_nothing(journal: Journal) -> None:
    first = await open_example(journal)
    await journal.append("session-1", "x", [event_row(1)])
    again = await journal.create_session(
        "session-1", "other", "other", "other", SessionSettings(max_steps=1), [message_row("other")]
    )
    assert again.settings == first.settings
    assert (again.name, again.last_seq) == (first.name, 3)
    assert len(await journal.read("session-1")) == 3


async def test_many_creators_at_once_create_one_session(journal_url: str, open_journal: OpenJournal) -> None:
    journals = [await open_journal(journal_url) for _ in range(4)]
    records = await asyncio.gather(*(open_example(journals[n % 4]) for n in range(8)))
    assert all(record == records[0] for record in records)
    assert [row.seq for row in await journals[0].read("session-1")] == [1, 2]


async def test_the_projector_finds_who_is_behind_until_it_has_shown_everything(journal: Journal) -> None:
    await open_example(journal, "a")
    await open_example(journal, "b")
    await open_example(journal, "elsewhere", installation="another cluster")
    assert [record.session for record in await journal.behind("installation")] == ["a", "b"]
    assert [record.session for record in await journal.behind("installation", limit=1)] == ["a"]
    await journal.set_projected("a", 2)
    assert [record.session for record in await journal.behind("installation")] == ["b"]
    await journal.append("a", "x", [event_row(1)])
    assert [record.session for record in await journal.behind("installation")] == ["a", "b"]


async def test_what_was_shown_never_goes_back(journal: Journal) -> None:
    await open_example(journal)
    await journal.set_projected("session-1", 2)
    await journal.set_projected("session-1", 1)
    record = await journal.session("session-1")
    assert record is not None
    assert record.projected_seq == 2


async def test_the_sweep_sees_open_sessions_of_its_installation_only(journal: Journal) -> None:
    for session in ("a", "b", "c"):
        await open_example(journal, session)
    await open_example(journal, "elsewhere", installation="another cluster")
    await journal.close_session("b", SessionClosedPayload(reason="SessionCompleted"))
    assert [record.session for record in await journal.open_sessions("installation")] == ["a", "c"]


async def test_ping_answers_on_a_migrated_database(journal: Journal) -> None:
    await journal.ping()
