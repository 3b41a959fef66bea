"""Sending an answer: at once or as a stream, and dropping the connection where the script says so."""

from __future__ import annotations

import asyncio

from aiohttp import web

from codex_client.model_server.answer import Answer
from codex_client.model_server.faults import gateway_page, refusal
from codex_client.model_server.script import Fault, Garbage
from codex_client.model_server.stream_events import beginning, encode

STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


async def deliver(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Answer the request as the script says."""
    fault, reply = answer.fault, answer.choice.reply
    if fault and fault.status is not None:
        await asyncio.sleep(reply.delay_seconds)
        return _refuse(fault)
    streamed = bool(answer.body.get("stream"))
    if fault and (fault.after_events == 0 or (fault.breaks_off and not streamed)):
        await asyncio.sleep(fault.hang_seconds)
        return _drop(request, web.Response())
    if fault and fault.garbage in _GARBAGE:
        return _GARBAGE[fault.garbage]()
    if streamed:
        return await _stream(request, answer)
    await asyncio.sleep(reply.delay_seconds)
    return web.json_response(answer.end()["response"])


def _refuse(fault: Fault) -> web.Response:
    status, headers, error = refusal(fault)
    if fault.html:
        return web.Response(text=gateway_page(status), status=status, headers=headers, content_type="text/html")
    return web.json_response(error, status=status, headers=headers)


async def _stream(request: web.Request, answer: Answer) -> web.StreamResponse:
    reply = answer.choice.reply
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
    events = [*opening, *answer.events(), answer.end()]
    limit = answer.breaks_off_at([event["type"] for event in events])
    for number, event in enumerate(events):
        if number == len(opening):
            await pause(reply.delay_seconds)
        if event["type"].endswith(".delta"):
            await pause(reply.token_delay_seconds)
        if number == limit:
            await flush()
            await asyncio.sleep(answer.fault.hang_seconds if answer.fault else 0)
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
