"""When a status is written: seldom for what streams by, at once for what a person waits for, never lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY

from codex_api.rows import RowKind, UsagePayload
from codex_api.session import NetworkMode
from codex_journal.journal import Journal
from codex_journal.rows import Hint, NewRow
from codex_operator.cluster_events import Subject
from codex_operator.settings import Settings
from codex_operator.status_conditions import ShownSession
from codex_operator.testing import ClusterUser, RunningOperator, eventually
from codex_operator.tracked_session import TrackedSession, write_due


def status_writes() -> float:
    return REGISTRY.get_sample_value("codex_status_writes_total", {"outcome": "ok"}) or 0.0


def usage_row() -> NewRow:
    return NewRow(RowKind.USAGE, UsagePayload(model="scripted", input_tokens=1).model_dump(mode="json"), 1, 1)


def make_tracked(**changes: object) -> TrackedSession:
    tracked = TrackedSession(Subject("uid", "default", "x"), ShownSession("x", NetworkMode.NONE), {"conditions": [1]})
    tracked.urgent, tracked.last_write = False, 100.0
    for name, value in changes.items():
        setattr(tracked, name, value)
    return tracked


def test_ordinary_changes_wait_until_a_second_has_passed() -> None:
    assert write_due(make_tracked(), 100.2) == 101.0


def test_approvals_and_endings_do_not_wait() -> None:
    assert write_due(make_tracked(urgent=True), 100.2) == 100.2


def test_failed_writes_are_repeated_less_and_less_often_but_every_few_seconds() -> None:
    waits = [write_due(make_tracked(failures=failures, urgent=True), 100.0) - 100.0 for failures in range(1, 12)]
    assert waits == sorted(waits)
    assert waits[0] < 1
    assert waits[-1] == 5.0


@pytest.mark.apiserver
@pytest.mark.temporal
async def test_many_rows_are_shown_with_few_writes(user: ClusterUser, settings: Settings, journal: Journal) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
        before, begun = status_writes(), time.monotonic()
        for number in range(60):
            await journal.append(uid, f"usage/{number}", [usage_row()])
            await asyncio.sleep(0.03)
        status = await eventually(lambda: user.status("x"), lambda s: s["usage"]["modelCalls"] == 60)
        writes, seconds = status_writes() - before, time.monotonic() - begun
    assert status["usage"]["inputTokens"] == 60
    assert writes <= seconds + 2


class DeafJournal(Journal):
    """A real journal whose hints are all lost on the way."""

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Hint | None]]:
        async with super().watch() as hints:
            yield (hint async for hint in hints if hint is None)


@pytest.mark.apiserver
@pytest.mark.temporal
async def test_what_no_hint_told_is_found_by_reading_again(
    user: ClusterUser, settings: Settings, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex_operator.testing.Journal", DeafJournal)
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
        await journal.append(uid, "usage", [usage_row()])
        await eventually(lambda: user.status("x"), lambda s: s["usage"]["modelCalls"] == 1)
