"""Replies whose calls take long to judge: the worker's event loop goes on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from codex_api.rows import Classification, RowKind, SessionSettings
from codex_api.session import ApprovalPolicy
from codex_client.model_server.testing import ScriptedModel
from codex_journal.rows import NewRow
from codex_worker import reply
from codex_worker.activities import model as model_activities
from codex_worker.testing import OpenSession, SessionDriver

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
    while len(judged := await driver.rows(RowKind.TOOL_CALL)) < 4:
        await driver.until(lambda _: True)
    assert {row.payload["classification"] for row in judged[1:]} == {Classification.FORBIDDEN.value}
    small, large = judged_in[:2]
    assert small is threading.main_thread()
    assert large is not threading.main_thread()
