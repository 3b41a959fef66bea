"""Journal, Temporal or API server away: sessions wait with a clear condition, then everything catches up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from temporalio.client import Client

from codex_api import conditions
from codex_api.rows import RowKind
from codex_cluster.testing import ApiServer
from codex_journal.journal import Journal
from codex_journal.migrating import migrate
from codex_journal.rows import NewRow
from codex_operator.settings import Settings
from codex_operator.testing import Cable, ClusterUser, RunningOperator, eventually

pytestmark = [pytest.mark.apiserver, pytest.mark.temporal]


@pytest.fixture
async def temporal_cable(settings: Settings) -> AsyncIterator[Cable]:
    host, _, port = settings.temporal_target.rpartition(":")
    async with Cable(host, int(port)) as cable:
        yield cable


@pytest.fixture
async def api_server_cable(api_server: ApiServer) -> AsyncIterator[Cable]:
    address = urlsplit(api_server.server)
    assert address.hostname is not None
    assert address.port is not None
    async with Cable(address.hostname, address.port) as cable:
        yield cable


@pytest.fixture
def cabled_settings(settings: Settings, api_server_cable: Cable, tmp_path: Path) -> Settings:
    """Settings of an operator that reaches the API server by the cable only."""
    assert settings.kubeconfig is not None
    kubeconfig = yaml.safe_load(settings.kubeconfig.read_text())
    kubeconfig["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{api_server_cable.port}"
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig))
    return settings.model_copy(update={"kubeconfig": path})


async def test_a_session_waits_for_a_journal_that_is_not_there_yet(
    user: ClusterUser, settings: Settings, database_url: str, temporal: Client
) -> None:
    async with RunningOperator(settings):
        await user.create_session("x")
        condition = await eventually(
            lambda: user.condition("x", conditions.READY),
            lambda c: c.get("reason") == conditions.REASON_JOURNAL_UNAVAILABLE,
        )
        assert condition["status"] == "False"
        await migrate(database_url)
        status = await eventually(lambda: user.status("x"), lambda s: s.get("workflow", {}).get("runId"))
        await eventually(
            lambda: user.condition("x", conditions.READY), lambda c: c["reason"] == conditions.REASON_PENDING
        )
    assert (await temporal.get_workflow_handle(status["workflow"]["id"]).describe()).run_id


async def test_a_session_waits_for_temporal_and_is_started_when_it_is_back(
    user: ClusterUser, settings: Settings, journal: Journal, temporal_cable: Cable
) -> None:
    await temporal_cable.cut()
    cabled = settings.model_copy(update={"temporal_address": f"127.0.0.1:{temporal_cable.port}"})
    async with RunningOperator(cabled):
        uid = await user.create_session("x")
        await eventually(
            lambda: user.condition("x", conditions.READY),
            lambda c: c.get("reason") == conditions.REASON_WORKFLOW_NOT_STARTED,
        )
        assert await user.pods(uid) != []  # the sandbox does not wait
        await temporal_cable.mend()
        await eventually(lambda: user.status("x"), lambda s: s["workflow"].get("runId"))


async def test_the_status_catches_up_after_the_api_server_was_away(
    user: ClusterUser, cabled_settings: Settings, journal: Journal, api_server_cable: Cable
) -> None:
    async with RunningOperator(cabled_settings):
        uid = await user.create_session("x")
        await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
        await api_server_cable.cut()
        started = {"type": "TurnStarted", "turn": 1, "message": 2}
        await journal.append(uid, "t1/started", [NewRow(RowKind.EVENT, started, 1)])
        complete = {"type": "TurnComplete", "turn": 1, "last_agent_message": "Done."}
        await journal.end_turn(uid, 1, lambda _: [NewRow(RowKind.EVENT, complete, 1)])
        assert (await user.status("x"))["phase"] == "Pending"
        await api_server_cable.mend()
        status = await eventually(lambda: user.status("x"), lambda s: s["phase"] == "Idle")
        await eventually(lambda: journal.behind(record_installation(uid, status)), lambda behind: not behind)
    assert status["lastMessage"] == "Done."
    assert [event["type"] for event in status["events"]] == ["TurnStarted", "TurnComplete"]


def record_installation(uid: str, status: dict[str, object]) -> str:
    """Return the installation's id, the second part of the workflow id."""
    workflow = status["workflow"]
    assert isinstance(workflow, dict)
    assert workflow["id"].endswith(uid)
    return str(workflow["id"].split("/")[1])
