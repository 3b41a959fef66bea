from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import pytest

from codex_sandbox.errors import SandboxConnectionLost, SandboxRefused
from codex_sandbox.protocol import RefusalCode
from codex_sandbox.testing import characters, command

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from codex_sandbox.client import SandboxClient
    from codex_sandbox.testing import LocalSandbox


def count(sandbox: LocalSandbox) -> int:
    file = sandbox.workspace / "counter"
    return len(file.read_text().splitlines()) if file.exists() else 0


COUNT = ("sh", "-c", "echo x >> counter; sleep 0.3; echo done")


async def refusal(request: object) -> str:
    with pytest.raises(SandboxRefused) as caught:
        await request  # type: ignore[misc]
    return caught.value.code


async def test_starting_twice_attaches_and_the_command_runs_once(sandbox: LocalSandbox, client: SandboxClient) -> None:
    start = command(client, "t1.s1.c1", *COUNT)
    first, second = await asyncio.gather(client.start(start), client.start(start))
    assert first == second
    assert (first.output, first.exit_code, count(sandbox)) == ("done\n", 0, 1)


async def test_a_second_worker_attaches_to_the_first_ones_command(
    sandbox: LocalSandbox, client: SandboxClient, processes_live: Callable[[SandboxClient, int], Awaitable[None]]
) -> None:
    other = await sandbox.client()
    start = command(client, "t1.s1.c1", *COUNT)
    paused = asyncio.create_task(client.start(start))
    await processes_live(other, 1)
    assert (await other.start(start)).output == "done\n"
    assert (await paused).output == "done\n"
    assert count(sandbox) == 1


async def test_a_finished_call_returns_its_stored_reply(sandbox: LocalSandbox, client: SandboxClient) -> None:
    start = command(client, "t1.s1.c1", *COUNT)
    first = await client.start(start)
    assert await client.start(start) == first
    assert await (await sandbox.client()).start(start) == first
    assert count(sandbox) == 1


async def test_the_command_outlives_the_connection_that_started_it(
    sandbox: LocalSandbox, client: SandboxClient, processes_live: Callable[[SandboxClient, int], Awaitable[None]]
) -> None:
    start = command(client, "t1.s1.c1", *COUNT)
    waiting = asyncio.create_task(client.start(start))
    await processes_live(client, 1)
    await client.close()
    with pytest.raises(SandboxConnectionLost):
        await waiting
    reply = await (await sandbox.client()).start(start)
    assert (reply.output, reply.exit_code, count(sandbox)) == ("done\n", 0, 1)


async def test_a_cancelled_request_only_stops_waiting(
    sandbox: LocalSandbox, client: SandboxClient, processes_live: Callable[[SandboxClient, int], Awaitable[None]]
) -> None:
    start = command(client, "t1.s1.c1", *COUNT)
    waiting = asyncio.create_task(client.start(start))
    await processes_live(client, 1)
    waiting.cancel()
    assert (await client.start(start)).output == "done\n"
    assert (await client.health()).live_processes == 0
    assert (client.usable, count(sandbox)) == (True, 1)


async def test_the_yield_time_counts_from_the_first_start(client: SandboxClient) -> None:
    start = command(client, "t1.s1.c1", "sleep", "60", yield_time_ms=1500)
    first = asyncio.create_task(client.start(start))
    await asyncio.sleep(0.8)
    begin = asyncio.get_running_loop().time()
    reply = await client.start(start)
    assert asyncio.get_running_loop().time() - begin < 1.3
    assert reply == await first
    assert reply.process is not None
    assert reply.exit_code is None


async def test_a_taken_call_id_with_other_arguments_is_a_conflict(client: SandboxClient) -> None:
    await client.start(command(client, "t1.s1.c1", "true"))
    assert await refusal(client.start(command(client, "t1.s1.c1", "false"))) == RefusalCode.CALL_CONFLICT
    assert await refusal(client.write(characters(client, "t1.s1.c1", 1))) == RefusalCode.CALL_CONFLICT


async def test_a_forgotten_call_is_never_run_again(sandbox: LocalSandbox, client: SandboxClient) -> None:
    start = command(client, "t1.s1.c1", *COUNT)
    await client.start(start)
    await client.forget(["t1.s1.c1", "never-heard-of"])
    assert await refusal(client.start(start)) == RefusalCode.ALREADY_FINISHED
    assert count(sandbox) == 1


