"""What ``codex-temporal run`` and ``resume`` do once their arguments are read."""

from __future__ import annotations

import asyncio
import logging
import sys
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from codex_api.rows import SandboxMode
from codex_client.agent_session import TemporalAgentSession
from codex_client.local.arguments import writable_file
from codex_client.local.config import LocalConfig
from codex_client.local.errors import LocalError, UnknownSession, UsageError, WorkerStopped, translated
from codex_client.local.kept_session import KeptSession
from codex_client.local.leaving import Leaving
from codex_client.local.logs import log_file, log_to_file
from codex_client.local.session_options import SessionOptions, SettingsChange
from codex_client.operations import Compact, Interrupt, UserTurn

if TYPE_CHECKING:
    from codex_client.local.foreground import ForegroundTurn
    from codex_client.view.presenter import Outcome, Presenter
    from codex_worker.deltas import Delta

log = logging.getLogger(__name__)

FULL_DISK_SECONDS = 1.0
INTERRUPT_AGAIN_SECONDS = 0.5
# What a turn that was interrupted, failed or reached a limit is taken up with.
GO_ON = "Go on."
SANDBOX_NAMES = {SandboxMode.NONE: "none"}


@dataclass(frozen=True)
class Output:
    """Where a run tells what happens."""

    json_events: bool = False
    last_message: Path | None = None
    """File that gets the model's final message."""


@dataclass(frozen=True)
class Resumption:
    """How a session goes on."""

    prefix: str | None
    """None: the newest session."""
    prompt: str | None
    """None: an unfinished turn goes on."""
    compact: bool = False
    change: SettingsChange = SettingsChange()  # noqa: RUF009 - immutable


async def run_session(prompt: str, options: SessionOptions, config: LocalConfig, output: Output) -> int:
    """Run one turn of a new session in the foreground; return the exit code. Raises LocalError."""
    view = _View(output)
    _announce(f"starting a session in {options.directory} …")
    session = str(uuid.uuid4())

    def opening(kept: KeptSession) -> AbstractAsyncContextManager[TemporalAgentSession]:
        return TemporalAgentSession.open(
            options, config, prompt=prompt, on_delta=view.stream, session=session, kept=kept
        )

    return await _Run(config, view, session, SettingsChange()).through(opening, None, compact=False)


async def resume_session(resumption: Resumption, config: LocalConfig, output: Output) -> int:
    """Go on with a session in the foreground; return the exit code. Raises LocalError."""
    view = _View(output)
    _announce(f"resuming {f'session {resumption.prefix}' if resumption.prefix else 'the newest session'} …")
    run = _Run(config, view, resumption.prefix, resumption.change)
    return await run.through(run.reopening(resumption.prefix), resumption.prompt, compact=resumption.compact)


def _announce(text: str) -> None:
    """Tell a person at once that something happens: it may take seconds until the view is there."""
    if sys.stderr.isatty():
        # A folder's name may hold what a terminal takes for commands.
        sys.stderr.write("".join(character for character in text if character.isprintable()) + "\n")
        sys.stderr.flush()


