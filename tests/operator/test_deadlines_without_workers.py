"""A deadline holds although nobody is there to keep it: no worker, or no Temporal."""

from __future__ import annotations

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from codex_api import conditions
from codex_api.rows import RowKind
from codex_journal.journal import Journal
from codex_operator.settings import Settings
from codex_operator.testing import ClusterUser, RunningOperator, eventually

pytestmark = [pytest.mark.apiserver, pytest.mark.temporal]


async def closings(journal: Journal, uid: str) -> list[str]:
    return [row.payload["reason"] for row in await journal.read(uid, kinds=[RowKind.SESSION_CLOSED])]


async def cancellations(temporal: Client, workflow_id: str) -> int:
    history = await temporal.get_workflow_handle(workflow_id).fetch_history()
    requested = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED
    return sum(event.event_type == requested for event in history.events)


async def test_a_session_without_workers_is_ended_once_and_its_pod_removed(
    user: ClusterUser, settings: Settings, journal: Journal, temporal: Client
) -> None:
    async with RunningOperator(settings, deadline_grace_seconds=1.0):
        uid = await user.create_session("x", limits={"activeDeadlineSeconds": 2})
        other = await user.create_session("y", limits={"activeDeadlineSeconds": 3600})
        status = await eventually(lambda: user.status("x"), lambda s: "runId" in s.get("workflow", {}))
        await eventually(lambda: user.pods(uid), bool)
        assert await closings(journal, uid) == []
        status = await eventually(lambda: user.status("x"), lambda s: s["phase"] == "Failed")
        ready = next(c for c in status["conditions"] if c["type"] == conditions.READY)
        assert ready["reason"] == conditions.REASON_DEADLINE_EXCEEDED
        await eventually(lambda: user.pods(uid), lambda pods: not pods)
        workflow_id = status["workflow"]["id"]
        await eventually(lambda: cancellations(temporal, workflow_id), bool)
        assert await closings(journal, other) == []
    # The next operator finds it closed.
    async with RunningOperator(settings, deadline_grace_seconds=1.0, full_pass_seconds=0.2):
        await eventually(lambda: user.status("y"), lambda s: "runId" in s.get("workflow", {}))
        assert await closings(journal, uid) == [conditions.REASON_DEADLINE_EXCEEDED]
        assert (await user.status("x"))["phase"] == "Failed"


async def test_a_session_is_ended_in_time_while_temporal_is_away(
    user: ClusterUser, settings: Settings, journal: Journal
) -> None:
    away = settings.model_copy(update={"temporal_address": "127.0.0.1:1"})
    async with RunningOperator(away, deadline_grace_seconds=1.0):
        uid = await user.create_session("x", limits={"activeDeadlineSeconds": 2})
        await eventually(lambda: user.pods(uid), bool)
        await eventually(lambda: user.status("x"), lambda s: s.get("phase") == "Failed")
        await eventually(lambda: user.pods(uid), lambda pods: not pods)
    assert await closings(journal, uid) == [conditions.REASON_DEADLINE_EXCEEDED]


async def test_within_the_grace_the_deadline_is_the_workflows(
    user: ClusterUser, settings: Settings, journal: Journal
) -> None:
    async with RunningOperator(settings, full_pass_seconds=0.2):
        uid = await user.create_session("x", limits={"activeDeadlineSeconds": 1})
        await eventually(lambda: user.status("x"), lambda s: "runId" in s.get("workflow", {}))
        created = (await journal.session(uid)).created_at  # type: ignore[union-attr]

        async def seconds_past_the_deadline() -> float:
            rows = await journal.read(uid, limit=1)
            return (rows[0].at.now(created.tzinfo) - created).total_seconds() - 1

        await eventually(seconds_past_the_deadline, lambda seconds: seconds > 2)
        assert await closings(journal, uid) == []
