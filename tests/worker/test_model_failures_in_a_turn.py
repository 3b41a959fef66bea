"""Every way a provider can fail, seen from the turn: what is waited out, what ends it, what is never done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from codex_api.rows import RowKind, SessionSettings
from codex_api.session import ApprovalPolicy
from codex_client.model_server.testing import ScriptedModel, shell
from codex_journal.journal import Journal
from codex_sandbox.testing import LocalSandbox
from codex_worker.providers import Provider, Providers
from codex_worker.testing import OpenSession, RunningWorker, SessionDriver, make_worker

pytestmark = pytest.mark.temporal


@pytest.fixture
def settings() -> SessionSettings:
    return SessionSettings(isolation_required=False, approval_policy=ApprovalPolicy.NEVER)


async def reasons(driver: SessionDriver) -> list[str]:
    return [row.payload["reason"] for row in await driver.rows(RowKind.MODEL_RETRY)]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"status": 500}, "ModelUnavailable"),
        ({"status": 502, "html": True}, "ModelUnavailable"),
        ({"failed_code": "server_is_overloaded"}, "ModelUnavailable"),
        ({"failed_code": "rate_limit_exceeded", "retry_after": 0.2}, "ModelRateLimited"),
        ({"status": 429}, "ModelRateLimited"),
        ({"after_events": 0}, "ModelUnavailable"),
        ({"garbage": "json"}, "ModelResponseInvalid"),
    ],
    ids=str,
)
async def test_what_passes_is_waited_out_and_told(
    worker: RunningWorker, driver: SessionDriver, model: ScriptedModel, fault: dict[str, Any], reason: str
) -> None:
    model.script(replies=[{"text": "Done.", "fail": {**fault, "times": 2}}])
    await driver.open("Go.")
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    assert await reasons(driver) == [reason, reason]


async def test_a_rate_limit_with_retry_after_is_waited_out_by_the_server_of_the_workflow(
    client: Client, journal: Journal, driver: SessionDriver, model: ScriptedModel
) -> None:
    model.script(replies=[{"text": "Done.", "fail": {"status": 429, "retry_after": 3, "times": 1}}])
    async with make_worker(client, journal, task_queue=driver.task_queue, base_url=model.base_url):
        await driver.open("Go.")
        await driver.wait_for_rows(RowKind.MODEL_RETRY)
    # This worker is gone; another one goes on when the time has come.
    async with make_worker(client, journal, task_queue=driver.task_queue, base_url=model.base_url):
        assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    (waited,) = await driver.rows(RowKind.MODEL_RETRY)
    (usage,) = await driver.rows(RowKind.USAGE)
    assert (usage.at - waited.at).total_seconds() >= 2.9
    assert len(model.requests) == 2


async def test_a_stream_that_drops_after_a_tool_call_never_runs_it_twice(
    worker: RunningWorker, driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    dropped = {"after_items": 1, "times": 2}
    both = {"calls": [*shell("echo one >> ran")["calls"], *shell("echo two >> ran")["calls"]]}
    model.script(replies=[{**both, "fail": dropped}, {"text": "Done.", "fail": {"after_events": 3, "times": 1}}])
    await open_session("Go.")
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    assert sorted((sandbox.workspace / "ran").read_text().split()) == ["one", "two"]
    assert len(await driver.rows(RowKind.TOOL_RESULT)) == 2


async def test_an_incomplete_reply_is_kept_and_ends_the_turn_after_one_request(
    worker: RunningWorker, driver: SessionDriver, model: ScriptedModel
) -> None:
    model.script(replies=[{"text": "0123456789", "fail": {"incomplete": "max_output_tokens"}}, {"text": "Yes."}])
    await driver.open("Go.")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnFailed", "ModelResponseIncomplete")
    assert len(model.requests) == 1
    assert len(await driver.rows(RowKind.USAGE)) == 1
    await driver.say("Go on.")
    assert (await driver.wait_for_end(2))["last_agent_message"] == "Yes."


async def test_an_incomplete_reply_without_anything_whole_ends_the_turn_too(
    worker: RunningWorker, driver: SessionDriver, model: ScriptedModel
) -> None:
    model.script(replies=[shell("ls") | {"fail": {"incomplete": "max_output_tokens"}}])
    await driver.open("Go.")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnFailed", "ModelResponseIncomplete")
    assert len(model.requests) == 1


async def test_events_that_nobody_knows_are_ignored(
    worker: RunningWorker, driver: SessionDriver, model: ScriptedModel
) -> None:
    model.script(replies=[{"text": "Done.", "fail": {"garbage": "unknown"}}])
    await driver.open("Go.")
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    assert await reasons(driver) == []


async def test_a_model_that_does_not_exist_is_named(
    worker: RunningWorker, driver: SessionDriver, model: ScriptedModel
) -> None:
    driver.settings = driver.settings.model_copy(update={"model": "gpt-imaginary"})
    model.script(replies=[{"fail": {"status": 404}}])
    await driver.open("Go.")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnFailed", "ModelUnknown")
    assert "gpt-imaginary" in end["message"]
    assert len(model.requests) == 1


MENDABLE = [
    ({"status": 401}, "ProviderUnauthorized", "Secret", "OPENAI_API_KEY"),
    ({"status": 403}, "ProviderUnauthorized", "Secret", "OPENAI_API_KEY"),
    ({"status": 429, "code": "insufficient_quota"}, "ProviderQuotaExhausted", "by itself", "raise it or pay"),
]


@pytest.mark.parametrize(("fault", "reason", "cure", "_"), MENDABLE, ids=str)
async def test_what_somebody_has_to_mend_parks_the_turn_until_it_is_mended(
    worker: RunningWorker, driver: SessionDriver, model: ScriptedModel, fault: Any, reason: str, cure: str, _: str
) -> None:
    model.script(replies=[{"text": "Done.", "fail": {**fault, "times": 1}}])
    await driver.open("Go.")
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    assert await reasons(driver) == [reason]
    message = (await driver.rows(RowKind.MODEL_RETRY))[0].payload["message"]
    assert cure in message
    assert "resume" not in message


@pytest.mark.parametrize(("fault", "reason", "_", "cure"), MENDABLE, ids=str)
async def test_at_a_terminal_it_fails_at_once_with_the_cure_and_goes_on_when_resumed(
    worker: RunningWorker, driver: SessionDriver, model: ScriptedModel, fault: Any, reason: str, _: str, cure: str
) -> None:
    driver.settings = driver.settings.model_copy(update={"park_when_mendable": False})
    model.script(replies=[{"text": "Done.", "fail": {**fault, "times": 1}}])
    await driver.open("Go.")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnFailed", reason)
    assert cure in end["message"]
    assert "Secret" not in end["message"]
    assert len(model.requests) == 1
    await driver.say("Go on.")
    assert (await driver.wait_for_end(2))["last_agent_message"] == "Done."


async def test_at_a_terminal_a_missing_key_names_the_variable(
    client: Client, journal: Journal, driver: SessionDriver, model: ScriptedModel, tmp_path: Path
) -> None:
    driver.settings = driver.settings.model_copy(update={"park_when_mendable": False})
    provider = Provider(base_url=model.base_url, api_key_file=tmp_path / "none", default_model="scripted")
    providers = Providers(providers={"default": provider})
    async with make_worker(client, journal, task_queue=driver.task_queue, base_url="", providers=providers):
        await driver.open("Go.")
        end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnFailed", "ProviderSecretMissing")
    assert end["message"].endswith("; set OPENAI_API_KEY")
    assert model.requests == []


async def test_reasoning_that_nobody_could_look_up_is_not_sent_back(
    worker: RunningWorker, driver: SessionDriver, model: ScriptedModel
) -> None:
    driver.settings = driver.settings.model_copy(update={"model": "gpt-4o"})
    plan = {"name": "update_plan", "arguments": {"plan": [{"step": "Think.", "status": "completed"}]}}
    model.script(replies=[{"reasoning": "I should plan first.", "calls": [plan]}, {"text": "Done."}])
    await driver.open("Go.")
    assert (await driver.wait_for_end())["type"] == "TurnComplete"
    kinds = [item["type"] for item in model.requests[1].body["input"]]
    assert "function_call_output" in kinds
    assert "reasoning" not in kinds
