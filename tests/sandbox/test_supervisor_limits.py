"""Processes, disk and network used up or gone: the supervisor survives, says so and cleans up."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from codex_sandbox.testing import LocalSandbox, command

SUPERVISOR = (sys.executable, "-m", "codex_sandbox")
ALLOWED_PROCESSES = 40


def in_namespace(kind: str) -> tuple[str, ...]:
    """Return what runs a command in a namespace of its own; without root, as root of a user namespace."""
    return ("unshare", kind) if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user", kind)


def own_threads() -> int:
    """Return how many threads our user has: what the limit counts."""
    count = 0
    for task in Path("/proc").glob("[0-9]*/task/*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            count += task.stat().st_uid == os.geteuid()
    return count


def with_few_processes() -> tuple[str, ...]:
    """Return a supervisor that gets few processes, as the pids limit of a pod does. Root has no such limit."""
    if os.geteuid() != 0:
        return ("prlimit", f"--nproc={own_threads() + ALLOWED_PROCESSES}", *SUPERVISOR)
    user = 60_000 + os.getpid() % 5_000
    # Keeps the right to read this Python and to write the test's folders.
    capabilities = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    identity = (f"--reuid={user}", f"--regid={user}", "--clear-groups")
    return ("setpriv", *identity, *capabilities, "prlimit", f"--nproc={ALLOWED_PROCESSES}", *SUPERVISOR)


async def test_a_command_that_cannot_fork_is_told_so_and_the_supervisor_goes_on() -> None:
    fill = textwrap.dedent("""
        import os, time
        try:
            while os.fork(): pass
        except BlockingIOError:
            print("full", flush=True)
        time.sleep(300)
        """)
    async with LocalSandbox(command=with_few_processes()) as sandbox:
        client = await sandbox.client()
        full = await client.start(command(client, "t1.s1.c1", sys.executable, "-c", fill, yield_time_ms=3000))
        assert full.output == "full\n"
        refused = await client.start(command(client, "t1.s1.c2", "echo", "more"))
        assert (refused.exit_code, refused.output) == (126, "echo: Resource temporarily unavailable\n")
        assert await client.stop(turn_prefix="t1.") == 0
        again = await client.start(command(client, "t2.s1.c1", "echo", "room"))
        assert (again.exit_code, again.output) == (0, "room\n")


async def test_a_fork_bomb_is_stopped_for_good() -> None:
    async with LocalSandbox(command=with_few_processes()) as sandbox:
        client = await sandbox.client()
        bomb = "trap '' TERM; bomb() { bomb | bomb & }; bomb; sleep 300"
        await client.start(command(client, "t1.s1.c1", "bash", "-c", bomb, yield_time_ms=1500))
        detached = "bomb() { setsid -f bash -c \"$(declare -f bomb); trap '' TERM; bomb; bomb\"; }; bomb; sleep 300"
        await client.start(command(client, "t1.s1.c2", "bash", "-c", detached, yield_time_ms=500))
        assert await client.stop(turn_prefix="t1.") == 0
        again = await client.start(command(client, "t2.s1.c1", "echo", "room"))
        assert (again.exit_code, again.output) == (0, "room\n")


async def test_detached_forking_is_stopped_for_good() -> None:
    async with LocalSandbox(command=with_few_processes()) as sandbox:
        client = await sandbox.client()
        spread = textwrap.dedent("""
            import os, signal, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                try:
                    if not os.fork():
                        os.setsid()
                except BlockingIOError:
                    time.sleep(0.001)
            """)
        await client.start(command(client, "t1.s1.c1", sys.executable, "-c", spread, yield_time_ms=1000))
        assert await client.stop(turn_prefix="t1.") == 0
        again = await client.start(command(client, "t2.s1.c1", "echo", "room"))
        assert (again.exit_code, again.output) == (0, "room\n")


async def test_a_full_disk_stops_no_command_from_being_reported(tmp_path: Path) -> None:
    mounting = 'mount -t tmpfs -o size=64k none "$0" && exec "$@"'
    workspace = tmp_path / "workspace"
    wrapped = (*in_namespace("--mount"), "sh", "-c", mounting, str(workspace), *SUPERVISOR)
    async with LocalSandbox(command=wrapped, workspace=workspace) as sandbox:
        client = await sandbox.client()
        full = await client.start(command(client, "t1.s1.c1", "sh", "-c", "head -c 1000000 /dev/zero > file"))
        assert full.exit_code != 0
        assert "No space left on device" in full.output
        assert (await client.health()).workspace_free_bytes == 0
        reply = await client.start(command(client, "t1.s1.c2", "sh", "-c", "seq 1 20000; rm file; echo y > small"))
        assert (reply.exit_code, reply.output_bytes) == (0, 108_894)


IN_CONTAINER = (*in_namespace("--pid"), "--fork", "--kill-child", "--mount-proc", *SUPERVISOR)


async def test_as_the_first_process_of_a_container_it_reaps_orphans_and_obeys_sigterm() -> None:
    async with LocalSandbox(command=IN_CONTAINER) as sandbox:
        client = await sandbox.client()
        script = "echo $PPID; (setsid sleep 0.05 &); sleep 0.3; ps -e -o pid=,stat= | grep -c Z"
        reply = await client.start(command(client, "t1.s1.c1", "sh", "-c", script))
        assert reply.output == "1\n0\n"
        await client.start(command(client, "t2.s1.c1", "sh", "-c", "kill -TERM 1", yield_time_ms=0))
        assert sandbox.process is not None
        assert await sandbox.process.wait() == 0


async def test_in_a_container_nothing_forks_away_from_being_stopped() -> None:
    hop = textwrap.dedent("""
        import os, signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            if os.fork():
                os._exit(0)
            os.setsid()
        """)
    async with LocalSandbox(command=IN_CONTAINER) as sandbox:
        client = await sandbox.client()
        await client.start(command(client, "t1.s1.c1", "sh", "-c", "setsid sleep 300 & exit 0"))
        await client.start(command(client, "t2.s1.c1", sys.executable, "-c", hop))
        assert await client.stop(turn_prefix="t2.") == 0
        count = await client.start(command(client, "t3.s1.c1", "ps", "-e", "-o", "comm="))
        assert count.output.split()[1:] == ["sleep", "ps"], "after the supervisor itself"
        states = await client.start(command(client, "t3.s1.c2", "ps", "-C", "sleep", "-o", "stat="))
        assert states.output.startswith("S"), "the earlier turn's daemon runs on"
        # SIGTERM would stop at unshare, which does not pass it on.
        await sandbox.kill()


VANISH = """
import asyncio, fcntl, socket, struct, sys, tempfile, time
from pathlib import Path
from codex_sandbox.errors import SandboxConnectionLost
from codex_sandbox.testing import LocalSandbox, TestingAuthority, command

SIOCSIFFLAGS, IFF_UP = 0x8914, 1

def loopback(flags):
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags))

async def main(folder):
    async with LocalSandbox(authority=TestingAuthority(Path(folder))) as sandbox:
        client = await sandbox.client()
        waiting = asyncio.ensure_future(client.start(command(client, "t1.s1.c1", "sleep", "300", yield_time_ms=60_000)))
        await asyncio.sleep(0.5)
        loopback(0)
        begin = time.monotonic()
        try:
            await waiting
        except SandboxConnectionLost:
            print(time.monotonic() - begin)

loopback(IFF_UP)
with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(folder))
"""


def test_a_sandbox_that_vanishes_without_a_word_is_noticed_within_seconds() -> None:
    inside = [*in_namespace("--net"), sys.executable, "-c", VANISH]
    result = subprocess.run(inside, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert 0.5 < float(result.stdout) < 9
