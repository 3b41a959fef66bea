"""Continue-as-new in the middle of things, on a server that suggests it after a few events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from codex_api import names
from codex_api.approvals import DecisionKind
from codex_api.rows import RowKind
from codex_client.model_server.testing import ScriptedModel, shell
from codex_sandbox.testing import LocalSandbox
from codex_worker.testing import PATIENCE_SECONDS, OpenSession, SessionDriver, temporal_dev_server, wait_until

pytestmark = [pytest.mark.temporal, pytest.mark.usefixtures("worker")]

STEPS = 12


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def temporal_address() -> AsyncIterator[str]:
    suggestion = ("--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=30")
    async with temporal_dev_server(*suggestion) as environment:
        yield environment.client.service_client.config.target_host


@pytest.fixture
async def client(temporal_address: str) -> Client:
    return await Client.connect(temporal_address, data_converter=pydantic_data_converter)


async def test_a_long_turn_continues_as_new_between_its_steps_and_loses_nothing(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession
) -> None:
    model.script(replies=[*[shell(f"echo {number}") for number in range(STEPS)], {"text": "Done."}])
    await open_session("Count.")
    first_run = (await driver.handle.describe()).run_id
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    assert (await driver.handle.describe()).run_id != first_run
    outputs = await driver.outputs()
    assert [output.rsplit("\n", 2)[-2] for output in outputs] == [str(number) for number in range(STEPS)]
    assert len(model.requests) == STEPS + 1
    assert len(await driver.events("TurnStarted")) == 1


async def test_messages_sent_while_it_continues_as_new_are_all_answered(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession
) -> None:
    model.script(replies=[{"text": "Yes.", "delay_seconds": 0.05}] * 60)
    await open_session("Start.")
    seqs = []
    for number in range(20):
        seqs.append(await driver.say(f"message {number}"))
        await asyncio.sleep(0.05)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await driver.journal.waiting_messages(driver.session) or not await is_idle(driver):
            await asyncio.sleep(0.05)
    admitted = [row.payload["message"] for row in await driver.rows(RowKind.ADMISSION)]
    assert sorted(admitted)[1:] == seqs
    assert len(admitted) == len(set(admitted))


async def test_an_approval_survives_a_continuation(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    model.script(replies=[*[shell("ls") for _ in range(8)], shell("touch asked"), {"text": "Done."}])
    await open_session("Ask in the end.")
    asked = (await driver.wait_for("ExecApprovalRequest"))[0]
    await driver.decide(asked["approval_id"], DecisionKind.APPROVE)
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    assert (sandbox.workspace / "asked").exists()


async def is_idle(driver: SessionDriver) -> bool:
    events = await driver.events()
    ended = sum(event["type"] in ("TurnComplete", "TurnAborted", "TurnFailed") for event in events)
    return ended == sum(event["type"] == "TurnStarted" for event in events)


async def test_a_request_for_compaction_survives_a_continuation(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession
) -> None:
    replies = [*[shell("ls") for _ in range(8)], {"text": "One.", "delay_seconds": 1}, {"text": "Two."}]
    model.script(conversations=[{"match": "always", "compaction": {"text": "All of it."}, "replies": replies}])
    await open_session("Go.")
    await wait_until(lambda: len(model.requests) >= 9)
    during = (await driver.handle.describe()).run_id
    await driver.handle.signal(names.SIGNAL_COMPACTION)
    await driver.wait_for_end(1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await driver.handle.describe()).run_id == during:
            await asyncio.sleep(0.02)
    assert await driver.rows(RowKind.COMPACTION) == []
    await driver.say("And now?")
    assert (await driver.wait_for_end(2))["last_agent_message"] == "Two."
    assert [row.payload["reason"] for row in await driver.rows(RowKind.COMPACTION)] == ["requested"]
