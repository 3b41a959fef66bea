"""Turns that a new run of the workflow finds in the journal: judged and ended as the run before would have done it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from codex_api import names
from codex_api.events import TurnAborted, TurnStarted
from codex_api.rows import (
    POSITION_ITEM,
    Delivery,
    ItemPayload,
    MessagePayload,
    RowKind,
    SandboxAddressPayload,
    TurnStoppingPayload,
    UsagePayload,
)
from codex_client.model_server.testing import ScriptedModel
from codex_journal.rows import NewRow
from codex_sandbox.testing import LocalSandbox
from codex_worker.reply import admission_rows, reply_claim
from codex_worker.testing import RunningWorker, SessionDriver

pytestmark = pytest.mark.temporal

SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


async def journal_turn(driver: SessionDriver) -> MessagePayload:
    """Journal a session in its first turn, which nobody runs; returns the prompt."""
    prompt = MessagePayload(key="prompt", text="Answer.", delivery=Delivery.QUEUE)
    rows = [NewRow(RowKind.SESSION_OPENED, {}), NewRow(RowKind.MESSAGE, prompt.model_dump(mode="json"))]
    await driver.journal.create_session(driver.session, "test", "default", "test", driver.settings, rows)
    started = TurnStarted(turn=1, message=2)
    row = NewRow(RowKind.EVENT, started.model_dump(mode="json"), 1)
    await driver.journal.append(driver.session, "t1/started", [row])
    return prompt


async def journal_reply(driver: SessionDriver, prompt: MessagePayload, text: str, status: str) -> None:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    item = {"type": "message", "role": "assistant", "status": status, "id": "m1", "content": content}
    usage = UsagePayload(model="scripted", input_tokens=10, output_tokens=5)
    rows = [
        *admission_rows({2: prompt}, 1, 1),
        NewRow(RowKind.ITEM, ItemPayload(item=item).model_dump(), 1, 1, POSITION_ITEM),
        NewRow(RowKind.USAGE, usage.model_dump(), 1, 1),
    ]
    await driver.journal.append(driver.session, reply_claim(1, 1), rows)


@pytest.mark.parametrize(
    ("text", "status", "schema", "expected"),
    [
        ("Done.", "completed", None, {"type": "TurnComplete", "last_agent_message": "Done.", "message_seq": 5}),
        ("{}", "completed", SCHEMA, {"type": "TurnComplete", "last_agent_message": "{}"}),
        ("I would rather not.", "completed", SCHEMA, {"type": "TurnFailed", "reason": "ModelOutputInvalid"}),
        ("half of", "incomplete", None, {"type": "TurnFailed", "reason": "ModelResponseIncomplete"}),
    ],
)
async def test_a_reply_that_stands_is_judged_as_if_it_had_just_come_and_not_asked_for_again(
    text: str,
    status: str,
    schema: dict[str, Any] | None,
    expected: dict[str, Any],
    worker: RunningWorker,
    driver: SessionDriver,
    model: ScriptedModel,
) -> None:
    driver.settings = driver.settings.model_copy(update={"output_schema": schema})
    await journal_reply(driver, await journal_turn(driver), text, status)
    await driver.start()
    end = await driver.wait_for_end()
    assert {name: end.get(name) for name in expected} == expected
    assert model.requests == []


async def test_steering_that_came_after_the_reply_is_answered_in_the_same_turn(
    worker: RunningWorker, driver: SessionDriver, model: ScriptedModel
) -> None:
    model.script(replies=[{"text": "Done."}, {"text": "Done, please."}])
    await journal_reply(driver, await journal_turn(driver), "Done.", "completed")
    steering = MessagePayload(key="steering", text="And say please.", delivery=Delivery.STEER)
    row = NewRow(RowKind.MESSAGE, steering.model_dump(mode="json"))
    await driver.journal.append(driver.session, "message/steering", [row])
    await driver.start()
    assert (await driver.wait_for_end())["last_agent_message"] == "Done, please."
    assert len(model.requests) == 1
    assert "And say please." in str(model.requests[0].body["input"])


async def test_an_interrupt_of_a_turn_that_was_ending_anyway_leaves_the_next_one_alone(
    start_worker: Callable[[], Awaitable[RunningWorker]], driver: SessionDriver, sandbox: LocalSandbox
) -> None:
    await journal_turn(driver)
    ending = TurnAborted(turn=1, reason="TurnTimedOut", message="the turn took longer than 5 s")
    stopping = TurnStoppingPayload(end=ending.model_dump(mode="json"))
    await driver.journal.append(
        driver.session, "t1/stopping", [NewRow(RowKind.TURN_STOPPING, stopping.model_dump(), 1)]
    )
    await driver.announce(SandboxAddressPayload(generation=1, unix_path=str(sandbox.address.path)))
    await driver.start()
    await driver.handle.signal(names.SIGNAL_INTERRUPT)
    await start_worker()
    assert (await driver.wait_for_end(1))["reason"] == "TurnTimedOut"
    await driver.say("Next.", Delivery.QUEUE)
    assert (await driver.wait_for_end(2))["type"] == "TurnComplete"
