"""A session's journal as the worker needs it: folded row by row, kept in memory, extended by what is new.

The journal is append-only and its seq has no gaps, so a cached fold is never wrong, only behind.
"""

from __future__ import annotations

import bisect
import itertools
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from codex_api.events import TurnAborted, TurnFailed, event_adapter
from codex_api.rows import (
    CONVERSATION_KINDS,
    POSITION_OUTPUT,
    Classification,
    CompactionPayload,
    ContextPayload,
    Delivery,
    MessagePayload,
    ModelRetryPayload,
    RowKind,
    SandboxAddressPayload,
    ToolCallPayload,
    ToolIntentPayload,
    TurnStoppingPayload,
    UsagePayload,
)
from codex_journal.errors import UnknownSession
from codex_journal.journal import Journal
from codex_journal.rows import Appended, Row, SessionRecord
from codex_worker.budget import Spent
from codex_worker.token_estimates import image_characters, item_tokens

REPLY_CLAIM_SUFFIX = "/reply"
RECENT_SECONDS = 0.02
# Of all folds in memory: a session's pictures may be megabytes, its texts are not.
MAX_IMAGE_CHARACTERS = 32 * 1024 * 1024

Position = tuple[int, int, int, int]


class Transcript:
    """The fold of one session's rows."""

    def __init__(self) -> None:
        self.seq = 0
        self.complete_at = 0.0
        """Newest moment, in monotonic seconds, at which the journal held no row that is not in here."""
        self.closed = False
        self.turn = 0
        self.ended_turn = 0
        self.stopping_turn = 0
        """Newest turn whose processes somebody wanted killed: nothing more is asked for it."""
        self.ending: TurnAborted | TurnFailed | None = None
        """How that turn was about to end."""
        self.tokens = 0
        self.cost_millionths = 0
        self.usages = 0
        self.first_message: dict[int, int] = {}
        self.calls: dict[str, ToolCallPayload] = {}
        self.intents: dict[str, ToolIntentPayload] = {}
        self.generations: dict[int, tuple[int, int]] = {}
        """Generation of a sandbox → the first (turn, step) that began a call in it."""
        self.results: set[str] = set()
        self.image_characters = 0
        """Length of the images that tools have shown since the last compaction, as they are sent."""
        self.request_times: dict[str, float] = {}
        self.address: SandboxAddressPayload | None = None
        self.last_step: dict[int, int] = {}
        self.told: dict[str, str] = {}
        """Part of the context → its state as the conversation tells it."""
        self.context: dict[str, ContextPayload] = {}
        """Newest item of each part, also where a compaction has dropped it since."""
        self._counted: tuple[tuple[int, int], int] = ((0, 0), 0)
        """Newest step whose size the provider counted, and its tokens of input and output."""
        self._compacted: tuple[Position, CompactionPayload] | None = None
        self._compactions: dict[tuple[int, int], int] = {}
        self._conversation: list[tuple[Position, Row]] = []
        self._waiting: dict[int, MessagePayload] = {}
        self._retries: dict[tuple[int, int], list[ModelRetryPayload]] = {}
        self._step_calls: dict[tuple[int, int], list[str]] = {}
        self._asked: dict[int, int] = {}

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
        replaced = self._compacted[1].items if self._compacted else []
        return [*replaced, *(row.payload["item"] for row in self._rows_since_compaction())]

    def user_messages(self) -> list[dict[str, Any]]:
        """Return what a person said, as far as the conversation still holds it."""
        # The last of the items that replaced the conversation is the summary.
        kept = self._compacted[1].items[:-1] if self._compacted else []
        admitted = (row.payload["item"] for row in self._rows_since_compaction() if row.kind is RowKind.ADMISSION)
        return [*kept, *admitted]

    def can_be_compacted(self) -> bool:
        """Tell whether there is anything that no summary holds yet."""
        start = self._index_after(self._compacted[0] if self._compacted else None)
        later = (row.kind for _, row in itertools.islice(self._conversation, start, None))
        return any(kind not in (RowKind.CONTEXT, RowKind.COMPACTION) for kind in later)

    def compactions(self, turn: int, step: int) -> int:
        return self._compactions.get((turn, step), 0)

    @property
    def counted_tokens(self) -> int:
        """What the provider counted of the conversation as it stands: instructions, tools and items; 0 if nothing."""
        (turn, step), counted = self._counted
        start: Position = (turn, step, POSITION_OUTPUT, 0)
        return 0 if self._compacted and self._compacted[0] > start else counted

    def active_tokens(self) -> tuple[int, bool]:
        """Return the size of the conversation, and whether that includes instructions and tools.

        It is what the provider last counted, and an estimate of what came since; all is estimated after a compaction.
        """
        counted = self.counted_tokens
        if not counted:
            return sum(map(item_tokens, self.items())), False
        (turn, step), _ = self._counted
        later = self._rows_after((turn, step, POSITION_OUTPUT, 0))
        return counted + sum(item_tokens(row.payload["item"]) for row in later), True

    def _rows_since_compaction(self) -> list[Row]:
        return self._rows_after(self._compacted[0] if self._compacted else None)

    def _rows_after(self, position: Position | None) -> list[Row]:
        later = itertools.islice(self._conversation, self._index_after(position), None)
        # An older compaction of the same step may stand behind a newer one's position, never in front of it.
        return [row for _, row in later if row.kind is not RowKind.COMPACTION]

    def _index_after(self, position: Position | None) -> int:
        return bisect.bisect_right(self._conversation, position, key=lambda entry: entry[0]) if position else 0

    @property
    def spent(self) -> Spent:
        return Spent(self.tokens, self.cost_millionths)

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
        return self._asked.get(turn, 0)

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
        self._asked[row.turn] = self.asked_in(row.turn) + (call.classification is Classification.ASK)

    def _intent(self, row: Row) -> None:
        intent = ToolIntentPayload.model_validate(row.payload)
        self.intents[intent.call_id] = intent
        began = (row.turn, row.step)
        self.generations[intent.generation] = min(began, self.generations.get(intent.generation, began))

    def _result(self, row: Row) -> None:
        self.results.add(row.payload["call_id"])
        self.image_characters += image_characters(row.payload["item"])

    def _usage(self, row: Row) -> None:
        usage = UsagePayload.model_validate(row.payload)
        self.usages += 1
        self.tokens += usage.input_tokens - usage.cached_input_tokens + usage.output_tokens
        self.cost_millionths += usage.cost_millionths or 0
        total = usage.input_tokens + usage.output_tokens
        if total and row.claim.endswith(REPLY_CLAIM_SUFFIX):
            self._counted = max(self._counted, ((row.turn, row.step), total))

    def _context(self, row: Row) -> None:
        context = ContextPayload.model_validate(row.payload)
        self.context[context.part] = context
        self.told[context.part] = context.state

    def _compaction(self, row: Row) -> None:
        position = (row.turn, row.step, row.position, row.seq)
        if self._compacted is None or position > self._compacted[0]:
            self._compacted = (position, CompactionPayload.model_validate(row.payload))
            # Nothing asks for them any more, and a session may be compacted often.
            del self._conversation[: self._index_after(position)]
        self._compactions[row.turn, row.step] = self.compactions(row.turn, row.step) + 1
        self.told = {}
        self.image_characters = 0

    def _retry(self, row: Row) -> None:
        self._retries.setdefault((row.turn, row.step), []).append(ModelRetryPayload.model_validate(row.payload))

    def _closed(self, row: Row) -> None:
        self.closed = True

    def _stopping(self, row: Row) -> None:
        end = TurnStoppingPayload.model_validate(row.payload).end
        ending = None if end is None else event_adapter.validate_python(end)
        self.stopping_turn = max(self.stopping_turn, row.turn)
        self.ending = ending if isinstance(ending, TurnAborted | TurnFailed) else None

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
    RowKind.CONTEXT: Transcript._context,
    RowKind.COMPACTION: Transcript._compaction,
    RowKind.MODEL_RETRY: Transcript._retry,
    RowKind.SANDBOX_ADDRESS: Transcript._address,
    RowKind.SESSION_CLOSED: Transcript._closed,
    RowKind.TURN_STOPPING: Transcript._stopping,
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
        while len(self._cache) > self._max_sessions or (len(self._cache) > 1 and self._holds_too_many_images()):
            forgotten, _ = self._cache.popitem(last=False)
            self._records.pop(forgotten, None)
        asked_at = time.monotonic()
        _extend(transcript, await self._journal.read(session, after=transcript.seq))
        transcript.complete_at = max(asked_at, transcript.complete_at)
        return transcript

    def _holds_too_many_images(self) -> bool:
        return sum(transcript.image_characters for transcript in self._cache.values()) > MAX_IMAGE_CHARACTERS

    async def load_recent(self, session: str) -> Transcript:
        """Like ``load``, but a fold that was complete a moment ago will do: another read would find as much."""
        transcript = self._cache.get(session)
        if transcript is None or time.monotonic() - transcript.complete_at > RECENT_SECONDS:
            return await self.load(session)
        return transcript

    async def record(self, session: str) -> SessionRecord:
        """Return the session's row as it was when a run of its workflow opened it: settings do not change within one.

        Raises UnknownSession.
        """
        if session not in self._records:
            record = await self._journal.session(session)
            if record is None:
                raise UnknownSession(f"no session {session} in the journal")
            self._records[session] = record
        return self._records[session]

    def remember(self, record: SessionRecord) -> None:
        """Take a row that was just read for the session's."""
        self._records[record.session] = record

    def add(self, appended: Appended) -> None:
        """Fold in what was just appended, which saves reading it again; a gap is left for the next load."""
        if appended.rows and (transcript := self._cache.get(appended.rows[0].session)):
            _extend(transcript, appended.rows)
            # Rows are numbered in the order of their commits: nothing was committed before these that is not in here.
            if appended.inserted and transcript.seq == appended.rows[-1].seq:
                transcript.complete_at = time.monotonic()


def _extend(transcript: Transcript, rows: Sequence[Row]) -> None:
    for row in rows:
        # Two activities may see the same new rows at once; each row is folded once, and in order.
        if row.seq == transcript.seq + 1:
            transcript.apply(row)
