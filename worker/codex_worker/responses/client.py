"""The Responses API over HTTP: one streamed request per call, nothing retried."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from codex_worker.responses.errors import FailureKind, InvalidReply, ModelCallFailed, ModelFailure, SenselessEvent
from codex_worker.responses.reply import ModelReply, ReplyInProgress
from codex_worker.responses.request import ModelRequest, request_body

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

OnEvent = Callable[[dict[str, Any]], None]

MAX_REPLY_BYTES = 64 * 1024 * 1024
MAX_MESSAGE_CHARACTERS = 500
DRAIN_SECONDS = 0.1  # for the end of a body whose last event has arrived; without it the connection is not reused
KEEP_ALIVE_SECONDS = 60.0  # a tool call between two requests rarely takes longer
DELAY_HEADERS = ("retry-after", "retry-after-ms")


class ResponsesModel:
    """Streams replies; holds one HTTP client with its connections per base URL, safe for concurrent calls."""

    def __init__(self, *, connect_timeout_seconds: float = 10.0, idle_timeout_seconds: float = 300.0) -> None:
        self._connect_timeout_seconds = connect_timeout_seconds
        self._idle_timeout_seconds = idle_timeout_seconds
        self._clients: dict[str, AsyncOpenAI] = {}
        self._creating = asyncio.Lock()

    async def stream(
        self, request: ModelRequest, on_event: OnEvent | None = None, progress: ReplyInProgress | None = None
    ) -> ModelReply:
        """Send one request and return its whole reply.

        ``on_event`` is called with each parsed event as it arrives. ``progress`` may be given to know afterwards
        what a cancelled call had received and cost. Raises ModelCallFailed, of which InvalidReply is one.
        """
        progress = progress or ReplyInProgress()
        _check_key(request.api_key)
        try:
            client = await self._client(request.base_url)
            await _exchange(client, request, progress, on_event)
        except ModelCallFailed as error:
            # What was streamed is paid for, also when it cannot be used.
            usage = progress.usage(request) if progress.began else None
            raise type(error)(replace(error.failure, usage=usage)) from error.__cause__
        return progress.reply(request)

    async def close(self) -> None:
        """Close all connections."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()

    async def _client(self, base_url: str) -> AsyncOpenAI:
        async with self._creating:
            if base_url not in self._clients:
                # Importing openai and reading the certificates blocks for most of a second.
                self._clients[base_url] = await asyncio.to_thread(self._create_client, base_url)
            return self._clients[base_url]

    def _create_client(self, base_url: str) -> AsyncOpenAI:
        import httpx2
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        timeout = httpx2.Timeout(self._idle_timeout_seconds, connect=self._connect_timeout_seconds)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=KEEP_ALIVE_SECONDS)
        try:
            http = DefaultAsyncHttpxClient(timeout=timeout, limits=limits)
            # The key is sent with each call: the connections outlive it.
            client = AsyncOpenAI(
                api_key="sent-per-call", base_url=base_url, max_retries=0, timeout=timeout, http_client=http
            )
        except httpx2.InvalidURL as error:
            raise _failed(FailureKind.CONNECTION, f"the provider's base URL is invalid: {error}") from error
        # Its first use imports the resource's modules.
        _ = client.responses.with_streaming_response
        return client


def _check_key(key: str) -> None:
    if not key:
        raise _failed(FailureKind.UNUSABLE_KEY, "the provider's API key is missing")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise _failed(FailureKind.UNUSABLE_KEY, "the provider's API key holds characters no key has")


async def _exchange(
    client: AsyncOpenAI, request: ModelRequest, progress: ReplyInProgress, on_event: OnEvent | None
) -> None:
    """Send the request and feed ``progress`` until the response has ended well; raises ModelCallFailed."""
    import httpx2
    import openai

    # From here on it is the provider's time, not that of importing a library.
    progress.started_at = time.monotonic()
    try:
        # extra_body: the SDK's own transform of input and tools costs CPU with each item of the conversation.
        async with client.responses.with_streaming_response.create(
            stream=True,
            extra_headers={"Authorization": f"Bearer {request.api_key}"},
            extra_body=request_body(request),
        ) as response:
            await _read(response.iter_bytes(), progress, on_event)
    except openai.APIStatusError as error:
        raise ModelCallFailed(_refusal(error)) from error
    except (openai.APITimeoutError, httpx2.TimeoutException) as error:
        raise _failed(FailureKind.TIMEOUT, f"nothing came from the provider in time ({_cause(error)})") from error
    except httpx2.DecodingError as error:
        raise _failed(FailureKind.INVALID, f"the answer cannot be decompressed: {error}") from error
    except (openai.APIConnectionError, httpx2.TransportError, httpx2.InvalidURL) as error:
        kind = FailureKind.DROPPED if progress.began else FailureKind.CONNECTION
        raise _failed(kind, f"the connection to {_host(request.base_url)} failed: {_cause(error)}") from error
    except (SenselessEvent, UnicodeDecodeError) as error:
        raise _failed(FailureKind.INVALID, f"the reply makes no sense: {error}") from error


