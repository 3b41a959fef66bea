"""What handlers are given, and the one place where results of calls are journaled."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from codex_api.approvals import Decision
from codex_api.events import Event
from codex_api.rows import RowKind, ToolCallPayload, ToolResultPayload
from codex_journal.journal import Journal
from codex_journal.rows import NewRow, SessionRecord
from codex_worker.metrics import WorkerMetrics
from codex_worker.reply import output_of, result_row
from codex_worker.tools.output import Output
from codex_worker.transcript import Transcript, Transcripts


@dataclass(frozen=True)
class GrantedCall:
    """A call that may run now, and what its handler needs to know."""

    record: SessionRecord
    transcript: Transcript
    call: ToolCallPayload
    decision: Decision | None
    """A person's, where the call was asked for."""
    began: float = field(default_factory=time.monotonic)


class Results:
    """Appends a call's result under the call's own claim: the first one counts."""

    def __init__(self, journal: Journal, transcripts: Transcripts, metrics: WorkerMetrics) -> None:
        self._journal = journal
        self._transcripts = transcripts
        self._metrics = metrics

    async def finish(self, granted: GrantedCall, result: ToolResultPayload, events: Sequence[Event] = ()) -> None:
        """Append the result of a call that ran, with what it lets happen, and measure it once."""
        if await self.append(granted.record.session, granted.call, result, events):
            duration = self._metrics.tool_duration.labels(tool=granted.call.tool, outcome=result.outcome)
            duration.observe(time.monotonic() - granted.began)

    async def append(
        self, session: str, call: ToolCallPayload, result: ToolResultPayload, events: Sequence[Event] = ()
    ) -> bool:
        """Append a call's result; returns whether this process' one is the one that counts."""
        turn, step = position_of(call)
        rows = [result_row(result, turn, step, call.index)]
        rows += [NewRow(RowKind.EVENT, event.model_dump(mode="json"), turn, step) for event in events]
        appended = await self._journal.append(session, f"{call.call_id}/result", rows)
        self._transcripts.add(appended)
        return appended.inserted


def position_of(call: ToolCallPayload) -> tuple[int, int]:
    """Return (turn, step) of a call, which its id is made of."""
    turn, step, _ = call.call_id.split(".")
    return int(turn[1:]), int(step[1:])


def result_of(call: ToolCallPayload, output: Output, outcome: str = "completed") -> ToolResultPayload:
    return ToolResultPayload(call_id=call.call_id, item=output_of(call, output), outcome=outcome)
