"""A session's journal as the worker needs it: folded row by row, kept in memory, extended by what is new.

The journal is append-only and its seq has no gaps, so a cached fold is never wrong, only behind.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from codex_api.rows import (
    CONVERSATION_KINDS,
    Classification,
    Delivery,
    MessagePayload,
    ModelRetryPayload,
    RowKind,
    SandboxAddressPayload,
    ToolCallPayload,
    ToolIntentPayload,
    UsagePayload,
)
from codex_journal.errors import UnknownSession
from codex_journal.journal import Journal
from codex_journal.rows import Appended, Row, SessionRecord

REPLY_CLAIM_SUFFIX = "/reply"

Position = tuple[int, int, int, int]


class Transcript:
    """The fold of one session's rows."""

    def __init__(self) -> None:
        self.seq = 0
        self.closed = False
        self.turn = 0
        self.ended_turn = 0
        self.tokens = 0
        self.usages = 0
        self.first_message: dict[int, int] = {}
        self.calls: dict[str, ToolCallPayload] = {}
        self.intents: dict[str, ToolIntentPayload] = {}
        self.results: set[str] = set()
        self.request_times: dict[str, float] = {}
        self.address: SandboxAddressPayload | None = None
        self.last_step: dict[int, int] = {}
        self._conversation: list[tuple[Position, Row]] = []
        self._waiting: dict[int, MessagePayload] = {}
        self._retries: dict[tuple[int, int], list[ModelRetryPayload]] = {}
        self._step_calls: dict[tuple[int, int], list[str]] = {}

    def apply(self, row: Row) -> None:
        if fold := _FOLDS.get(row.kind):
            fold(self, row)
        if row.kind in CONVERSATION_KINDS:
            position = (row.turn, row.step, row.position, row.seq)
            bisect.insort(self._conversation, (position, row), key=lambda entry: entry[0])
        if row.claim.endswith(REPLY_CLAIM_SUFFIX):
            self.last_step[row.turn] = max(self.last_step.get(row.turn, 0), row.step)
        # Last: a row that could not be folded is met again, not passed over.
        self.seq = row.seq

    def items(self) -> list[dict[str, Any]]:
        """Return the conversation as the model sees it, in the order (turn, step, position)."""
        return [row.payload["item"] for _, row in self._conversation]

    def waiting_messages(self) -> dict[int, MessagePayload]:
        """Return inbox messages not yet in the conversation, by seq."""
        return dict(sorted(self._waiting.items()))

    def messages_for(self, turn: int) -> dict[int, MessagePayload]:
        """Return the waiting messages that the next request of this turn admits: its first one and all steering."""
        first = self.first_message.get(turn)
        return {
            seq: message
            for seq, message in self.waiting_messages().items()
            if seq == first or message.delivery is Delivery.STEER
        }

    def retries(self, turn: int, step: int) -> list[ModelRetryPayload]:
        return self._retries.get((turn, step), [])

    def calls_of(self, turn: int, step: int) -> list[ToolCallPayload]:
        """Return a step's calls in the model's order."""
        return [self.calls[call] for call in self._step_calls.get((turn, step), [])]

    def asked_in(self, turn: int) -> int:
        """Return how many calls of a turn had to be asked for so far."""
        steps = range(1, self.last_step.get(turn, 0) + 1)
        calls = (call for step in steps for call in self.calls_of(turn, step))
        return sum(call.classification is Classification.ASK for call in calls)

    def open_calls(self, turn: int, step: int) -> list[ToolCallPayload]:
        return [call for call in self.calls_of(turn, step) if call.call_id not in self.results]

    def request_times_of(self, turn: int, step: int) -> dict[str, float]:
        """Return approval id → seconds since the epoch of what the step's open calls asked for."""
        return {
            call.approval_id: self.request_times[call.approval_id]
            for call in self.open_calls(turn, step)
            if call.approval_id in self.request_times
        }

    @property
    def workspace_kept(self) -> bool:
        """Whether the newest sandbox found the files of the one before."""
        return self.address is not None and self.address.workspace_kept

    def _message(self, row: Row) -> None:
        self._waiting[row.seq] = MessagePayload.model_validate(row.payload)

    def _admission(self, row: Row) -> None:
        self._waiting.pop(row.payload["message"], None)

    def _tool_call(self, row: Row) -> None:
        call = ToolCallPayload.model_validate(row.payload)
        self.calls[call.call_id] = call
        self._step_calls.setdefault((row.turn, row.step), []).append(call.call_id)

    def _intent(self, row: Row) -> None:
        intent = ToolIntentPayload.model_validate(row.payload)
        self.intents[intent.call_id] = intent

    def _result(self, row: Row) -> None:
        self.results.add(row.payload["call_id"])

    def _usage(self, row: Row) -> None:
        usage = UsagePayload.model_validate(row.payload)
        self.usages += 1
        self.tokens += usage.input_tokens - usage.cached_input_tokens + usage.output_tokens

    def _retry(self, row: Row) -> None:
        self._retries.setdefault((row.turn, row.step), []).append(ModelRetryPayload.model_validate(row.payload))

    def _closed(self, row: Row) -> None:
        self.closed = True

    def _address(self, row: Row) -> None:
        self.address = SandboxAddressPayload.model_validate(row.payload)

    def _event(self, row: Row) -> None:
        event = row.payload
        match event["type"]:
            case "TurnStarted":
                self.turn = event["turn"]
                self.first_message[self.turn] = event["message"]
            case "ExecApprovalRequest":
                self.request_times[event["approval_id"]] = row.at.timestamp()
            case "TurnComplete" | "TurnAborted" | "TurnFailed":
                self.ended_turn = max(self.ended_turn, event["turn"])


