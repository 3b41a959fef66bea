"""The official client understands the server, and the server refuses what the API refuses."""

import asyncio
import json
from collections.abc import AsyncIterator
from io import BytesIO
from itertools import pairwise
from typing import Any

import openai
import pytest
from aiohttp import ClientSession
from openai.types.responses import Response

from codex_client.model_server.script import Script
from codex_client.model_server.server import MAX_RECORDED_REQUESTS, ModelServer
from codex_client.model_server.testing import ScriptedModel

TOOL: dict[str, Any] = {
    "type": "function",
    "name": "exec_command",
    "description": "Run a command.",
    "strict": False,
    "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}, "additionalProperties": False},
}
REPLIES = [
    {
        "reasoning": "Look first.",
        "text": "Let me look.",
        "calls": [{"name": "exec_command", "arguments": {"cmd": "ls"}}],
    },
    {"text": "There is {{last_output}}."},
]


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(replies=REPLIES) as running:
        yield running


@pytest.fixture
async def client(model: ScriptedModel) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="any", base_url=model.base_url, max_retries=0) as official:
        yield official


async def test_a_whole_conversation_without_streaming(client: openai.AsyncOpenAI) -> None:
    items: list[Any] = [{"role": "user", "content": "What is there?"}]
    first = await client.responses.create(
        model="gpt-5.4", input=items, tools=[TOOL], include=["reasoning.encrypted_content"], store=False
    )
    assert [item.type for item in first.output] == ["reasoning", "message", "function_call"]
    assert first.output_text == "Let me look."
    call = first.output[2]
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"cmd": "ls"}
    items += [item.to_dict() for item in first.output]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "README.md\n"})
    second = await client.responses.create(model="gpt-5.4", input=items, tools=[TOOL], store=False)
    assert second.output_text == "There is README.md."
    assert second.status == "completed"


