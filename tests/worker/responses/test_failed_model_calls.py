"""Every way a model call can fail, against a real server: what is raised, and what follows from it."""

import asyncio
import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from codex_api import conditions
from codex_client.model_server.testing import ScriptedModel
from codex_worker.responses.client import ResponsesModel
from codex_worker.responses.errors import FailureKind, InvalidReply, ModelCallFailed, ModelFailure
from codex_worker.responses.posture import Fail, Overflow, Park, Posture, Retry, posture
from codex_worker.responses.request import ModelRequest

MakeRequest = Callable[..., ModelRequest]


async def failure_of(model: ResponsesModel, request: ModelRequest) -> ModelFailure:
    with pytest.raises(ModelCallFailed) as caught:
        await model.stream(request)
    assert isinstance(caught.value, InvalidReply) == (caught.value.failure.kind is FailureKind.INVALID)
    return caught.value.failure


def follows(failure: ModelFailure) -> Posture:
    return posture(failure, datetime.now(UTC))


@pytest.mark.parametrize(
    ("fault", "kind", "expected"),
    [
        ({"status": 401}, FailureKind.REFUSED, Park(conditions.REASON_PROVIDER_UNAUTHORIZED, "")),
        ({"status": 403}, FailureKind.REFUSED, Park(conditions.REASON_PROVIDER_UNAUTHORIZED, "")),
        (
            {"status": 429, "code": "insufficient_quota"},
            FailureKind.REFUSED,
            Park(conditions.REASON_PROVIDER_QUOTA_EXHAUSTED, ""),
        ),
        ({"status": 429}, FailureKind.REFUSED, Retry(conditions.REASON_MODEL_RATE_LIMITED, "")),
        ({"status": 429, "retry_after": 7}, FailureKind.REFUSED, Retry(conditions.REASON_MODEL_RATE_LIMITED, "", 7.0)),
        (
            {"status": 503, "retry_after": 86400},
            FailureKind.REFUSED,
            Retry(conditions.REASON_MODEL_UNAVAILABLE, "", 3600.0),
        ),
        ({"status": 500}, FailureKind.REFUSED, Retry(conditions.REASON_MODEL_UNAVAILABLE, "")),
        ({"status": 408}, FailureKind.REFUSED, Retry(conditions.REASON_MODEL_UNAVAILABLE, "")),
        ({"status": 400, "message": "No."}, FailureKind.REFUSED, Fail(conditions.REASON_MODEL_REQUEST_REJECTED, "")),
        ({"status": 404}, FailureKind.REFUSED, Fail(conditions.REASON_MODEL_UNKNOWN, "")),
        ({"status": 400, "code": "context_length_exceeded"}, FailureKind.REFUSED, Overflow("")),
        ({"after_events": 0}, FailureKind.CONNECTION, Retry(conditions.REASON_MODEL_UNAVAILABLE, "")),
        ({"after_events": 1}, FailureKind.DROPPED, Retry(conditions.REASON_MODEL_UNAVAILABLE, "")),
        ({"after_events": 8}, FailureKind.DROPPED, Retry(conditions.REASON_MODEL_UNAVAILABLE, "")),
        ({"garbage": "html"}, FailureKind.INVALID, Retry(conditions.REASON_MODEL_RESPONSE_INVALID, "", None, True)),
        ({"garbage": "sse"}, FailureKind.INVALID, Retry(conditions.REASON_MODEL_RESPONSE_INVALID, "", None, True)),
        ({"garbage": "json"}, FailureKind.INVALID, Retry(conditions.REASON_MODEL_RESPONSE_INVALID, "", None, True)),
        ({"garbage": "call"}, FailureKind.INVALID, Retry(conditions.REASON_MODEL_RESPONSE_INVALID, "", None, True)),
        ({"failed_code": "context_length_exceeded"}, FailureKind.FAILED, Overflow("")),
        ({"failed_code": "server_is_overloaded"}, FailureKind.FAILED, Retry(conditions.REASON_MODEL_UNAVAILABLE, "")),
        (
            {"failed_code": "rate_limit_exceeded", "retry_after": 1.5},
            FailureKind.FAILED,
            Retry(conditions.REASON_MODEL_RATE_LIMITED, "", 1.5),
        ),
        (
            {"failed_code": "invalid_prompt"},
            FailureKind.FAILED,
            Fail(conditions.REASON_MODEL_REQUEST_REJECTED, ""),
        ),
        (
            {"failed_code": "never_heard_of"},
            FailureKind.FAILED,
            Retry(conditions.REASON_MODEL_UNAVAILABLE, "", None, True),
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
async def test_each_scripted_fault_has_its_posture_and_then_the_reply_comes(
    server: ScriptedModel,
    model: ResponsesModel,
    make_request: MakeRequest,
    fault: dict[str, Any],
    kind: FailureKind,
    expected: Posture,
) -> None:
    server.script(replies=[{"text": "Hello to you.", "fail": {**fault, "times": 1}}])
    failure = await failure_of(model, make_request())
    assert failure.kind is kind
    assert failure.message
    found = follows(failure)
    assert found.message
    assert type(found)(**{**vars(found), "message": ""}) == expected
    reply = await model.stream(make_request())
    assert reply.items[0]["content"][0]["text"] == "Hello to you."


async def test_a_date_in_retry_after_is_waited_for(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    date = format_datetime(now + timedelta(seconds=90), usegmt=True)
    server.script(replies=[{"fail": {"status": 503, "retry_after": date}}])
    found = posture(await failure_of(model, make_request()), now)
    assert isinstance(found, Retry)
    assert found.delay_seconds == 90.0


async def test_an_unknown_model_is_named(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest
) -> None:
    server.script(replies=[{"text": "x"}], models=["gpt-5.4"])
    found = follows(await failure_of(model, make_request(model="gpt-6-imaginary")))
    assert isinstance(found, Fail)
    assert found.reason == conditions.REASON_MODEL_UNKNOWN
    assert "gpt-6-imaginary" in found.message


async def test_a_wrong_key_waits_for_a_better_one_and_is_not_repeated(
    model: ResponsesModel, make_request: MakeRequest
) -> None:
    found = follows(await failure_of(model, make_request(api_key="wrong-key")))
    assert isinstance(found, Park)
    assert found.reason == conditions.REASON_PROVIDER_UNAUTHORIZED
    assert "wrong-key" not in found.message
    assert (await model.stream(make_request())).completed


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel"])
async def test_a_key_that_is_none_is_never_sent(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest, key: str
) -> None:
    failure = await failure_of(model, make_request(api_key=key))
    assert failure.kind is FailureKind.UNUSABLE_KEY
    found = follows(failure)
    assert isinstance(found, Park)
    assert found.reason == conditions.REASON_PROVIDER_SECRET_MISSING
    assert not key or key not in found.message
    assert server.requests == []


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:1/v1", "http://[::1/v1"])
async def test_an_address_that_cannot_be_reached_is_retried(
    model: ResponsesModel, make_request: MakeRequest, base_url: str
) -> None:
    failure = await failure_of(model, make_request(base_url=base_url))
    assert failure.kind is FailureKind.CONNECTION
    assert failure.usage is None
    found = follows(failure)
    assert isinstance(found, Retry)
    assert found.reason == conditions.REASON_MODEL_UNAVAILABLE
    assert found.message != "Connection error."


async def test_a_base_url_without_the_api_waits_for_a_better_one(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest
) -> None:
    found = follows(await failure_of(model, make_request(base_url=server.base_url + "/wrong")))
    assert isinstance(found, Park)
    assert found.reason == conditions.REASON_MODEL_UNAVAILABLE
    assert "base URL" in found.message


async def test_a_stream_that_stalls_is_given_up_after_the_idle_time(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest
) -> None:
    server.script(replies=[{"text": "one two three", "delay_seconds": 30}])
    failure = await failure_of(model, make_request())
    assert failure.kind is FailureKind.TIMEOUT
    assert failure.usage is not None  # the model had begun
    found = follows(failure)
    assert isinstance(found, Retry)
    assert not found.counts_as_failure


async def test_a_slow_stream_that_goes_on_is_not_given_up(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest
) -> None:
    server.script(replies=[{"text": "one two three four five six", "token_delay_seconds": 0.2}])
    reply = await model.stream(make_request())
    assert reply.usage.duration_seconds > 0.5  # the idle time of this client


async def test_a_dead_stream_costs_a_token_for_four_bytes(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest
) -> None:
    # created, in_progress, item added, part added, then 40 deltas of five bytes each
    server.script(replies=[{"text": "0123 " * 100, "fail": {"after_events": 44}}])
    usage = (await failure_of(model, make_request(instructions="x" * 4000))).usage
    assert usage is not None
    assert usage.estimated
    assert usage.output_tokens == (40 * 5 - 1) // 4  # the first delta has no space before it
    assert 1000 < usage.input_tokens < 1200


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"after_events": 0}, {"garbage": "html"}])
async def test_a_call_the_model_never_saw_costs_nothing(
    server: ScriptedModel, model: ResponsesModel, make_request: MakeRequest, fault: dict[str, Any]
) -> None:
    server.script(replies=[{"fail": fault}])
    assert (await failure_of(model, make_request())).usage is None


async def serve_once(body: bytes, headers: dict[str, str]) -> tuple[web.AppRunner, str]:
    """Serve one fixed answer to every request on a free port."""

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, headers=headers)

    application = web.Application()
    application.router.add_post("/v1/responses", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"


CREATED = b'event: response.created\ndata: {"type":"response.created","response":{"id":"r"}}\n\n'
CHAT_CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","choices":[]}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    ("body", "headers", "kind", "part"),
    [
        (b"", {}, FailureKind.DROPPED, "ended before"),
        (CREATED, {}, FailureKind.DROPPED, "ended before"),
        (CHAT_CHUNK, {}, FailureKind.INVALID, "no stream of a response"),
        (b'{"object": "response", "output": []}', {}, FailureKind.INVALID, "no stream of a response"),
        (CREATED + b"data: \xff\xfe\n\n", {}, FailureKind.INVALID, "makes no sense"),
        (CREATED + b"data: [1]\n\n", {}, FailureKind.INVALID, "no object"),
        (b"not gzip at all", {"Content-Encoding": "gzip"}, FailureKind.INVALID, "decompressed"),
        (gzip.compress(CREATED), {"Content-Encoding": "gzip"}, FailureKind.DROPPED, "ended before"),
        (
            CREATED + b'event: error\ndata: {"type":"error","code":"server_error","message":"Oh."}\n\n',
            {},
            FailureKind.FAILED,
            "Oh.",
        ),
        (b'data: {"error":{"message":"Upstream failed.","code":502}}\n\n', {}, FailureKind.FAILED, "Upstream failed."),
    ],
)
async def test_odd_answers_are_told_apart(
    model: ResponsesModel,
    make_request: MakeRequest,
    body: bytes,
    headers: dict[str, str],
    kind: FailureKind,
    part: str,
) -> None:
    runner, base_url = await serve_once(body, headers)
    try:
        failure = await failure_of(model, make_request(base_url=base_url))
    finally:
        await runner.cleanup()
    assert failure.kind is kind
    assert part in failure.message


async def test_an_endless_answer_is_cut_off(
    model: ResponsesModel, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex_worker.responses.client.MAX_REPLY_BYTES", 100_000)
    runner, base_url = await serve_once(b"data: " + b"x" * 1_000_000, {})
    try:
        failure = await failure_of(model, make_request(base_url=base_url))
    finally:
        await runner.cleanup()
    assert failure.kind is FailureKind.INVALID
    assert "longer than 100000 bytes" in failure.message


async def test_a_server_that_does_not_end_a_finished_stream_is_not_waited_for(
    model: ResponsesModel, make_request: MakeRequest
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(CREATED + b'data: {"type":"response.completed","response":{"id":"r"}}\n\n')
        await asyncio.sleep(3600)
        return response

    application = web.Application()
    application.router.add_post("/v1/responses", answer)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        reply = await asyncio.wait_for(model.stream(make_request(base_url=base_url)), 5)
    finally:
        await runner.cleanup()
    assert reply.items == []
    assert reply.usage.estimated
