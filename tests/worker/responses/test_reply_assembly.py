"""A reply is put together from whatever order and company its events come in."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_worker.responses.errors import SenselessEvent
from codex_worker.responses.reply import ReplyInProgress, finished_items
from codex_worker.responses.request import ModelRequest

REQUEST = ModelRequest("http://x/v1", "key", "s", "m", "i", [])
COMPLETED = {"type": "response.completed", "response": {"id": "r"}}


def message(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}], **more}


def done(item: Any, index: Any = 0) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def fed(*events: Any) -> ReplyInProgress:
    progress = ReplyInProgress()
    for event in events:
        progress.feed(event)
    return progress


@given(st.permutations(range(5)))
def test_items_are_ordered_by_their_index(order: list[int]) -> None:
    reply = fed(*(done(message(str(index)), index) for index in order), COMPLETED).reply(REQUEST)
    assert [item["content"][0]["text"] for item in reply.items] == ["0", "1", "2", "3", "4"]


def test_a_provider_that_numbers_badly_loses_nothing() -> None:
    reply = fed(done(message("a"), 0), done(message("b"), 0), done(message("c"), None), COMPLETED).reply(REQUEST)
    assert [item["content"][0]["text"] for item in reply.items] == ["a", "b", "c"]


def test_fields_nobody_knows_are_kept() -> None:
    item = message("a", phase="final_answer", novelty={"deep": [1]})
    assert fed(done(item), COMPLETED).reply(REQUEST).items == [item]


@given(st.dictionaries(st.text(), st.integers() | st.text()).filter(lambda event: not event.get("error")))
def test_unknown_events_are_ignored(event: dict[str, Any]) -> None:
    event.pop("type", None)
    progress = fed(event, {**event, "type": "response.something.new"}, {"type": "ping"})
    assert not progress.ended
    assert progress.began


@pytest.mark.parametrize(
    "event",
    [
        None,
        "text",
        done(None),
        done([]),
        done({}),
        done({"type": "function_call", "name": "a", "arguments": "{}"}),
        done({"type": "function_call", "call_id": "c", "arguments": "{}"}),
        done({"type": "function_call", "call_id": "c", "name": "a"}),
        done({"type": "function_call", "call_id": "c", "name": "a", "arguments": {}}),
        done({"type": "function_call", "call_id": "", "name": "a", "arguments": "{}"}),
        done({"type": "custom_tool_call", "call_id": "c", "name": "a"}),
        done({"type": "custom_tool_call", "call_id": "c", "name": "a", "input": {}}),
        done({"type": "custom_tool_call", "call_id": "c", "name": "", "input": "x"}),
        {"type": "response.completed"},
        {"type": "response.completed", "response": 3},
    ],
)
def test_what_makes_no_sense_is_said(event: Any) -> None:
    with pytest.raises(SenselessEvent):
        fed(event)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        {},
        {"input_tokens": "many"},
        {"input_tokens": -1, "input_tokens_details": None},
        {"output_tokens": 1.5},
    ],
)
def test_senseless_usage_counts_nothing_or_is_estimated(usage: Any) -> None:
    progress = fed({"type": "response.completed", "response": {"id": "r", "usage": usage}})
    counted = progress.reply(REQUEST).usage
    assert counted.estimated == (not isinstance(usage, dict))
    assert counted.output_tokens == 0
    assert counted.input_tokens == 0 or counted.estimated


@pytest.mark.parametrize(
    ("event", "failure"),
    [
        ({"type": "error", "code": "c", "message": "m"}, ("c", "m")),
        ({"type": "error", "error": {"code": "c", "message": "m"}}, ("c", "m")),
        ({"type": "response.failed", "response": {"error": {"code": "c", "message": "m"}}}, ("c", "m")),
        ({"type": "response.failed", "response": {"error": None}}, (None, "no reason given")),
        ({"error": "broken"}, (None, "broken")),
    ],
)
def test_every_form_of_an_error_is_read(event: dict[str, Any], failure: tuple[str | None, str]) -> None:
    progress = fed(event)
    assert progress.ended
    assert progress.failure == failure


def test_of_a_reply_cut_short_only_what_can_be_sent_back_is_kept() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"}
    reasoning = {"type": "reasoning", "id": "rs", "summary": []}
    whole, cut = {**call, "status": "completed"}, {**call, "status": "incomplete"}
    assert finished_items([reasoning, whole, reasoning, cut]) == [reasoning, whole]
    assert finished_items([reasoning, message("half", status="incomplete")])[1]["status"] == "incomplete"
    assert finished_items([reasoning]) == []


def test_a_custom_call_is_kept_as_it_came_and_dropped_where_it_was_cut() -> None:
    call = {
        "type": "custom_tool_call",
        "call_id": "c",
        "name": "apply_patch",
        "input": "*** Begin Patch",
        "id": "ctc_1",
    }
    assert fed(done(call), COMPLETED).reply(REQUEST).items == [call]
    assert finished_items([{**call, "status": "incomplete"}]) == []


def test_encrypted_reasoning_is_kept_as_it_came() -> None:
    reasoning = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gAAA"}
    assert fed(done(reasoning), done(message("a"), 1), COMPLETED).reply(REQUEST).items[0] == reasoning
