"""Scripted failures as they look on the wire."""

import asyncio
from typing import Any

import openai
import pytest
from aiohttp import ClientPayloadError, ClientSession, ServerDisconnectedError, StreamReader

from codex_client.model_server.script_file import ScriptError, parse_script
from codex_client.model_server.testing import ScriptedModel


async def ask(model: ScriptedModel, session: str = "s", *, stream: bool = True) -> tuple[int, dict[str, str], str]:
    body = {"model": "m", "input": "x", "stream": stream, "prompt_cache_key": session}
    async with ClientSession() as http, http.post(f"{model.base_url}/responses", json=body) as answer:
        return answer.status, dict(answer.headers), await answer.text()


def client_of(model: ScriptedModel) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="any", base_url=model.base_url, max_retries=0)


async def event_kind(stream: StreamReader) -> str:
    """Read one event and return its name."""
    event = (await stream.readuntil(b"\n\n")).decode()
    return event.splitlines()[0].removeprefix("event: ")


@pytest.mark.parametrize(
    ("fault", "code", "kind"),
    [
        ({"status": 401}, "invalid_api_key", "invalid_request_error"),
        ({"status": 404}, "model_not_found", "invalid_request_error"),
        ({"status": 429}, "rate_limit_exceeded", "requests"),
        ({"status": 429, "code": "insufficient_quota"}, "insufficient_quota", "insufficient_quota"),
        ({"status": 500}, "server_error", "server_error"),
        ({"status": 418}, None, "invalid_request_error"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_has_the_error_of_the_api(fault: dict[str, Any], code: str, kind: str, stream: bool) -> None:
    async with ScriptedModel(replies=[{"fail": fault}]) as model, client_of(model) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.responses.create(model="m", input="x", stream=stream)
    assert (caught.value.status_code, caught.value.code, caught.value.type) == (fault["status"], code, kind)


async def test_retry_after_is_sent_as_written() -> None:
    date = "Fri, 31 Dec 2100 23:59:59 GMT"
    faults = [{"status": 429, "retry_after": 2, "times": 1}, {"status": 503, "retry_after": date}]
    async with ScriptedModel(replies=[{"fail": faults}]) as model:
        answers = [await ask(model), await ask(model)]
    assert [(status, headers["Retry-After"]) for status, headers, _ in answers] == [(429, "2"), (503, date)]


async def test_faults_come_in_order_and_every_session_meets_them() -> None:
    faults = [{"status": 429, "times": 2}, {"status": 500, "times": 1}]
    async with ScriptedModel(replies=[{"text": "done", "fail": faults}]) as model:
        for session in ("a", "b"):
            assert [(await ask(model, session))[0] for _ in range(5)] == [429, 429, 500, 200, 200]
        assert [one.fault for one in model.requests[:4]] == ["status", "status", "status", None]


async def test_the_connection_is_dropped_after_the_events_asked_for() -> None:
    async with ScriptedModel(replies=[{"text": "some words to say", "fail": {"after_events": 5}}]) as model:
        body = {"model": "m", "input": "x", "stream": True}
        async with ClientSession() as http, http.post(f"{model.base_url}/responses", json=body) as answer:
            kinds = [await event_kind(answer.content) for _ in range(5)]
            with pytest.raises(ClientPayloadError):
                await answer.content.read()
    assert kinds[0] == "response.created"
    assert kinds[4] == "response.output_text.delta"


async def test_the_connection_is_dropped_before_any_answer() -> None:
    for stream, count in ((True, 0), (False, 0), (False, 3)):
        async with ScriptedModel(replies=[{"text": "x", "fail": {"after_events": count}}]) as model:
            with pytest.raises(ServerDisconnectedError):
                await ask(model, stream=stream)


@pytest.mark.parametrize(
    ("garbage", "content_type", "part"),
    [
        ("html", "text/html", "<!DOCTYPE html>"),
        ("sse", "text/event-stream", "upstream says hello"),
        ("json", "text/event-stream", "data: {not json"),
        ("call", "text/event-stream", '"id":"fc_garbage"'),
    ],
)
async def test_garbage_is_what_its_name_says(garbage: str, content_type: str, part: str) -> None:
    async with ScriptedModel(replies=[{"text": "x", "fail": {"garbage": garbage}}]) as model:
        status, headers, text = await ask(model)
    assert status == 200
    assert headers["Content-Type"].startswith(content_type)
    assert part in text


async def test_a_response_fails_or_ends_incomplete() -> None:
    incomplete = {"text": "0123456789", "fail": {"incomplete": "max_output_tokens", "times": 1}}
    failed = {"fail": {"failed_code": "rate_limit_exceeded", "retry_after": 1.5}}
    async with ScriptedModel(replies=[incomplete]) as model, client_of(model) as client:
        cut = await client.responses.create(model="m", input="x")
        model.script(replies=[failed])
        events = [event async for event in await client.responses.create(model="m", input="x", stream=True)]
    assert (cut.status, cut.output_text) == ("incomplete", "01234")
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.message == "Rate limit reached for requests. Please try again in 1.5s."


@pytest.mark.parametrize(
    ("cut", "finished"),
    [({"after_items": 0}, []), ({"after_items": 1}, ["message"]), ({"after_items": 9}, ["message", "function_call"])],
)
async def test_the_connection_is_dropped_after_the_items_asked_for(cut: dict[str, int], finished: list[str]) -> None:
    reply = {"text": "some words to say", "calls": [{"name": "exec_command"}], "fail": cut}
    events: list[Any] = []

    async def read(client: openai.AsyncOpenAI) -> None:
        async for event in await client.responses.create(model="m", input="x", stream=True):
            events.append(event)  # noqa: PERF401 (what came before the end is looked at)

    async with ScriptedModel(replies=[reply]) as model, client_of(model) as client:
        with pytest.raises(openai.APIConnectionError):
            await read(client)
    assert [event.item.type for event in events if event.type == "response.output_item.done"] == finished
    assert events[-1].type != "response.completed"


async def test_a_server_that_hangs_sends_nothing_more_until_it_drops_the_connection() -> None:
    reply = {"text": "some words", "fail": {"after_events": 3, "hang_seconds": 30}}
    async with ScriptedModel(replies=[reply]) as model:
        body = {"model": "m", "input": "x", "stream": True}
        async with ClientSession() as http, http.post(f"{model.base_url}/responses", json=body) as answer:
            for _ in range(3):
                await event_kind(answer.content)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await answer.content.read()


async def test_a_gateway_answers_with_a_page() -> None:
    async with ScriptedModel(replies=[{"fail": {"status": 502, "html": True}}]) as model:
        status, headers, text = await ask(model)
    assert status == 502
    assert headers["Content-Type"].startswith("text/html")
    assert "502 Bad Gateway" in text


async def test_an_empty_response_is_completed_and_an_unknown_event_stands_among_the_known() -> None:
    replies = [{"text": "x", "fail": {"garbage": "empty", "times": 1}}]
    async with ScriptedModel(replies=replies) as model, client_of(model) as client:
        empty = await client.responses.create(model="m", input="x")
        model.script(replies=[{"text": "some words", "fail": {"garbage": "unknown"}}])
        status, _, text = await ask(model)
    assert (empty.status, empty.output) == ("completed", [])
    assert status == 200
    kinds = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert {"keepalive", "response.novelty_0.done", "response.output_text.done", "response.completed"} <= set(kinds)


@pytest.mark.parametrize("fault", ["{garbage: html, html: true}", "{status: 500, hang_seconds: 3}"])
def test_what_belongs_to_another_failure_is_a_mistake(fault: str) -> None:
    with pytest.raises(ScriptError, match=r"html is the body of a status|hang_seconds needs"):
        parse_script(f"conversations:\n  - match: always\n    replies: [{{fail: {fault}}}]\n")
