"""Whole turns: real Temporal, real journal, real supervisor, the scripted model over HTTP."""

from __future__ import annotations

import asyncio

import pytest

from codex_api import names
from codex_api.approvals import DecisionKind
from codex_api.events import TurnAborted
from codex_api.rows import RowKind, SandboxAddressPayload, TurnStoppingPayload
from codex_api.session import OnTimeout
from codex_api.workflow_payloads import EventsSince
from codex_client.model_server.testing import ScriptedModel, shell, shell_call
from codex_journal.rows import NewRow
from codex_sandbox.testing import LocalSandbox
from codex_worker.testing import OpenSession, SessionDriver, wait_until

pytestmark = [pytest.mark.temporal, pytest.mark.usefixtures("worker")]


async def test_model_only_turn(driver: SessionDriver) -> None:
    await driver.open("Say hello.")
    end = await driver.wait_for_end()
    assert end["type"] == "TurnComplete"
    assert end["last_agent_message"] == "Hello."
    events = await driver.handle.query(names.QUERY_EVENTS, 0, result_type=EventsSince)
    assert [event.type for event in events.events] == ["TurnStarted", "TurnComplete"]
    assert (events.first, events.next) == (0, 2)


async def test_tool_approval_flow(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    model.script(replies=[shell("echo built > result.txt"), {"text": "Done."}])
    await open_session("Build it.")
    asked = (await driver.wait_for("ExecApprovalRequest"))[0]
    assert not (sandbox.workspace / "result.txt").exists()
    await driver.decide(asked["approval_id"], DecisionKind.APPROVE)
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    assert (sandbox.workspace / "result.txt").read_text() == "built\n"
    decided = (await driver.events("ApprovalDecided"))[0]
    assert (decided["decision"], decided["decided_by"]) == ("approve", "alice")


async def test_a_known_safe_command_runs_without_asking(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    (sandbox.workspace / "notes.txt").write_text("the notes\n")
    model.script(replies=[shell("cat notes.txt"), {"text": "{{last_output}}"}])
    await open_session("Read the notes.")
    end = await driver.wait_for_end()
    assert "the notes" in end["last_agent_message"]
    assert await driver.events("ExecApprovalRequest") == []


async def test_a_denied_command_never_runs_and_the_model_is_told(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    model.script(replies=[shell("touch forbidden"), {"text": "{{last_output}}"}])
    await open_session("Touch it.")
    asked = (await driver.wait_for("ExecApprovalRequest"))[0]
    await driver.decide(asked["approval_id"], DecisionKind.DENY, "not on a Sunday")
    end = await driver.wait_for_end()
    assert "rejected by user: not on a Sunday" in end["last_agent_message"]
    assert not (sandbox.workspace / "forbidden").exists()
    assert await driver.rows(RowKind.TOOL_INTENT) == []


async def test_a_mixed_reply_runs_what_may_run_and_answers_every_call_in_order(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    calls = [
        {"name": "exec_command", "arguments": {"cmd": "echo one"}},
        shell_call("touch two"),
        {"name": "exec_command", "arguments": '{"cmd": '},
        {"name": "exec_command", "arguments": {"cmd": "echo four"}},
        {"name": "no_such_tool", "arguments": {}},
    ]
    model.script(replies=[{"calls": calls}, {"text": "Done."}])
    await open_session("Do several things.")
    asked = (await driver.wait_for("ExecApprovalRequest"))[0]
    await driver.decide(asked["approval_id"], DecisionKind.APPROVE)
    await driver.wait_for_end()
    outputs = await driver.outputs()
    assert len(outputs) == 5
    assert "one" in outputs[0]
    assert "exited with code 0" in outputs[1]
    assert "failed to parse function arguments" in outputs[2]
    assert "four" in outputs[3]
    assert "unsupported call: no_such_tool" in outputs[4]
    assert (sandbox.workspace / "two").exists()


async def test_two_approvals_pending_at_once_are_answered_in_the_other_order(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    calls = [shell_call(f"touch {name}") for name in ("a", "b")]
    model.script(replies=[{"calls": calls}, {"text": "Done."}])
    await open_session("Two things.")
    first, second = await driver.wait_for("ExecApprovalRequest", 2)
    await driver.decide(second["approval_id"], DecisionKind.APPROVE)
    await wait_until((sandbox.workspace / "b").exists)
    assert not (sandbox.workspace / "a").exists()
    await driver.decide(first["approval_id"], DecisionKind.DENY)
    await driver.wait_for_end()
    assert not (sandbox.workspace / "a").exists()


async def test_a_signal_without_a_decision_row_approves_nothing(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    model.script(replies=[shell("touch forged"), {"text": "Done."}])
    await open_session("Try it.")
    asked = (await driver.wait_for("ExecApprovalRequest"))[0]
    for _ in range(3):
        await driver.handle.signal(names.SIGNAL_APPROVAL, {"approval_id": asked["approval_id"], "decision": "approve"})
    await asyncio.sleep(0.5)
    assert not (sandbox.workspace / "forged").exists()
    assert await driver.events("TurnComplete") == []


async def test_an_expired_approval_denies(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    driver.settings = driver.settings.model_copy(update={"approval_timeout_seconds": 1})
    model.script(replies=[shell("touch late"), {"text": "{{last_output}}"}])
    await open_session("Wait for me.")
    end = await driver.wait_for_end()
    assert "nobody answered within 1 seconds" in end["last_agent_message"]
    assert [event["decision"] for event in await driver.events("ApprovalDecided")] == ["expire"]
    assert not (sandbox.workspace / "late").exists()


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        (DecisionKind.ABORT, "a person aborted the turn"),
        (None, "nobody decided about `touch late` within 1 s"),
    ],
)
async def test_an_approval_that_ends_the_turn_says_why_in_words(
    decision: DecisionKind | None,
    message: str,
    driver: SessionDriver,
    sandbox: LocalSandbox,
    model: ScriptedModel,
    open_session: OpenSession,
) -> None:
    limits = {"approval_timeout_seconds": 60 if decision else 1, "approval_on_timeout": OnTimeout.ABORT}
    driver.settings = driver.settings.model_copy(update=limits)
    model.script(replies=[shell("touch late"), {"text": "Done."}])
    await open_session("Wait for me.")
    asked = (await driver.wait_for("ExecApprovalRequest"))[0]
    if decision is not None:
        await driver.decide(asked["approval_id"], decision)
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"], end["message"]) == ("TurnAborted", "ApprovalAborted", message)
    assert not (sandbox.workspace / "late").exists()


async def test_a_message_during_a_turn_reaches_the_next_model_call(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession
) -> None:
    model.script(replies=[shell("tail -f /dev/null", yield_time_ms=1000), {"text": "Done."}])
    await open_session("Wait a second.")
    await driver.wait_for_rows(RowKind.TOOL_INTENT)
    await driver.say("Also say please.")
    await driver.wait_for_end()
    texts = [item["content"][0]["text"] for item in model.requests[-1].body["input"] if item.get("role") == "user"]
    assert texts[-2:] == ["Wait a second.", "Also say please."]
    assert len(await driver.events("TurnStarted")) == 1


async def test_a_message_after_the_turn_starts_the_next_one(driver: SessionDriver) -> None:
    await driver.open("Say hello.")
    await driver.wait_for_end(1)
    await driver.say("And again.")
    assert (await driver.wait_for_end(2))["type"] == "TurnComplete"


async def test_an_interrupt_kills_the_command_and_tells_the_model(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    model.script(replies=[shell("tail -f /dev/null", yield_time_ms=30000), {"text": "Done."}])
    await open_session("Work for long.")
    await driver.wait_for_rows(RowKind.TOOL_INTENT)
    await driver.handle.signal(names.SIGNAL_INTERRUPT)
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnAborted", "Interrupted")
    assert (await (await sandbox.client()).health()).live_processes == 0
    await driver.say("Go on.")
    await driver.wait_for_end(2)
    # The killed command returns before its activity hears of the interrupt: even so the model is not asked about it.
    assert len(model.requests) == 2
    conversation = str(model.requests[-1].body["input"])
    assert "<turn_aborted>" in conversation
    # Either the end of the turn answers for the command, or the killed command does.
    assert "aborted by user" in conversation or "exited with code 143" in conversation


async def test_a_turn_that_was_being_stopped_runs_nothing_more_in_a_new_run(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel
) -> None:
    model.script(replies=[shell("ls"), {"text": "Done."}])
    await driver.open("Look.")
    await driver.wait_for_rows(RowKind.TOOL_CALL)
    ending = TurnAborted(turn=1, reason="TurnTimedOut", message="the turn took longer than 5 s")
    stopping = TurnStoppingPayload(end=ending.model_dump(mode="json"))
    row = NewRow(RowKind.TURN_STOPPING, stopping.model_dump(), 1)
    await driver.journal.append(driver.session, "t1/stopping", [row])
    await driver.handle.terminate()
    # The activity of the run that is gone still waits for a sandbox, until a heartbeat tells it.
    await asyncio.sleep(1.5)
    await driver.announce(SandboxAddressPayload(generation=1, unix_path=str(sandbox.address.path)))
    await driver.start()
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnAborted", "TurnTimedOut")
    assert not await driver.rows(RowKind.TOOL_INTENT)
    assert len(model.requests) == 1


async def test_a_final_message_that_is_not_the_json_asked_for_fails_the_turn(
    driver: SessionDriver, model: ScriptedModel
) -> None:
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    driver.settings = driver.settings.model_copy(update={"output_schema": schema})
    model.script(replies=[{"text": "I would rather not."}])
    await driver.open("Answer.")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnFailed", "ModelOutputInvalid")
    assert "I would rather not." in end["message"]


async def test_shutdown_completes_the_session_after_the_turn(driver: SessionDriver) -> None:
    await driver.open("Say hello.")
    await driver.handle.signal(names.SIGNAL_SHUTDOWN)
    await driver.handle.result()
    record = await driver.journal.session(driver.session)
    assert record is not None
    assert record.closed
    assert record.ended_turn == 1


async def test_the_step_limit_ends_the_turn_with_its_name(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession
) -> None:
    driver.settings = driver.settings.model_copy(update={"max_steps": 2})
    model.script(replies=[shell("ls") for _ in range(5)])
    await open_session("Never stop.")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnAborted", "StepLimitReached")
    assert len(model.requests) == 2
    outputs = await driver.outputs()
    assert len(outputs) == 2, "every call has an output, or the next request is refused"
