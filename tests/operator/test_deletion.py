"""Deleted sessions: closed first, then cancelled, and never held for ever."""

from __future__ import annotations

import time

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from codex_api import conditions
from codex_api.rows import RowKind
from codex_journal.journal import Journal
from codex_operator.settings import Settings
from codex_operator.testing import ClusterUser, RunningOperator, eventually

pytestmark = [pytest.mark.apiserver, pytest.mark.temporal]

FINALIZER_SECONDS = 3.0


async def cancel_requested(temporal: Client, workflow_id: str) -> bool:
    history = await temporal.get_workflow_handle(workflow_id).fetch_history()
    return any(e.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED for e in history.events)


async def closing(journal: Journal, uid: str) -> list[str]:
    """Return the reasons of the session's close, at most one."""
    return [row.payload["reason"] for row in await journal.read(uid, kinds=[RowKind.SESSION_CLOSED])]


async def test_deleting_closes_the_session_cancels_the_workflow_and_removes_the_pod(
    user: ClusterUser, settings: Settings, journal: Journal, temporal: Client
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        status = await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
        await eventually(lambda: user.pods(uid), bool)
        await user.delete_session("x")
        await eventually(lambda: user.exists("x"), lambda exists: not exists)
        assert await closing(journal, uid) == [conditions.REASON_SESSION_CANCELLED]
        assert await cancel_requested(temporal, status["workflow"]["id"])
        assert await user.pods(uid) == []


async def test_deleting_while_temporal_is_away_lets_go_in_bounded_time(
    user: ClusterUser, settings: Settings, journal: Journal
) -> None:
    away = settings.model_copy(update={"temporal_address": "127.0.0.1:1"})
    async with RunningOperator(away, finalizer_seconds=FINALIZER_SECONDS):
        uid = await user.create_session("x")
        await eventually(
            lambda: user.condition("x", conditions.READY),
            lambda c: c.get("reason") == conditions.REASON_WORKFLOW_NOT_STARTED,
        )
        begun = time.monotonic()
        await user.delete_session("x")
        await eventually(lambda: user.exists("x"), lambda exists: not exists)
        assert time.monotonic() - begun < FINALIZER_SECONDS + 5
    assert await closing(journal, uid) == [conditions.REASON_SESSION_CANCELLED]


async def test_a_session_deleted_while_the_operator_was_down_is_ended_by_the_next_one(
    user: ClusterUser, settings: Settings, journal: Journal, temporal: Client
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        status = await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
    await user.delete_session("x")
    async with RunningOperator(settings):
        await eventually(lambda: user.exists("x"), lambda exists: not exists)
        assert await eventually(lambda: closing(journal, uid), bool) == [conditions.REASON_SESSION_CANCELLED]
        await eventually(lambda: cancel_requested(temporal, status["workflow"]["id"]), bool)


async def test_a_session_whose_finalizer_was_torn_off_is_swept(
    user: ClusterUser, settings: Settings, journal: Journal, temporal: Client
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        status = await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
    await user.clean_up()
    installation = status["workflow"]["id"].split("/")[1]
    async with RunningOperator(settings):
        assert await eventually(lambda: closing(journal, uid), bool) == [conditions.REASON_SESSION_CANCELLED]
        await eventually(lambda: cancel_requested(temporal, status["workflow"]["id"]), bool)
        # Nobody is left to read its status: it does not stay on the projector's list for ever.
        await eventually(lambda: journal.behind(installation), lambda behind: not behind)
