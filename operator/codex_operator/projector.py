"""Tails the journal and is the only writer of ``.status``: at once for approvals and endings, else once per second.

It keeps nothing that it could not read again: after a restart, or when the API server was away, the journal tells it
who is behind, and the status is written as a whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from codex_api.rows import RowKind
from codex_journal.errors import JournalError
from codex_journal.journal import Journal
from codex_journal.rows import Row, SessionRecord
from codex_operator.cluster_api import ClusterError, NotFound
from codex_operator.cluster_events import Subject
from codex_operator.last_message import LastMessage, last_message, message_text, needs_whole, newest_end_with_message
from codex_operator.observations import Observation
from codex_operator.session_object import SessionObject
from codex_operator.status_conditions import ShownSession
from codex_operator.status_writer import StatusWriter
from codex_operator.tracked_session import TrackedSession, write_due

log = structlog.get_logger("codex_operator.projector")

PAGE_ROWS = 500
WORKING_AT_ONCE = 16
JOURNAL_RETRY_SECONDS = 1.0
FIRST_STATUS_SECONDS = 0.3
LOOK_AGAIN_SECONDS = 10.0
# Items and context are the bulk of a journal and no part of a status.
STATUS_KINDS = frozenset(RowKind) - {RowKind.ITEM, RowKind.CONTEXT}


class Projector:
    """Every session is worked on by at most one task, and only while something about it has changed."""

    def __init__(
        self,
        journal: Journal,
        writer: StatusWriter,
        installation: str,
        *,
        isolation_required: bool,
        wake: Callable[[str], None],
    ) -> None:
        self._journal = journal
        self._writer = writer
        self._installation = installation
        self._isolation_required = isolation_required
        self._wake = wake
        self._sessions: dict[str, TrackedSession] = {}
        self._looked_for: dict[str, float] = {}
        """Loop time at which the object of a session that no loop serves was looked for."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(WORKING_AT_ONCE)
        self.last_beat: float | None = None
        """Loop time of the last hint or re-read."""

    def track(self, session: SessionObject) -> None:
        """Begin to project a session; one that has no status yet gets its first at once."""
        if session.uid in self._sessions:
            return
        subject = Subject(session.uid, session.namespace, session.name)
        shown = ShownSession(session.name, session.spec.sandbox.network.mode, self._isolation_required)
        tracked = TrackedSession(subject, shown, dict(session.status))
        self._sessions[session.uid] = tracked
        self._change(tracked)

    def observe(self, session: SessionObject, observation: Observation) -> None:
        tracked = self._sessions.get(session.uid)
        if tracked is not None:
            tracked.observe(observation)
            self._change(tracked)

    def untrack(self, uid: str) -> None:
        tracked = self._sessions.pop(uid, None)
        if tracked is not None:
            self._writer.forget(tracked)

    async def run(self) -> None:
        """Tail the journal until cancelled."""
        try:
            while True:
                with suppress(JournalError):
                    async with self._journal.watch() as hints:
                        async for hint in hints:
                            self.last_beat = asyncio.get_running_loop().time()
                            if hint is None:
                                await self._catch_up()
                            elif hint.session in self._sessions:
                                self._change(self._sessions[hint.session])
                await asyncio.sleep(JOURNAL_RETRY_SECONDS)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _catch_up(self) -> None:
        """Ask who is behind: hints get lost, and those of the time before this process started were never heard."""
        try:
            behind = await self._journal.behind(self._installation)
        except JournalError as error:
            log.warning("the journal cannot be read", error=str(error))
            return
        for record in behind:
            tracked = self._sessions.get(record.session)
            if tracked is not None:
                self._change(tracked)
            elif _now() > self._looked_for.get(record.session, -LOOK_AGAIN_SECONDS) + LOOK_AGAIN_SECONDS:
                self._looked_for[record.session] = _now()
                self._spawn(self._look_for(record))

    async def _look_for(self, record: SessionRecord) -> None:
        """Where a session that no loop serves has no object any more, note that nobody is left to read its status."""
        with suppress(ClusterError, JournalError):
            if not await self._writer.exists(Subject(record.session, record.namespace, record.name)):
                await self._journal.set_projected(record.session, record.last_seq)
                self._looked_for.pop(record.session, None)

    def _change(self, tracked: TrackedSession) -> None:
        tracked.changed.set()
        if not tracked.busy:
            tracked.busy = True
            self._spawn(self._work(tracked))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("projecting failed", exc_info=error)

    async def _work(self, tracked: TrackedSession) -> None:
        """Read, wait until a write is due, write; again while something changes meanwhile."""
        try:
            if tracked.is_new:
                await self._first_status(tracked)
            while tracked.changed.is_set() and self._is_tracked(tracked):
                tracked.changed.clear()
                async with self._slots:
                    await self._read(tracked)
                wait = write_due(tracked, _now()) - _now()
                if wait > 0 and await _set_within(tracked.changed, wait):
                    continue
                await self._publish(tracked)
        finally:
            tracked.busy = False

    async def _first_status(self, tracked: TrackedSession) -> None:
        """Show a new session soon: with what its first reconcile did, or without where that takes long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_STATUS_SECONDS):
                await tracked.observed.wait()
                await self._read(tracked)
        await self._publish(tracked)

    def _is_tracked(self, tracked: TrackedSession) -> bool:
        return self._sessions.get(tracked.subject.uid) is tracked

    async def _publish(self, tracked: TrackedSession) -> None:
        async with self._slots:
            try:
                await self._writer.publish(tracked, datetime.now(UTC))
            except NotFound:
                await self._gone(tracked)
                return
            except ClusterError as error:
                log.warning("a status could not be written", session=tracked.subject.uid, error=str(error))
                tracked.failures += 1
                tracked.last_write = _now()
                tracked.changed.set()
                return
            tracked.failures, tracked.last_write = 0, _now()
            await self._set_projected(tracked)

    async def _gone(self, tracked: TrackedSession) -> None:
        """Nobody is left to read this session's status."""
        self.untrack(tracked.subject.uid)
        with suppress(JournalError):
            await self._journal.set_projected(tracked.subject.uid, tracked.view.seq)

    async def _set_projected(self, tracked: TrackedSession) -> None:
        """Note what has been shown; if that fails it is shown again, which changes nothing."""
        if tracked.shows_everything and tracked.view.seq > tracked.projected_seq:
            with suppress(JournalError):
                await self._journal.set_projected(tracked.subject.uid, tracked.view.seq)
                tracked.projected_seq = tracked.view.seq

    async def _read(self, tracked: TrackedSession) -> None:
        """Fold what is new; while the journal is away the status says so by what the reconcile saw."""
        was_closed = tracked.is_closed
        try:
            if tracked.loaded:
                await self._read_rows(tracked, kinds=None)
            else:
                await self._load(tracked)
        except JournalError as error:
            log.warning("the journal cannot be read", session=tracked.subject.uid, error=str(error))
        if tracked.concerns_the_sandbox or (tracked.is_closed and not was_closed):
            tracked.concerns_the_sandbox = False
            self._wake(tracked.subject.uid)

    async def _load(self, tracked: TrackedSession) -> None:
        """Fold a session's journal from its beginning."""
        record = await self._journal.session(tracked.subject.uid)
        if record is None:
            return
        tracked.projected_seq = max(tracked.projected_seq, record.projected_seq)
        tracked.structured = record.settings.output_schema is not None
        await self._read_rows(tracked, kinds=STATUS_KINDS)
        tracked.view = replace(tracked.view, seq=max(tracked.view.seq, record.last_seq))
        tracked.loaded = True

    async def _read_rows(self, tracked: TrackedSession, *, kinds: frozenset[RowKind] | None) -> None:
        uid = tracked.subject.uid
        while True:
            rows = await self._journal.read(uid, after=tracked.view.seq, kinds=kinds, limit=PAGE_ROWS)
            # Before anything is folded in: where this fails, the rows are read again.
            message = await self._whole_message(tracked, rows)
            tracked.add(rows)
            if message is not None:
                tracked.view = replace(tracked.view, last_message=message)
            if len(rows) < PAGE_ROWS:
                return

    async def _whole_message(self, tracked: TrackedSession, rows: Sequence[Row]) -> LastMessage | None:
        """Return the message with which the newest turn among the rows ended, where its event does not tell it all."""
        end = newest_end_with_message(rows)
        if end is None or not needs_whole(end, structured=tracked.structured):
            return None
        uid, seq = tracked.subject.uid, end["message_seq"]
        items = await self._journal.read(uid, after=seq - 1, kinds=[RowKind.ITEM], limit=1)
        text = next((message_text(row.payload) for row in items if row.seq == seq), "")
        return last_message(text, structured=tracked.structured) if text else None


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event; tell whether it came in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
