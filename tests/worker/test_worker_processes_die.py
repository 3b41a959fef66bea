"""Workers are killed, paused and rolled out in the middle of things; no command runs twice."""

from __future__ import annotations

import asyncio
import signal
import urllib.request
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from codex_api.approvals import DecisionKind
from codex_api.rows import RowKind, SessionSettings
from codex_api.session import ApprovalPolicy
from codex_client.model_server.testing import ScriptedModel, shell, shell_call
from codex_sandbox.testing import LocalSandbox
from codex_worker.testing import OpenSession, SessionDriver, WorkerProcess, wait_until

pytestmark = pytest.mark.temporal

StartProcess = Callable[[], Awaitable[WorkerProcess]]

SLOW = "echo ran >> count; sleep 2; echo finished"


@pytest.fixture
def settings() -> SessionSettings:
    return SessionSettings(isolation_required=False, approval_policy=ApprovalPolicy.NEVER)


async def command_runs(driver: SessionDriver, sandbox: LocalSandbox) -> None:
    await driver.wait_for_rows(RowKind.TOOL_INTENT)
    await wait_until((sandbox.workspace / "count").exists)


def assert_ran_once(sandbox: LocalSandbox) -> None:
    assert (sandbox.workspace / "count").read_text() == "ran\n"


async def test_a_running_command_survives_its_worker_and_is_attached_to_again(
    worker_processes: StartProcess,
    driver: SessionDriver,
    sandbox: LocalSandbox,
    model: ScriptedModel,
    open_session: OpenSession,
) -> None:
    model.script(replies=[shell(SLOW), {"text": "{{last_output}}"}])
    first = await worker_processes()
    await open_session("Take your time.")
    await command_runs(driver, sandbox)
    first.send(signal.SIGKILL)
    await worker_processes()
    end = await driver.wait_for_end()
    assert "finished" in end["last_agent_message"]
    assert_ran_once(sandbox)
    assert len(model.requests) == 2


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_two_running_commands_are_both_attached_to_again(
    worker_processes: StartProcess,
    driver: SessionDriver,
    sandbox: LocalSandbox,
    model: ScriptedModel,
    open_session: OpenSession,
    end: signal.Signals,
) -> None:
    lines = (f"echo ran >> {name}; sleep 4; echo {name} finished" for name in ("count", "second"))
    calls = [shell_call(line) for line in lines]
    model.script(replies=[{"calls": calls}, {"text": "Done."}])
    first = await worker_processes()
    await open_session("Two at once.")
    await command_runs(driver, sandbox)
    await wait_until((sandbox.workspace / "second").exists)
    first.send(end)
    await worker_processes()
    async with asyncio.timeout(30):
        await driver.wait_for_end()
    outputs = await driver.outputs()
    assert ["count finished" in outputs[0], "second finished" in outputs[1]] == [True, True]
    assert_ran_once(sandbox)
    assert (sandbox.workspace / "second").read_text() == "ran\n"


async def test_a_killed_worker_does_not_rerun_a_finished_command(
    worker_processes: StartProcess,
    driver: SessionDriver,
    sandbox: LocalSandbox,
    model: ScriptedModel,
    open_session: OpenSession,
) -> None:
    model.script(replies=[shell("echo ran >> count"), {"text": "Done.", "delay_seconds": 2}])
    first = await worker_processes()
    await open_session("Do it once.")
    await wait_until(lambda: len(model.requests) >= 2)
    first.send(signal.SIGKILL)
    await worker_processes()
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    assert_ran_once(sandbox)
    assert len(await driver.rows(RowKind.TOOL_RESULT)) == 1


async def test_a_rollout_in_mid_command_hands_over_at_once_and_kills_nothing(
    worker_processes: StartProcess,
    driver: SessionDriver,
    sandbox: LocalSandbox,
    model: ScriptedModel,
    open_session: OpenSession,
) -> None:
    model.script(replies=[shell("echo ran >> count; sleep 6; echo finished"), {"text": "{{last_output}}"}])
    old = await worker_processes()
    await open_session("Take your time.")
    await command_runs(driver, sandbox)
    await worker_processes()
    old.send(signal.SIGTERM)
    async with asyncio.timeout(3):
        await old.wait()
    assert "finished" in (await driver.wait_for_end())["last_agent_message"]
    assert_ran_once(sandbox)


async def test_a_paused_worker_that_comes_back_runs_nothing_twice(
    worker_processes: StartProcess,
    driver: SessionDriver,
    sandbox: LocalSandbox,
    model: ScriptedModel,
    open_session: OpenSession,
) -> None:
    model.script(replies=[shell(SLOW), {"text": "{{last_output}}"}])
    paused = await worker_processes()
    await open_session("Take your time.")
    await command_runs(driver, sandbox)
    paused.send(signal.SIGSTOP)
    await worker_processes()
    assert "finished" in (await driver.wait_for_end())["last_agent_message"]
    paused.send(signal.SIGCONT)
    await asyncio.sleep(1.5)
    assert_ran_once(sandbox)
    assert len(await driver.rows(RowKind.TOOL_RESULT)) == 1
    assert len(await driver.events("TurnComplete")) == 1


async def test_a_worker_killed_while_a_person_is_waited_for_loses_no_approval(
    worker_processes: StartProcess,
    driver: SessionDriver,
    sandbox: LocalSandbox,
    model: ScriptedModel,
    open_session: OpenSession,
) -> None:
    driver.settings = driver.settings.model_copy(update={"approval_policy": ApprovalPolicy.UNTRUSTED})
    model.script(replies=[shell("echo ran >> count"), {"text": "Done."}])
    first = await worker_processes()
    await open_session("Ask me.")
    asked = (await driver.wait_for("ExecApprovalRequest"))[0]
    first.send(signal.SIGKILL)
    await first.wait()
    await driver.decide(asked["approval_id"], DecisionKind.APPROVE)
    await worker_processes()
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    assert_ran_once(sandbox)


async def test_every_model_call_is_measured_once_also_when_a_worker_dies(
    worker_processes: StartProcess,
    driver: SessionDriver,
    sandbox: LocalSandbox,
    model: ScriptedModel,
    open_session: OpenSession,
) -> None:
    limited = {"text": "Done.", "fail": [{"status": 429, "retry_after": 0.1, "times": 2}]}
    model.script(replies=[shell(SLOW), limited])
    first = await worker_processes()
    await open_session("Count.")
    await command_runs(driver, sandbox)
    before = await asyncio.to_thread(model_calls, first.metrics_url)
    first.send(signal.SIGKILL)
    second = await worker_processes()
    await driver.wait_for_end()
    after = await asyncio.to_thread(model_calls, second.metrics_url)
    journaled = len(await driver.rows(RowKind.USAGE)) + len(await driver.rows(RowKind.MODEL_RETRY))
    assert before + after == journaled == 4


def model_calls(url: str) -> int:
    with urllib.request.urlopen(url) as response:
        families = text_string_to_metric_families(response.read().decode())
    return sum(
        int(sample.value)
        for family in families
        for sample in family.samples
        if sample.name == "codex_model_request_duration_seconds_count"
    )
