"""Neither side can be brought down by what the other one sends."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from codex_sandbox import client as client_module
from codex_sandbox.client import SandboxAddress, SandboxClient
from codex_sandbox.errors import (
    SandboxConnectionLost,
    SandboxIdentityMismatch,
    SandboxProtocolError,
    SandboxUnreachable,
)
from codex_sandbox.frames import MAX_FRAME_BYTES, FrameError
from codex_sandbox.structure import MAX_STRUCTURE_BYTES, check_structure
from codex_sandbox.testing import SESSION, LocalSandbox, command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from codex_sandbox.testing import TestingAuthority

HELLO: dict[str, Any] = {
    "protocol": 1,
    "boot_id": "0" * 32,
    "session": SESSION,
    "generation": 1,
    "environment_hash": "sha256:0",
    "isolation": {"isolated": None, "checked_at": None, "reached": [], "probes": {}},
}
REPLY: dict[str, Any] = {
    "output": "",
    "output_bytes": 0,
    "omitted_bytes": 0,
    "omitted_at": None,
    "exit_code": 0,
    "signal": None,
    "process": None,
    "wall_time_seconds": 0,
}


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\n",
        b"[1, 2, 3]\n",
        b'{"verb": "health"}\n',
        b'{"id": "1", "verb": "health"}\n',
        b'{"id": NaN, "verb": "health"}\n',
        b"[" * 200_000 + b"\n",
        b"x" * (MAX_FRAME_BYTES + 100) + b"\n",
        b'{"id": 1, "verb": "health", "padding": "' + b"x" * MAX_FRAME_BYTES + b'"}\n',
    ],
    ids=["http", "tls", "list", "no id", "text id", "nan", "nested", "endless line", "oversized"],
)
async def test_a_broken_frame_closes_its_connection_and_no_other(
    sandbox: LocalSandbox, client: SandboxClient, garbage: bytes
) -> None:
    assert sandbox.address.path is not None
    reader, writer = await asyncio.open_unix_connection(sandbox.address.path)
    try:
        assert "hello" in json.loads(await reader.readline())
        writer.write(garbage)
        async with asyncio.timeout(10):
            error = json.loads(await reader.readline())
        assert (error["id"], error["error"]["code"]) == (None, "bad_frame")
        writer.write_eof()
        async with asyncio.timeout(10):
            assert await reader.read() == b""
    finally:
        writer.close()
    assert (await client.start(command(client, "t1.s1.c1", "echo", "alive"))).output == "alive\n"


async def test_the_reason_for_closing_arrives_over_tls(authority: TestingAuthority) -> None:
    async with LocalSandbox(authority=authority) as sandbox:
        client = await sandbox.client()
        client._writer.write(b"x" * (MAX_FRAME_BYTES * 6))
        with pytest.raises(SandboxProtocolError, match=r"could not read our frame: .* longer than"):
            await client.health()


async def test_a_client_that_hangs_up_in_the_middle_harms_nobody(sandbox: LocalSandbox, client: SandboxClient) -> None:
    assert sandbox.address.path is not None
    for sent in (b"", b'{"id": 1, "ve', b'{"id": 1, "verb": "health"}\n'):
        _, writer = await asyncio.open_unix_connection(sandbox.address.path)
        writer.write(sent)
        writer.transport.abort()
        await asyncio.sleep(0.05)
    assert (await client.start(command(client, "t1.s1.c1", "echo", "alive"))).output == "alive\n"


async def test_a_request_that_is_too_large_fails_before_it_is_sent(client: SandboxClient) -> None:
    with pytest.raises(FrameError):
        await client.start(command(client, "t1.s1.c1", "cat", stdin="x" * MAX_FRAME_BYTES))
    assert (await client.start(command(client, "t1.s1.c2", "echo", "alive"))).output == "alive\n"


async def test_many_requests_at_once_are_all_answered(client: SandboxClient) -> None:
    answers = await asyncio.gather(*(client.health() for _ in range(1000)))
    assert len(answers) == 1000


@asynccontextmanager
async def pretender(folder: Path, hello: dict[str, Any] | None, answer: Callable[[int], bytes]) -> AsyncIterator[Any]:
    """Serve a hello of our choice, or none, and answer every request with bytes of our choice."""

    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if hello is not None:
            writer.write(json.dumps({"hello": hello}).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(answer(json.loads(line)["id"]))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    path = str(folder / "socket")
    async with await asyncio.start_unix_server(serve, path, limit=MAX_FRAME_BYTES):
        yield SandboxAddress(SESSION, 1, path=path)
        await ended.wait()


def reply(identifier: int, **changes: Any) -> bytes:
    return json.dumps({"id": identifier, "result": {**REPLY, **changes}}).encode() + b"\n"


@pytest.mark.parametrize(
    "answer",
    [
        lambda identifier: reply(identifier + 1),
        lambda identifier: reply(identifier, exit_code="0"),
        lambda identifier: reply(identifier, exit_code=True),
        lambda identifier: reply(identifier, output="x" * 40_001),
        lambda identifier: reply(identifier, output_bytes=-1),
        lambda identifier: reply(identifier, wall_time_seconds=1e300),
        lambda identifier: b'{"id": %d}\n' % identifier,
        lambda identifier: b'{"id": %d, "error": "no"}\n' % identifier,
        lambda identifier: b'{"id": %d, "result": []}\n' % identifier,
        lambda identifier: b'{"id": null, "error": {"code": "bad_frame", "message": "?"}}\n',
        lambda identifier: b"garbage\n",
        lambda identifier: b"[" * 100_000 + b"\n",
        lambda identifier: reply(identifier, unknown=[[]] * 100_000),
        lambda identifier: b"x" * (MAX_FRAME_BYTES + 10),
    ],
    ids=[
        "unknown id",
        "text for a number",
        "truth for a number",
        "more output than asked for",
        "negative",
        "endless time",
        "neither",
        "bad error",
        "bad result",
        "no id",
        "garbage",
        "nested",
        "many lists",
        "endless line",
    ],
)
async def test_a_sandbox_that_breaks_the_protocol_is_cut_off(tmp_path: Path, answer: Callable[[int], bytes]) -> None:
    async with pretender(tmp_path, HELLO, answer) as address:
        client = await SandboxClient.connect(address)
        with pytest.raises(SandboxProtocolError):
            await client.start(command(client, "t1.s1.c1", "true"))
        assert not client.usable
        with pytest.raises(SandboxProtocolError):
            await client.health()
        await client.close()


async def test_an_answer_that_comes_twice_is_a_broken_protocol(tmp_path: Path) -> None:
    async with pretender(tmp_path, HELLO, lambda identifier: reply(identifier) + reply(identifier)) as address:
        client = await SandboxClient.connect(address)
        assert (await client.start(command(client, "t1.s1.c1", "true"))).exit_code == 0
        with pytest.raises(SandboxProtocolError):
            await client.health()
        await client.close()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"session": "another"}, SandboxIdentityMismatch),
        ({"generation": 2}, SandboxIdentityMismatch),
        ({"protocol": 99}, SandboxProtocolError),
        ({"boot_id": None}, SandboxProtocolError),
        ({"boot_id": "x" * 5000}, SandboxProtocolError),
        ({"isolation": {"isolated": "yes"}}, SandboxProtocolError),
    ],
)
async def test_a_hello_that_is_not_the_expected_one_is_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception]
) -> None:
    async with pretender(tmp_path, {**HELLO, **changes}, reply) as address:
        with pytest.raises(error):
            await SandboxClient.connect(address)


async def test_a_sandbox_that_never_greets_is_unreachable(tmp_path: Path) -> None:
    async with pretender(tmp_path, None, reply) as address:
        with pytest.raises(SandboxUnreachable):
            await SandboxClient.connect(address, timeout=0.2)


async def test_nobody_listening_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnreachable):
        await SandboxClient.connect(SandboxAddress(SESSION, 1, path=str(tmp_path / "socket")))


async def test_a_sandbox_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "REPLY_MARGIN_SECONDS", 0.2)
    async with pretender(tmp_path, HELLO, lambda identifier: b"") as address:
        client = await SandboxClient.connect(address)
        with pytest.raises(SandboxConnectionLost):
            await client.start(command(client, "t1.s1.c1", "true", yield_time_ms=100))
        assert not client.usable
        await client.close()


async def test_a_killed_supervisor_fails_every_open_request_at_once(
    sandbox: LocalSandbox, client: SandboxClient, processes_live: Callable[[SandboxClient, int], Awaitable[None]]
) -> None:
    waiting = [
        asyncio.create_task(client.start(command(client, f"t1.s1.c{index}", "sleep", "300"))) for index in range(5)
    ]
    await processes_live(client, 5)
    await sandbox.kill()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [SandboxConnectionLost] * 5


def test_one_long_string_is_allowed_and_much_structure_is_not() -> None:
    text = json.dumps({"id": 1, "result": {"output": '\0"\\[{' * 1_000_000}}).encode()
    check_structure(text)
    with pytest.raises(FrameError):
        check_structure(b'{"id":1,"a":[' + b'"",' * MAX_STRUCTURE_BYTES + b"0]}")
    with pytest.raises(FrameError):
        check_structure(b'"' + b"\\" * (MAX_STRUCTURE_BYTES * 2 + 1))
