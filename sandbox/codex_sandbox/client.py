"""The worker's side of a sandbox. The sandbox is hostile: every frame is bounded and typed, every wait has an end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from codex_sandbox import fields
from codex_sandbox.errors import (
    SandboxConnectionLost,
    SandboxError,
    SandboxIdentityMismatch,
    SandboxProtocolError,
    SandboxRefused,
    SandboxUnreachable,
)
from codex_sandbox.frames import MAX_FRAME_BYTES, decode_frame, encode_frame, read_frame
from codex_sandbox.naming import sandbox_server_name
from codex_sandbox.protocol import PROTOCOL, CommandReply, FileContent, Health, Hello, ProjectDocuments
from codex_sandbox.structure import check_structure
from codex_sandbox.tls import TlsFiles, client_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from codex_sandbox.protocol import StartCommand, WriteCharacters

Answer = TypeVar("Answer")

SUPPORTED_PROTOCOLS = frozenset({PROTOCOL})
# What a busy sandbox may take beyond the time it was given.
REPLY_MARGIN_SECONDS = 10.0
# A pod that vanished sends no reset: the kernel gives up after this long without an acknowledgement.
DEAD_PEER_MILLISECONDS = 3000
MAX_REFUSAL_CHARACTERS = 2000


@dataclass(frozen=True)
class SandboxAddress:
    """Where a sandbox listens and who must answer there: either `host` and `port`, or `path` of a Unix socket."""

    session: str
    """The session's uid."""
    generation: int
    host: str | None = None
    port: int | None = None
    path: str | None = None

    @property
    def server_name(self) -> str:
        """The DNS name that the certificate must carry."""
        return sandbox_server_name(self.session, self.generation)

    def __str__(self) -> str:
        place = self.path if self.path is not None else f"{self.host}:{self.port}"
        return f"{place} (session {self.session}, generation {self.generation})"


