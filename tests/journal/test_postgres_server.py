"""The server that tests start: it leaves nothing behind, however the tests end."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import psutil
import pytest

from codex_journal.testing import PostgresServer

pytestmark = pytest.mark.database


def test_it_keeps_its_data_over_a_restart_and_a_kill_and_leaves_nothing_behind() -> None:
    with PostgresServer() as server:
        asyncio.run(server.execute("CREATE TABLE kept (x int)"))
        port = server.port
        server.restart()
        server.kill()
        server.start()
        assert server.port == port
        asyncio.run(server.execute("INSERT INTO kept VALUES (1)"))
        pid, directory = server.pid, server.directory
    assert not psutil.pid_exists(pid)
    assert not directory.exists()


async def test_it_ends_when_the_tests_are_killed(programs: Path) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, str(programs / "start_postgres.py"), stdout=PIPE)
    assert process.stdout is not None
    pid, directory = (await process.stdout.readline()).decode().split()
    assert psutil.pid_exists(int(pid))
    process.kill()
    await process.communicate()
    async with asyncio.timeout(30):
        while psutil.pid_exists(int(pid)) or Path(directory).exists():
            await asyncio.sleep(0.1)