async def test_forgetting_an_open_call_leaves_it_alone(
    client: SandboxClient, processes_live: Callable[[SandboxClient, int], Awaitable[None]]
) -> None:
    start = command(client, "t1.s1.c1", *COUNT)
    waiting = asyncio.create_task(client.start(start))
    await processes_live(client, 1)
    await client.forget(["t1.s1.c1"])
    assert (await waiting).output == "done\n"
    assert (await client.start(start)).output == "done\n"


async def test_a_call_for_another_life_of_the_supervisor_is_refused(
    sandbox: LocalSandbox, client: SandboxClient
) -> None:
    start = command(client, "t1.s1.c1", *COUNT)
    await sandbox.restart()
    again = await sandbox.client()
    assert again.hello.boot_id != client.hello.boot_id
    assert await refusal(again.start(start)) == RefusalCode.BOOT_MISMATCH
    assert count(sandbox) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"argv": ("echo", "a b")},
        {"directory": "/"},
        {"environment": {"PATH": "/elsewhere"}},
        {"stdin": ""},
        {"tty": True},
    ],
)
async def test_arguments_that_do_not_match_the_digest_are_refused(
    client: SandboxClient, change: dict[str, object]
) -> None:
    approved = command(client, "t1.s1.c1", "echo", "a", "b")
    forged = dataclasses.replace(approved, **change)  # type: ignore[arg-type]
    assert await refusal(client.start(forged)) == RefusalCode.DIGEST_MISMATCH
    assert (await client.start(approved)).output == "a b\n"


async def test_characters_that_do_not_match_the_digest_are_refused(client: SandboxClient) -> None:
    shell = await client.start(command(client, "t1.s1.c1", "sh", tty=True, yield_time_ms=100))
    assert shell.process is not None
    approved = characters(client, "t1.s1.c2", shell.process, "echo fine\n")
    forged = dataclasses.replace(approved, characters="rm -rf x\n")
    assert await refusal(client.write(forged)) == RefusalCode.DIGEST_MISMATCH


async def test_a_repeated_write_is_written_once(client: SandboxClient) -> None:
    shell = await client.start(command(client, "t1.s1.c1", "cat", tty=True, yield_time_ms=100))
    assert shell.process is not None
    write = characters(client, "t1.s1.c2", shell.process, "once\n", yield_time_ms=1500)
    first = await client.write(write)
    assert await client.write(write) == first
    assert first.output == "once\r\nonce\r\n"
    later = await client.write(characters(client, "t1.s1.c3", shell.process, yield_time_ms=100))
    assert later.output == ""


async def test_a_call_that_arrives_after_its_turn_was_stopped_is_refused(
    sandbox: LocalSandbox, client: SandboxClient
) -> None:
    assert await client.stop(turn_prefix="t1.") == 0
    assert await refusal(client.start(command(client, "t1.s1.c1", *COUNT))) == RefusalCode.TOMBSTONED
    assert await refusal(client.write(characters(client, "t1.s1.c2", 1))) == RefusalCode.TOMBSTONED
    assert (await client.start(command(client, "t10.s1.c1", "echo", "next"))).output == "next\n"
    assert count(sandbox) == 0


async def test_single_calls_can_be_stopped_before_they_arrive(client: SandboxClient) -> None:
    await client.stop(call_ids=["t1.s1.c1"])
    assert await refusal(client.start(command(client, "t1.s1.c1", "true"))) == RefusalCode.TOMBSTONED
    assert (await client.start(command(client, "t1.s1.c2", "true"))).exit_code == 0


async def test_a_turn_prefix_without_its_dot_is_refused(client: SandboxClient) -> None:
    assert await refusal(client.stop(turn_prefix="t1")) == RefusalCode.BAD_REQUEST


async def test_a_signal_is_sent_once(client: SandboxClient) -> None:
    running = await client.start(command(client, "t1.s1.c1", "sleep", "30", yield_time_ms=50))
    assert running.process is not None
    boot_id = client.hello.boot_id
    assert await client.signal("t1.s1.c2", boot_id, running.process, 9) is True
    assert await client.signal("t1.s1.c2", boot_id, running.process, 9) is True
    ended = await client.write(characters(client, "t1.s1.c3", running.process))
    assert (ended.signal, ended.exit_code, ended.process) == ("SIGKILL", 137, None)
    assert await refusal(client.signal("t1.s1.c4", boot_id, running.process, 9)) == RefusalCode.UNKNOWN_PROCESS