class SandboxClient:
    """One connection. Any number of requests may be open on it; a cancelled request leaves the others alone."""

    def __init__(
        self, address: SandboxAddress, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hello: Hello
    ) -> None:
        self.address = address
        self.hello = hello
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._open: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._abandoned: set[int] = set()
        self._failure: SandboxError | None = None
        self._receiving = asyncio.create_task(self._receive())

    @classmethod
    async def connect(cls, address: SandboxAddress, tls: TlsFiles | None = None, timeout: float = 5.0) -> SandboxClient:
        """Connect and read the hello, within `timeout` seconds.

        Raises SandboxUnreachable (try again), SandboxIdentityMismatch (never the right one) or SandboxProtocolError.
        """
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await _open_stream(address, tls)
                hello = await _read_hello(reader)
            _check_identity(address, hello)
        except BaseException as error:
            if writer is not None:
                writer.transport.abort()
            if isinstance(error, ssl.SSLCertVerificationError):
                raise SandboxIdentityMismatch(f"{address}: {error.verify_message or error}") from error
            # TimeoutError and SSLError are OSErrors.
            if isinstance(error, OSError | asyncio.IncompleteReadError):
                raise SandboxUnreachable(f"{address}: {error or 'no answer in time'}") from error
            raise
        return cls(address, reader, writer, hello)

    @property
    def usable(self) -> bool:
        """Whether the connection still stands."""
        return self._failure is None

    async def start(self, command: StartCommand) -> CommandReply:
        """Start a command, or attach to it; return when it ended or its yield time is over."""
        return await self._request_reply("start", command)

    async def write(self, write: WriteCharacters) -> CommandReply:
        """Write to a running command, or wait for more of its output."""
        return await self._request_reply("write", write)

    async def signal(self, call_id: str, boot_id: str, process: int, signal: int) -> bool:
        """Send a signal to a command's process group; return False when it had already ended."""
        wire = {"call_id": call_id, "boot_id": boot_id, "process": process, "signal": int(signal)}
        return await self._request("signal", wire, lambda result: fields.flag(result, "delivered"))

    async def stop(self, *, turn_prefix: str | None = None, call_ids: Sequence[str] | None = None) -> int:
        """Kill everything that a turn's calls started and refuse those still to come; return what could not be killed.

        `turn_prefix` ends with a dot: `t3.`. Give either that or `call_ids`.
        """
        if (turn_prefix is None) == (call_ids is None):
            raise ValueError("give either turn_prefix or call_ids")
        wire = {
            "boot_id": self.hello.boot_id,
            "turn_prefix": turn_prefix,
            "call_ids": None if call_ids is None else list(call_ids),
        }
        return await self._request("stop", wire, lambda result: fields.number(result, "remaining"))

    async def forget(self, call_ids: Sequence[str]) -> None:
        """Let the sandbox drop the stored replies of finished calls."""
        wire = {"call_ids": list(call_ids)}
        await self._request("forget", wire, lambda result: fields.number(result, "forgotten"))

    async def read_file(self, path: str, max_bytes: int) -> FileContent:
        """Read the beginning of a file, with the rights of the sandbox's user."""
        return await self._request("read_file", {"path": path, "max_bytes": max_bytes}, FileContent.from_wire)

    async def project_documents(self) -> ProjectDocuments:
        """Read the AGENTS.md files that apply to the workspace.

        Raises SandboxRefused with the code unknown_verb where the supervisor is older than this verb.
        """
        return await self._request("project_documents", {}, ProjectDocuments.from_wire)

    async def health(self) -> Health:
        """Ask how the supervisor is doing."""
        return await self._request("health", {}, Health.from_wire)

    async def close(self) -> None:
        """Close the connection; commands go on."""
        self._fail(SandboxConnectionLost(f"{self.address}: closed by us"))
        self._receiving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._receiving
        # The transport reports its end to the next turn of the loop.
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.wait_closed()

    async def _request_reply(self, verb: str, request: StartCommand | WriteCharacters) -> CommandReply:
        def read(result: dict[str, Any]) -> CommandReply:
            return CommandReply.from_wire(result, request.max_output_bytes)

        return await self._request(verb, request.to_wire(), read, request.yield_time_ms / 1000)

    async def _request(
        self,
        verb: str,
        wire: Mapping[str, Any],
        read: Callable[[dict[str, Any]], Answer],
        seconds: float = 0.0,
    ) -> Answer:
        if self._failure is not None:
            raise self._lost()
        identifier = next(self._ids)
        frame = encode_frame({"id": identifier, "verb": verb, **wire})
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._open[identifier] = reply
        try:
            async with asyncio.timeout(seconds + REPLY_MARGIN_SECONDS):
                self._writer.write(frame)
                await self._writer.drain()
                return read(await reply)
        except TimeoutError as error:
            # Without an answer nothing is known about this connection any more.
            self._fail(SandboxConnectionLost(f"{self.address}: no reply to {verb} in time"))
            raise self._lost() from error
        except OSError as error:
            self._fail(SandboxConnectionLost(f"{self.address}: {error}"))
            raise self._lost() from error
        except fields.FieldError as error:
            self._fail(SandboxProtocolError(f"{self.address}: reply to {verb}: {error}"))
            raise self._lost() from error
        finally:
            del self._open[identifier]
            if reply.cancelled() or not reply.done():
                self._abandoned.add(identifier)
            else:
                # Marks a failure as seen where the caller was cancelled at the same moment.
                reply.exception()

    def _lost(self) -> SandboxError:
        assert self._failure is not None
        # A new object for every caller: one exception raised in several tasks collects all their tracebacks.
        return type(self._failure)(*self._failure.args)

    async def _receive(self) -> None:
        try:
            while (frame := await read_frame(self._reader)) is not None:
                check_structure(frame)
                self._deliver(decode_frame(frame))
            self._fail(SandboxConnectionLost(f"{self.address}: the sandbox closed the connection"))
        except (SandboxProtocolError, fields.FieldError) as error:
            self._fail(SandboxProtocolError(f"{self.address}: {error}"))
        except OSError as error:
            self._fail(SandboxConnectionLost(f"{self.address}: {error}"))

    def _deliver(self, message: dict[str, Any]) -> None:
        error = message.get("error")
        refusal = None
        if error is not None:
            code = fields.text(fields.mapping(message, "error"), "code", 64)
            refusal = SandboxRefused(code, fields.text(error, "message")[:MAX_REFUSAL_CHARACTERS])
        if refusal is not None and message.get("id") is None:
            raise SandboxProtocolError(f"the sandbox could not read our frame: {refusal.message}")
        identifier = fields.number(message, "id")
        if identifier in self._abandoned:
            self._abandoned.discard(identifier)
            return
        future = self._open.get(identifier)
        if future is None or future.done():
            raise SandboxProtocolError("a reply that nobody asked for")
        if refusal is not None:
            future.set_exception(refusal)
        else:
            future.set_result(fields.mapping(message, "result"))

    def _fail(self, error: SandboxError) -> None:
        if self._failure is not None:
            return
        self._failure = error
        self._writer.transport.abort()
        for future in self._open.values():
            if not future.done():
                future.set_exception(self._lost())


async def _open_stream(
    address: SandboxAddress, tls: TlsFiles | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.path is not None:
        return await asyncio.open_unix_connection(address.path, limit=MAX_FRAME_BYTES)
    if tls is None:
        raise ValueError("a sandbox on the network needs TLS")
    reader, writer = await asyncio.open_connection(
        address.host,
        address.port,
        ssl=client_context(tls),
        server_hostname=address.server_name,
        limit=MAX_FRAME_BYTES,
    )
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_MILLISECONDS)
    return reader, writer


async def _read_hello(reader: asyncio.StreamReader) -> Hello:
    frame = await read_frame(reader)
    if frame is None:
        raise SandboxUnreachable("closed before the hello, as by a sandbox that does not trust our certificate")
    check_structure(frame)
    try:
        return Hello.from_wire(fields.mapping(decode_frame(frame), "hello"))
    except fields.FieldError as error:
        raise SandboxProtocolError(f"not a hello: {error}") from error


def _check_identity(address: SandboxAddress, hello: Hello) -> None:
    if hello.protocol not in SUPPORTED_PROTOCOLS:
        raise SandboxProtocolError(f"{address}: protocol {hello.protocol} is not supported")
    if (hello.session, hello.generation) != (address.session, address.generation):
        raise SandboxIdentityMismatch(f"{address}: session {hello.session}, generation {hello.generation} answered")
