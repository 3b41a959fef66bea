"""Where commands speak to the machine's worker, in JSON lines on a Unix socket.

They hand it a session to begin, which it can do at once and they only after a second of imports; and they read what
models write, as a hint: a reader that is too slow loses pieces, the finished item stands in the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from codex_api.rows import SessionSettings
from codex_client.local.errors import LocalError, translated

if TYPE_CHECKING:
    from codex_worker.deltas import Delta, OnDelta

MAX_WAITING_BYTES = 1024 * 1024
MAX_LINE_BYTES = 64 * 1024 * 1024


class NewSession(BaseModel):
    """A session to create and start, with its first message; its sandbox, generation 1, listens already."""

    model_config = ConfigDict(frozen=True)

    workflow_id: str
    settings: SessionSettings
    sandbox_socket: str
    prompt: str


class _Request(BaseModel):
    begin: NewSession | None = None
    deltas: str | None = None
    """Session whose pieces are wanted."""


class _Begun(BaseModel):
    message: int = 0
    """Seq of the first message."""
    error: str = ""


Begin = Callable[[NewSession], Awaitable[int]]


class WorkerSocket:
    """``async with``: listens. ``begin`` starts a session and returns the seq of its first message."""

    def __init__(self, path: Path, begin: Begin) -> None:
        self._path = path
        self._begin = begin
        self._server: asyncio.Server | None = None
        self._readers: dict[asyncio.StreamWriter, str] = {}

    async def __aenter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=MAX_LINE_BYTES)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._readers):
            writer.transport.abort()
        self._path.unlink(missing_ok=True)

    def publish(self, delta: Delta) -> None:
        """Send a piece to those who asked for its session."""
        readers = [writer for writer, session in self._readers.items() if session == delta.session]
        if not readers:
            return
        line = json.dumps(asdict(delta)).encode() + b"\n"
        for writer in readers:
            if writer.transport.get_write_buffer_size() < MAX_WAITING_BYTES:
                writer.write(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = _Request.model_validate_json(await reader.readline())
            if request.begin is not None:
                writer.write((await self._begun(request.begin)).model_dump_json().encode() + b"\n")
                await writer.drain()
                writer.close()
            elif request.deltas is not None:
                self._readers[writer] = request.deltas
                await reader.read()
                writer.transport.abort()
        except (OSError, ValueError):
            writer.transport.abort()
        finally:
            self._readers.pop(writer, None)

    async def _begun(self, session: NewSession) -> _Begun:
        try:
            with translated():
                return _Begun(message=await self._begin(session))
        except LocalError as error:
            return _Begun(error=str(error))


async def begin_session(path: str, session: NewSession) -> int:
    """Let the worker begin a session; return the seq of its first message. Raises LocalError."""
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=MAX_LINE_BYTES)
        try:
            writer.write(_Request(begin=session).model_dump_json().encode() + b"\n")
            begun = _Begun.model_validate_json(await reader.readline())
        finally:
            writer.transport.abort()
    except (OSError, ValidationError) as error:
        raise LocalError("the worker did not begin the session: has it stopped?") from error
    if begun.error:
        raise LocalError(begun.error)
    return begun.message


async def read_deltas(path: str, session: str, on_delta: OnDelta) -> None:
    """Call ``on_delta`` for every piece until the worker goes; returns at once where nobody listens."""
    from codex_worker.deltas import Delta

    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_unix_connection(path, limit=MAX_LINE_BYTES)
        try:
            writer.write(_Request(deltas=session).model_dump_json().encode() + b"\n")
            while line := await reader.readline():
                on_delta(Delta(**json.loads(line)))
        finally:
            writer.transport.abort()
