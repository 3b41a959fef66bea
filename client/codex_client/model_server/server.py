"""The HTTP side: routes, authorization, streaming, and dropping connections where the script says so."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from codex_client.model_server.answer import Answer
from codex_client.model_server.choice import choose
from codex_client.model_server.faults import FaultCounter, refusal
from codex_client.model_server.script import Garbage, Script
from codex_client.model_server.stream_events import beginning, encode
from codex_client.model_server.token_usage import PromptCache
from codex_client.model_server.validation import RequestRefused, check_request

MAX_REQUEST_BYTES = 64 * 1024 * 1024
MAX_RECORDED_REQUESTS = 200
MAX_RECORDED_BYTES = 16 * 1024 * 1024
STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


@dataclass
class RecordedRequest:
    """A request as it arrived and what became of it; the key is never kept."""

    number: int
    """Counts all requests of this process, from 1."""
    time: float
    """Seconds since the epoch."""
    body: Any
    """Parsed JSON; None where it was none."""
    size: int
    """Bytes."""
    peer: str = ""
    """Address and port of the client; the same for requests on one connection."""
    conversation: int | None = None
    """Index in the script; None: refused before it was chosen; -1: none matched."""
    reply: int | None = None
    fault: str | None = None
    """Kind of the scripted fault, None where the reply was given."""
    status: int = 0


class ModelServer:
    """Answers requests from a script, which may be exchanged while it runs."""

    def __init__(self, script: Script, *, require_key: str | None = None) -> None:
        self.script = script
        self.requests: deque[RecordedRequest] = deque()
        self._require_key = require_key
        self._cache = PromptCache()
        self.faults = FaultCounter()
        self._received = 0

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[self._authorize])
        application.router.add_post("/v1/responses", self._responses)
        application.router.add_get("/v1/models", self._models)
        application.router.add_get("/healthz", self._health)
        application.router.add_get("/requests", self._recorded)
        return application

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Any) -> web.StreamResponse:
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._require_key is not None and request.path.startswith("/v1/"):
            if not sent:
                refused = RequestRefused("Missing bearer authentication in header", status=401)
                return web.json_response(refused.body(), status=refused.status)
            if not hmac.compare_digest(sent.encode(errors="replace"), self._require_key.encode()):
                refused = RequestRefused("Incorrect API key provided.", status=401, code="invalid_api_key")
                return web.json_response(refused.body(), status=refused.status)
        response: web.StreamResponse = await handler(request)
        return response

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "requests": self._received})

    async def _recorded(self, request: web.Request) -> web.Response:
        return web.json_response({"requests": [asdict(recorded) for recorded in self.requests]})

    async def _models(self, request: web.Request) -> web.Response:
        names = self.script.models or ["scripted"]
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "script"} for name in names]
        return web.json_response({"object": "list", "data": data})

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        recorded = self._record(raw, request)
        try:
            if recorded.body is None:
                raise RequestRefused("We could not parse the JSON body of your request.")
            items = check_request(recorded.body, self.script.models)
        except RequestRefused as refused:
            recorded.status = refused.status
            return web.json_response(refused.body(), status=refused.status)
        body: dict[str, Any] = recorded.body
        choice = choose(self.script, body, items)
        fault = self.faults.due(choice, body.get("prompt_cache_key"))
        recorded.conversation, recorded.reply = choice.conversation, choice.number
        recorded.fault = fault.kind if fault else None
        recorded.status = (fault and fault.status) or 200
        size = self._cache.measure(body, items, recorded.size)
        return await self._answer(request, Answer(body, choice, fault, size))

    def _record(self, raw: bytes, request: web.Request) -> RecordedRequest:
        self._received += 1
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        peer = request.transport.get_extra_info("peername") if request.transport else None
        recorded = RecordedRequest(self._received, time.time(), body, len(raw), str(peer))
        self.requests.append(recorded)
        kept = sum(one.size for one in self.requests)
        while len(self.requests) > MAX_RECORDED_REQUESTS or (kept > MAX_RECORDED_BYTES and len(self.requests) > 1):
            kept -= self.requests.popleft().size
        return recorded

    async def _answer(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        fault, reply = answer.fault, answer.choice.reply
        if fault and fault.status is not None:
            await asyncio.sleep(reply.delay_seconds)
            status, headers, error = refusal(fault)
            return web.json_response(error, status=status, headers=headers)
        streamed = bool(answer.body.get("stream"))
        if fault and (fault.after_events == 0 or (fault.after_events and not streamed)):
            return _drop(request, web.Response())
        if fault and fault.garbage in (Garbage.HTML, Garbage.SSE, Garbage.JSON):
            return _GARBAGE[fault.garbage]()
        if streamed:
            return await _stream(request, answer)
        await asyncio.sleep(reply.delay_seconds)
        return web.json_response(answer.end()["response"])


async def _stream(request: web.Request, answer: Answer) -> web.StreamResponse:
    reply = answer.choice.reply
    limit = answer.fault.after_events if answer.fault else None
    response = web.StreamResponse(headers=STREAM_HEADERS)
    await response.prepare(request)
    buffer: list[bytes] = []

    async def flush() -> None:
        if buffer:
            await response.write(b"".join(buffer))
            buffer.clear()

    async def pause(seconds: float) -> None:
        if seconds > 0:
            await flush()
            await asyncio.sleep(seconds)

    opening = beginning(answer.response)
    for number, event in enumerate([*opening, *answer.events(), answer.end()]):
        if number == len(opening):
            await pause(reply.delay_seconds)
        if event["type"].endswith(".delta"):
            await pause(reply.token_delay_seconds)
        if number == limit:
            await flush()
            return _drop(request, response)
        buffer.append(encode(event, number))
    await flush()
    await response.write_eof()
    return response


def _drop(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Close the connection without ending the answer, as a proxy or a dying server does."""
    if request.transport is not None:
        request.transport.close()
    return response


def _html() -> web.Response:
    page = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Sign in to the proxy.</body></html>\n"
    return web.Response(text=page, content_type="text/html")


def _stream_without_events() -> web.Response:
    return web.Response(body=b"upstream says hello\nand nothing else\n\n", headers=STREAM_HEADERS)


def _events_without_json() -> web.Response:
    return web.Response(body=b"event: response.created\ndata: {not json\n\n", headers=STREAM_HEADERS)


_GARBAGE = {Garbage.HTML: _html, Garbage.SSE: _stream_without_events, Garbage.JSON: _events_without_json}
