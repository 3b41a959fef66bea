"""Whole runs of the command: real Temporal, real journal, real bubblewrap, the scripted model."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from codex_client.local.testing import Machine
from codex_client.model_server.testing import shell

pytestmark = pytest.mark.temporal

ROOT = Path(__file__).parents[3]


async def test_a_run_prints_the_final_message_alone_on_standard_output(machine: Machine) -> None:
    done = await machine.command("run", "Say hello.")
    assert (done.exit_code, done.stdout) == (0, "Hello.\n")
    assert machine.processes() == {}
    assert machine.socket_folders() == []
    assert machine.state.stat().st_mode & 0o777 == 0o700


async def test_a_command_works_in_the_current_folder(machine: Machine) -> None:
    machine.model.script(replies=[shell("pwd > made.txt && cat made.txt"), {"text": "Done."}])
    done = await machine.command("run", "Make it.", "-o", "message.txt")
    assert done.exit_code == 0, done.stderr
    assert (machine.workspace / "made.txt").read_text() == f"{machine.workspace}\n"
    assert (machine.workspace / "message.txt").read_text() == "Done."
    assert str(machine.workspace) in machine.outputs()[0]


async def test_another_folder_is_worked_in_when_it_is_named(machine: Machine) -> None:
    (machine.workspace / "sub").mkdir()
    machine.model.script(replies=[shell("touch here"), {"text": "Done."}])
    done = await machine.command("run", "-C", "sub", "Make it.")
    assert done.exit_code == 0, done.stderr
    assert (machine.workspace / "sub" / "here").exists()


async def test_what_is_piped_in_follows_the_prompt(machine: Machine) -> None:
    await machine.command("run", "Explain this.", stdin="line one\n")
    assert "Explain this.\n\n<stdin>\nline one\n</stdin>" in json.dumps(machine.model.requests[0].body).replace(
        "\\n", "\n"
    )


async def test_a_dash_takes_the_prompt_from_standard_input(machine: Machine) -> None:
    done = await machine.command("run", "-", stdin="Say hello from the pipe.")
    assert done.exit_code == 0, done.stderr
    assert "Say hello from the pipe." in json.dumps(machine.model.requests[0].body)


async def test_events_are_json_lines_when_asked_for(machine: Machine) -> None:
    machine.model.script(replies=[shell("echo one"), {"text": "Done."}])
    done = await machine.command("run", "--json", "Do it.")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0, done.stderr
    assert [event["type"] for event in events[:2]] == ["thread.started", "turn.started"]
    assert events[-1]["type"] == "turn.completed"
    assert events[0]["thread_id"] == await machine.session()


async def test_a_session_goes_on_with_all_it_knows(machine: Machine) -> None:
    machine.model.script(replies=[{"text": "My name is Ada."}, {"text": "As I said, Ada."}, {"text": "Ada."}])
    await machine.command("run", "Who are you?")
    session = await machine.session()
    done = await machine.command("resume", session[:6], "Say it again.")
    assert (done.exit_code, done.stdout) == (0, "As I said, Ada.\n"), done.stderr
    asked = json.dumps(machine.model.requests[-1].body["input"])
    assert all(text in asked for text in ("Who are you?", "My name is Ada.", "Say it again."))
    last = await machine.command("resume", "--last", "And again.")
    assert (last.exit_code, last.stdout) == (0, "Ada.\n"), last.stderr
    listed = (await machine.command("sessions")).stdout
    assert session in listed
    assert "Who are you?" in listed
    shown = (await machine.command("show", session)).stdout
    assert "My name is Ada." in shown


@pytest.mark.parametrize("sandbox", ["workspace-write", "none"])
async def test_a_killed_run_leaves_nothing_behind_and_loses_nothing(machine: Machine, sandbox: str) -> None:
    slow = "echo started >> log; for i in 1 2 3; do sleep 100; done; echo ended >> log"
    machine.model.script(replies=[{"text": "I begin.", **shell(slow)}, {"text": "{{last_output}}"}])
    run = await machine.start("run", "--sandbox", sandbox, "--approval-policy", "never", "Begin.")
    await machine.until((machine.workspace / "log").exists)
    run.send_signal(signal.SIGKILL)
    await machine.finish(run)
    await machine.until(lambda: machine.processes() == {})
    done = await machine.command("resume", "--last")
    assert done.exit_code == 0, done.stderr
    assert "interrupted" in done.stdout
    # The command began once: what was running when the sandbox died is told to the model, not repeated.
    assert (machine.workspace / "log").read_text() == "started\n"


async def test_a_run_that_is_told_to_end_leaves_in_good_order(machine: Machine) -> None:
    machine.model.script(replies=[{"text": "Hello.", "delay_seconds": 3}])
    run = await machine.start("run", "Wait.")
    await machine.until(lambda: bool(machine.model.requests))
    run.send_signal(signal.SIGTERM)
    ended = await machine.finish(run)
    assert ended.exit_code == 128 + signal.SIGTERM
    assert f"codex-temporal resume {(await machine.session())[:8]}" in ended.stderr
    assert machine.processes() == {}
    assert machine.socket_folders() == []
    done = await machine.command("resume", "--last")
    assert (done.exit_code, done.stdout) == (0, "Hello.\n"), done.stderr


async def test_control_c_interrupts_the_turn_and_keeps_the_transcript(machine: Machine) -> None:
    machine.model.script(replies=[shell("sleep 100"), {"text": "Never."}])
    run = await machine.start("run", "Sleep.")
    await machine.until(lambda: any("sleep 100" in line for line in machine.processes().values()))
    run.send_signal(signal.SIGINT)
    ended = await machine.finish(run)
    assert ended.exit_code == 130, ended.stderr
    assert machine.processes() == {}
    ends = [row["payload"] for row in await machine.rows() if row["payload"].get("type") == "TurnAborted"]
    assert [end["reason"] for end in ends] == ["Interrupted"]


async def test_a_second_control_c_leaves_at_once(machine: Machine) -> None:
    machine.model.script(replies=[{"text": "Hello.", "delay_seconds": 30}])
    run = await machine.start("run", "Wait.")
    await machine.until(lambda: bool(machine.model.requests))
    run.send_signal(signal.SIGINT)
    run.send_signal(signal.SIGINT)
    assert (await machine.finish(run)).exit_code == 130
    await machine.until(lambda: machine.processes() == {})
    assert machine.socket_folders() == []


async def test_control_c_while_the_session_is_opened_interrupts_the_turn_once_it_runs(machine: Machine) -> None:
    machine.model.script(replies=[shell("sleep 100"), {"text": "Never."}])
    run = await machine.start("run", "Sleep.")
    await machine.until(lambda: any((machine.state / "locks").glob("*")))
    run.send_signal(signal.SIGINT)
    ended = await machine.finish(run)
    assert ended.exit_code == 130, ended.stderr
    assert f"codex-temporal resume {(await machine.session())[:8]}" in ended.stderr
    ends = [row["payload"] for row in await machine.rows() if row["payload"].get("type") == "TurnAborted"]
    assert [end["reason"] for end in ends] == ["Interrupted"]


async def test_who_leaves_before_a_session_is_begun_is_told(machine: Machine) -> None:
    run = await machine.start("run", "Hi.")
    await machine.until(lambda: any((machine.state / "locks").glob("*")))
    run.send_signal(signal.SIGTERM)
    ended = await machine.finish(run)
    assert ended.exit_code == 128 + signal.SIGTERM
    assert ended.stderr == "codex-temporal: left before a session was begun\n"
    assert (await machine.command("sessions", "--json")).stdout == ""
    assert machine.processes() == {}
    assert machine.socket_folders() == []


async def test_one_process_at_a_time_has_a_session(machine: Machine) -> None:
    machine.model.script(replies=[{"text": "Hello.", "delay_seconds": 30}])
    run = await machine.start("run", "Wait.")
    await machine.until(lambda: bool(machine.model.requests))
    refused = await machine.command("resume", "--last", "Go on.")
    assert refused.exit_code == 2
    assert f"in use by process {run.pid}" in refused.stderr
    assert "running" in (await machine.command("sessions")).stdout
    run.send_signal(signal.SIGKILL)
    await machine.finish(run)


async def test_another_temporal_is_used_when_it_is_named(machine: Machine) -> None:
    from codex_worker.testing import temporal_dev_server

    async with temporal_dev_server() as environment:
        address = environment.client.service_client.config.target_host
        machine.environment["TEMPORAL_ADDRESS"] = f"http://{address}"
        done = await machine.command("run", "Say hello.")
        assert (done.exit_code, done.stdout) == (0, "Hello.\n"), done.stderr
        workflow = environment.client.list_workflows()
        assert [await machine.session() in found.id async for found in workflow] == [True]


async def test_the_agents_file_of_the_folder_reaches_the_model(machine: Machine) -> None:
    (machine.workspace / "AGENTS.md").write_text("Always answer in French.\n")
    await machine.command("run", "Say hello.")
    assert "Always answer in French." in json.dumps(machine.model.requests[0].body)


async def test_the_original_client_program_runs_one_turn(machine: Machine) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["codex-temporal-client"].partition(":")
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"from {module} import {function}; {function}()",
        "Say hello.",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=machine.workspace,
        env=machine.variables(),
    )
    done = await machine.finish(client)
    assert (done.exit_code, done.stdout) == (0, "Hello.\n"), done.stderr


async def test_a_compaction_that_a_resume_asks_for_comes_before_its_message(machine: Machine) -> None:
    # Summaries, too.
    machine.model.script(replies=[{"text": "Done."}] * 3)
    await machine.command("run", "Begin.")
    for _ in range(3):
        done = await machine.command("resume", "--last", "--compact", "Go on.")
        assert (done.exit_code, done.stdout) == (0, "Done.\n"), done.stderr
    compactions = [row["turn"] for row in await machine.rows() if row["kind"] == "compaction"]
    assert compactions == [2, 3, 4]
