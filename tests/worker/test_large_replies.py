"""Replies whose calls take long to judge: the worker's event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from codex_api import names
from codex_api.rows import Classification, RowKind, SessionSettings
from codex_api.session import ApprovalPolicy
from codex_client.model_server.testing import ScriptedModel
from codex_journal.rows import NewRow
from codex_worker import reply
from codex_worker.activities import model as model_activities
from codex_worker.testing import PATIENCE_SECONDS, OpenSession, SessionDriver

pytestmark = [pytest.mark.temporal, pytest.mark.usefixtures("worker")]


@pytest.fixture
def settings() -> SessionSettings:
    return SessionSettings(isolation_required=False, approval_policy=ApprovalPolicy.ON_REQUEST)


async def test_a_large_reply_is_judged_beside_the_event_loop(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_in: list[threading.Thread] = []

    def judging(*args: Any, **more: Any) -> Sequence[NewRow]:
        judged_in.append(threading.current_thread())
        return reply.reply_rows(*args, **more)

    monkeypatch.setattr(model_activities, "reply_rows", judging)
    costly = "rm -f x; eval " + " ".join(f"'a {number}'" for number in range(10_000))
    calls = [{"name": "exec_command", "arguments": {"cmd": costly}}] * 3
    model.script(replies=[{"calls": [{"name": "update_plan", "arguments": {"plan": []}}]}, {"calls": calls}])
    await open_session("Go.")
    # Longer than a person can be shown: judged as asking, so that nobody can approve it.
    judged = await driver.wait_for_rows(RowKind.TOOL_CALL, 4)
    assert {row.payload["classification"] for row in judged[1:]} == {Classification.FORBIDDEN.value}
    small, large = judged_in[:2]
    assert small is threading.main_thread()
    assert large is not threading.main_thread()


async def test_a_reply_that_is_still_judged_when_its_turn_is_interrupted_is_charged(
    driver: SessionDriver, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging, done = threading.Event(), threading.Event()

    def judged_late(*_: Any, **__: Any) -> Sequence[NewRow]:
        judging.set()
        done.wait(PATIENCE_SECONDS)
        return []

    monkeypatch.setattr(model_activities, "reply_rows", judged_late)
    call = {"name": "exec_command", "arguments": {"cmd": "echo " + "x" * 20_000}}
    model.script(replies=[{"calls": [call], "usage": {"input": 5000, "output": 6000}}])
    await driver.open("Go.")
    assert await asyncio.to_thread(judging.wait, PATIENCE_SECONDS)
    await driver.handle.signal(names.SIGNAL_INTERRUPT)
    assert (await driver.wait_for_end())["reason"] == "Interrupted"
    try:
        (charged,) = await driver.wait_for_rows(RowKind.USAGE)
    finally:
        done.set()
    assert charged.claim.startswith("t1.s1/cancelled/")
    assert (charged.payload["input_tokens"], charged.payload["output_tokens"]) == (5000, 6000)
