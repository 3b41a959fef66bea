"""A session from its creation to its end, on a real API server, a real Temporal and a real journal."""

from __future__ import annotations

import pytest
from temporalio.client import Client

from codex_api.rows import RowKind
from codex_journal.journal import Journal
from codex_operator.settings import Settings
from codex_operator.testing import ClusterUser, RunningOperator, eventually

pytestmark = [pytest.mark.apiserver, pytest.mark.temporal]


async def test_a_new_session_is_journaled_started_and_given_a_sandbox(
    user: ClusterUser, settings: Settings, journal: Journal, temporal: Client
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("hello", "Say hello.")
        pods = await eventually(lambda: user.pods(uid), bool)
        rows = await journal.read(uid)
        status = await eventually(lambda: user.status("hello"), lambda s: "workflow" in s and "sandbox" in s)
    assert [row.kind for row in rows] == [RowKind.SESSION_OPENED, RowKind.MESSAGE]
    assert rows[1].payload == {"key": "prompt", "text": "Say hello.", "delivery": "Queue"}
    assert len(pods) == 1
    described = await temporal.get_workflow_handle(status["workflow"]["id"]).describe()
    assert described.run_id == status["workflow"]["runId"]
    assert status["phase"] == "Pending"