async def _read(body: AsyncIterator[bytes], progress: ReplyInProgress, on_event: OnEvent | None) -> None:
    # The SDK's typed stream costs about 40 ms of CPU for a reply of 250 deltas, its decoder with plain JSON 6 ms.
    from openai._streaming import SSEDecoder

    received = _Received()
    async with aclosing(SSEDecoder().aiter_bytes(received.bounded(body))) as events:  # type: ignore[type-var]
        async for event in events:
            if not event.data or event.data == "[DONE]":
                continue
            parsed = _parse(event.data, event.event)
            progress.feed(parsed)
            if on_event is not None:
                on_event(parsed)
            if progress.ended:
                await _drain(events)
                break
    if progress.failure is not None:
        code, message = progress.failure
        raise ModelCallFailed(ModelFailure(FailureKind.FAILED, _cut(message), code=code))
    if not progress.began and received.size:
        raise _failed(FailureKind.INVALID, f"the answer is no stream of a response: {received.beginning!r}")
    if not progress.ended:
        raise _failed(FailureKind.DROPPED, "the stream ended before the response did")


class _Received:
    """Counts what arrives, and bounds it: the decoder keeps a line of any length."""

    def __init__(self) -> None:
        self.size = 0
        self.beginning = b""

    async def bounded(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in body:
            self.size += len(chunk)
            if self.size > MAX_REPLY_BYTES:
                raise SenselessEvent(f"it is longer than {MAX_REPLY_BYTES} bytes")
            if len(self.beginning) < 80:
                self.beginning = (self.beginning + chunk)[:80]
            yield chunk


def _parse(data: str, name: str | None) -> dict[str, Any]:
    try:
        parsed = json.loads(data, parse_constant=_no_number)
    # Nesting without bounds is refused by Python itself.
    except (ValueError, RecursionError) as error:
        raise SenselessEvent(f"an event holds no JSON: {data[:80]!r}") from error
    if not isinstance(parsed, dict):
        raise SenselessEvent(f"an event is no object: {data[:80]!r}")
    return parsed if name is None or "type" in parsed else {**parsed, "type": name}


def _no_number(name: str) -> None:
    """Refuse NaN and the infinities: Python reads them, JSON has no such numbers, and nobody could send them back."""
    raise ValueError(f"{name} is no JSON")


async def _drain(events: AsyncIterator[Any]) -> None:
    """Read the rest of a body that has said all it has to say; what goes wrong now changes nothing."""
    import httpx2

    with suppress(TimeoutError, httpx2.HTTPError, SenselessEvent, UnicodeDecodeError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in events:
                pass


def _refusal(error: APIStatusError) -> ModelFailure:
    body = error.body if isinstance(error.body, dict) else {}
    said = body.get("message") or body.get("detail")
    message = said if isinstance(said, str) else str(error)
    headers = {name: error.response.headers[name] for name in DELAY_HEADERS if name in error.response.headers}
    return ModelFailure(
        FailureKind.REFUSED,
        _cut(message),
        status=error.status_code,
        code=error.code,
        api_error=isinstance(body.get("message"), str),
        headers=headers,
    )


def _failed(kind: FailureKind, message: str) -> ModelCallFailed:
    return (InvalidReply if kind is FailureKind.INVALID else ModelCallFailed)(ModelFailure(kind, _cut(message)))


def _cause(error: BaseException) -> str:
    """Name what is behind the SDK's ``Connection error.``, in the operating system's words where it said some."""
    inner = error.__cause__ or error
    deeper: BaseException | None = inner
    while deeper is not None:
        if isinstance(deeper, OSError) and deeper.strerror:
            # asyncio replaces the system's words for a refused connection by its own.
            system = os.strerror(deeper.errno) if isinstance(deeper, ConnectionError) and deeper.errno else ""
            return system or deeper.strerror
        deeper = deeper.__cause__ or deeper.__context__
    return f"{type(inner).__name__}: {inner}".rstrip(": ")


def _host(base_url: str) -> str:
    """Return host:port of an address, without a name and a password in it."""
    try:
        parts = urlsplit(base_url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return "the provider"
    return f"{parts.hostname}:{port}" if parts.hostname and port else "the provider"


def _cut(message: str) -> str:
    return message[:MAX_MESSAGE_CHARACTERS]
