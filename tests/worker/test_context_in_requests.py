"""What a model is told of its surroundings: the first time, after changes, and the bytes of successive requests."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from codex_api import names
from codex_api.rows import RowKind, SandboxAddressPayload, SessionSettings
from codex_api.session import ApprovalPolicy
from codex_client.model_server.testing import ScriptedModel, shell
from codex_sandbox.testing import LocalSandbox
from codex_worker.testing import OpenSession, SessionDriver, wait_until

pytestmark = [pytest.mark.temporal, pytest.mark.usefixtures("worker")]


@pytest.fixture
def settings() -> SessionSettings:
    return SessionSettings(isolation_required=False, approval_policy=ApprovalPolicy.NEVER)


def texts(body: dict[str, Any]) -> list[str]:
    return [item["content"][0]["text"] for item in body["input"] if item.get("role") in ("user", "developer")]


def assert_each_is_the_beginning_of_the_next(model: ScriptedModel) -> None:
    bodies = [recorded.body for recorded in model.requests]
    assert len(bodies) > 1
    for before, after in itertools.pairwise(bodies):
        assert after["instructions"] == before["instructions"]
        assert json.dumps(after["tools"]) == json.dumps(before["tools"])
        items = [json.dumps(item) for item in after["input"]]
        assert items[: len(before["input"])] == [json.dumps(item) for item in before["input"]]


async def test_the_first_request_tells_permissions_documents_and_environment_before_the_prompt(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    (sandbox.workspace / "AGENTS.md").write_text("Always say please.\n")
    await open_session("Say hello.")
    await driver.wait_for_end()
    body = model.requests[0].body
    assert [item["role"] for item in body["input"]] == ["developer", "user", "user", "user"]
    permissions, documents, environment, prompt = texts(body)
    assert permissions.startswith("<permissions instructions>")
    assert str(sandbox.workspace) in permissions
    assert "`never`" in permissions
    assert documents.startswith(f"# AGENTS.md instructions for {sandbox.workspace}\n\n<INSTRUCTIONS>\n")
    assert "Always say please." in documents
    assert f"<cwd>{sandbox.workspace}</cwd>" in environment
    assert "<network>restricted</network>" in environment
    assert prompt == "Say hello."


async def test_each_request_begins_with_the_bytes_of_the_one_before(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    (sandbox.workspace / "AGENTS.md").write_text("One.\n")
    model.script(
        replies=[
            {"reasoning": "Hm.", **shell("echo one")},
            {"calls": [*shell("echo Two. > AGENTS.md")["calls"], *shell("echo three")["calls"]]},
            shell("rm AGENTS.md"),
            {"text": "Done."},
            shell("ls"),
            {"text": "Done again."},
        ]
    )
    await open_session("Go.")
    await driver.wait_for_end(1)
    await driver.say("And again.")
    await driver.wait_for_end(2)
    assert len(model.requests) == 6
    assert_each_is_the_beginning_of_the_next(model)
    told = [text for text in texts(model.requests[-1].body) if text.startswith("# AGENTS.md")]
    assert len(told) == 3
    assert "One." in told[0]
    assert "Two." in told[1]
    assert "take the place of all given above" in told[1]
    assert "no longer hold" in told[2]
    assert len(await driver.rows(RowKind.CONTEXT)) == 5


async def test_a_message_during_a_turn_stands_behind_what_the_request_before_held(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession
) -> None:
    model.script(replies=[shell("tail -f /dev/null", yield_time_ms=1000), shell("ls"), {"text": "Done."}])
    await open_session("Wait a second.")
    await driver.wait_for_rows(RowKind.TOOL_INTENT)
    await driver.say("Also say please.")
    await driver.wait_for_end()
    assert_each_is_the_beginning_of_the_next(model)


async def test_a_turn_that_ended_before_any_reply_leaves_the_context_in_front(
    driver: SessionDriver, model: ScriptedModel
) -> None:
    model.script(replies=[{"text": "Hello.", "delay_seconds": 30}])
    await driver.open("Go.")
    await wait_until(lambda: bool(model.requests))
    await driver.handle.signal(names.SIGNAL_INTERRUPT)
    await driver.wait_for_end(1)
    model.script(replies=[{"text": "Hello."}])
    await driver.say("Go on.")
    await driver.wait_for_end(2)
    assert_each_is_the_beginning_of_the_next(model)
    assert texts(model.requests[-1].body)[-1] == "Go on."
    assert len(await driver.rows(RowKind.CONTEXT)) == 2


async def test_the_first_request_does_not_wait_for_a_sandbox_and_the_documents_come_later(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, announce: Callable[[], Awaitable[None]]
) -> None:
    (sandbox.workspace / "AGENTS.md").write_text("Late but here.\n")
    model.script(replies=[shell("ls"), {"text": "Done."}])
    await driver.open("Go.")
    await wait_until(lambda: bool(model.requests))
    assert len(texts(model.requests[0].body)) == 3
    await announce()
    await driver.wait_for_end()
    assert "Late but here." in texts(model.requests[1].body)[-1]
    assert_each_is_the_beginning_of_the_next(model)


async def test_a_sandbox_that_does_not_answer_holds_no_request_up(driver: SessionDriver, tmp_path: Path) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    path = tmp_path / "silent.sock"
    server = await asyncio.start_unix_server(accept, path)
    try:
        await driver.open("Go.", SandboxAddressPayload(generation=1, unix_path=str(path)))
        assert (await driver.wait_for_end())["type"] == "TurnComplete"
    finally:
        server.close()
    usage = (await driver.rows(RowKind.USAGE))[0]
    started = (await driver.journal.read(driver.session, kinds=[RowKind.EVENT]))[0]
    assert (usage.at - started.at).total_seconds() < 3


async def test_an_output_schema_is_sent_with_every_request_in_strict_mode(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession
) -> None:
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    driver.settings = driver.settings.model_copy(update={"output_schema": schema})
    model.script(replies=[shell("ls"), {"text": '{"answer": "yes"}'}])
    await open_session("Go.")
    await driver.wait_for_end()
    expected = {"format": {"type": "json_schema", "strict": True, "name": "codex_output_schema", "schema": schema}}
    assert [recorded.body["text"] for recorded in model.requests] == [expected, expected]
