"""Sandboxes that cannot come back, a Temporal that is gone, journals that break: told, and never waited for."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import AsyncIterator

import pytest

from codex_client.local.temporal_server import TemporalServer
from codex_client.local.testing import Machine
from codex_client.model_server.testing import shell

pytestmark = pytest.mark.temporal


def bubblewrap_by(machine: Machine, script: str) -> dict[str, str | None]:
    """Put a shell script in bubblewrap's place, and return the environment that finds it."""
    wrapper = machine.home / "bwrap"
    wrapper.write_text(f"#!/bin/sh\n{script}\n")
    wrapper.chmod(0o755)
    return {"PATH": f"{machine.home}:{machine.variables()['PATH']}"}


async def test_a_sandbox_that_cannot_be_started_again_ends_the_run(machine: Machine, bubblewrap: str) -> None:
    once = f"""case "$*" in *"--generation 1 "*) exec {bubblewrap} "$@";; esac; echo 'bwrap: no more' >&2; exit 1"""
    machine.model.script(replies=[shell("kill -9 2"), {"text": "Done."}])
    done = await machine.command("run", "-a", "never", "Work.", environment=bubblewrap_by(machine, once))
    assert done.exit_code == 1
    assert "the sandbox has ended and cannot be started again" in done.stderr
    assert "bwrap: no more" in done.stderr
    assert f"codex-temporal resume {await machine.session()}" in done.stderr
    assert machine.processes() == {}
    again = await machine.command("resume", "--last")
    assert (again.exit_code, again.stdout) == (0, "Done.\n"), again.stderr


@pytest.fixture
async def temporal(machine: Machine) -> AsyncIterator[TemporalServer]:
    """A Temporal that somebody else looks after."""
    server = await TemporalServer.start(
        program_path=os.environ["PATH"], home=machine.home, downloads=machine.home, log=machine.home / "temporal.log"
    )
    await server.wait_until_ready()
    yield server
    await server.stop()


@pytest.mark.parametrize("change", [[], ["--max-steps", "60"]])
async def test_a_worker_without_its_temporal_is_told_once_and_can_be_ended(
    machine: Machine, temporal: TemporalServer, change: list[str]
) -> None:
    machine.model.script(replies=[{"text": "Hello."}, {"text": "Again."}])
    worker = await machine.start("worker", environment={"TEMPORAL_ADDRESS": temporal.address})
    await machine.until((machine.state / "worker.json").exists)
    await machine.command("run", "Hi.")
    await temporal.stop()
    done = await machine.command("resume", "--last", *change, "Again.")
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert f"Temporal at {temporal.address}" in line
    assert f"end the worker (process {worker.pid})" in line
    assert f"codex-temporal resume {await machine.session()}" in line
    worker.send_signal(signal.SIGTERM)
    await machine.finish(worker)
    again = await machine.command("resume", "--last", "Again.")
    assert (again.exit_code, again.stdout) == (0, "Again.\n"), again.stderr


async def test_who_leaves_while_the_journal_cannot_be_read_gets_the_exit_code_of_the_signal(machine: Machine) -> None:
    await machine.command("run", "Hi.")
    waiting = machine.home / "waiting"
    slow = bubblewrap_by(machine, f"touch {waiting}; exec sleep 60")
    resume = await machine.start("resume", "--last", "Again.", environment=slow)
    await machine.until(waiting.exists)
    with sqlite3.connect(machine.state / "journal.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    resume.send_signal(signal.SIGTERM)
    ended = await machine.finish(resume)
    assert ended.exit_code == 128 + signal.SIGTERM
    (line,) = ended.stderr.splitlines()
    assert "journal.db" in line
