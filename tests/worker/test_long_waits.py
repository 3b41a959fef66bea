"""Hours and days, on Temporal's time-skipping server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from codex_api.approvals import DecisionKind
from codex_client.model_server.testing import ScriptedModel, shell
from codex_sandbox.testing import LocalSandbox
from codex_worker.testing import OpenSession, SessionDriver, temporal_time_skipping_server

pytestmark = [pytest.mark.temporal, pytest.mark.usefixtures("worker")]

ASKS = [shell("touch asked"), {"text": "Done."}]


@pytest.fixture
async def environment() -> AsyncIterator[WorkflowEnvironment]:
    async with temporal_time_skipping_server() as environment:
        yield environment


@pytest.fixture
async def client(environment: WorkflowEnvironment) -> Client:
    return environment.client


async def test_an_approval_that_nobody_answers_for_a_day_is_denied(
    environment: WorkflowEnvironment,
    driver: SessionDriver,
    sandbox: LocalSandbox,
    model: ScriptedModel,
    open_session: OpenSession,
) -> None:
    driver.settings = driver.settings.model_copy(update={"approval_timeout_seconds": 86_400})
    model.script(replies=ASKS)
    await open_session("Go.")
    await driver.wait_for("ExecApprovalRequest")
    await environment.sleep(timedelta(hours=23))
    assert await driver.events("ApprovalDecided") == []
    await environment.sleep(timedelta(hours=2))
    await driver.wait_for_end()
    assert [event["decision"] for event in await driver.events("ApprovalDecided")] == ["expire"]
    assert not (sandbox.workspace / "asked").exists()


async def test_waiting_for_a_person_is_no_turn_time(
    environment: WorkflowEnvironment,
    driver: SessionDriver,
    sandbox: LocalSandbox,
    model: ScriptedModel,
    open_session: OpenSession,
) -> None:
    limits = {"approval_timeout_seconds": 86_400, "turn_timeout_seconds": 600}
    driver.settings = driver.settings.model_copy(update=limits)
    model.script(replies=ASKS)
    await open_session("Go.")
    asked = (await driver.wait_for("ExecApprovalRequest"))[0]
    await environment.sleep(timedelta(hours=5))
    await driver.decide(asked["approval_id"], DecisionKind.APPROVE)
    assert (await driver.wait_for_end())["type"] == "TurnComplete"
    assert (sandbox.workspace / "asked").exists()


async def test_an_idle_session_completes_by_itself(environment: WorkflowEnvironment, driver: SessionDriver) -> None:
    driver.settings = driver.settings.model_copy(update={"complete_after_idle_seconds": 3600})
    await driver.open("Say hello.")
    await driver.wait_for_end()
    await environment.sleep(timedelta(minutes=30))
    record = await driver.journal.session(driver.session)
    assert record is not None
    assert not record.closed
    await environment.sleep(timedelta(hours=1))
    await driver.handle.result()
    record = await driver.journal.session(driver.session)
    assert record is not None
    assert record.closed
