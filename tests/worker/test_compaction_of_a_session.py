"""Conversations that are replaced by a summary: at the model's window, at its error, and on request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from codex_api import names
from codex_api.rows import Delivery, RowKind, SessionSettings
from codex_api.session import ApprovalPolicy
from codex_client.model_server.testing import ScriptedModel, shell
from codex_journal.journal import Journal
from codex_sandbox.testing import LocalSandbox
from codex_worker.testing import OpenSession, SessionDriver, wait_until
from codex_worker.tools.view_image import MAX_CONVERSATION_CHARACTERS
from codex_worker.transcript import Transcripts

pytestmark = [pytest.mark.temporal, pytest.mark.usefixtures("worker")]

SUMMARY = {"text": "We looked around."}
# The window of a model that nobody knows is 128,000 tokens.
FULL = {"usage": {"input": 120_000, "output": 10}}


@pytest.fixture
def settings() -> SessionSettings:
    return SessionSettings(isolation_required=False, approval_policy=ApprovalPolicy.NEVER, max_tokens=10_000_000)


def script(model: ScriptedModel, *replies: dict[str, Any], compaction: dict[str, Any] | None = None) -> None:
    model.script(conversations=[{"match": "always", "compaction": compaction or SUMMARY, "replies": list(replies)}])


def texts(body: dict[str, Any]) -> list[str]:
    return [item["content"][0]["text"] for item in body["input"] if item.get("role") in ("user", "developer")]


async def assert_cold_fold_agrees(journal: Journal, driver: SessionDriver, model: ScriptedModel) -> None:
    """Another worker, which never saw the session, makes the same conversation of the journal."""
    items = (await Transcripts(journal).load(driver.session)).items()
    sent = model.requests[-1].body["input"]
    assert json.dumps(items[: len(sent)]) == json.dumps(sent)
    assert items[len(sent) :], "the newest reply stands behind what was sent"


async def test_a_full_conversation_is_replaced_and_the_turn_goes_on(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession, journal: Journal
) -> None:
    (sandbox.workspace / "AGENTS.md").write_text("Say please.\n")
    script(model, shell("echo one"), shell("echo two") | FULL, shell("echo three"), {"text": "Done."})
    await open_session("Look around.")
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    asked, summarising, after = (model.requests[number].body for number in (1, 2, 3))
    assert "tools" not in summarising
    assert summarising["instructions"] == asked["instructions"]
    assert summarising["input"][: len(asked["input"])] == asked["input"]
    assert "summary" in texts(summarising)[-1]
    prompt, summary, permissions, documents, environment = texts(after)
    assert prompt == "Look around."
    assert "We looked around." in summary
    assert permissions.startswith("<permissions")
    assert "Say please." in documents
    assert environment.startswith("<environment_context>")
    assert not any(item["type"].endswith("output") for item in after["input"])
    assert [row.payload["reason"] for row in await driver.rows(RowKind.COMPACTION)] == ["limit"]
    assert len(await driver.rows(RowKind.USAGE)) == 5
    assert len(await driver.rows(RowKind.TOOL_RESULT)) == 3, "the old rows stay"
    await assert_cold_fold_agrees(journal, driver, model)


async def test_an_overflow_compacts_and_the_same_turn_goes_on(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession, journal: Journal
) -> None:
    too_long = {"status": 400, "code": "context_length_exceeded", "times": 1}
    script(model, shell("echo one"), shell("echo two") | {"fail": too_long}, {"text": "Done."})
    await open_session("Go.")
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    assert [row.payload["reason"] for row in await driver.rows(RowKind.COMPACTION)] == ["overflow"]
    assert await driver.rows(RowKind.MODEL_RETRY) == []
    assert len(await driver.events("TurnStarted")) == 1
    await assert_cold_fold_agrees(journal, driver, model)


async def test_an_overflow_in_the_stream_is_charged_and_compacts(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession
) -> None:
    too_long = {"failed_code": "context_length_exceeded", "times": 1}
    script(model, shell("echo one"), {"text": "Done.", "fail": too_long})
    await open_session("Go.")
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    assert [row.payload["estimated"] for row in await driver.rows(RowKind.USAGE)].count(True) == 1


async def test_a_prompt_that_no_compaction_makes_fit_ends_the_turn(driver: SessionDriver, model: ScriptedModel) -> None:
    script(model, {"text": "Never.", "fail": {"status": 400, "code": "context_length_exceeded"}})
    await driver.open("Go.")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnFailed", "ContextWindowExceeded")
    assert await driver.rows(RowKind.COMPACTION) == []
    await driver.say("Again.")
    end = await driver.wait_for_end(2)
    assert (end["type"], end["reason"]) == ("TurnFailed", "ContextWindowExceeded")
    assert len(await driver.rows(RowKind.COMPACTION)) == 1
    assert len(model.requests) == 4


async def test_a_conversation_too_long_for_its_own_summary_loses_its_oldest_parts(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession
) -> None:
    too_long = {"failed_code": "context_length_exceeded", "times": 2}
    script(
        model,
        *[shell(f"echo {number}; seq 500") for number in range(6)],
        shell("echo last") | FULL,
        {"text": "Done."},
        compaction={**SUMMARY, "fail": too_long},
    )
    await open_session("Go.")
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    tries = [recorded.body["input"] for recorded in model.requests if "tools" not in recorded.body]
    assert len(tries) == 3
    assert len(tries[0]) > len(tries[1]) > len(tries[2])
    assert tries[2][-5:] == tries[0][-5:]
    assert len(await driver.rows(RowKind.COMPACTION)) == 1


async def test_one_step_too_long_for_its_own_summary_loses_the_middle_of_its_outputs(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession, journal: Journal
) -> None:
    too_long = {"status": 400, "code": "context_length_exceeded", "times": 2}
    calls = [shell("seq 20000")["calls"][0]] * 30
    script(model, {"calls": calls}, {"text": "Done."}, {"text": "More."}, compaction={**SUMMARY, "fail": too_long})
    await open_session("Go.")
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    tries = [recorded.body["input"] for recorded in model.requests if "tools" not in recorded.body]
    outputs = [[item["output"] for item in body if item["type"] == "function_call_output"] for body in tries]
    assert [len(texts) for texts in outputs] == [30, 30, 30]
    first, second, third = (sum(map(len, texts)) for texts in outputs)
    assert first > 30 * 30_000
    assert third < second * 0.6 < first * 0.36
    assert [row.payload["reason"] for row in await driver.rows(RowKind.COMPACTION)] == ["limit"]
    await assert_cold_fold_agrees(journal, driver, model)
    await driver.say("Go on.", Delivery.QUEUE)
    assert (await driver.wait_for_end(2))["type"] == "TurnComplete", "the session stays usable"


async def test_one_step_of_many_images_is_summarised_without_them(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(600_000)
    (sandbox.workspace / "a.png").write_bytes(picture)
    calls = [{"name": "view_image", "arguments": {"path": "a.png"}}] * 18
    script(
        model,
        {"calls": calls} | FULL,
        {"text": "Done."},
        compaction={**SUMMARY, "fail": {"status": 413, "times": 1}},
    )
    await open_session("Look.")
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    tries = [recorded.body["input"] for recorded in model.requests if "tools" not in recorded.body]
    assert len(tries) == 2
    assert len(json.dumps(tries[0])) < MAX_CONVERSATION_CHARACTERS + 100_000
    outputs = [row.payload["item"]["output"] for row in await driver.rows(RowKind.TOOL_RESULT)]
    shown = [output for output in outputs if isinstance(output, list)]
    assert len(shown) == MAX_CONVERSATION_CHARACTERS // len(shown[0][0]["image_url"])
    refused = [output for output in outputs if isinstance(output, str)]
    assert len(refused) == 18 - len(shown)
    assert all("of at most 8 MiB" in text for text in refused)
    assert "data:image" not in json.dumps(tries[1])
    transcript = await Transcripts(driver.journal).load(driver.session)
    assert transcript.image_characters == 0, "after a compaction there is room again"


async def test_a_summary_that_fails_is_tried_again_later(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession
) -> None:
    away = {"status": 500, "times": 2}
    script(model, shell("ls") | FULL, {"text": "Done."}, compaction={**SUMMARY, "fail": away})
    await open_session("Go.")
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    assert len(await driver.rows(RowKind.MODEL_RETRY)) == 2
    assert len(await driver.rows(RowKind.COMPACTION)) == 1


async def test_a_request_for_compaction_is_done_by_the_next_step_once(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession, journal: Journal
) -> None:
    script(model, {"text": "One."}, shell("ls"), {"text": "Two."}, {"text": "Three."})
    await open_session("First.")
    await driver.wait_for_end(1)
    await driver.handle.signal(names.SIGNAL_COMPACTION)
    await driver.handle.signal(names.SIGNAL_COMPACTION)
    await driver.say("Second.", Delivery.QUEUE)
    assert (await driver.wait_for_end(2))["last_agent_message"] == "Two."
    assert [row.payload["reason"] for row in await driver.rows(RowKind.COMPACTION)] == ["requested"]
    assert texts(model.requests[-1].body)[0] == "First."
    assert texts(model.requests[-1].body)[-1] == "Second."
    await driver.say("Third.", Delivery.QUEUE)
    await driver.wait_for_end(3)
    assert len(await driver.rows(RowKind.COMPACTION)) == 1
    await assert_cold_fold_agrees(journal, driver, model)


async def test_a_second_compaction_keeps_what_a_person_said_and_one_summary(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession, journal: Journal
) -> None:
    script(model, shell("ls") | FULL, shell("pwd") | FULL, shell("echo x"), {"text": "Done."})
    await open_session("Go.")
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    assert len(await driver.rows(RowKind.COMPACTION)) == 2
    told = texts(model.requests[-1].body)
    assert told[0] == "Go."
    assert sum("We looked around." in text for text in told) == 1
    await assert_cold_fold_agrees(journal, driver, model)


async def test_an_interrupted_summary_leaves_the_conversation_as_it_was(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession
) -> None:
    slow = {**SUMMARY, "delay_seconds": 30}
    script(model, shell("echo kept") | FULL, {"text": "Done."}, compaction=slow)
    await open_session("Go.")
    await wait_until(lambda: len(model.requests) >= 2)
    await driver.handle.signal(names.SIGNAL_INTERRUPT)
    await driver.wait_for_end(1)
    assert await driver.rows(RowKind.COMPACTION) == []
    script(model, shell("echo kept"), {"text": "Done."})
    await driver.say("Go on.")
    assert (await driver.wait_for_end(2))["last_agent_message"] == "Done."


async def test_a_compaction_beyond_the_budget_is_left_out_and_the_message_answered(
    driver: SessionDriver, model: ScriptedModel
) -> None:
    driver.settings = driver.settings.model_copy(update={"max_tokens": 30_000})
    used = {"usage": {"input": 20_000, "output": 10}}
    script(model, {"text": "One."} | used, {"text": "Two."}, compaction=SUMMARY | used)
    await driver.open("Go.")
    await driver.wait_for_end(1)
    await driver.handle.signal(names.SIGNAL_COMPACTION)
    await driver.say("And now?", Delivery.QUEUE)
    assert (await driver.wait_for_end(2)).get("last_agent_message") == "Two."
    assert await driver.rows(RowKind.COMPACTION) == []
    assert all("tools" in recorded.body for recorded in model.requests)
    (skipped,) = await driver.events("CompactionSkipped")
    assert (skipped["turn"], skipped["reason"]) == (2, "requested")
    assert "used 20010 of its 30000 tokens, and a summary with the call after it needs about" in skipped["message"]


async def test_a_compaction_that_would_leave_nothing_for_the_step_is_left_out(
    driver: SessionDriver, model: ScriptedModel
) -> None:
    driver.settings = driver.settings.model_copy(update={"max_tokens": 6_000})
    used = {"usage": {"input": 2_000, "output": 10}}
    # The request for the summary alone would fit, and so does the step alone.
    script(model, {"text": "One."} | used, {"text": "Two."}, compaction=SUMMARY | used)
    await driver.open("Go.")
    await driver.wait_for_end(1)
    await driver.handle.signal(names.SIGNAL_COMPACTION)
    await driver.say("And now?", Delivery.QUEUE)
    assert (await driver.wait_for_end(2)).get("last_agent_message") == "Two."
    assert await driver.rows(RowKind.COMPACTION) == []


async def test_a_full_conversation_beyond_the_budget_is_told_once_in_a_turn(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession
) -> None:
    driver.settings = driver.settings.model_copy(update={"max_tokens": 130_000})
    cached = {"usage": {"input": 120_000, "cached": 119_000, "output": 10}}
    script(model, *[shell(f"echo {number}") | cached for number in range(3)], {"text": "Done."} | cached)
    await open_session("Go.")
    assert (await driver.wait_for_end()).get("last_agent_message") == "Done."
    assert [event["reason"] for event in await driver.events("CompactionSkipped")] == ["limit"]


@pytest.mark.parametrize(
    ("why", "retries"), [("max_output_tokens", []), ("content_filter", ["ModelResponseIncomplete"])]
)
async def test_a_summary_that_the_provider_cut_short_replaces_nothing(
    why: str, retries: list[str], driver: SessionDriver, model: ScriptedModel, open_session: OpenSession
) -> None:
    cut = {"fail": {"incomplete": why, "times": 1}}
    script(model, shell("ls") | FULL, {"text": "Done."}, compaction=SUMMARY | cut)
    await open_session("Go.")
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    assert [row.payload["reason"] for row in await driver.rows(RowKind.MODEL_RETRY)] == retries
    assert len(await driver.rows(RowKind.COMPACTION)) == 1
    assert len(await driver.rows(RowKind.USAGE)) == 4, "the summary that was cut short is charged"
    first, second = (len(request.body["input"]) for request in model.requests[1:3])
    assert (second < first) == (why == "max_output_tokens"), "what left no room for its summary is sent shorter"


async def test_a_summary_that_the_budget_cut_short_ends_the_turn_and_replaces_nothing(
    driver: SessionDriver, model: ScriptedModel
) -> None:
    driver.settings = driver.settings.model_copy(update={"max_tokens": 15_000})
    used = {"usage": {"input": 2_000, "cached": 0, "output": 10}}
    # As much as the limit leaves, whatever was estimated of the request.
    cut = {"usage": {"input": 100, "output": 12_990}, "fail": {"incomplete": "max_output_tokens"}}
    script(model, {"text": "One."} | used, {"text": "Never."}, compaction=SUMMARY | cut)
    await driver.open("Go.")
    await driver.wait_for_end(1)
    await driver.handle.signal(names.SIGNAL_COMPACTION)
    await driver.say("And now?", Delivery.QUEUE)
    end = await driver.wait_for_end(2)
    assert (end["type"], end["reason"]) == ("TurnAborted", "TokenLimitReached")
    assert "the answer was cut at what was left" in end["message"]
    assert await driver.rows(RowKind.COMPACTION) == []
    assert len(await driver.rows(RowKind.USAGE)) == 2
    assert len(model.requests) == 2


async def test_a_conversation_that_has_to_be_compacted_beyond_the_budget_ends_the_turn(
    driver: SessionDriver, model: ScriptedModel
) -> None:
    driver.settings = driver.settings.model_copy(update={"max_tokens": 30_000})
    too_long = {"status": 400, "code": "context_length_exceeded"}
    used = {"usage": {"input": 20_000, "output": 10}}
    script(model, {"text": "One."} | used, {"text": "Never.", "fail": too_long}, compaction=SUMMARY | used)
    await driver.open("Go.")
    await driver.wait_for_end(1)
    await driver.say("And now?", Delivery.QUEUE)
    end = await driver.wait_for_end(2)
    assert (end["type"], end["reason"]) == ("TurnAborted", "TokenLimitReached")
    assert "used 20010 of its 30000 tokens, and the next call needs about" in end["message"]
    assert len(model.requests) == 2
    assert all("tools" in recorded.body for recorded in model.requests)


async def test_shorter_and_shorter_requests_for_a_summary_stop_at_the_budget(
    driver: SessionDriver, model: ScriptedModel, open_session: OpenSession
) -> None:
    limit = 140_000
    driver.settings = driver.settings.model_copy(update={"max_tokens": limit})
    steps = [shell("seq 3000") | {"usage": {"input": 1000, "cached": 0, "output": 10}} for _ in range(10)]
    answer = {"text": "One.", "usage": {"input": 45_000, "cached": 0, "output": 10}}
    # The stream fails, so that each attempt is charged; each next one leaves out some of it.
    script(model, *steps, answer, compaction={**SUMMARY, "fail": {"failed_code": "context_length_exceeded"}})
    await open_session("Go.")
    await driver.wait_for_end(1)
    await driver.handle.signal(names.SIGNAL_COMPACTION)
    await driver.say("And now?", Delivery.QUEUE)
    end = await driver.wait_for_end(2)
    assert (end["type"], end["reason"]) == ("TurnAborted", "TokenLimitReached")
    assert len([recorded for recorded in model.requests if "tools" not in recorded.body]) > 1
    usages = [row.payload for row in await driver.rows(RowKind.USAGE)]
    assert sum(usage["input_tokens"] + usage["output_tokens"] for usage in usages) < limit
