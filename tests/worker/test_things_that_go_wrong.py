"""Sandboxes that are late, lost or open, models that fail, a Temporal that forgot everything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from codex_api import names
from codex_api.approvals import DecisionKind
from codex_api.rows import RowKind, SandboxAddressPayload, SessionSettings
from codex_api.session import ApprovalPolicy
from codex_client.model_server.testing import ScriptedModel, shell
from codex_journal.journal import Journal
from codex_sandbox.testing import LocalSandbox
from codex_worker.providers import Provider, Providers
from codex_worker.testing import OpenSession, RunningWorker, SessionDriver, make_worker, temporal_dev_server, wait_until

pytestmark = pytest.mark.temporal


@pytest.fixture
def settings() -> SessionSettings:
    return SessionSettings(isolation_required=False, approval_policy=ApprovalPolicy.NEVER)


async def test_a_session_waits_for_a_sandbox_that_comes_late(
    worker: RunningWorker, driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, announce: Callable
) -> None:
    model.script(replies=[shell("echo here"), {"text": "{{last_output}}"}])
    await driver.open("Go.")
    await asyncio.sleep(1.0)
    assert await driver.outputs() == []
    await announce()
    assert "here" in (await driver.wait_for_end())["last_agent_message"]


async def test_a_lost_sandbox_is_told_to_the_model_and_the_command_is_not_repeated(
    worker: RunningWorker, driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    model.script(replies=[shell("echo ran >> count; sleep 30"), {"text": "{{last_output}}"}])
    await open_session("Go.")
    await wait_until((sandbox.workspace / "count").exists)
    await sandbox.restart()
    end = await driver.wait_for_end()
    assert "interrupted" in end["last_agent_message"]
    assert "may have partly run" in end["last_agent_message"]
    assert (sandbox.workspace / "count").read_text() == "ran\n"


async def test_commands_wait_while_a_sandbox_that_must_be_isolated_is_not(
    worker: RunningWorker, driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    driver.settings = driver.settings.model_copy(update={"isolation_required": True})
    model.script(replies=[shell("touch ran"), {"text": "Done."}])
    await open_session("Go.")
    await driver.wait_for_rows(RowKind.SANDBOX_REPORT)
    await asyncio.sleep(1.0)
    assert not (sandbox.workspace / "ran").exists()
    report = (await driver.rows(RowKind.SANDBOX_REPORT))[0].payload
    assert report["isolated"] is not True


async def test_garbage_ends_the_turn_with_a_typed_reason_after_five_tries(
    worker: RunningWorker, driver: SessionDriver, model: ScriptedModel
) -> None:
    model.script(replies=[{"fail": {"garbage": "html"}}])
    await driver.open("Go.")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnFailed", "ModelResponseInvalid")
    assert len(await driver.rows(RowKind.MODEL_RETRY)) == 5
    await asyncio.sleep(0.3)
    assert len(await driver.events("TurnStarted")) == 1, "the failed prompt does not start another turn"


async def test_a_rate_limit_is_waited_out_and_told(
    worker: RunningWorker, driver: SessionDriver, model: ScriptedModel
) -> None:
    model.script(replies=[{"text": "Done.", "fail": {"status": 429, "retry_after": 0.5, "times": 2}}])
    await driver.open("Go.")
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    reasons = [row.payload["reason"] for row in await driver.rows(RowKind.MODEL_RETRY)]
    assert reasons == ["ModelRateLimited", "ModelRateLimited"]


async def test_a_dropped_stream_is_charged_and_tried_again(
    worker: RunningWorker, driver: SessionDriver, model: ScriptedModel
) -> None:
    model.script(replies=[{"text": "A long answer. " * 20, "fail": {"after_events": 8, "times": 1}}])
    await driver.open("Go.")
    assert (await driver.wait_for_end())["type"] == "TurnComplete"
    usages = [row.payload for row in await driver.rows(RowKind.USAGE)]
    assert [usage["estimated"] for usage in usages] == [True, False]


async def test_an_unknown_model_ends_the_turn_with_its_name(
    worker: RunningWorker, driver: SessionDriver, model: ScriptedModel
) -> None:
    model.script(replies=[{"text": "Hello."}], models=["another"])
    await driver.open("Go.")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnFailed", "ModelUnknown")
    assert "scripted" in end["message"]


async def test_a_missing_key_parks_the_turn_until_it_is_there(
    client: Client, journal: Journal, driver: SessionDriver, model: ScriptedModel, task_queue: str, tmp_path: Path
) -> None:
    key = tmp_path / "api-key"
    provider = Provider(base_url=model.base_url, api_key_file=key, default_model="scripted")
    providers = Providers(providers={"default": provider})
    async with make_worker(client, journal, task_queue=task_queue, base_url="", providers=providers):
        await driver.open("Go.")
        rows = await driver.wait_for_rows(RowKind.MODEL_RETRY)
        assert rows[0].payload["reason"] == "ProviderSecretMissing"
        key.write_text("a-key\n")
        assert (await driver.wait_for_end())["type"] == "TurnComplete"


async def test_the_token_limit_ends_the_turn_before_the_next_call(
    worker: RunningWorker, driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    driver.settings = driver.settings.model_copy(update={"max_tokens": 5000})
    expensive = {**shell("ls"), "usage": {"input": 6000, "output": 10}}
    model.script(replies=[expensive, {"text": "Done."}])
    await open_session("Go.")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnAborted", "TokenLimitReached")
    assert len(model.requests) == 1


async def test_a_turn_that_takes_too_long_is_ended_and_its_processes_are_killed(
    worker: RunningWorker, driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    driver.settings = driver.settings.model_copy(update={"turn_timeout_seconds": 2})
    model.script(replies=[shell("sleep 60"), {"text": "Done."}])
    await open_session("Go.")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnAborted", "TurnTimedOut")
    assert (await (await sandbox.client()).health()).live_processes == 0


async def test_a_session_goes_on_from_its_journal_when_temporal_lost_its_data(
    client: Client,
    driver: SessionDriver,
    sandbox: LocalSandbox,
    model: ScriptedModel,
    open_session: OpenSession,
    journal: Journal,
) -> None:
    driver.settings = driver.settings.model_copy(update={"approval_policy": ApprovalPolicy.UNTRUSTED})
    model.script(replies=[shell("cat /dev/null"), shell("touch approved"), {"text": "Done."}])
    async with make_worker(client, journal, task_queue=driver.task_queue, base_url=model.base_url):
        await open_session("Go.")
        asked = (await driver.wait_for("ExecApprovalRequest"))[0]
    async with temporal_dev_server() as empty:
        address = empty.client.service_client.config.target_host
        driver.client = await Client.connect(address, data_converter=pydantic_data_converter)
        async with make_worker(driver.client, journal, task_queue=driver.task_queue, base_url=model.base_url):
            await driver.start()
            await driver.decide(asked["approval_id"], DecisionKind.APPROVE)
            assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    assert (sandbox.workspace / "approved").exists()
    assert len(model.requests) == 3, "nothing was asked of the model again"
    assert len(await driver.events("ExecApprovalRequest")) == 1, "nobody was asked again"
    assert len(await driver.events("TurnStarted")) == 1


async def test_the_model_is_told_when_a_sandbox_was_replaced_between_commands(
    worker: RunningWorker, driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    model.script(replies=[shell("echo one"), {"text": "One."}, shell("echo two"), shell("ls"), {"text": "Two."}])
    await open_session("Go.")
    await driver.wait_for_end(1)
    async with LocalSandbox(session=driver.session, generation=2, workspace=sandbox.workspace) as second:
        await driver.announce(SandboxAddressPayload(generation=2, unix_path=str(second.address.path)))
        await sandbox.kill()
        await driver.say("Go on.")
        await driver.wait_for_end(2)
    told = ["the sandbox was replaced since the last command" in output for output in await driver.outputs()]
    assert told == [False, True, False]


async def test_a_sandbox_that_cannot_stop_its_processes_is_given_up(
    worker: RunningWorker,
    driver: SessionDriver,
    sandbox: LocalSandbox,
    model: ScriptedModel,
    open_session: OpenSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("codex_worker.calls.STOP_PROCESSES_WITHIN", timedelta(seconds=2))
    model.script(replies=[shell("sleep 60"), {"text": "Done."}])
    await open_session("Go.")
    await driver.wait_for_rows(RowKind.TOOL_INTENT)
    await sandbox.kill()
    await driver.handle.signal(names.SIGNAL_INTERRUPT)
    await driver.wait_for_end()
    assert len(await driver.events("SandboxReset")) == 1
    async with LocalSandbox(session=driver.session, generation=2, workspace=sandbox.workspace) as second:
        await driver.announce(SandboxAddressPayload(generation=2, unix_path=str(second.address.path)))
        await driver.say("Go on.")
        assert (await driver.wait_for_end(2))["type"] == "TurnComplete"
