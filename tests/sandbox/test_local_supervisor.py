"""The supervisor on somebody's own machine: it ends with its parent, and it works under bubblewrap."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

import codex_sandbox
from codex_sandbox.client import SandboxAddress, SandboxClient
from codex_sandbox.testing import command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

PATIENCE_SECONDS = 20
# Holds the other end of the supervisor's standard input, and does nothing about signals.
PARENT = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(300)\n"
)
ADD = "*** Begin Patch\n*** Add File: n\n+a\n*** End Patch\n"


@asynccontextmanager
async def supervisor(
    folder: Path, around: Sequence[str] = (), environment: dict[str, str] | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, SandboxClient]]:
    """Start one whose standard input we hold, and connect to it."""
    (folder / "workspace").mkdir(exist_ok=True)
    socket = folder / "socket"
    arguments = ["--listen", f"unix://{socket}", "--session", "s", "--generation", "1", "--exit-with-parent"]
    process = await asyncio.create_subprocess_exec(
        *around, sys.executable, "-m", "codex_sandbox", *arguments, "--workspace", str(folder / "workspace"),
        stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={**os.environ, **(environment or {})},
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not socket.exists():
                assert process.returncode is None, "the supervisor did not start"
                await asyncio.sleep(0.02)
            client = await SandboxClient.connect(SandboxAddress("s", 1, path=str(socket)))
        yield process, client
        await client.close()
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await process.wait()


@pytest.fixture
def confined(tmp_path: Path, bubblewrap: str) -> list[str]:
    """Return a bubblewrap that shows everything read-only but our folder and a /tmp of its own."""
    # They may lie in /tmp themselves.
    needed = {str(Path(codex_sandbox.__file__).parents[1]), sys.prefix}
    return [
        *(bubblewrap, "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"),
        *(part for folder in sorted(needed) for part in ("--ro-bind", folder, folder)),
        *("--bind", str(tmp_path), str(tmp_path), "--unshare-pid", "--unshare-net", "--die-with-parent"),
    ]


async def test_it_ends_with_all_its_commands_when_standard_input_closes(tmp_path: Path) -> None:
    async with supervisor(tmp_path) as (process, client):
        script = "trap '' TERM; sleep 300 & setsid sleep 300 & echo started; wait"
        reply = await client.start(command(client, "t1.s1.c1", "bash", "-c", script, yield_time_ms=500))
        assert reply.process is not None
        below = psutil.Process(process.pid).children(recursive=True)
        assert len(below) >= 3
        assert process.stdin is not None
        process.stdin.write(b"what is written is ignored")
        await process.stdin.drain()
        assert (await client.health()).live_processes == 1
        process.stdin.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.wait() == 0
        assert [child for child in below if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []


async def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    arguments = ["--listen", f"unix://{tmp_path}/socket", "--session", "s", "--generation", "1", "--exit-with-parent"]
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, sys.executable, "-m", "codex_sandbox", *arguments),
        *("--workspace", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert holder.stdout is not None
    supervisor_process = psutil.Process(int(await holder.stdout.readline()))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (tmp_path / "socket").exists():
            await asyncio.sleep(0.02)
    holder.kill()
    await holder.wait()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while supervisor_process.is_running() and supervisor_process.status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.02)


async def test_it_runs_commands_and_patches_under_bubblewrap(tmp_path: Path, confined: list[str]) -> None:
    async with supervisor(tmp_path, confined) as (_, client):
        reply = await client.start(command(client, "t1.s1.c1", "sh", "-c", "echo hello > made; cat made; echo $PPID"))
        hello, parent = reply.output.split()
        assert (hello, reply.exit_code) == ("hello", 0)
        assert int(parent) < 20, "the process numbers are the sandbox's own"
        patched = await client.start(command(client, "t1.s1.c2", "apply_patch", "--report", "--turn", "1", stdin=ADD))
        assert patched.exit_code == 0
        assert '"diff": "diff --git a/n b/n' in patched.output
        assert (tmp_path / "workspace" / "n").read_text() == "a\n"
        refused = await client.start(command(client, "t1.s1.c3", "sh", "-c", "touch /etc/ours /usr/ours"))
        assert refused.exit_code == 1
        assert refused.output.count("Read-only file system") == 2
        assert (await client.project_documents()).documents == ()


async def test_commands_under_bubblewrap_are_stopped_with_everything_they_started(
    tmp_path: Path, confined: list[str]
) -> None:
    async with supervisor(tmp_path, confined) as (process, client):
        script = "trap '' TERM; setsid sleep 300 & (sleep 300 &) ; echo started; wait"
        reply = await client.start(command(client, "t1.s1.c1", "bash", "-c", script, yield_time_ms=500))
        assert reply.process is not None
        names = [child.name() for child in psutil.Process(process.pid).children(recursive=True)]
        assert names.count("sleep") == 2
        assert await client.stop(turn_prefix="t1.") == 0
        names = [child.name() for child in psutil.Process(process.pid).children(recursive=True)]
        assert names.count("sleep") == 0
        after = await client.start(command(client, "t2.s1.c1", "echo", "still here"))
        assert after.output == "still here\n"


async def test_a_killed_bubblewrap_leaves_nothing_behind(tmp_path: Path, confined: list[str]) -> None:
    async with supervisor(tmp_path, confined) as (process, client):
        await client.start(command(client, "t1.s1.c1", "sh", "-c", "setsid sleep 300 & wait", yield_time_ms=300))
        below = psutil.Process(process.pid).children(recursive=True)
        assert "sleep" in [child.name() for child in below]
        process.kill()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in below):
                await asyncio.sleep(0.02)
