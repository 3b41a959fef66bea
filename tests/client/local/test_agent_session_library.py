"""TemporalAgentSession as a program uses it, and the example that the documentation shows."""

from __future__ import annotations

import asyncio
import itertools
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from codex_api.approvals import DecisionKind
from codex_api.events import ExecApprovalRequest, TurnAborted, TurnComplete, TurnFailed, TurnStarted
from codex_api.rows import AdmissionPayload, MessagePayload, RowKind
from codex_api.session import ApprovalPolicy
from codex_client.agent_session import TemporalAgentSession
from codex_client.event_source import SessionEnded, SessionEvent
from codex_client.local.config import LocalConfig
from codex_client.local.errors import SessionInUse
from codex_client.local.session_options import SessionOptions
from codex_client.local.testing import Machine
from codex_client.model_server.testing import shell
from codex_client.operations import (
    Compact,
    ExecApproval,
    Interrupt,
    JournalRequired,
    Shutdown,
    UserInputAnswer,
    UserTurn,
)
from codex_worker.deltas import Delta

pytestmark = pytest.mark.temporal

ROOT = Path(__file__).parents[3]
ENDS = (TurnComplete, TurnAborted, TurnFailed)


@asynccontextmanager
async def opened(
    machine: Machine, *, policy: ApprovalPolicy | None = None, on_delta: Callable[[Delta], None] | None = None
) -> AsyncIterator[TemporalAgentSession]:
    options = SessionOptions(directory=machine.workspace, approval_policy=policy)
    config = LocalConfig.of(machine.variables())
    async with TemporalAgentSession.open(options, config, on_delta=on_delta) as session:
        yield session


async def events_until(session: TemporalAgentSession, *kinds: type) -> list[SessionEvent]:
    """Return the events up to the first whose payload is of one of these types."""
    events: list[SessionEvent] = []
    async with asyncio.timeout(60):
        while not events or not isinstance(events[-1].payload, kinds):
            events.append(await session.next_event())
    return events


async def all_is_told(session: TemporalAgentSession) -> None:
    """Return once the session says that it has ended."""
    async with asyncio.timeout(60):
        while True:
            try:
                await session.next_event()
            except SessionEnded:
                return


async def test_every_row_is_an_event_in_order(machine: Machine) -> None:
    async with opened(machine) as session:
        message = await session.submit(UserTurn("Say hello."))
        events = await events_until(session, *ENDS)
    assert [event.index for event in events] == list(range(1, len(events) + 1))
    said = next(event for event in events if isinstance(event.payload, MessagePayload))
    started = next(event.payload for event in events if isinstance(event.payload, TurnStarted))
    assert str(said.index) == message == str(started.message)
    assert isinstance(events[-1].payload, TurnComplete)
    assert events[-1].payload.last_agent_message == "Hello."


async def test_pieces_come_before_the_finished_item(machine: Machine) -> None:
    machine.model.script(replies=[{"text": "One two three four.", "token_delay_seconds": 0.05}])
    pieces: list[Delta] = []
    async with opened(machine, on_delta=pieces.append) as session:
        await session.submit(UserTurn("Count."))
        await events_until(session, *ENDS)
        assert "".join(piece.text for piece in pieces if piece.kind == "text") == "One two three four."
        assert {piece.session for piece in pieces} == {session.session}


async def test_a_message_during_a_turn_reaches_the_next_model_call(machine: Machine) -> None:
    machine.model.script(replies=[shell("sleep 1"), {"text": "Done."}])
    async with opened(machine) as session:
        await session.submit(UserTurn("Begin."))
        await machine.until(lambda: len(machine.model.requests) == 1)
        steered = await session.submit(UserTurn("And hurry."))
        events = await events_until(session, *ENDS)
    admitted = [event for event in events if isinstance(event.payload, AdmissionPayload)]
    assert [
        (str(event.payload.message), event.turn) for event in admitted if isinstance(event.payload, AdmissionPayload)
    ][-1] == (steered, 1)
    assert "And hurry." in str(machine.model.requests[-1].body["input"])


async def test_approvals_and_answers_are_submitted(machine: Machine) -> None:
    question = {"id": "q", "header": "Q", "question": "Which?", "options": []}
    ask = {"calls": [{"name": "request_user_input", "arguments": {"questions": [question]}}]}
    machine.model.script(replies=[shell("touch made.txt"), ask, {"text": "Done."}])
    async with opened(machine, policy=ApprovalPolicy.UNTRUSTED) as session:
        await session.submit(UserTurn("Make it."))
        request = (await events_until(session, ExecApprovalRequest))[-1].payload
        assert isinstance(request, ExecApprovalRequest)
        assert await session.submit(ExecApproval(request.approval_id, DecisionKind.APPROVE)) == request.approval_id
        request = (await events_until(session, ExecApprovalRequest))[-1].payload
        assert isinstance(request, ExecApprovalRequest)
        await session.submit(UserInputAnswer(request.approval_id, "the second"))
        await events_until(session, TurnComplete)
    assert (machine.workspace / "made.txt").exists()
    assert "the second" in machine.outputs()[-1]


