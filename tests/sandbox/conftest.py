"""A real supervisor and a connection to it for every test that asks, and waiting without guessing times."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from codex_sandbox.testing import LocalSandbox, TestingAuthority, characters, installed_bubblewrap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from codex_sandbox.client import SandboxClient
    from codex_sandbox.protocol import CommandReply

PATIENCE_SECONDS = 20


@pytest.fixture
async def sandbox() -> AsyncIterator[LocalSandbox]:
    async with LocalSandbox() as running:
        yield running


@pytest.fixture
async def client(sandbox: LocalSandbox) -> SandboxClient:
    return await sandbox.client()


@pytest.fixture
def authority(tmp_path: Path) -> TestingAuthority:
    folder = tmp_path / "authority"
    folder.mkdir()
    return TestingAuthority(folder)


@pytest.fixture
def processes_live() -> Callable[[SandboxClient, int], Awaitable[None]]:
    """Wait until so many commands are running."""

    async def wait(client: SandboxClient, count: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await client.health()).live_processes != count:
                await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def read_until() -> Callable[[SandboxClient, CommandReply, str], Awaitable[str]]:
    """Read on after a reply until a text has come; return everything, the reply's output included."""
    polls = itertools.count()

    async def read(client: SandboxClient, reply: CommandReply, text: str) -> str:
        assert reply.process is not None
        seen = reply.output
        async with asyncio.timeout(PATIENCE_SECONDS):
            while text not in seen:
                poll = characters(client, f"poll.{next(polls)}", reply.process, yield_time_ms=50)
                seen += (await client.write(poll)).output
        return seen

    return read


@pytest.fixture
def logged() -> Callable[[LocalSandbox, str], Awaitable[None]]:
    """Wait until the supervisor has logged an event."""

    async def wait(sandbox: LocalSandbox, event: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while f'"event": "{event}"' not in sandbox.log.read_text():
                await asyncio.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def bubblewrap() -> str:
    return installed_bubblewrap()