_FOLDS = {
    RowKind.MESSAGE: Transcript._message,
    RowKind.ADMISSION: Transcript._admission,
    RowKind.TOOL_CALL: Transcript._tool_call,
    RowKind.TOOL_INTENT: Transcript._intent,
    RowKind.TOOL_RESULT: Transcript._result,
    RowKind.USAGE: Transcript._usage,
    RowKind.MODEL_RETRY: Transcript._retry,
    RowKind.SANDBOX_ADDRESS: Transcript._address,
    RowKind.SESSION_CLOSED: Transcript._closed,
    RowKind.EVENT: Transcript._event,
}


class Transcripts:
    """A bounded cache of folds, one per session this worker has lately served."""

    def __init__(self, journal: Journal, max_sessions: int = 64) -> None:
        self._journal = journal
        self._max_sessions = max_sessions
        self._cache: OrderedDict[str, Transcript] = OrderedDict()
        self._records: dict[str, SessionRecord] = {}

    async def load(self, session: str) -> Transcript:
        """Return the session's fold up to the newest committed row."""
        transcript = self._cache.setdefault(session, Transcript())
        self._cache.move_to_end(session)
        while len(self._cache) > self._max_sessions:
            forgotten, _ = self._cache.popitem(last=False)
            self._records.pop(forgotten, None)
        _extend(transcript, await self._journal.read(session, after=transcript.seq))
        return transcript

    async def record(self, session: str) -> SessionRecord:
        """Return the session's row as it was first read: only its settings and names, which never change, are current.

        Raises UnknownSession.
        """
        if session not in self._records:
            record = await self._journal.session(session)
            if record is None:
                raise UnknownSession(f"no session {session} in the journal")
            self._records[session] = record
        return self._records[session]

    def add(self, appended: Appended) -> None:
        """Fold in what was just appended, which saves reading it again; a gap is left for the next load."""
        if appended.rows and (transcript := self._cache.get(appended.rows[0].session)):
            _extend(transcript, appended.rows)


def _extend(transcript: Transcript, rows: Sequence[Row]) -> None:
    for row in rows:
        # Two activities may see the same new rows at once; each row is folded once, and in order.
        if row.seq == transcript.seq + 1:
            transcript.apply(row)
