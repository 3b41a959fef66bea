"""The listener and its connections: framing, limits, and nothing about what the verbs do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

from codex_sandbox.errors import SandboxRefused
from codex_sandbox.frames import MAX_FRAME_BYTES, FrameError, decode_frame, encode_frame, read_frame
from codex_sandbox.log import log
from codex_sandbox.protocol import RefusalCode
from codex_sandbox.tls import server_context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codex_sandbox.supervisor import Supervisor
    from codex_sandbox.tls import TlsFiles

MAX_CONNECTIONS = 256
MAX_OPEN_REQUESTS = 256
HANDSHAKE_SECONDS = 5.0


def listen_unix(path: str) -> socket.socket:
    """Return a listening Unix socket that only our user may connect to; a left-over one is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Whoever sees the name may connect at once: between bind and listen a connection is refused.
    unfinished = f"{path}~"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(unfinished)
    previous = os.umask(0o177)
    try:
        listener.bind(unfinished)
    finally:
        os.umask(previous)
    listener.listen()
    os.replace(unfinished, path)
    return listener


def listen_tcp(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket; `host` is an address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen()
    return listener


class Server:
    """Accepts connections for a supervisor. Whoever gets through the handshake may use every verb."""

    def __init__(self, supervisor: Supervisor, listener: socket.socket, tls: TlsFiles | None) -> None:
        self._supervisor = supervisor
        self._listener = listener
        self._tls = tls
        self._connections: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                # Out of file descriptors, or gone before it was accepted.
                log("accept_failed", error=str(error))
                await asyncio.sleep(0.1)
                continue
            if len(self._connections) >= MAX_CONNECTIONS:
                connection.close()
                continue
            task = asyncio.ensure_future(self._serve(connection))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def close(self) -> None:
        """End the listener and every connection."""
        self._listener.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            reader, writer = await self._handshake(connection)
        except (OSError, ssl.SSLError) as error:
            connection.close()
            # Readiness probes connect and hang up: that is no event.
            if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
                log("handshake_refused", reason=error.reason)
            elif not isinstance(error, (ConnectionError, ssl.SSLEOFError)):
                log("handshake_failed", error=str(error))
            return
        served = _Connection(self._supervisor, reader, writer)
        try:
            await served.run()
        except (OSError, ssl.SSLError):
            # The other side is gone; its commands go on.
            pass
        finally:
            served.close()

    async def _handshake(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            _notice_dead_clients(connection)
        reader = asyncio.StreamReader(limit=MAX_FRAME_BYTES, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        if self._tls is None:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection)
        else:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=server_context(self._tls),
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _Connection:
    """One client; its requests run at the same time, its replies come in the order they are ready."""

    def __init__(self, supervisor: Supervisor, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._supervisor = supervisor
        self._reader = reader
        self._writer = writer
        self._requests: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        await self._send(await self._supervisor.hello())
        try:
            await self._read_requests()
        except FrameError as error:
            await self._send(_error(None, RefusalCode.BAD_FRAME, str(error)))

    def close(self) -> None:
        # Only the waiting ends: calls and processes belong to the supervisor.
        for task in self._requests:
            task.cancel()
        self._writer.close()

    async def _read_requests(self) -> None:
        while True:
            frame = await read_frame(self._reader)
            if frame is None:
                return
            request = decode_frame(frame)
            identifier = request.get("id")
            if not isinstance(identifier, int) or isinstance(identifier, bool):
                raise FrameError("a request needs an integer id")
            if len(self._requests) >= MAX_OPEN_REQUESTS:
                await asyncio.wait(self._requests, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.ensure_future(self._answer(identifier, request))
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)

    async def _answer(self, identifier: int, request: Mapping[str, Any]) -> None:
        try:
            reply: dict[str, Any] = {"id": identifier, "result": await self._supervisor.handle(request)}
        except SandboxRefused as refusal:
            reply = _error(identifier, refusal.code, refusal.message)
        except Exception as error:  # noqa: BLE001 - one request must never end the supervisor or hang its client
            log("request_failed", verb=str(request.get("verb")), error=repr(error))
            reply = _error(identifier, RefusalCode.INTERNAL, repr(error))
        try:
            await self._send(reply)
        except (OSError, ssl.SSLError):
            # A lost connection is noticed by its reader; the reply is stored.
            return

    async def _send(self, message: Mapping[str, Any]) -> None:
        self._writer.write(encode_frame(message))
        await self._writer.drain()


def _notice_dead_clients(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def _error(identifier: int | None, code: str, message: str) -> dict[str, Any]:
    return {"id": identifier, "error": {"code": code, "message": message}}
