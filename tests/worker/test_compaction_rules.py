"""What takes a conversation's place, and what goes first where even its summary does not fit."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from codex_worker.compaction import (
    CUT_NOTICE,
    IMAGE_NOTICE,
    MAX_RETAINED_TOKENS,
    compacted_items,
    is_full,
    retained_messages,
    shortened,
    without_oldest,
)
from codex_worker.items import user_message_item
from codex_worker.token_estimates import IMAGE_TOKENS, item_tokens

WINDOW = 272_000


def text_of(item: dict[str, Any]) -> str:
    return str(item["content"][0]["text"])


def call(call_id: str, kind: str = "function_call") -> dict[str, Any]:
    return {"type": kind, "call_id": call_id, "name": "n", "arguments": "{}"}


def output(call_id: str, kind: str = "function_call") -> dict[str, Any]:
    return {"type": f"{kind}_output", "call_id": call_id, "output": "x" * 40}


REASONING = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "x"}
ANSWER = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes."}]}

replies = st.one_of(
    st.just([ANSWER]),
    st.just([REASONING, ANSWER]),
    st.just([user_message_item("Go on.")]),
    st.integers(1, 4).flatmap(
        lambda count: st.permutations(range(count)).map(
            lambda order: [
                REASONING,
                *(call(str(number), "custom_tool_call" if number % 2 else "function_call") for number in range(count)),
                *(output(str(number), "custom_tool_call" if number % 2 else "function_call") for number in order),
            ]
        )
    ),
)


@given(st.lists(replies, max_size=12))
def test_what_is_left_of_a_conversation_is_its_end_and_could_be_sent(parts: list[list[dict[str, Any]]]) -> None:
    items = [item for part in parts for item in part]
    while items:
        shorter = without_oldest(items)
        assert len(shorter) < len(items)
        assert shorter == items[len(items) - len(shorter) :]
        assert_calls_are_answered(shorter)
        items = shorter


def assert_calls_are_answered(items: list[dict[str, Any]]) -> None:
    open_calls: list[str] = []
    for item in items:
        if item["type"].endswith("_output"):
            open_calls.remove(item["call_id"])
        elif item["type"].endswith("_call"):
            open_calls.append(item["call_id"])
    assert open_calls == []


IMAGE = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 400_000, "detail": "high"}
LONG = 'begin "' + "x\\" * 60_000 + " end"


def test_the_outputs_of_a_single_step_are_cut_where_nothing_can_be_dropped() -> None:
    calls = [call(str(number)) for number in range(30)]
    outputs = [{**output(str(number)), "output": LONG} for number in range(28)]
    outputs += [{**output("28"), "output": [IMAGE] * 20}, output("29")]
    patch = {**call("p", "custom_tool_call"), "input": LONG}
    written = {**call("w"), "arguments": json.dumps({"cmd": LONG})}
    items = [user_message_item("Go."), *calls, patch, written, *outputs]
    items += [output("p", "custom_tool_call"), output("w")]
    sizes = [len(json.dumps(items))]
    while shorter := shortened(items):
        assert_calls_are_answered(shorter)
        assert len(shorter) == len(items), "of one step nothing can be left out"
        items = shorter
        sizes.append(len(json.dumps(items)))
        assert len(sizes) < 16
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < sizes[0] * 0.6
    assert sizes[-1] < 60_000
    assert items[0] == user_message_item("Go.")
    texts = {item["call_id"]: item["output"] for item in items if item["type"].endswith("_output")}
    assert texts["0"].startswith("begin")
    assert texts["0"].endswith("end")
    assert texts["28"] == [{"type": "input_text", "text": IMAGE_NOTICE}] * 20
    assert texts["29"] == output("29")["output"], "what is short stays whole"
    assert all(list(json.loads(item["arguments"])) in ([], ["cut"]) for item in items if "arguments" in item)


@given(st.lists(replies, max_size=12))
def test_shortening_a_conversation_ends(parts: list[list[dict[str, Any]]]) -> None:
    items = [item for part in parts for item in part]
    rounds = 0
    while items := shortened(items):
        assert_calls_are_answered(items)
        rounds += 1
    assert rounds <= sum(map(len, parts))


@given(st.lists(st.text(max_size=300), max_size=30), st.integers(100, 3000))
def test_the_newest_messages_are_kept_within_the_bound(said: list[str], window: int) -> None:
    messages = [user_message_item(text) for text in said]
    kept = retained_messages(messages, window)
    size = sum(len(text_of(item).encode(errors="replace")) for item in kept)
    assert size <= window * 0.25 * 4 + len(CUT_NOTICE.encode())
    whole = [item for item in kept if CUT_NOTICE not in text_of(item)]
    assert whole == messages[len(messages) - len(whole) :]
    assert len(kept) == len(messages) or len(kept) - len(whole) == 1


def test_a_message_that_is_too_long_alone_loses_its_middle() -> None:
    long = user_message_item("begin " + "x" * MAX_RETAINED_TOKENS * 8 + " end")
    (kept,) = retained_messages([long], WINDOW)
    assert text_of(kept).startswith("begin ")
    assert text_of(kept).endswith(" end")
    assert len(text_of(kept)) <= MAX_RETAINED_TOKENS * 4 + 1


def test_the_summary_is_the_last_thing_and_says_what_it_is() -> None:
    items = compacted_items([user_message_item("Do it.")], "  All done but the tests.\n", WINDOW)
    assert text_of(items[0]) == "Do it."
    assert text_of(items[-1]).startswith("The conversation so far was replaced by this summary")
    assert text_of(items[-1]).endswith("All done but the tests.")


def test_an_image_counts_as_an_image() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 4_000_000}
    assert item_tokens({"type": "function_call_output", "call_id": "c", "output": [image]}) < IMAGE_TOKENS + 100


def test_a_window_is_full_at_nine_tenths() -> None:
    assert not is_full(899, 1000)
    assert is_full(900, 1000)
