"""A reply comes back whole, exactly as it was streamed, and the request is what the API wants."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from codex_client.model_server.testing import ScriptedModel
from codex_worker.responses.client import ResponsesModel
from codex_worker.responses.errors import FailureKind, ModelCallFailed
from codex_worker.responses.reply import ReplyInProgress
from codex_worker.responses.request import ModelRequest, request_body

MakeRequest = Callable[..., ModelRequest]
TOOL = {"type": "function", "name": "exec_command", "strict": False, "parameters": {"type": "object"}}


async def test_items_come_back_as_streamed_and_can_be_sent_again(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest
) -> None:
    calls = [{"name": "exec_command", "arguments": {"cmd": "ls"}}, {"name": "other", "arguments": "{broken"}]
    server.script(replies=[{"reasoning": "Look.", "text": "Let me look.", "calls": calls}, {"text": "Done."}])
    request = make_request(tools=[TOOL])
    reply = await model.stream(request)
    assert [item["type"] for item in reply.items] == ["reasoning", "message", "function_call", "function_call"]
    assert reply.items[0]["encrypted_content"]
    assert reply.items[1]["content"] == [
        {"type": "output_text", "text": "Let me look.", "annotations": [], "logprobs": []}
    ]
    assert [item["arguments"] for item in reply.items[2:]] == ['{"cmd": "ls"}', "{broken"]
    assert reply.completed
    assert reply.response_id.startswith("resp_")
    outputs = [{"type": "function_call_output", "call_id": item["call_id"], "output": "x"} for item in reply.items[2:]]
    second = await model.stream(make_request(tools=[TOOL], input=[*request.input, *reply.items, *outputs]))
    assert second.items[0]["content"][0]["text"] == "Done."
    assert server.requests[1].body["input"][1:5] == reply.items


async def test_the_request_asks_for_a_stateless_streamed_reply(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest
) -> None:
    answer = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    schema = {"type": "json_schema", "name": "answer", "strict": True, "schema": answer}
    asked = {"reasoning_effort": "Medium", "reasoning_summary": "auto", "max_output_tokens": 7, "text_format": schema}
    await model.stream(make_request(tools=[TOOL], **asked))
    await model.stream(make_request())
    full, plain = (recorded.body for recorded in server.requests)
    assert full == {
        "model": "gpt-5.4",
        "instructions": "Be brief.",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello?"}]}],
        "tools": [TOOL],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "session-uid",
        "max_output_tokens": 16,
        "text": {"format": schema},
    }
    assert not {"reasoning", "max_output_tokens", "text", "tools", "tool_choice"} & set(plain)
    assert "include" not in request_body(make_request(encrypted_reasoning=False))


@pytest.mark.parametrize(("left", "sent"), [(-5, 16), (16, 16), (16_384, 16_384), (16_385, None), (500_000, None)])
async def test_a_cap_that_models_would_refuse_is_left_out(
    make_request: MakeRequest, left: int, sent: int | None
) -> None:
    assert request_body(make_request(max_output_tokens=left)).get("max_output_tokens") == sent


async def test_usage_and_times_are_what_the_provider_said(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest
) -> None:
    usage = {"input": 1200, "cached": 1024, "output": 40, "reasoning": 16}
    server.script(replies=[{"text": "one two", "usage": usage, "delay_seconds": 0.1, "token_delay_seconds": 0.05}])
    reply = await model.stream(make_request())
    counted = reply.usage
    assert (counted.input_tokens, counted.cached_input_tokens) == (1200, 1024)
    assert (counted.output_tokens, counted.reasoning_tokens) == (40, 16)
    assert (counted.model, counted.estimated) == ("gpt-5.4", False)
    assert 0 < reply.first_event_seconds < counted.duration_seconds
    assert counted.duration_seconds >= 0.2


async def test_events_are_seen_while_the_reply_is_on_its_way(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest
) -> None:
    server.script(replies=[{"text": "one two three", "token_delay_seconds": 0.1}])
    seen: list[tuple[float, dict[str, Any]]] = []
    loop = asyncio.get_running_loop()
    await model.stream(make_request(), lambda event: seen.append((loop.time(), event)))
    deltas = [(at, event["delta"]) for at, event in seen if event["type"] == "response.output_text.delta"]
    assert [text for _, text in deltas] == ["one", " two", " three"]
    assert deltas[2][0] - deltas[0][0] >= 0.1
    assert seen[-1][1]["type"] == "response.completed"


async def test_a_reply_cut_short_is_a_reply_with_its_reason(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest
) -> None:
    cut = {"incomplete": "max_output_tokens"}
    call = {"name": "exec_command", "arguments": {"cmd": "rm -r build"}}
    server.script(replies=[{"text": "0123456789", "fail": cut}, {"reasoning": "Hm.", "calls": [call], "fail": cut}])
    request = make_request()
    reply = await model.stream(request)
    assert (reply.completed, reply.incomplete_reason) == (False, "max_output_tokens")
    assert reply.items[0]["content"][0]["text"] == "01234"
    again = await model.stream(make_request(input=[*request.input, *reply.items, *request.input]))
    assert again.incomplete_reason == "max_output_tokens"
    assert again.items == []
    assert again.usage.output_tokens > 0


async def test_connections_are_kept_for_the_next_call_and_another_key(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest
) -> None:
    for _ in range(3):
        await model.stream(make_request())
    with pytest.raises(ModelCallFailed):
        await model.stream(make_request(api_key="revoked"))
    server.script(replies=[{"text": "x", "fail": {"failed_code": "server_error", "times": 1}}])
    with pytest.raises(ModelCallFailed):
        await model.stream(make_request())
    await model.stream(make_request())
    assert len({recorded.peer for recorded in server.requests}) == 1


async def test_concurrent_calls_do_not_mix(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest
) -> None:
    server.script(replies=[{"text": "{{prompt}}", "token_delay_seconds": 0.01}])

    async def ask(number: int) -> str:
        text = {"type": "input_text", "text": f"number {number}"}
        reply = await model.stream(make_request(input=[{"role": "user", "content": [text]}]))
        return str(reply.items[0]["content"][0]["text"])

    assert await asyncio.gather(*(ask(number) for number in range(20))) == [f"number {n}" for n in range(20)]


async def test_a_cancelled_call_lets_go_of_its_connection_and_tells_what_it_cost(
    model: ResponsesModel, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server waits this long for an answer that somebody still listens to.
    monkeypatch.setattr("codex_client.model_server.running.SHUTDOWN_SECONDS", 60.0)
    progress = ReplyInProgress()
    async with ScriptedModel(replies=[{"text": "word " * 2000, "token_delay_seconds": 0.02}]) as server:
        request = make_request(base_url=server.base_url)
        task = asyncio.create_task(model.stream(request, progress=progress))
        while progress.content_bytes < 20:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.stop(), 10)
    usage = progress.usage(request)
    assert usage.estimated
    assert usage.input_tokens > 20
    assert 5 <= usage.output_tokens < 200


async def test_the_server_away_and_back_is_a_failed_call_and_then_a_reply(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest
) -> None:
    request = make_request()
    await model.stream(request)
    await server.stop()
    with pytest.raises(ModelCallFailed) as caught:
        await model.stream(request)
    assert caught.value.failure.kind is FailureKind.CONNECTION
    await server.start()
    assert (await model.stream(request)).completed


def test_the_key_is_not_shown_with_the_request(make_request: MakeRequest) -> None:
    assert "the-key" not in repr(make_request())


def test_openai_is_imported_with_the_first_call_only() -> None:
    program = "import sys, codex_worker.responses.client; assert not {'openai', 'httpx2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_the_loop_goes_on_while_openai_is_imported() -> None:
    program = (
        "import asyncio, sys, time\n"
        "from codex_worker.responses.client import ResponsesModel\n"
        "async def main():\n"
        "    model, ticks = ResponsesModel(), 0\n"
        "    task = asyncio.create_task(model._client('http://127.0.0.1:9/v1'))\n"
        "    while not task.done():\n"
        "        await asyncio.sleep(0.005)\n"
        "        ticks += 1\n"
        "    assert 'openai' in sys.modules\n"
        "    await model.close()\n"
        "    print(ticks)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    # Imported by the loop itself it would tick once.
    assert int(output) >= 10


async def test_the_time_of_a_request_is_the_providers_and_not_that_of_making_a_client(
    model: ResponsesModel, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 3.0
    create = model._create_client

    def create_slowly(base_url: str) -> Any:
        time.sleep(seconds)
        return create(base_url)

    monkeypatch.setattr(model, "_create_client", create_slowly)
    reply = await model.stream(make_request())
    assert 0 < reply.usage.duration_seconds < seconds
