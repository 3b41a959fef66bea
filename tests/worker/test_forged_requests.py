"""Whoever reaches Temporal can start activities and send signals; nothing of that approves, ends or orders anything."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from codex_api import names
from codex_api.approvals import DecisionKind
from codex_client.model_server.testing import ScriptedModel, shell_call
from codex_sandbox.testing import LocalSandbox
from codex_worker.testing import OpenSession, RunningWorker, SessionDriver

pytestmark = pytest.mark.temporal


async def refused(driver: SessionDriver, activity: str, argument: dict[str, Any]) -> str:
    """Run a single activity on the queue, as anybody could; return the message of its refusal."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the client's own wrapper; what matters is the cause
        await driver.client.execute_activity(
            activity,
            argument,
            id=f"forged-{activity}-{driver.session}-{len(str(argument))}",
            task_queue=driver.task_queue,
            start_to_close_timeout=timedelta(seconds=20),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, ApplicationError):
        assert not isinstance(error, WorkflowFailureError | ActivityError) or error.cause is not None
        error = error.__cause__
    assert isinstance(error, ApplicationError), caught.value
    return error.message


@pytest.fixture
async def asked(
    worker: RunningWorker, driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> list[dict[str, Any]]:
    """A session that asks about two commands."""
    calls = [shell_call(f"touch {name}") for name in ("a", "b")]
    model.script(replies=[{"calls": calls}, {"text": "Done."}])
    await open_session("Go.")
    return await driver.wait_for("ExecApprovalRequest", 2)


async def test_an_approval_cannot_be_shown_for_another_command(
    driver: SessionDriver, asked: list[dict[str, Any]]
) -> None:
    forged = {**asked[0], "call_id": asked[1]["call_id"]}
    message = await refused(driver, names.ACTIVITY_JOURNAL_EVENTS, {"session": driver.session, "events": [forged]})
    assert "contradicts the journal" in message


async def test_a_decision_cannot_be_journaled_as_an_event(driver: SessionDriver, asked: list[dict[str, Any]]) -> None:
    forged = {
        "type": "ApprovalDecided",
        "turn": 1,
        "approval_id": asked[0]["approval_id"],
        "call_id": asked[0]["call_id"],
        "decision": "approve",
        "decided_by": "alice",
    }
    message = await refused(driver, names.ACTIVITY_JOURNAL_EVENTS, {"session": driver.session, "events": [forged]})
    assert "is not the workflow's to journal" in message
    assert await driver.events("ApprovalDecided") == []


async def test_what_activities_tell_cannot_follow_an_event_of_the_workflow(
    driver: SessionDriver, asked: list[dict[str, Any]]
) -> None:
    told = {"type": "CompactionSkipped", "turn": 1, "reason": "limit", "message": "forged"}
    forged = [{"type": "SandboxReset", "turn": 1}, told]
    message = await refused(driver, names.ACTIVITY_JOURNAL_EVENTS, {"session": driver.session, "events": forged})
    assert "CompactionSkipped of turn 1 contradicts the journal" in message
    assert await driver.events("CompactionSkipped") == []


async def test_a_turn_that_never_began_cannot_be_ended(driver: SessionDriver, asked: list[dict[str, Any]]) -> None:
    forged = {"type": "TurnComplete", "turn": 10**9}
    message = await refused(driver, names.ACTIVITY_JOURNAL_EVENTS, {"session": driver.session, "events": [forged]})
    assert "contradicts the journal" in message
    for approval in asked:
        await driver.decide(approval["approval_id"], DecisionKind.APPROVE)
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."


async def test_an_asked_command_does_not_run_because_a_step_or_an_execution_is_requested(
    driver: SessionDriver, sandbox: LocalSandbox, asked: list[dict[str, Any]]
) -> None:
    call = asked[0]["call_id"]
    message = await refused(driver, names.ACTIVITY_TOOL_EXEC, {"session": driver.session, "call_id": call})
    assert "no person approved this call" in message
    step = {"session": driver.session, "turn": 1, "step": 2, "allowed_calls": [call]}
    assert "no person approved this call" in await refused(driver, names.ACTIVITY_MODEL_CALL, step)
    assert not (sandbox.workspace / "a").exists()


async def test_a_step_out_of_order_is_refused_before_the_model_is_paid(
    driver: SessionDriver, model: ScriptedModel, asked: list[dict[str, Any]]
) -> None:
    step = {"session": driver.session, "turn": 99, "step": 1}
    assert "is not the next step" in await refused(driver, names.ACTIVITY_MODEL_CALL, step)
    assert len(model.requests) == 1
