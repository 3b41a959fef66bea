"""A conversation whose items were replaced by a summary goes on where it was."""

from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_client.model_server.choice import choose
from codex_client.model_server.conversation import count_replies
from codex_client.model_server.items import output_items
from codex_client.model_server.script import Script
from codex_client.model_server.script_file import ScriptError, parse_script
from codex_client.model_server.testing import ScriptedModel

Item = dict[str, Any]
TOOL: dict[str, Any] = {"type": "function", "name": "exec_command", "parameters": {"type": "object"}, "strict": False}
CALL = {"name": "exec_command", "arguments": {"cmd": "true"}}
TASK: Item = {"role": "user", "content": "a long task"}


def with_outputs(output: list[Item]) -> list[Item]:
    calls = [item for item in output if item["type"] == "function_call"]
    return output + [{"type": "function_call_output", "call_id": call["call_id"], "output": ""} for call in calls]


@given(before=st.integers(1, 6), dropped=st.integers(0, 5), after=st.integers(0, 4), rounds=st.integers(1, 3))
def test_replies_are_counted_through_compactions(before: int, dropped: int, after: int, rounds: int) -> None:
    conversation = {"match": "long", "replies": [{"calls": [CALL]}], "repeat": True, "compaction": {"text": "so far"}}
    script = Script.model_validate({"conversations": [conversation]})
    items, given_replies = [TASK], 0
    for _ in range(rounds):
        for _ in range(before + after):
            choice = choose(script, {"model": "m", "tools": [TOOL]}, items)
            assert (choice.number, choice.compaction) == (given_replies, False)
            items += with_outputs(output_items(choice, {}))
            given_replies += 1
        # A summary that itself did not fit lets go of the oldest calls with their outputs.
        kept = [TASK, *items[1 + 2 * min(dropped, before - 1) :]]
        summary = choose(script, {"model": "m"}, kept)
        assert summary.compaction
        assert summary.reply.text == f"so far\n(summary of {given_replies} replies)"
        items = [TASK, {"role": "user", "content": f"Another model wrote:\n{summary.reply.text}"}]
    assert count_replies(items) == given_replies


async def test_a_summary_is_asked_for_without_tools_and_is_recorded() -> None:
    conversation = {
        "match": "long",
        "compaction": {"text": "half done", "fail": {"failed_code": "context_length_exceeded", "times": 1}},
        "replies": [{"calls": [CALL]}, {"text": "done"}],
    }
    tools: Any = [TOOL]
    async with ScriptedModel(conversations=[conversation]) as model:
        async with openai.AsyncOpenAI(api_key="any", base_url=model.base_url, max_retries=0) as client:
            items: list[Any] = [TASK]
            first = await client.responses.create(model="m", input=items, tools=tools)
            items += with_outputs([item.to_dict() for item in first.output])
            refused = await client.responses.create(model="m", input=items)
            summary = await client.responses.create(model="m", input=items)
            items = [TASK, {"role": "user", "content": summary.output_text}]
            last = await client.responses.create(model="m", input=items, tools=tools)
        assert [(one.compaction, one.reply) for one in model.requests] == [(False, 0), (True, 1), (True, 1), (False, 1)]
    assert refused.status == "failed"
    assert summary.output_text == "half done\n(summary of 1 replies)"
    assert last.output_text == "done"


def test_without_a_scripted_summary_a_request_without_tools_is_like_any_other() -> None:
    script = Script.model_validate({"conversations": [{"match": "always", "replies": [{"text": "hello"}]}]})
    choice = choose(script, {"model": "m"}, [TASK])
    assert (choice.compaction, choice.reply.text) == (False, "hello")


@pytest.mark.parametrize("summary", ["{calls: [{name: a}], text: x}", "{reasoning: hm}"])
def test_a_summary_is_a_text(summary: str) -> None:
    with pytest.raises(ScriptError, match=r"compaction: is a summary: it needs text, and no calls"):
        parse_script(f"conversations:\n  - match: always\n    replies: [{{text: hi}}]\n    compaction: {summary}\n")
