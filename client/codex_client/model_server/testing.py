"""The scripted model inside a test: the real server on a free port of this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from codex_api.tools import EXEC_COMMAND
from codex_client.model_server.faults import FaultCounter
from codex_client.model_server.running import listening
from codex_client.model_server.script import Script
from codex_client.model_server.server import ModelServer, RecordedRequest

HOST = "127.0.0.1"


def shell_call(cmd: str, **arguments: object) -> dict[str, Any]:
    """Return the call that runs a command line; ``arguments`` are further ones of the tool."""
    return {"name": EXEC_COMMAND, "arguments": {"cmd": cmd, "login": False, **arguments}}


def shell(cmd: str, **arguments: object) -> dict[str, Any]:
    """Return the reply that calls for one command line, and does no more."""
    return {"calls": [shell_call(cmd, **arguments)]}


class ScriptedModel:
    """Async context manager around a model server.

    ``async with ScriptedModel(replies=[{"text": "Hello."}]) as model:`` answers every conversation with these
    replies; ``conversations=[{"match": …, "replies": […]}]`` tells them apart. Raises pydantic.ValidationError for
    a script that cannot be.
    """

    def __init__(
        self,
        *,
        replies: Sequence[Mapping[str, Any]] | None = None,
        conversations: Sequence[Mapping[str, Any]] | None = None,
        models: Sequence[str] = (),
        require_key: str | None = None,
    ) -> None:
        self.server = ModelServer(Script(), require_key=require_key)
        self.script(replies=replies, conversations=conversations, models=models)
        self._stack = AsyncExitStack()
        self._port = 0

    def script(
        self,
        *,
        replies: Sequence[Mapping[str, Any]] | None = None,
        conversations: Sequence[Mapping[str, Any]] | None = None,
        models: Sequence[str] = (),
    ) -> None:
        """Exchange the script; counts of faults begin anew."""
        parts = list(conversations or [])
        if replies is not None:
            parts.append({"match": "always", "replies": list(replies)})
        self.server.script = Script.model_validate({"conversations": parts, "models": list(models)})
        self.server.faults = FaultCounter()

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self._port}/v1"

    @property
    def requests(self) -> list[RecordedRequest]:
        """The newest requests, oldest first."""
        return list(self.server.requests)

    async def start(self) -> None:
        """Begin to listen; after a stop on the same port."""
        self._port = await self._stack.enter_async_context(listening(self.server, HOST, self._port))

    async def stop(self) -> None:
        """Refuse connections until the next start."""
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()
