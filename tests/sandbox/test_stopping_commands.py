"""What a stopped turn leaves behind: nothing, however its commands tried to stay."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from codex_sandbox.errors import SandboxConnectionLost, SandboxRefused
from codex_sandbox.process_tree import descendants, read_entry
from codex_sandbox.testing import characters, command

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from codex_sandbox.client import SandboxClient
    from codex_sandbox.protocol import CommandReply
    from codex_sandbox.testing import LocalSandbox


def alive(pid: int) -> bool:
    entry = read_entry(pid)
    return entry is not None and not entry.zombie


def living(sandbox: LocalSandbox) -> list[int]:
    assert sandbox.process is not None
    return [entry.pid for entry in descendants(sandbox.process.pid)]


async def written(file: Path) -> list[int]:
    async with asyncio.timeout(10):
        while not file.exists() or not file.read_text().endswith("\n"):
            await asyncio.sleep(0.01)
    return [int(line) for line in file.read_text().split()]


def daemon(*, environment: str = "os.environ", then: str = "time.sleep(300)") -> tuple[str, ...]:
    """Return a command whose grandchild leaves its session, its parent and, if told, its environment."""
    script = f"""
        import os, sys, time
        if os.fork(): os._exit(0)
        os.setsid()
        if os.fork(): os._exit(0)
        os.execve(sys.executable, [sys.executable, "-c", '''import os, time
        with open("daemon.new", "w") as file: file.write(str(os.getpid()) + "\\\\n")
        os.rename("daemon.new", "daemon")
        {then}'''], dict({environment}))
        """
    return (sys.executable, "-c", textwrap.dedent(script).replace("\n        ", "\n"))


async def test_an_open_start_is_answered_when_its_turn_is_stopped(sandbox: LocalSandbox, client: SandboxClient) -> None:
    script = "echo before; echo $$ > mark; sleep 300"
    waiting = asyncio.create_task(client.start(command(client, "t1.s1.c1", "sh", "-c", script)))
    await written(sandbox.workspace / "mark")
    assert await client.stop(turn_prefix="t1.") == 0
    reply = await waiting
    assert (reply.output, reply.signal, reply.exit_code) == ("before\n", "SIGTERM", 143)
    assert await client.stop(turn_prefix="t1.") == 0


async def test_children_and_grandchildren_in_the_group_die(sandbox: LocalSandbox, client: SandboxClient) -> None:
    script = "sleep 300 & (sleep 300 & sleep 300) & wait"
    await client.start(command(client, "t1.s1.c1", "sh", "-c", script, yield_time_ms=0))
    async with asyncio.timeout(10):
        while len(living(sandbox)) < 4:
            await asyncio.sleep(0.02)
    await client.stop(turn_prefix="t1.")
    assert living(sandbox) == []


async def test_a_daemon_with_its_own_session_dies(sandbox: LocalSandbox, client: SandboxClient) -> None:
    await client.start(command(client, "t1.s1.c1", *daemon()))
    (pid,) = await written(sandbox.workspace / "daemon")
    assert alive(pid)
    await client.stop(turn_prefix="t1.")
    assert not alive(pid)


async def test_a_daemon_that_also_wiped_its_environment_dies(sandbox: LocalSandbox, client: SandboxClient) -> None:
    await client.start(command(client, "t1.s1.c1", *daemon(environment="{}")))
    (pid,) = await written(sandbox.workspace / "daemon")
    await client.stop(turn_prefix="t1.")
    assert not alive(pid)


async def test_a_daemon_that_claims_another_turn_dies(sandbox: LocalSandbox, client: SandboxClient) -> None:
    await client.start(command(client, "t2.s1.c1", *daemon(environment="{'CODEX_CALL_ID': 't1.s1.c1'}")))
    (pid,) = await written(sandbox.workspace / "daemon")
    await client.stop(turn_prefix="t2.")
    assert not alive(pid)


async def test_a_daemon_of_an_earlier_turn_lives_on(
    sandbox: LocalSandbox, client: SandboxClient, processes_live: Callable[[SandboxClient, int], Awaitable[None]]
) -> None:
    await client.start(command(client, "t1.s1.c1", *daemon(environment="{}")))
    (pid,) = await written(sandbox.workspace / "daemon")
    # The start of a process is known to a hundredth of a second.
    await asyncio.sleep(0.05)
    running = asyncio.create_task(client.start(command(client, "t2.s1.c1", "sleep", "300")))
    await processes_live(client, 1)
    await client.stop(turn_prefix="t2.")
    assert (await running).signal == "SIGTERM"
    assert alive(pid)


async def test_what_ignores_sigterm_is_killed_after_the_grace(
    sandbox: LocalSandbox,
    client: SandboxClient,
    read_until: Callable[[SandboxClient, CommandReply, str], Awaitable[str]],
) -> None:
    script = "trap '' TERM; echo armed; while true; do sleep 300; done"
    started = await client.start(command(client, "t1.s1.c1", "bash", "-c", script, yield_time_ms=0))
    await read_until(client, started, "armed")
    assert started.process is not None
    waiting = asyncio.create_task(client.write(characters(client, "t1.s2.c1", started.process)))
    # The write must have arrived before its turn is stopped.
    await client.health()
    begin = asyncio.get_running_loop().time()
    assert await client.stop(turn_prefix="t1.") == 0
    assert 0.9 < asyncio.get_running_loop().time() - begin < 8
    assert (await waiting).signal == "SIGKILL"
    assert living(sandbox) == []


async def test_a_stopped_process_can_be_ended(sandbox: LocalSandbox, client: SandboxClient) -> None:
    started = await client.start(command(client, "t1.s1.c1", "sh", "-c", "kill -STOP $$", yield_time_ms=500))
    assert started.process is not None
    assert await client.stop(turn_prefix="t1.") == 0
    reply = await client.write(characters(client, "t2.s1.c1", started.process))
    assert reply.signal == "SIGTERM", "it was continued, or only SIGKILL would have ended it"
    assert living(sandbox) == []


async def test_other_turns_and_other_calls_go_on(client: SandboxClient) -> None:
    for call in ("t1.s1.c1", "t1.s1.c2", "t10.s1.c1"):
        await client.start(command(client, call, "sleep", "300", yield_time_ms=0))
    await client.stop(call_ids=["t1.s1.c1"])
    assert (await client.health()).live_processes == 2
    await client.stop(turn_prefix="t1.")
    assert (await client.health()).live_processes == 1


async def test_the_output_of_a_stopped_command_can_still_be_read(sandbox: LocalSandbox, client: SandboxClient) -> None:
    script = "sleep 0.3; echo late; echo $$ > mark; sleep 300"
    started = await client.start(command(client, "t1.s1.c1", "sh", "-c", script, yield_time_ms=0))
    assert started.process is not None
    await written(sandbox.workspace / "mark")
    await client.stop(turn_prefix="t1.")
    reply = await client.write(characters(client, "t2.s1.c1", started.process))
    assert (reply.output, reply.signal) == ("late\n", "SIGTERM")


async def test_orphans_that_ended_are_reaped(sandbox: LocalSandbox, client: SandboxClient) -> None:
    script = "for i in 1 2 3 4 5; do (setsid sh -c 'sleep 0.05' &) ; done; sleep 0.4"
    await client.start(command(client, "t1.s1.c1", "sh", "-c", script))
    assert sandbox.process is not None
    with open(f"/proc/{sandbox.process.pid}/task/{sandbox.process.pid}/children") as children:
        assert children.read().split() == []


async def test_sigterm_ends_the_supervisor_and_everything_below_it(
    sandbox: LocalSandbox,
    client: SandboxClient,
    read_until: Callable[[SandboxClient, CommandReply, str], Awaitable[str]],
) -> None:
    await client.start(command(client, "t1.s1.c1", *daemon(then="import signal; signal.pause()")))
    (pid,) = await written(sandbox.workspace / "daemon")
    stubborn = "trap '' TERM; echo armed; while true; do sleep 300; done"
    started = await client.start(command(client, "t2.s1.c1", "bash", "-c", stubborn, yield_time_ms=0))
    await read_until(client, started, "armed")
    everything = living(sandbox)
    assert pid in everything
    begin = asyncio.get_running_loop().time()
    assert await sandbox.stop() == 0
    assert asyncio.get_running_loop().time() - begin < 5
    assert [pid for pid in everything if alive(pid)] == []
    assert not client.usable


async def test_killing_the_group_leaves_the_supervisor_alone(sandbox: LocalSandbox, client: SandboxClient) -> None:
    reply = await client.start(command(client, "t1.s1.c1", "sh", "-c", "kill -9 0"))
    assert (reply.signal, reply.exit_code) == ("SIGKILL", 137)
    assert sandbox.process is not None
    assert os.getpgid(sandbox.process.pid) != 0
    assert (await client.health()).live_processes == 0


async def test_stopping_for_another_life_of_the_supervisor_is_refused(
    sandbox: LocalSandbox, client: SandboxClient
) -> None:
    await client.start(command(client, "t1.s1.c1", "sleep", "300", yield_time_ms=0))
    with pytest.raises(SandboxRefused, match="boot_mismatch"):
        await client._request("stop", {"boot_id": "0" * 32, "turn_prefix": "t1."}, lambda result: result)
    assert len(living(sandbox)) == 1


async def test_a_command_that_ends_with_its_sandbox_reports_no_exit_code(
    sandbox: LocalSandbox, client: SandboxClient, processes_live: Callable[[SandboxClient, int], Awaitable[None]]
) -> None:
    running = asyncio.create_task(client.start(command(client, "t1.s1.c1", "sleep", "60")))
    await processes_live(await sandbox.client(), 1)
    await sandbox.stop()
    with pytest.raises(SandboxConnectionLost):
        await running
