"""Which reply a request gets follows from the request alone."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_client.model_server.choice import choose
from codex_client.model_server.conversation import count_replies, first_prompt, last_output
from codex_client.model_server.items import output_items
from codex_client.model_server.script import Script
from codex_client.model_server.stream_events import deltas

Item = dict[str, Any]


def user(text: str) -> Item:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def script(*conversations: Item) -> Script:
    return Script.model_validate({"conversations": conversations})


@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)).filter(any),  # reasoning, text, number of calls
        max_size=8,
    ),
    st.booleans(),
)
def test_replies_are_counted_whatever_they_consist_of(shapes: list[tuple[bool, bool, int]], user_between: bool) -> None:
    replies = [
        {
            "reasoning": "because" if reasoning else None,
            "text": f"reply {number}" if text else None,
            "calls": [{"name": "exec_command"}] * calls,
        }
        for number, (reasoning, text, calls) in enumerate(shapes)
    ]
    scripted = script({"match": "always", "replies": [*replies, {"text": "the end"}]})
    items = [user("go")]
    for number in range(len(shapes)):
        choice = choose(scripted, {"model": "m"}, items)
        assert choice.number == number
        output = output_items(choice, {})
        items += output
        items += [
            {"type": "function_call_output", "call_id": item["call_id"], "output": "done"}
            for item in output
            if item["type"] == "function_call"
        ]
        if user_between:
            items.append(user("go on"))
    assert count_replies(items) == len(shapes)
    assert choose(scripted, {"model": "m"}, items).reply.text == "the end"


def test_replies_of_another_server_are_counted_by_what_stands_between_them() -> None:
    assistant = {"type": "message", "role": "assistant", "content": "x"}
    call = {"type": "function_call", "call_id": "a", "name": "n", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "a", "output": ""}
    assert count_replies([user("a"), assistant, call, output, assistant, user("b"), call, output]) == 3


def test_a_repeated_request_gets_the_same_ids_and_another_session_gets_others() -> None:
    scripted = script({"match": "always", "replies": [{"calls": [{"name": "exec_command"}]}]})
    items = [user("go")]
    request = {"model": "m", "prompt_cache_key": "session-1"}
    first, again = (output_items(choose(scripted, request, items), {}) for _ in range(2))
    other = output_items(choose(scripted, {"model": "m", "prompt_cache_key": "session-2"}, items), {})
    assert first == again
    assert first[0]["call_id"] != other[0]["call_id"]


@pytest.mark.parametrize(
    ("prompt", "model", "expected"),
    [
        ("please fix the tests", "a", "by prompt"),
        ("Number 42", "a", "by regex"),
        ("Number 42", "special", "by model"),
        ("something else", "a", "by default"),
    ],
)
def test_the_first_conversation_that_matches_answers(prompt: str, model: str, expected: str) -> None:
    scripted = script(
        {"match": {"model": "special"}, "replies": [{"text": "by model"}]},
        {"match": "fix the tests", "replies": [{"text": "by prompt"}]},
        {"match": {"regex": r"^Number \d+$", "model": "a"}, "replies": [{"text": "by regex"}]},
        {"match": "always", "replies": [{"text": "by default"}]},
    )
    assert choose(scripted, {"model": model}, [user(prompt)]).reply.text == expected


def test_a_prompt_without_a_script_is_told_so() -> None:
    choice = choose(script(), {"model": "m"}, [user("hello")])
    assert choice.conversation == -1
    assert "no conversation for this prompt: 'hello'" in str(choice.reply.text)


def test_after_the_last_reply_the_script_ends_or_repeats() -> None:
    said: Item = {"type": "message", "role": "assistant", "content": "x"}
    items = [user("a"), said, user("b"), said, user("c")]
    once = script({"match": "always", "replies": [{"text": "one"}, {"text": "two"}]})
    again = script({"match": "always", "repeat": True, "replies": [{"text": "one"}, {"text": "two"}]})
    assert "has ended: it holds 2 replies" in str(choose(once, {"model": "m"}, items).reply.text)
    assert choose(again, {"model": "m"}, items).reply.text == "one"


def test_templates_are_filled_in_once_and_everywhere() -> None:
    call = {"name": "exec_command", "arguments": {"cmd": "echo {{prompt}}", "more": ["{{last_output}}", 1]}}
    raw = {"name": "exec_command", "arguments": '{"cmd": "{{prompt}}'}
    scripted = script({"match": "always", "replies": [{"text": "{{last_output}}!", "calls": [call, raw]}]})
    items = [
        user("say {{last_output}}"),
        {"type": "function_call_output", "call_id": "a", "output": "Exit code: 0\nOutput:\n{{prompt}}\n"},
    ]
    reply = choose(scripted, {"model": "m"}, items).reply
    assert reply.text == "{{prompt}}!"
    assert reply.calls[0].arguments == {"cmd": "echo say {{last_output}}", "more": ["{{prompt}}", 1]}
    assert reply.calls[1].arguments == '{"cmd": "say {{last_output}}'


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("plain\n", "plain"),
        ("Chunk ID: 1\nOutput:\nline\nOutput:\nmore\n", "line\nOutput:\nmore"),
        ("Output:\n", ""),
        ("No Output:\nthere", "No Output:\nthere"),
        ([{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}], "ab"),
    ],
)
def test_the_last_output_is_what_the_command_printed(output: object, expected: str) -> None:
    older = {"type": "function_call_output", "call_id": "0", "output": "older"}
    newer = {"type": "function_call_output", "call_id": "1", "output": output}
    assert last_output([user("x"), older, newer, user("y")]) == expected


def test_context_of_the_agent_is_not_the_prompt() -> None:
    context = user("<environment_context>\n  <cwd>/workspace</cwd>\n</environment_context>")
    assert (
        first_prompt([{"role": "developer", "content": "d"}, context, user("the prompt"), user("later")])
        == "the prompt"
    )


@given(st.text())
def test_deltas_add_up_to_the_text(text: str) -> None:
    assert "".join(deltas(text)) == text
    json.dumps(deltas(text))
