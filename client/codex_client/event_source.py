"""Where a session's events come from: its journal, or, where there is none, the workflow's query."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from codex_api import names
from codex_api.events import AnyEvent, event_adapter
from codex_api.rows import (
    AdmissionPayload,
    CompactionPayload,
    ContextPayload,
    ItemPayload,
    MessagePayload,
    ModelRetryPayload,
    Payload,
    RowKind,
    SandboxAddressPayload,
    SandboxReportPayload,
    SessionClosedPayload,
    ToolCallPayload,
    ToolIntentPayload,
    ToolResultPayload,
    UsagePayload,
)
from codex_api.workflow_payloads import EventsSince
from codex_journal.rows import Row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from temporalio.client import WorkflowHandle

    from codex_journal.journal import Journal
    from codex_journal.rows import Hint

SHORTEST_WAIT_SECONDS = 0.02
LONGEST_WAIT_SECONDS = 2.0

PAYLOADS: dict[RowKind, type[Payload]] = {
    RowKind.SESSION_CLOSED: SessionClosedPayload,
    RowKind.MESSAGE: MessagePayload,
    RowKind.SANDBOX_ADDRESS: SandboxAddressPayload,
    RowKind.ADMISSION: AdmissionPayload,
    RowKind.ITEM: ItemPayload,
    RowKind.TOOL_CALL: ToolCallPayload,
    RowKind.TOOL_INTENT: ToolIntentPayload,
    RowKind.TOOL_RESULT: ToolResultPayload,
    RowKind.USAGE: UsagePayload,
    RowKind.MODEL_RETRY: ModelRetryPayload,
    RowKind.CONTEXT: ContextPayload,
    RowKind.COMPACTION: CompactionPayload,
    RowKind.SANDBOX_REPORT: SandboxReportPayload,
}


class SessionEnded(Exception):
    """The session is closed, and every event of it was returned."""


@dataclass(frozen=True)
class SessionEvent:
    """Something that happened; ``payload`` is of the type that ``kind`` has in codex_api.rows or codex_api.events."""

    index: int
    """Its seq in the journal; without a journal its number among the workflow's events."""
    turn: int
    """0 where it belongs to no turn."""
    kind: RowKind
    payload: Payload | AnyEvent
    row: Row | None
    """The journal's row, where there is a journal."""


class EventSource(Protocol):
    async def next(self) -> SessionEvent:
        """Return the next event; raises SessionEnded after the last one of a closed session."""

    async def close(self) -> None: ...


def event_of(row: Row) -> SessionEvent:
    """Return a row with its payload in its type."""
    payload: Payload | AnyEvent
    if row.kind is RowKind.EVENT:
        payload = event_adapter.validate_python(row.payload)
    else:
        payload = PAYLOADS.get(row.kind, Payload).model_validate(row.payload)
    return SessionEvent(row.seq, row.turn, row.kind, payload, row)


class JournalEvents:
    """Every row of a session in the order of seq, as it commits; a slow reader misses nothing."""

    def __init__(self, journal: Journal, session: str, after: int = 0) -> None:
        self._journal = journal
        self._session = session
        self._seen = after
        self._waiting: deque[Row] = deque()
        self._stack = AsyncExitStack()
        self._hints: AsyncIterator[Hint | None] | None = None
        self._closed = False

    async def next(self) -> SessionEvent:
        while not self._waiting:
            if self._closed:
                raise SessionEnded
            await self._read_more()
        row = self._waiting.popleft()
        self._closed = self._closed or row.kind is RowKind.SESSION_CLOSED
        return event_of(row)

    async def close(self) -> None:
        await self._stack.aclose()

    async def _read_more(self) -> None:
        if self._hints is None:
            self._hints = await self._stack.enter_async_context(self._journal.watch())
        try:
            hint = await anext(self._hints)
        except StopAsyncIteration:
            raise SessionEnded("the journal was closed") from None
        if hint is not None and (hint.session != self._session or hint.seq <= self._seen):
            return
        self._waiting.extend(await self._journal.read(self._session, after=self._seen))
        if self._waiting:
            self._seen = self._waiting[-1].seq


class QueriedEvents:
    """Asks the workflow again and again, the less often the longer nothing happens; the oldest events may be gone."""

    def __init__(self, handle: WorkflowHandle[Any, Any]) -> None:
        self._handle = handle
        self._index = 0
        self._waiting: deque[SessionEvent] = deque()
        self._wait = SHORTEST_WAIT_SECONDS
        self._closed = False

    async def next(self) -> SessionEvent:
        while not self._waiting:
            if self._closed:
                raise SessionEnded
            await self._ask()
        return self._waiting.popleft()

    async def close(self) -> None:
        self._closed = True

    async def _ask(self) -> None:
        answer = await self._handle.query(names.QUERY_EVENTS, self._index, result_type=EventsSince)
        for number, event in enumerate(answer.events, start=answer.first):
            self._waiting.append(SessionEvent(number, event.turn, RowKind.EVENT, event, None))
            self._closed = self._closed or event.type == "SessionCompleted"
        self._index = answer.next
        if self._waiting:
            self._wait = SHORTEST_WAIT_SECONDS
            return
        await asyncio.sleep(self._wait)
        self._wait = min(self._wait * 1.5, LONGEST_WAIT_SECONDS)
