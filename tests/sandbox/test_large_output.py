"""A command that writes without end costs the supervisor little and the worker less."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil

from codex_sandbox.testing import LocalSandbox, command

if TYPE_CHECKING:
    from codex_sandbox.client import SandboxClient

HUNDRED_MEGABYTES = 100_000_000
# What the supervisor may grow by: the head and the tail it keeps, and the reply it makes of them.
MAX_GROWTH_BYTES = 24 * 1024 * 1024


async def test_a_hundred_megabytes_are_counted_and_cut_in_the_middle(
    sandbox: LocalSandbox, client: SandboxClient
) -> None:
    assert sandbox.process is not None
    supervisor = psutil.Process(sandbox.process.pid)
    before = supervisor.memory_info().rss
    script = f"echo first; yes 0123456789abcde | head -c {HUNDRED_MEGABYTES}; echo last"
    writing = asyncio.create_task(
        client.start(command(client, "t1.s1.c1", "sh", "-c", script, yield_time_ms=120_000, max_output_bytes=40_000))
    )
    peak = before
    while not writing.done():
        peak = max(peak, supervisor.memory_info().rss)
        # Others are answered meanwhile.
        assert (await client.health()).uptime_seconds > 0
        await asyncio.sleep(0.05)
    reply = await writing
    assert reply.exit_code == 0
    assert reply.output_bytes == HUNDRED_MEGABYTES + len("first\nlast\n")
    assert reply.output.startswith("first\n0123456789abcde\n")
    assert reply.output.endswith("\nlast\n")
    assert len(reply.output) == 40_000
    assert reply.omitted_bytes == reply.output_bytes - 40_000
    assert reply.omitted_at == 20_000
    assert peak - before < MAX_GROWTH_BYTES


async def test_one_line_of_a_hundred_megabytes_of_binary_is_no_different(client: SandboxClient) -> None:
    script = f"head -c {HUNDRED_MEGABYTES} /dev/zero | tr '\\0' '\\377'"
    sent = command(client, "t1.s1.c1", "sh", "-c", script, yield_time_ms=120_000, max_output_bytes=1000)
    reply = await client.start(sent)
    assert (reply.exit_code, reply.output_bytes) == (0, HUNDRED_MEGABYTES)
    assert set(reply.output) == {"\ufffd"}
    assert len(reply.output) <= 1000