class _View:
    """The presenter, made once everything else runs: what it imports is not needed to ask the model."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.presenter: Presenter | None = None

    def begin(self, session: TemporalAgentSession, *, resumed: bool) -> Presenter:
        from codex_client.view.choosing import presenter_for
        from codex_client.view.presenter import RunInfo

        assert session.local is not None
        settings = session.local.settings
        self.presenter, _ = presenter_for(sys.stdout, sys.stderr, json_events=self.output.json_events)
        self.presenter.begin(
            RunInfo(
                session=session.session,
                model=settings.model or "",
                directory=settings.workspace,
                sandbox=SANDBOX_NAMES.get(settings.sandbox_mode, settings.sandbox_mode.value),
                approval_policy=settings.approval_policy.value,
                resumed=resumed,
            )
        )
        return self.presenter

    def stream(self, delta: Delta) -> None:
        if self.presenter is not None:
            self.presenter.stream(delta)

    def end(self, outcome: Outcome) -> None:
        assert self.presenter is not None
        self.presenter.end(outcome)
        if self.output.last_message is not None:
            try:
                self.output.last_message.write_text(outcome.last_message, encoding="utf-8", errors="replace")
            except OSError as error:
                raise LocalError(f"cannot write {self.output.last_message}: {error.strerror}") from error


Opening = Callable[[KeptSession], AbstractAsyncContextManager[TemporalAgentSession]]


class _Run:
    """One command from its start to its exit code, whatever signal comes."""

    def __init__(self, config: LocalConfig, view: _View, prefix: str | None, change: SettingsChange) -> None:
        """``prefix``: what the session's id begins with; None: the newest one."""
        self._config = config
        self._view = view
        self._prefix = prefix
        self._change = change
        self._leaving = Leaving()
        self._session: TemporalAgentSession | None = None
        self._turn: ForegroundTurn | None = None
        self._opened = asyncio.Event()

    async def through(self, opening: Opening, prompt: str | None, *, compact: bool) -> int:
        if self._view.output.last_message is not None:
            writable_file(self._view.output.last_message)
        self._config.state.create()
        log_to_file(log_file(self._config.state.logs, "run.log"), self._config.log_level)
        with self._leaving.watching(self._interrupt):
            work = asyncio.create_task(self._work(opening, prompt, compact))
            await self._leaving.wait_for(work)
            if work.done() and not work.cancelled():
                return work.result()
        if self._turn is not None:
            # Tells how to go on, and gives the terminal back.
            self._view.end(self._turn.outcome())
        else:
            sys.stderr.write(f"codex-temporal: {await self._what_was_begun()}\n")
        return self._leaving.exit_code

    async def _work(self, opening: Opening, prompt: str | None, compact: bool) -> int:
        async with KeptSession() as kept:
            outcome = await self._in_sessions(kept, opening, prompt, compact)
        # Shown only now: whoever sees the end may start the session again.
        self._view.end(outcome)
        return outcome.exit_code

    async def _in_sessions(self, kept: KeptSession, opening: Opening, prompt: str | None, compact: bool) -> Outcome:
        """Go on without the machine's worker where that one stops."""
        while True:
            try:
                return await self._in_session(kept, opening, prompt, compact)
            except WorkerStopped as error:
                sys.stderr.write(f"codex-temporal: {error.what}; going on without it\n")
                opening = self.reopening(error.session)
                if self._turn is not None:
                    # It is in the journal, as the turn is.
                    prompt, compact = None, False

    def reopening(self, prefix: str | None) -> Opening:
        # The change again: who made it may have stopped before it was journaled.
        return lambda kept: TemporalAgentSession.resume(
            prefix, self._config, change=self._change, on_delta=self._view.stream, kept=kept
        )

    async def _in_session(self, kept: KeptSession, opening: Opening, prompt: str | None, compact: bool) -> Outcome:
        async with opening(kept) as session:
            self._session = session
            self._opened.set()
            assert session.local is not None
            if session.local.sandbox.warning:
                sys.stderr.write(f"codex-temporal: {session.local.sandbox.warning}\n")
            try:
                with translated(self._config.state.root):
                    return await self._take_turn(session, prompt, compact)
            except LocalError as error:
                if self._turn is None or isinstance(error, WorkerStopped):
                    raise
                return replace(self._turn.outcome(), message=str(error))

    async def _take_turn(self, session: TemporalAgentSession, prompt: str | None, compact: bool) -> Outcome:
        # The request goes out before the view is imported: nobody waits for the view.
        from codex_client.local.session_list import last_turn_completed, unfinished_turn, waiting_messages

        assert session.local is not None
        earlier = session.local.earlier
        unfinished = unfinished_turn(earlier)
        goes_on = unfinished is not None or bool(waiting_messages(earlier)) or bool(session.local.message)
        if prompt is None and not goes_on and not last_turn_completed(earlier):
            prompt = GO_ON
        elif prompt is None and not goes_on:
            raise UsageError(
                f'the last turn has ended; say what to do next: codex-temporal resume {session.session[:8]} "…"'
            )
        if compact:
            await session.submit(Compact())
            # A workflow that has just begun reads the next message's row before it looks at its signals.
            await session.local.control.until_heard()
        message = session.local.message if prompt is None else int(await session.submit(UserTurn(prompt)))
        from codex_client.local.foreground import ForegroundTurn

        presenter = self._view.presenter or self._view.begin(session, resumed=bool(earlier))
        turn = self._turn = ForegroundTurn(session, presenter, message, self._turn.shown if self._turn else 0)
        if unfinished is not None:
            turn.recall([row for row in earlier if row.turn == unfinished])
        elif not message:
            turn.recall(waiting_messages(earlier))
        return await self._watched(turn, session)

    async def _watched(self, turn: ForegroundTurn, session: TemporalAgentSession) -> Outcome:
        """Follow the turn as long as it can go on; raises LocalError where it cannot."""
        assert session.local is not None
        following = asyncio.create_task(turn.run())
        failing = asyncio.create_task(session.local.failed())
        warning = asyncio.create_task(self._warn_of_a_full_disk())
        try:
            await asyncio.wait([following, failing], return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                return following.result()
            raise failing.result()
        finally:
            for task in (following, failing, warning):
                task.cancel()
            await asyncio.wait([following, failing, warning])

    async def _warn_of_a_full_disk(self) -> None:
        while not self._config.state.is_full():
            await asyncio.sleep(FULL_DISK_SECONDS)
        root = self._config.state.root
        sys.stderr.write(f"codex-temporal: the disk of {root} is full; the turn waits until there is room\n")

    async def _what_was_begun(self) -> str:
        """Tell somebody who leaves before there was a turn to be seen how to go on."""
        from codex_client.local.journal_file import local_journal
        from codex_client.local.session_list import find_session

        nothing = "left before a session was begun"
        if not self._config.state.journal.exists():
            return nothing
        try:
            with translated(self._config.state.root):
                async with local_journal(self._config.state) as journal:
                    record = await find_session(journal, self._config.state.locks, self._prefix)
        except UnknownSession:
            return nothing
        except LocalError as error:
            return f"left before the turn was shown; whether it was begun is not known: {error}"
        return f"left before the turn was shown; go on with: codex-temporal resume {record.session}"

    def _interrupt(self) -> None:
        """End the turn in good order, once there is one."""
        if not self._opened.is_set():
            _announce("the turn is interrupted as soon as the session is there; Ctrl-C again leaves at once")
        self._leaving.background(self._interrupt_until_it_ends())

    async def _interrupt_until_it_ends(self) -> None:
        # The workflow ignores an interrupt that comes just before the turn begins.
        from temporalio.service import RPCError

        await self._opened.wait()
        assert self._session is not None
        while True:
            try:
                await self._session.submit(Interrupt())
            except RPCError as error:
                log.warning("the interrupt did not reach the workflow: %s", error)
            await asyncio.sleep(INTERRUPT_AGAIN_SECONDS)