async def test_a_streamed_reply_has_the_events_of_the_api_in_order(client: openai.AsyncOpenAI) -> None:
    events = [event async for event in await client.responses.create(model="gpt-5.4", input="What?", stream=True)]
    kinds = [event.type.removeprefix("response.") for event in events]
    without_repeated_deltas = [kind for kind, before in zip(kinds, ["", *kinds], strict=False) if kind != before]
    assert without_repeated_deltas == [
        *("created", "in_progress"),
        *("output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
        *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.done"),
        *("content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"),
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "Let me look."
    done = [event.item for event in events if event.type == "response.output_item.done"]
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output == done


async def test_the_response_is_complete_by_the_client_s_own_types(model: ScriptedModel) -> None:
    async with ClientSession() as session:
        body = {"model": "m", "input": "x", "tools": [TOOL], "reasoning": {"effort": "low"}, "instructions": "Be kind."}
        async with session.post(f"{model.base_url}/responses", json=body) as answer:
            response = Response.model_validate(await answer.json(), strict=True)
    assert (response.output_text, response.status) == ("Let me look.", "completed")


async def test_usage_grows_with_the_conversation_and_its_beginning_is_cached(client: openai.AsyncOpenAI) -> None:
    usages = []
    for text in ("a" * 400, "b" * 800):
        for _ in range(2):
            items: Any = [{"role": "user", "content": "a" * 400}, {"role": "user", "content": text}]
            answer = await client.responses.create(model="m", input=items, prompt_cache_key="one")
            assert answer.usage is not None
            usages.append(answer.usage)
    inputs = [usage.input_tokens for usage in usages]
    cached = [usage.input_tokens_details.cached_tokens for usage in usages]
    assert inputs[0] == inputs[1] < inputs[2]
    assert cached[0] == 0
    assert inputs[1] - cached[1] <= 1
    assert 100 < cached[2] < inputs[2] - 200  # the first item only
    other = await client.responses.create(model="m", input="x", prompt_cache_key="two")
    assert other.usage is not None
    assert other.usage.input_tokens_details.cached_tokens == 0
    assert all(usage.total_tokens == usage.input_tokens + usage.output_tokens for usage in usages)


async def test_scripted_usage_is_reported_as_it_is(client: openai.AsyncOpenAI, model: ScriptedModel) -> None:
    usage = {"input": 1000, "cached": 900, "output": 50, "reasoning": 30}
    model.script(replies=[{"text": "x", "usage": usage}])
    reported = (await client.responses.create(model="m", input="x")).usage
    assert reported is not None
    assert (reported.input_tokens, reported.input_tokens_details.cached_tokens) == (1000, 900)
    assert (reported.output_tokens, reported.output_tokens_details.reasoning_tokens) == (50, 30)


CALL = {"type": "function_call", "call_id": "c1", "name": "exec_command", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "x"}
USER = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("change", "status", "code", "said"),
    [
        ({"model": None}, 400, "missing_required_parameter", "'model'"),
        ({"input": None}, 400, "missing_required_parameter", "'input'"),
        ({"input": 3}, 400, "invalid_type", "'input'"),
        ({"surprise": 1}, 400, "unknown_parameter", "Unknown parameter: 'surprise'"),
        ({"max_output_tokens": 15}, 400, "integer_below_min_value", "Expected a value >= 16"),
        ({"previous_response_id": "resp_1"}, 400, "previous_response_not_found", "keeps no responses"),
        ({"input": [USER, CALL]}, 400, None, "No tool output found for function call c1."),
        ({"input": [USER, OUTPUT]}, 400, None, "No tool call found for function call output with call_id c1."),
        ({"input": [USER, OUTPUT, CALL]}, 400, None, "No tool call found"),
        ({"input": [USER, CALL, OUTPUT, OUTPUT]}, 400, None, "No tool call found"),
        ({"input": [{**CALL, "extra": 1}]}, 400, "unknown_parameter", "'input[0].extra'"),
        ({"input": [{"type": "function_call", "name": "a"}]}, 400, "missing_required_parameter", "'input[0].call_id'"),
        ({"input": [{"type": "function_call_output", "call_id": "a"}]}, 400, "invalid_type", "'input[0].output'"),
        ({"input": ["x"]}, 400, "invalid_type", "'input[0]'"),
        ({"input": [{"content": "x"}]}, 400, "missing_required_parameter", "'input[0].type'"),
        ({"input": [{"role": "robot", "content": "x"}]}, 400, "invalid_value", "'robot'"),
        (
            {"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]},
            400,
            "invalid_value",
            "Supported values are: 'input_file', 'input_image', 'input_text'",
        ),
        (
            {"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]},
            400,
            "invalid_value",
            "'output_text'",
        ),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, 404, None, "'rs_1' not found"),
        ({"tools": [{**TOOL, "colour": "red"}]}, 400, "unknown_parameter", "'tools[0].colour'"),
        ({"tools": [{"name": "x"}]}, 400, "missing_required_parameter", "'tools[0].type'"),
        ({"tools": [{**TOOL, "parameters": {"type": "string"}}]}, 400, "invalid_function_parameters", 'type: "object"'),
        ({"tools": [{**TOOL, "strict": True}]}, 400, "invalid_function_parameters", "every property in 'required'"),
        ({"model": "unknown"}, 404, "model_not_found", "`unknown` does not exist"),
    ],
)
async def test_a_request_the_api_refuses_is_refused(
    model: ScriptedModel, change: dict[str, Any], status: int, code: str | None, said: str
) -> None:
    model.script(replies=REPLIES, models=["gpt-5.4"])
    async with ClientSession() as session:
        body = {"model": "gpt-5.4", "input": "x", **change}
        async with session.post(f"{model.base_url}/responses", json=body) as answer:
            error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (status, code)
    assert said in error["message"]
    assert model.requests[-1].status == status


async def test_a_call_id_may_come_back_in_a_later_reply(client: openai.AsyncOpenAI) -> None:
    items: Any = [USER, CALL, OUTPUT, USER, CALL, OUTPUT]
    assert (await client.responses.create(model="m", input=items)).status == "completed"


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"text"', b"\xff"])
async def test_a_body_that_is_no_request_is_refused(model: ScriptedModel, body: bytes) -> None:
    async with ClientSession() as session, session.post(f"{model.base_url}/responses", data=body) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


async def test_only_the_required_key_is_accepted_and_it_is_never_shown() -> None:
    async with ScriptedModel(replies=REPLIES, require_key="the-key") as model, ClientSession() as session:
        for key, expected in (("the-key", 200), ("other", 401), ("", 401), ("the-key-and-more", 401)):
            async with openai.AsyncOpenAI(api_key=key or "x", base_url=model.base_url, max_retries=0) as client:
                headers = {} if key else {"Authorization": ""}
                try:
                    await client.responses.create(model="m", input="x", extra_headers=headers)
                    status = 200
                except openai.AuthenticationError as error:
                    status = error.status_code
            assert status == expected
        async with session.get(model.base_url.removesuffix("/v1") + "/requests") as answer:
            assert "the-key" not in await answer.text()


async def test_models_health_and_recorded_requests_can_be_read(
    client: openai.AsyncOpenAI, model: ScriptedModel
) -> None:
    model.script(replies=REPLIES, models=["gpt-5.4", "small"])
    assert [one.id async for one in client.models.list()] == ["gpt-5.4", "small"]
    await client.responses.create(model="small", input="hello")
    root = model.base_url.removesuffix("/v1")
    async with ClientSession() as session:
        async with session.get(f"{root}/healthz") as answer:
            assert await answer.json() == {"status": "ok", "requests": 1}
        async with session.get(f"{root}/requests") as answer:
            (recorded,) = (await answer.json())["requests"]
    assert recorded["body"] == {"model": "small", "input": "hello"}
    assert (recorded["number"], recorded["conversation"], recorded["reply"]) == (1, 0, 0)


async def test_only_the_newest_requests_are_kept(model: ScriptedModel) -> None:
    async with ClientSession() as session:
        for number in range(MAX_RECORDED_REQUESTS + 5):
            body = {"model": "m", "input": str(number)}
            async with session.post(f"{model.base_url}/responses", json=body) as answer:
                assert answer.status == 200
    kept = [recorded.body["input"] for recorded in model.requests]
    assert kept == [str(number) for number in range(5, MAX_RECORDED_REQUESTS + 5)]


async def test_few_large_requests_are_kept(model: ScriptedModel) -> None:
    async with ClientSession() as session:
        for number in range(5):
            body = BytesIO(json.dumps({"model": "m", "input": str(number) * 7_000_000}).encode())
            async with session.post(f"{model.base_url}/responses", data=body) as answer:
                assert answer.status == 200
    assert [recorded.number for recorded in model.requests] == [4, 5]


async def test_delays_come_before_the_first_item_and_between_deltas(model: ScriptedModel) -> None:
    model.script(replies=[{"text": "one two three", "delay_seconds": 0.2, "token_delay_seconds": 0.1}])
    loop = asyncio.get_running_loop()
    async with openai.AsyncOpenAI(api_key="any", base_url=model.base_url, max_retries=0) as client:
        seen = [
            (event.type, loop.time())
            async for event in await client.responses.create(model="m", input="x", stream=True)
        ]
    at = dict(reversed(seen))
    deltas = [moment for kind, moment in seen if kind == "response.output_text.delta"]
    assert at["response.output_item.added"] - at["response.created"] >= 0.15
    assert len(deltas) == 3
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(deltas))


async def test_a_client_that_leaves_ends_its_scripted_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    # A handler that still runs would hold up the server's end for this long.
    monkeypatch.setattr("codex_client.model_server.running.SHUTDOWN_SECONDS", 60.0)
    async with ScriptedModel(replies=[{"text": "late", "delay_seconds": 3600}]) as model:
        async with openai.AsyncOpenAI(api_key="any", base_url=model.base_url, max_retries=0, timeout=0.3) as client:
            with pytest.raises(openai.APITimeoutError):
                await client.responses.create(model="m", input="x")
        await asyncio.wait_for(model.stop(), 10)


async def test_a_stopped_server_comes_back_on_the_same_port(model: ScriptedModel, client: openai.AsyncOpenAI) -> None:
    await client.responses.create(model="m", input="x")
    await model.stop()
    with pytest.raises(openai.APIConnectionError):
        await client.responses.create(model="m", input="x")
    await model.start()
    assert (await client.responses.create(model="m", input="x")).status == "completed"


def test_a_server_can_be_made_without_a_script() -> None:
    assert ModelServer(Script()).script.conversations == []
