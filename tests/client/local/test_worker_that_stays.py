"""``codex-temporal worker``: found by the commands of its user, left alone where it does not fit, missed by nobody."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from codex_api.rows import SessionSettings
from codex_client.local.errors import LocalError
from codex_client.local.testing import Machine
from codex_client.local.worker_socket import NewSession, WorkerSocket, begin_session, read_deltas
from codex_client.model_server.testing import ScriptedModel, shell
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
    run = await machine.start("run", "Make it.")
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


async def test_a_run_with_another_key_brings_its_own_worker(machine: Machine) -> None:
    async with ScriptedModel(replies=[{"text": "Hello."}], require_key="sk-another") as strict:
        machine.environment["OPENAI_BASE_URL"] = strict.base_url
        worker = await machine.start("worker")
        await machine.until((machine.state / "worker.json").exists)
        registered = (machine.state / "worker.json").read_text()
        assert "sk-secret-of-the-user" not in registered
        done = await machine.command("run", "Hi.", environment={"OPENAI_API_KEY": "sk-another"})
        assert (done.exit_code, done.stdout) == (0, "Hello.\n"), done.stderr
        worker.send_signal(signal.SIGKILL)
        await machine.finish(worker)


async def test_a_model_that_the_caller_names_is_asked(machine: Machine, worker: asyncio.subprocess.Process) -> None:
    done = await machine.command("run", "Hi.", environment={"CODEX_MODEL": "another-model"})
    assert done.exit_code == 0, done.stderr
    assert machine.model.requests[-1].body["model"] == "another-model"
    done = await machine.command("run", "Hi.", environment={"CODEX_MODEL": None})
    assert done.exit_code == 0, done.stderr
    assert machine.model.requests[-1].body["model"] == "scripted"


async def test_a_missing_key_is_told_although_a_worker_has_one(
    machine: Machine, worker: asyncio.subprocess.Process
) -> None:
    done = await machine.command("run", "Hi.", environment={"OPENAI_API_KEY": None})
    assert done.exit_code == 2
    assert "set OPENAI_API_KEY" in done.stderr


async def test_a_limit_that_a_resume_changes_holds_for_a_turn_the_worker_goes_on_with(
    machine: Machine, worker: asyncio.subprocess.Process
) -> None:
    machine.model.script(replies=[shell("touch started; sleep 30"), *[shell("true")] * 3, {"text": "Done."}])
    run = await machine.start("run", "--max-steps", "2", "-a", "never", "Work.")
    await machine.until((machine.workspace / "started").exists)
    run.send_signal(signal.SIGKILL)
    await machine.finish(run)
    done = await machine.command("resume", "--last", "--max-steps", "60")
    assert (done.exit_code, done.stdout) == (0, "Done.\n"), done.stderr
    assert len(machine.model.requests) == 5
    claims = [(row["turn"], row["step"]) for row in await machine.rows() if row["kind"] == "usage"]
    assert claims == [(1, step) for step in range(1, 6)]


@pytest.mark.parametrize("change", [["--max-steps", "60"], []])
async def test_a_session_moves_between_workers_and_no_workflow_is_left_behind(
    machine: Machine, worker: asyncio.subprocess.Process, change: list[str]
) -> None:
    machine.model.script(replies=[{"text": text} for text in ("One.", "Two.", "Three.", "Four.")])
    other = {} if change else {"OPENAI_API_KEY": "sk-another"}
    said = [await machine.command("run", "1")]
    said.append(await machine.command("resume", "--last", *change, "2", environment=other))
    said.append(await machine.command("resume", "--last", "3"))
    said.append(await machine.command("resume", "--last", *change, "4", environment=other))
    assert [(done.exit_code, done.stdout) for done in said] == [
        (0, "One.\n"),
        (0, "Two.\n"),
        (0, "Three.\n"),
        (0, "Four.\n"),
    ], [done.stderr for done in said]
    assert len(machine.model.requests) == 4


async def test_a_workflow_that_somebody_ended_is_told_and_the_turn_can_be_resumed(
    machine: Machine, worker: asyncio.subprocess.Process
) -> None:
    machine.model.script(replies=[{"text": "Hello.", "delay_seconds": 5}, {"text": "Hello."}])
    run = await machine.start("run", "Wait.")
    await machine.until(lambda: bool(machine.model.requests))
    registered = json.loads((machine.state / "worker.json").read_text())
    client = await Client.connect(registered["temporal_address"])
    await client.get_workflow_handle(f"codex/local/default/workspace/{await machine.session()}").terminate("by hand")
    done = await machine.finish(run)
    assert done.exit_code == 1
    assert "the session's workflow has ended" in done.stderr
    assert "codex-temporal resume" in done.stderr
    again = await machine.command("resume", "--last")
    assert (again.exit_code, again.stdout) == (0, "Hello.\n"), again.stderr


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
    assert machine.socket_folders() == []
    done = await machine.command("run", "Hi.")
    assert (done.exit_code, done.stdout) == (0, "Hello.\n"), done.stderr


async def test_a_run_whose_worker_dies_goes_on_without_it(machine: Machine, worker: asyncio.subprocess.Process) -> None:
    hello = {"text": "Hello.", "delay_seconds": 4}
    machine.model.script(replies=[shell("echo ran >> file"), hello])
    run = await machine.start("run", "--json", "-a", "never", "Wait.")
    await machine.until(lambda: len(machine.model.requests) == 2)
    await asyncio.sleep(1)  # it is attached by now
    worker.send_signal(signal.SIGKILL)
    await machine.finish(worker)
    done = await machine.finish(run)
    assert done.exit_code == 0, done.stderr
    assert f"the worker (process {worker.pid}) has stopped; going on without it" in done.stderr
    types = [json.loads(line)["type"] for line in done.stdout.splitlines()]
    assert types.count("thread.started") == types.count("turn.started") == types.count("turn.completed") == 1
    assert types.count("item.started") == 1
    assert (machine.workspace / "file").read_text() == "ran\n"
    await machine.until(lambda: machine.processes() == {})


async def test_control_c_before_the_turn_is_shown_interrupts_what_the_worker_has_begun(
    machine: Machine, worker: asyncio.subprocess.Process
) -> None:
    machine.model.script(replies=[{"text": "Hello.", "delay_seconds": 30}])
    run = await machine.start("run", "Wait.")
    await machine.until(lambda: bool(machine.model.requests))
    run.send_signal(signal.SIGINT)
    ended = await machine.finish(run)
    assert ended.exit_code == 130
    assert f"codex-temporal resume {(await machine.session())[:8]}" in ended.stderr
    ends = [row["payload"] for row in await machine.rows() if row["payload"].get("type") == "TurnAborted"]
    assert [end["reason"] for end in ends] == ["Interrupted"]


async def test_who_leaves_before_the_turn_is_shown_is_told_how_to_go_on(
    machine: Machine, worker: asyncio.subprocess.Process
) -> None:
    machine.model.script(replies=[{"text": "Hello.", "delay_seconds": 10}])
    run = await machine.start("run", "Wait.")
    await machine.until(lambda: bool(machine.model.requests))
    run.send_signal(signal.SIGTERM)
    ended = await machine.finish(run)
    assert ended.exit_code == 128 + signal.SIGTERM
    assert f"go on with: codex-temporal resume {(await machine.session())[:8]}" in ended.stderr
    done = await machine.command("resume", "--last")
    assert (done.exit_code, done.stdout) == (0, "Hello.\n"), done.stderr


async def test_a_command_goes_on_and_is_attached_to_again_when_the_worker_dies(
    machine: Machine, worker: asyncio.subprocess.Process
) -> None:
    slow = "echo began >> file; until test -e go-on; do sleep 0.1; done; echo ended >> file; cat file"
    machine.model.script(replies=[shell(slow, yield_time_ms=30_000), {"text": "{{last_output}}"}])
    run = await machine.start("run", "-a", "never", "Work.")
    await machine.until((machine.workspace / "file").exists)
    worker.send_signal(signal.SIGKILL)
    await machine.finish(worker)
    await machine.until(lambda: temporal_servers(machine) == 1)
    (machine.workspace / "go-on").touch()
    done = await machine.finish(run)
    assert done.exit_code == 0, done.stderr
    assert "going on without it" in done.stderr
    assert "began\nended" in done.stdout
    assert (machine.workspace / "file").read_text() == "began\nended\n"
    assert sum(row["kind"] == "sandbox_address" for row in await machine.rows()) == 1


async def test_a_change_that_the_worker_did_not_live_to_see_is_made_without_it(
    machine: Machine, worker: asyncio.subprocess.Process, bubblewrap: str
) -> None:
    machine.model.script(replies=[{"text": "Hello."}, {"text": "Again."}])
    await machine.command("run", "Hi.")
    waiting, go_on, slow = (machine.home / name for name in ("waiting", "go-on", "bwrap"))
    slow.write_text(f'#!/bin/sh\ntouch {waiting}\nuntil test -e {go_on}; do sleep 0.05; done\nexec {bubblewrap} "$@"\n')
    slow.chmod(0o755)
    path = {"PATH": f"{machine.home}:{machine.variables()['PATH']}"}
    resume = await machine.start("resume", "--last", "--model", "another", "Again.", environment=path)
    await machine.until(waiting.exists)
    worker.send_signal(signal.SIGKILL)
    await machine.finish(worker)
    go_on.touch()
    done = await machine.finish(resume)
    assert (done.exit_code, done.stdout) == (0, "Again.\n"), done.stderr
    assert "going on without it" in done.stderr
    assert machine.model.requests[-1].body["model"] == "another"


async def test_what_killed_processes_left_for_their_sockets_goes_with_the_next_run(machine: Machine) -> None:
    machine.model.script(replies=[{"text": "Hello.", "delay_seconds": 3}, {"text": "Hello."}])
    worker = await machine.start("worker")
    await machine.until((machine.state / "worker.json").exists)
    run = await machine.start("run", "Wait.")
    await machine.until(lambda: bool(machine.model.requests))
    for process in (run, worker):
        process.send_signal(signal.SIGKILL)
        await machine.finish(process)
    assert len(machine.socket_folders()) == 2
    done = await machine.command("run", "Hi.", environment={"XDG_STATE_HOME": str(machine.home / "elsewhere")})
    assert (done.exit_code, done.stdout) == (0, "Hello.\n"), done.stderr
    assert machine.socket_folders() == []


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
    received: list[Delta] = []
    async with asyncio.timeout(10):
        await read_deltas(str(tmp_path / "nothing"), "mine", received.append)
    assert received == []