async def test_an_interrupted_session_takes_another_turn(machine: Machine) -> None:
    machine.model.script(replies=[shell("sleep 100"), {"text": "I am back."}])
    async with opened(machine) as session:
        await session.submit(UserTurn("Sleep."))
        await machine.until(lambda: any("sleep 100" in line for line in machine.processes().values()))
        await session.submit(Interrupt())
        assert isinstance((await events_until(session, *ENDS))[-1].payload, TurnAborted)
        assert not any("sleep 100" in line for line in machine.processes().values())
        await session.submit(UserTurn("Wake up."))
        end = (await events_until(session, *ENDS))[-1].payload
    assert isinstance(end, TurnComplete)
    assert end.last_agent_message == "I am back."


async def test_a_session_that_was_shut_down_has_ended(machine: Machine) -> None:
    async with opened(machine) as session:
        await session.submit(UserTurn("Say hello."))
        await events_until(session, *ENDS)
        await session.submit(Shutdown())
        await all_is_told(session)
    refused = await machine.command("resume", "--last", "Go on.")
    assert refused.exit_code == 2
    assert "is closed" in refused.stderr


async def test_a_session_has_one_owner_at_a_time(machine: Machine) -> None:
    async with opened(machine) as session:
        with pytest.raises(SessionInUse):
            async with TemporalAgentSession.resume(session.session, LocalConfig.of(machine.variables())):
                pass


async def test_a_session_is_followed_without_its_journal(machine: Machine) -> None:
    async with opened(machine) as session:
        assert session.local is not None
        workflow_id = session.local.control.handle.id
        client = session.local.runtime.client
        async with TemporalAgentSession.attach(client, workflow_id=workflow_id) as follower:
            waiting = asyncio.create_task(events_until(follower, *ENDS))
            await session.submit(UserTurn("Say hello."))
            events = await waiting
            assert [event.kind for event in events] == [RowKind.EVENT] * len(events)
            assert [type(event.payload) for event in events] == [TurnStarted, TurnComplete]
            assert [event.row for event in events] == [None, None]
            with pytest.raises(JournalRequired):
                await follower.submit(UserTurn("Again."))
            await follower.submit(Compact())
            await follower.submit(Shutdown())
            await all_is_told(follower)


async def test_a_quiet_session_is_asked_ever_more_seldom(machine: Machine) -> None:
    async with opened(machine) as session:
        assert session.local is not None
        handle = session.local.control.handle
        async with TemporalAgentSession.attach(session.local.runtime.client, workflow_id=handle.id) as follower:
            asked: list[float] = []
            real = handle.query

            async def counted(*arguments: object, **more: object) -> object:
                asked.append(time.monotonic())
                return await real(*arguments, **more)  # type: ignore[call-overload]

            follower._control.handle.query = counted  # type: ignore[method-assign, assignment]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(follower.next_event(), 2)
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert 3 < len(asked) < 20
    assert gaps[-1] > 2 * min(gaps)


async def test_the_example_of_the_documentation_runs(machine: Machine) -> None:
    (machine.workspace / "one").touch()
    machine.model.script(
        replies=[
            shell("rm -rf one"),
            shell("find . -type f | sort > .count; wc -l < .count"),
            {"text": "There is one file."},
        ]
    )
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "examples" / "library" / "count_files.py"),
        str(machine.workspace),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=machine.variables(),
    )
    done = await machine.finish(program)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["denied", "approved"]
    assert lines[-1] == "There is one file."
    assert (machine.workspace / "one").exists()


def test_the_documentation_shows_names_that_exist() -> None:
    text = (ROOT / "docs" / "library.md").read_text()
    known = dict(globals())
    import codex_api.events
    import codex_api.rows
    import codex_client.event_source
    import codex_client.operations

    for module in (codex_api.events, codex_api.rows, codex_client.event_source, codex_client.operations):
        known |= vars(module)
    named = set(re.findall(r"`([A-Z][A-Za-z]+[a-z])(?:\(|`)", text))
    assert {name for name in named if name not in known} <= {"LocalError", "None"}
    assert len(named) > 10
