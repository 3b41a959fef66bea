"""Bad input and bad luck: one clear line on standard error, the right exit code, and never a traceback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from codex_client.local.testing import Finished, Machine
from codex_client.model_server.testing import shell

pytestmark = pytest.mark.temporal


def one_line(done: Finished) -> str:
    """Return the only line on standard error."""
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("codex-temporal: ")
    return line


async def test_a_missing_key_is_told_before_anything_starts(machine: Machine) -> None:
    done = await machine.command("run", "Hi.", environment={"OPENAI_API_KEY": None})
    assert done.exit_code == 2
    assert "set OPENAI_API_KEY" in one_line(done)
    assert not (machine.state / "journal.db").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "-C", "nowhere", "Hi."], "cannot work in nowhere: No such file or directory"),
        (["run", "-C", "file", "Hi."], "it is no folder"),
        (["run", "--output-schema", "file", "Hi."], "is no JSON"),
        (["run", "--output-schema", "nowhere.json", "Hi."], "cannot read nowhere.json"),
        (["run", "--output-schema", "list.json", "Hi."], "is a list, not an object"),
        (["run", "--max-cost", "much", "Hi."], "is no amount of money"),
        (["run", "   "], "the prompt is empty"),
        (["run", "-o", "nowhere/answer", "Hi."], "there is no folder nowhere"),
        (["run", "-o", ".", "Hi."], "it is a folder"),
        (["run", "--max-cost", "2.50", "Hi."], "--max-cost needs prices"),
        (["resume", "abc", "Hi."], "no session begins with 'abc'"),
        (["resume", "--last", "Hi."], "there is no session yet"),
        (["resume"], "say which session"),
        (["show", "abc"], "no session begins with 'abc'"),
    ],
)
async def test_what_cannot_be_is_a_matter_of_usage(machine: Machine, arguments: list[str], message: str) -> None:
    (machine.workspace / "file").write_text("not json")
    (machine.workspace / "list.json").write_text("[]")
    done = await machine.command(*arguments)
    assert done.exit_code == 2
    assert message in one_line(done)
    assert machine.processes() == {}


async def test_an_address_of_no_model_is_told_before_anything_starts(machine: Machine) -> None:
    done = await machine.command("run", "Hi.", environment={"OPENAI_BASE_URL": "localhost:8080/v1"})
    assert done.exit_code == 2
    assert "OPENAI_BASE_URL" in one_line(done)
    assert machine.processes() == {}


async def test_a_provider_that_is_busy_spoils_no_output(machine: Machine) -> None:
    busy = {"text": "Hello.", "fail": [{"status": 429, "retry_after": 0, "times": 1}]}
    machine.model.script(replies=[busy])
    done = await machine.command("run", "--json", "Hi.")
    assert done.exit_code == 0, done.stderr
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()][-1] == "turn.completed"
    assert "Traceback" not in done.stdout + done.stderr
    assert "codex_worker.model" in (machine.state / "logs" / "run.log").read_text()


async def test_a_prompt_that_is_no_utf_8_reaches_the_model(machine: Machine) -> None:
    process = await machine.start("run", stdin=subprocess.PIPE, environment={"LC_ALL": "POSIX"})
    async with asyncio.timeout(60):
        _, stderr = await process.communicate(b"caf\xe9 \xc3\xa9")
    assert process.returncode == 0, stderr
    assert "caf\ufffd \u00e9" in json.dumps(machine.model.requests[-1].body, ensure_ascii=False)


@pytest.mark.parametrize("command", [["show"], ["show", "--json"], ["sessions"], ["sessions", "--json"]])
async def test_a_reader_that_has_enough_hears_no_complaint(machine: Machine, command: list[str]) -> None:
    await machine.command("run", "Hi.")
    process = await machine.start(*command)
    assert process.stdout is not None
    process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
    assert process.stderr is not None
    async with asyncio.timeout(60):
        assert (await process.stderr.read()).decode() == ""
        assert await process.wait() == 0


async def test_a_missing_bubblewrap_names_the_cure(machine: Machine, tmp_path: Path) -> None:
    done = await machine.command("run", "Hi.", environment={"PATH": str(tmp_path)})
    assert done.exit_code == 2
    assert "apt install bubblewrap" in one_line(done)
    assert machine.processes() == {}


async def test_an_unknown_model_fails_with_its_name(machine: Machine) -> None:
    machine.model.script(replies=[{"text": "Hello."}], models=["scripted"])
    done = await machine.command("run", "--model", "gpt-99", "Hi.")
    assert done.exit_code == 1
    assert "gpt-99" in done.stderr
    again = await machine.command("resume", "--last", "--model", "scripted", "Hi again.")
    assert (again.exit_code, again.stdout) == (0, "Hello.\n"), again.stderr


async def test_a_wrong_key_fails_at_once(machine: Machine) -> None:
    machine.model.script(replies=[{"text": "Hello.", "fail": [{"status": 401, "code": "invalid_api_key", "times": 1}]}])
    done = await machine.command("run", "Hi.")
    assert done.exit_code == 1
    assert "OPENAI_API_KEY" in done.stderr


async def test_a_limit_that_is_reached_can_be_raised(machine: Machine) -> None:
    machine.model.script(replies=[shell("echo one"), {"text": "Done."}])
    done = await machine.command("run", "--max-steps", "1", "Hi.")
    assert done.exit_code == 3, done.stderr
    again = await machine.command("resume", "--last", "--max-steps", "9")
    assert again.exit_code == 0, again.stderr
    assert "Go on." in json.dumps(machine.model.requests[-1].body)


async def test_an_approval_that_nobody_can_give_is_denied_and_the_model_is_told(machine: Machine) -> None:
    machine.model.script(replies=[shell("touch made.txt"), {"text": "{{last_output}}"}])
    done = await machine.command("run", "--approval-policy", "untrusted", "Make it.")
    assert done.exit_code == 4, done.stderr
    assert "no terminal" in done.stdout
    assert not (machine.workspace / "made.txt").exists()


async def test_a_turn_that_has_ended_needs_a_prompt(machine: Machine) -> None:
    await machine.command("run", "Hi.")
    done = await machine.command("resume", "--last")
    assert done.exit_code == 2
    assert "the last turn has ended; say what to do next" in one_line(done)


async def test_a_folder_that_is_gone_is_named(machine: Machine) -> None:
    (machine.workspace / "sub").mkdir()
    await machine.command("run", "-C", "sub", "Hi.")
    (machine.workspace / "sub").rmdir()
    done = await machine.command("resume", "--last", "Go on.")
    assert done.exit_code == 2
    assert f"is gone: {machine.workspace / 'sub'}" in one_line(done)


async def test_a_journal_of_a_newer_release_is_left_alone(machine: Machine) -> None:
    import sqlite3

    await machine.command("run", "Hi.")
    with sqlite3.connect(machine.state / "journal.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    done = await machine.command("run", "Hi.")
    assert done.exit_code == 1
    assert "journal.db" in one_line(done)


async def test_a_state_folder_that_cannot_be_made_is_named(machine: Machine) -> None:
    (machine.home / ".local").write_text("a file in the way")
    done = await machine.command("run", "Hi.")
    assert done.exit_code == 1
    assert "set XDG_STATE_HOME" in one_line(done)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    if os.geteuid() != 0:
        pytest.fail("a small disk needs root: run the tests as root, or leave this one out with -k 'not full_disk'")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


async def test_a_full_disk_is_told_and_the_session_survives(machine: Machine, small_disk: Path) -> None:
    machine.environment["XDG_STATE_HOME"] = str(small_disk)
    assert (await machine.command("run", "Hi.")).exit_code == 0
    filler = os.open(small_disk / "filler", os.O_CREAT | os.O_WRONLY)
    with contextlib.suppress(OSError):
        while True:
            os.write(filler, b"0" * 4096)
    os.close(filler)
    done = await machine.command("run", "Hi.")
    assert done.exit_code == 1
    assert f"the disk of {small_disk / 'codex-temporal'} is full" in one_line(done)
    (small_disk / "filler").unlink()
    again = await machine.command("resume", "--last", "Hi again.")
    assert "Traceback" not in again.stderr
    listed = await machine.command("sessions", "--json")
    assert len([json.loads(line) for line in listed.stdout.splitlines()]) >= 1
