"""Replaces a conversation by a summary that the model writes; the old rows stay in the journal."""

from __future__ import annotations

import time
import uuid

import structlog
from temporalio.exceptions import ApplicationError

from codex_api import conditions, names
from codex_api.events import CompactionSkipped
from codex_api.rows import POSITION_COMPACTION, CompactionPayload, RowKind, UsagePayload
from codex_api.workflow_payloads import ModelCallInput
from codex_journal.journal import Journal
from codex_journal.rows import NewRow, SessionRecord
from codex_worker.activities.attempts import ModelAttempts, budget_error
from codex_worker.budget import BudgetEnd, budget_end, end_of_cut_answer, priced, was_cut_by_budget
from codex_worker.compaction import REASON_REQUESTED, Item, compacted_items, shortened
from codex_worker.reply import message_text
from codex_worker.request import Target, compaction_request, compaction_size
from codex_worker.responses.posture import Retry
from codex_worker.responses.reply import ModelReply
from codex_worker.transcript import Transcript, Transcripts

log = structlog.get_logger("codex_worker.model")

MAX_ATTEMPTS = 16
"""Each drops an eighth of what does not fit even the request for its summary, or halves what cannot be dropped."""


class Compactor:
    def __init__(self, journal: Journal, transcripts: Transcripts, attempts: ModelAttempts) -> None:
        self._journal = journal
        self._transcripts = transcripts
        self._attempts = attempts

    async def compact(
        self, record: SessionRecord, step: ModelCallInput, transcript: Transcript, target: Target, reason: str
    ) -> None:
        """Journal the compaction before the step's request; of two workers the first one's counts.

        Raises the ApplicationError by which it is tried again later, or ends the turn.
        """
        # What is summarised is the conversation as it stands now: the transcript is shared, and read on meanwhile.
        messages, ordinal = transcript.user_messages(), transcript.compactions(step.turn, step.step) + 1
        reply = await self._summarize(record, step, transcript, target)
        summary = "\n\n".join(text for item in reply.items if (text := message_text(item)))
        usage = priced(reply.usage, target.prices)
        if not reply.completed and was_cut_by_budget(usage):
            raise await self._cut_by_budget(record, step, target, usage)
        if not reply.completed or not summary.strip():
            raise await self._attempts.failure(_no_summary(reply), step, record.settings, transcript, usage)
        items = compacted_items(messages, summary, target.context_window)
        payload = CompactionPayload(reason=reason, items=items)
        rows = [
            NewRow(RowKind.COMPACTION, payload.model_dump(), step.turn, step.step, POSITION_COMPACTION),
            NewRow(RowKind.USAGE, usage.model_dump(), step.turn, step.step),
        ]
        claim = f"{names.step_label(step.turn, step.step)}/compaction/{ordinal}"
        appended = await self._journal.append(record.session, claim, rows)
        self._transcripts.add(appended)
        if appended.inserted:
            self._attempts.observe(usage, "compacted")
        else:
            await self._attempts.charge(step, usage, f"lost/{uuid.uuid4()}")

    async def skip(self, step: ModelCallInput, reason: str, end: BudgetEnd) -> None:
        """Tell of a compaction that is left out: of each that was requested, and once in a turn of a full window."""
        skipped = CompactionSkipped(turn=step.turn, reason=reason, message=end.message)
        label = names.step_label(step.turn, step.step) if reason == REASON_REQUESTED else f"t{step.turn}"
        row = NewRow(RowKind.EVENT, skipped.model_dump(mode="json"), step.turn, step.step)
        appended = await self._journal.append(step.session, f"{label}/compaction-skipped", [row])
        self._transcripts.add(appended)
        if appended.inserted:
            log.warning("no compaction within the budget", session=step.session, problem=end.message)

    async def _cut_by_budget(
        self, record: SessionRecord, step: ModelCallInput, target: Target, usage: UsagePayload
    ) -> ApplicationError:
        """Charge a summary that was cut at what the limits left; return the error by which that ends the turn."""
        await self._attempts.charge(step, usage, f"cut/{uuid.uuid4()}")
        transcript = await self._transcripts.load(record.session)
        return budget_error(end_of_cut_answer(record.settings, transcript.spent, target.prices))

    async def _summarize(
        self, record: SessionRecord, step: ModelCallInput, transcript: Transcript, target: Target
    ) -> ModelReply:
        items: list[Item] = transcript.items()
        for attempt in range(1, MAX_ATTEMPTS + 1):
            # With what the attempt before has cost.
            transcript = await self._transcripts.load(record.session)
            size = compaction_size(transcript, target, items)
            if end := budget_end(record.settings, transcript.spent, target.model, target.prices, size):
                raise budget_error(end)
            began = time.monotonic()
            try:
                sent = compaction_request(record, target, transcript, items, size)
                reply = await self._attempts.stream(step, sent, target, shown=False)
            except Exception as error:
                usage = UsagePayload(model=target.model, duration_seconds=time.monotonic() - began)
                shorter = shortened(items) if attempt < MAX_ATTEMPTS else []
                if not shorter or not await self._attempts.overflowed(error, step, target):
                    raise await self._attempts.failed_exchange(
                        error, step, record.settings, transcript, target, usage
                    ) from error
                items = shorter
                continue
            shorter = shortened(items) if attempt < MAX_ATTEMPTS and _left_no_room(reply) else []
            if not shorter:
                return reply
            await self._attempts.charge(step, priced(reply.usage, target.prices), f"cut/{uuid.uuid4()}")
            items = shorter
        raise AssertionError("the last attempt returns or raises")


def _left_no_room(reply: ModelReply) -> bool:
    """Tell whether a summary was cut because what it is about takes up the provider's window."""
    return reply.incomplete_reason == "max_output_tokens" and not was_cut_by_budget(reply.usage)


def _no_summary(reply: ModelReply) -> Retry:
    """Return what is wrong with a reply that is no summary."""
    if reply.completed:
        return Retry(conditions.REASON_MODEL_RESPONSE_INVALID, "the model wrote no summary", counts_as_failure=True)
    message = "the provider cut the summary short (its length limit, or a content filter)"
    return Retry(conditions.REASON_MODEL_RESPONSE_INCOMPLETE, message, counts_as_failure=True)
