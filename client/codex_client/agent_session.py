"""TemporalAgentSession: a session as a program sees it. ``submit`` what you want, ``next_event`` says what happened.

``open`` and ``resume`` bring all that a session needs on this machine; ``attach`` follows one that runs elsewhere.
"""

from __future__ import annotations

import getpass
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from codex_api.approvals import Decision, DecisionKind
from codex_api.events import SandboxReset
from codex_api.rows import Delivery
from codex_client.event_source import EventSource, JournalEvents, QueriedEvents, SessionEvent
from codex_client.local.config import LocalConfig
from codex_client.local.kept_session import KeptSession
from codex_client.local.local_session import LocalSession, new_session, resumed_session
from codex_client.local.session_control import SessionControl
from codex_client.local.session_options import SessionOptions, SettingsChange
from codex_client.operations import (
    Compact,
    ExecApproval,
    Interrupt,
    Operation,
    Shutdown,
    UserInputAnswer,
    UserTurn,
)

if TYPE_CHECKING:
    from temporalio.client import Client

    from codex_journal.journal import Journal
    from codex_worker.deltas import OnDelta


class TemporalAgentSession:
    """One session. Create it by ``open``, ``resume`` or ``attach``."""

    def __init__(self, control: SessionControl, events: EventSource, local: LocalSession | None) -> None:
        self._control = control
        self._events = events
        self.local = local
        """What runs on this machine for it; None where it was attached to."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        options: SessionOptions,
        config: LocalConfig,
        *,
        prompt: str | None = None,
        on_delta: OnDelta | None = None,
        session: str | None = None,
        kept: KeptSession | None = None,
    ) -> AsyncIterator[TemporalAgentSession]:
        """Begin a session in ``options.directory``; leaving the block closes nothing, ``resume`` goes on.

        With ``prompt`` its first turn begins at once, as soon as anything can. ``on_delta`` is called with
        pieces of what the model writes. ``session`` is the UUID it gets; ``kept`` keeps its lock and its sandbox
        for a ``resume`` after this block. Raises LocalError, whose message names the cure.
        """
        async with AsyncExitStack() as stack:
            if kept is None:
                kept = await stack.enter_async_context(KeptSession())
            opening = new_session(session or str(uuid.uuid4()), options, config, prompt, on_delta, kept)
            yield cls._of(await stack.enter_async_context(opening))

    @classmethod
    @asynccontextmanager
    async def resume(
        cls,
        session: str | None,
        config: LocalConfig,
        *,
        change: SettingsChange = SettingsChange(),  # noqa: B008 - immutable
        on_delta: OnDelta | None = None,
        kept: KeptSession | None = None,
    ) -> AsyncIterator[TemporalAgentSession]:
        """Go on with a session of this machine: the one whose id begins so, or with None the newest.

        A turn that did not end goes on by itself. Events begin after what the journal held. ``kept`` holds what
        an earlier block left running. Raises LocalError.
        """
        async with AsyncExitStack() as stack:
            if kept is None:
                kept = await stack.enter_async_context(KeptSession())
            opening = resumed_session(session, config, change, on_delta, kept)
            yield cls._of(await stack.enter_async_context(opening))

    @classmethod
    @asynccontextmanager
    async def attach(
        cls, client: Client, *, workflow_id: str, journal: Journal | None = None
    ) -> AsyncIterator[TemporalAgentSession]:
        """Follow a session that somebody else runs.

        With its journal every row comes as an event and everything can be submitted. Without, the events are those
        of the workflow's query, and only Interrupt, Compact and Shutdown can be submitted: the others are rows first.
        """
        control = SessionControl(client, journal, workflow_id)
        events: EventSource = (
            QueriedEvents(control.handle) if journal is None else JournalEvents(journal, control.session)
        )
        try:
            yield cls(control, events, None)
        finally:
            await events.close()

    @classmethod
    def _of(cls, local: LocalSession) -> TemporalAgentSession:
        return cls(local.control, local.events, local)

    @property
    def session(self) -> str:
        """The session's id."""
        return self._control.session

    async def submit(self, operation: Operation) -> str:
        """Ask for something and return its id; what came of it are events.

        A UserTurn's id is the seq of its message, which TurnStarted or an admission names; an approval's and an
        answer's is the approval's. Raises JournalRequired, codex_journal.errors.JournalError and temporalio's RPCError.
        """
        match operation:
            case Interrupt():
                await self._control.interrupt()
            case Compact():
                await self._control.compact()
            case Shutdown():
                await self._control.shutdown()
            case _:
                return await self._submit_journaled(operation)
        return str(uuid.uuid4())

    async def next_event(self) -> SessionEvent:
        """Return what happened next; raises SessionEnded once the session is closed and all was told."""
        event = await self._events.next()
        if self.local is not None and isinstance(event.payload, SandboxReset):
            await self.local.sandbox.reset()
        return event

    async def _submit_journaled(self, operation: UserTurn | ExecApproval | UserInputAnswer) -> str:
        if isinstance(operation, UserTurn):
            message = await self._control.journal_message(
                operation.text, Delivery.QUEUE if operation.queued else Delivery.STEER
            )
            await self._control.signal_message(message)
            return str(message.seq)
        if isinstance(operation, ExecApproval):
            decision = Decision(operation.id, operation.decision, operation.reason, user_name())
        else:
            decision = Decision(operation.id, DecisionKind.ANSWER, operation.text, user_name())
        await self._control.decide(decision)
        return operation.id


def user_name() -> str:
    """Return who decides here."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
