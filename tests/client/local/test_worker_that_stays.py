"""``codex-temporal worker``: found by the commands of its user, left alone where it does not fit, missed by nobody."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codex_api.rows import SessionSettings
from codex_client.local.errors import LocalError
from codex_client.local.testing import Machine, shell
from codex_client.local.worker_socket import NewSession, WorkerSocket, begin_session, read_deltas
from codex_client.model_server.testing import ScriptedModel
from codex_journal.errors import JournalUnavailable
from codex_worker.deltas import Delta

pytestmark = pytest.mark.temporal


@pytest.fixture
async def worker(machine: Machine) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await machine.start("worker")
    await machine.until((machine.state / "worker.json").exists)
    yield process
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
        await machine.finish(process)


def temporal_servers(machine: Machine) -> int:
    return sum("start-dev" in line for line in machine.processes().values())


async def test_a_run_uses_the_worker_that_stays(machine: Machine, worker: asyncio.subprocess.Process) -> None:
    slow = {"text": "Hello.", "delay_seconds": 1}
    machine.model.script(replies=[shell("touch made.txt"), slow, {"text": "Again."}])
    run = await machine.start("run", "Make it.", environment={"OPENAI_API_KEY": None})
    await machine.until((machine.workspace / "made.txt").exists)
    assert temporal_servers(machine) == 1
    done = await machine.finish(run)
    assert (done.exit_code, done.stdout) == (0, "Hello.\n"), done.stderr
    again = await machine.command("resume", "--last", "Once more.")
    assert (again.exit_code, again.stdout) == (0, "Again.\n"), again.stderr


async def test_a_run_with_another_provider_brings_its_own_worker(
    machine: Machine, worker: asyncio.subprocess.Process
) -> None:
    async with ScriptedModel(replies=[{"text": "I am another."}]) as another:
        done = await machine.command("run", "Hi.", environment={"OPENAI_BASE_URL": another.base_url})
    assert (done.exit_code, done.stdout) == (0, "I am another.\n"), done.stderr
    assert machine.model.requests == []


async def test_a_second_worker_is_told_who_is_there(machine: Machine, worker: asyncio.subprocess.Process) -> None:
    refused = await machine.command("worker")
    assert refused.exit_code == 2
    assert f"process {worker.pid}" in refused.stderr


async def test_a_worker_that_is_told_to_end_takes_its_server_along(
    machine: Machine, worker: asyncio.subprocess.Process
) -> None:
    worker.send_signal(signal.SIGTERM)
    ended = await machine.finish(worker)
    assert ended.exit_code == 0, ended.stderr
    assert machine.processes() == {}
    done = await machine.command("run", "Hi.")
    assert (done.exit_code, done.stdout) == (0, "Hello.\n"), done.stderr


async def test_a_run_whose_worker_dies_says_so_and_can_be_resumed(
    machine: Machine, worker: asyncio.subprocess.Process
) -> None:
    machine.model.script(replies=[{"text": "Hello.", "delay_seconds": 4}])
    run = await machine.start("run", "Wait.")
    await machine.until(lambda: bool(machine.model.requests))
    worker.send_signal(signal.SIGKILL)
    await machine.finish(worker)
    done = await machine.finish(run)
    assert done.exit_code == 1
    assert f"the worker (process {worker.pid}) has stopped" in done.stderr
    assert "codex-temporal resume" in done.stderr
    await machine.until(lambda: machine.processes() == {})
    again = await machine.command("resume", "--last")
    assert (again.exit_code, again.stdout) == (0, "Hello.\n"), again.stderr


async def test_a_run_that_died_is_taken_up_where_the_worker_goes_on_with_it(
    machine: Machine, worker: asyncio.subprocess.Process
) -> None:
    machine.model.script(replies=[{"text": "Hello.", "delay_seconds": 3}])
    run = await machine.start("run", "Wait.")
    await machine.until(lambda: bool(machine.model.requests))
    run.send_signal(signal.SIGKILL)
    await machine.finish(run)
    done = await machine.command("resume", "--last")
    assert (done.exit_code, done.stdout) == (0, "Hello.\n"), done.stderr
    assert len(machine.model.requests) == 1


async def test_the_original_worker_program_serves_a_cluster_when_it_has_a_database(machine: Machine) -> None:
    environment = {"CODEX_DATABASE_URL": f"sqlite+aiosqlite:///{machine.home}/of-a-cluster.db", "METRICS_PORT": "0"}
    process = await machine.start("worker", environment=environment, stdin=subprocess.DEVNULL)
    assert process.stderr is not None
    async with asyncio.timeout(60):
        line = json.loads(await process.stderr.readline())
    assert (line["event"], line["what"]) == ("waiting", "database")
    process.send_signal(signal.SIGKILL)
    await machine.finish(process)
    assert not (machine.state / "worker.json").exists()


async def refuse(new: NewSession) -> int:
    raise JournalUnavailable(f"no room for {new.prompt}")


async def test_a_session_that_the_worker_cannot_begin_is_told_why(tmp_path: Path) -> None:
    new = NewSession(workflow_id="codex/local/default/w/s", settings=SessionSettings(), sandbox_socket="", prompt="Hi.")
    async with WorkerSocket(tmp_path / "worker", refuse):
        with pytest.raises(LocalError, match=r"no room for Hi\."):
            await begin_session(str(tmp_path / "worker"), new)
    with pytest.raises(LocalError, match="has it stopped"):
        await begin_session(str(tmp_path / "worker"), new)


async def test_pieces_of_a_session_reach_only_who_asked_for_it(tmp_path: Path) -> None:
    received: list[Delta] = []
    wanted = Delta("mine", 1, 2, "attempt", "text", "Hel")
    async with WorkerSocket(tmp_path / "worker", refuse) as worker:
        reading = asyncio.create_task(read_deltas(str(tmp_path / "worker"), "mine", received.append))
        async with asyncio.timeout(10):
            while not received:
                worker.publish(Delta("another", 1, 1, "attempt", "text", "no"))
                worker.publish(wanted)
                await asyncio.sleep(0.01)
    await reading
    assert set(received) == {wanted}


async def test_no_pieces_come_where_nobody_streams(tmp_path: Path) -> None:
    await read_deltas(str(tmp_path / "nothing"), "mine", print)
