"""The activity that is a step: run what was allowed after the previous reply, then ask the model."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from temporalio import activity
from temporalio.exceptions import ApplicationError

from codex_api import conditions, names
from codex_api.rows import ContextPayload, MessagePayload, RowKind, ToolCallPayload, ToolResultPayload, UsagePayload
from codex_api.workflow_payloads import ModelCallInput, ModelCallReply
from codex_journal.journal import Journal
from codex_journal.rows import NewRow, Row, SessionRecord
from codex_worker import errors
from codex_worker.activities.attempts import ModelAttempts, budget_error, turn_failed
from codex_worker.activities.compacting import Compactor
from codex_worker.activities.session import journal_errors, wall_clock
from codex_worker.activities.surroundings import project_documents
from codex_worker.activities.tools import require_going_on, sandbox_errors
from codex_worker.budget import RequestSize, budget_end, end_of_cut_answer, priced, was_cut_by_budget
from codex_worker.compaction import REASON_LIMIT, REASON_OVERFLOW, REASON_REQUESTED, USABLE_ANSWER_TOKENS, is_full
from codex_worker.context import Documents, context_changes, context_rows
from codex_worker.deltas import OnDelta
from codex_worker.execution import Executor, run_calls
from codex_worker.gate import told_instead
from codex_worker.heartbeat import heartbeating
from codex_worker.items import user_message_item
from codex_worker.metrics import WorkerMetrics
from codex_worker.providers import Providers
from codex_worker.reply import final_message, output_of, reply_claim, reply_rows, reply_summary
from codex_worker.request import Target, compaction_and_step_size, model_request, request_size, target_of
from codex_worker.responses.client import ResponsesModel
from codex_worker.responses.posture import Park
from codex_worker.responses.reply import ModelReply
from codex_worker.sandboxes import Sandboxes
from codex_worker.tools.call_context import CallContext
from codex_worker.tools.prepare import is_costly_to_judge
from codex_worker.transcript import Transcript, Transcripts


@dataclass(frozen=True)
class StepContent:
    """What a step's request adds to the conversation, and its reply journals."""

    context: list[ContextPayload]
    messages: Mapping[int, MessagePayload]

    def items(self) -> list[dict[str, object]]:
        told = [part.item for part in self.context]
        return told + [user_message_item(message.text) for _, message in sorted(self.messages.items())]


class ModelActivities:
    """Safe to retry at any point: what was done stands in the journal and is not done again."""

    def __init__(
        self,
        journal: Journal,
        transcripts: Transcripts,
        providers: Providers,
        model: ResponsesModel,
        executor: Executor,
        sandboxes: Sandboxes,
        metrics: WorkerMetrics,
        on_delta: OnDelta | None = None,
    ) -> None:
        self._journal = journal
        self._transcripts = transcripts
        self._providers = providers
        self._executor = executor
        self._sandboxes = sandboxes
        self._attempts = ModelAttempts(journal, model, metrics, on_delta)
        self._compactor = Compactor(journal, transcripts, self._attempts)

    @activity.defn(name=names.ACTIVITY_MODEL_CALL)
    async def model_call(self, request: ModelCallInput) -> ModelCallReply:
        async with heartbeating():
            with journal_errors(), sandbox_errors():
                record = await self._transcripts.record(request.session)
                transcript = await self._transcripts.load(request.session)
                standing = await self._standing_reply(transcript, request)
                if standing is not None:
                    return standing
                if transcript.closed:
                    raise ApplicationError("the session is closed", type=errors.SESSION_CLOSED, non_retryable=True)
                _require_next_step(transcript, request)
                require_going_on(transcript, request.turn)
                await self._run_calls(record, transcript, request)
                return await self._ask(record, request)

    async def _standing_reply(self, transcript: Transcript, request: ModelCallInput) -> ModelCallReply | None:
        """Return the step's reply where an earlier attempt journaled it."""
        if transcript.last_step.get(request.turn, 0) < request.step:
            return None
        return await self._standing(request)

    async def _standing(self, request: ModelCallInput) -> ModelCallReply:
        rows = await self._journal.read(request.session, claim=reply_claim(request.turn, request.step))
        return await self._summary(request, rows)

    async def _run_calls(self, record: SessionRecord, transcript: Transcript, request: ModelCallInput) -> None:
        """Run the allowed calls, then answer those of the previous step that a person or the clock refused."""
        allowed = request.allowed_calls
        await run_calls(self._executor, record, transcript, allowed)
        if not transcript.results.issuperset(allowed):
            # Somebody else's rows came in between.
            transcript = await self._transcripts.load(record.session)
        refused = transcript.open_calls(request.turn, request.step - 1)
        if refused:
            decisions = await self._journal.decisions(record.session, [call.approval_id for call in refused])
            for call in refused:
                decision, _ = decisions.get(call.approval_id, (None, None))
                text, outcome = told_instead(call, record.settings, decision)
                await self._answer(record.session, call, text, outcome)

    async def _answer(self, session: str, call: ToolCallPayload, text: str, outcome: str) -> None:
        result = ToolResultPayload(call_id=call.call_id, item=output_of(call, text), outcome=outcome)
        await self._executor.journal_result(session, call, result)

    async def _ask(self, record: SessionRecord, request: ModelCallInput) -> ModelCallReply:
        """Ask until there is a reply; compact the conversation first where it is full, or proves to be."""
        transcript = await self._transcripts.load_recent(record.session)
        require_going_on(transcript, request.turn)
        try:
            target = target_of(self._providers, record)
            target.provider.key()
        except errors.UnknownProvider as error:
            problem = Park(conditions.REASON_PROVIDER_UNKNOWN, str(error))
            raise await self._attempts.failure(problem, request, record.settings, transcript) from error
        except errors.MissingProviderKey as error:
            problem = Park(conditions.REASON_PROVIDER_SECRET_MISSING, str(error))
            raise await self._attempts.failure(problem, request, record.settings, transcript) from error
        documents = await project_documents(self._sandboxes, record.session, transcript, request)
        while True:
            # The transcript is shared: an older attempt may have journaled this step's reply a moment ago.
            if transcript.last_step.get(request.turn, 0) >= request.step:
                return await self._standing(request)
            content = self._content(record, request, transcript, documents, transcript.told)
            size = request_size(transcript, target, content.items())
            if end := budget_end(record.settings, transcript.spent, target.model, target.prices, size):
                raise budget_error(end)
            reason = await self._compaction_due(record, request, transcript, target, documents, size)
            if reason is None:
                reply = await self._attempt(record, request, transcript, target, content, size)
                if reply is not None:
                    return reply
                reason = REASON_OVERFLOW
            await self._compactor.compact(record, request, transcript, target, reason)
            transcript = await self._transcripts.load(record.session)

    async def _compaction_due(
        self,
        record: SessionRecord,
        request: ModelCallInput,
        transcript: Transcript,
        target: Target,
        documents: Documents | None,
        size: RequestSize,
    ) -> str | None:
        """Return why to compact before the step's request, or None; an event tells where the limits forbid it."""
        if transcript.compactions(request.turn, request.step) or not transcript.can_be_compacted():
            return None
        if not request.compact and not is_full(size.tokens, target.context_window):
            return None
        reason = REASON_REQUESTED if request.compact else REASON_LIMIT
        added = self._content(record, request, transcript, documents, told={}).items()
        end = budget_end(
            record.settings,
            transcript.spent,
            target.model,
            target.prices,
            compaction_and_step_size(transcript, target, added),
            answer_tokens=2 * USABLE_ANSWER_TOKENS,
            what="a summary with the call after it",
        )
        if end is None:
            return reason
        # The step itself is cheaper, and may fit as it is.
        await self._compactor.skip(request, reason, end)
        return None

    def _content(
        self,
        record: SessionRecord,
        request: ModelCallInput,
        transcript: Transcript,
        documents: Documents | None,
        told: Mapping[str, str],
    ) -> StepContent:
        """Return what the step adds; ``told`` is what the conversation tells already, part → state."""
        now = wall_clock(record.settings)
        context = context_changes(record.settings, now, documents, told, transcript.context)
        return StepContent(context, transcript.messages_for(request.turn))

    async def _attempt(
        self,
        record: SessionRecord,
        request: ModelCallInput,
        transcript: Transcript,
        target: Target,
        content: StepContent,
        size: RequestSize,
    ) -> ModelCallReply | None:
        """Ask once; returns None where the conversation does not fit and can be compacted.

        Raises the ApplicationError by which it is tried again later, or ends the turn.
        """
        began = time.monotonic()
        usage = UsagePayload(model=target.model)
        try:
            sent = model_request(record, target, transcript, content.items(), size)
            reply = await self._attempts.stream(request, sent, target, shown=True)
            usage = priced(reply.usage, target.prices)
            judge = partial(_rows_of, record, request, transcript, content, reply, usage)
            rows = await self._judged(request, reply, usage, judge)
        except Exception as error:
            usage = usage.model_copy(update={"duration_seconds": usage.duration_seconds or time.monotonic() - began})
            if transcript.can_be_compacted() and await self._attempts.overflowed(error, request, target):
                return None
            raise await self._attempts.failed_exchange(
                error, request, record.settings, transcript, target, usage
            ) from error
        return await self._journal_reply(record, request, reply, usage, rows)

    async def _judged(
        self, request: ModelCallInput, reply: ModelReply, usage: UsagePayload, judge: Callable[[], list[NewRow]]
    ) -> list[NewRow]:
        """Return the reply's rows; what a reply cost that nobody waits for any more is kept."""
        if not is_costly_to_judge(reply.items):
            return judge()
        try:
            # Heartbeats of other sessions must not wait for a large reply.
            return await asyncio.to_thread(judge)
        except asyncio.CancelledError:
            await self._attempts.charge_cancelled(request, usage)
            raise

    async def _journal_reply(
        self, record: SessionRecord, request: ModelCallInput, reply: ModelReply, usage: UsagePayload, rows: list[NewRow]
    ) -> ModelCallReply:
        if not reply.items:
            await self._attempts.charge(request, usage, f"empty/{uuid.uuid4()}")
            if reply.incomplete_reason:
                raise await self._cut_short(record, usage)
            reason = conditions.REASON_MODEL_RESPONSE_INVALID
            raise turn_failed(reason, "the model's reply held nothing to go on with (empty)")
        appended = await self._journal.append(record.session, reply_claim(request.turn, request.step), rows)
        self._transcripts.add(appended)
        if appended.inserted:
            self._attempts.observe(usage, "completed")
        else:
            await self._attempts.charge(request, usage, f"lost/{uuid.uuid4()}")
        return await self._summary(request, appended.rows)

    async def _summary(self, request: ModelCallInput, rows: list[Row]) -> ModelCallReply:
        """Return what the workflow needs to know of a step; raises the turn's end where the reply was cut short."""
        summary = reply_summary(rows)
        if summary.follow_up:
            return summary
        record = await self._transcripts.record(request.session)
        if not any(row.kind is RowKind.ITEM and row.payload["item"].get("status") == "incomplete" for row in rows):
            if record.settings.output_schema is not None:
                _require_json(final_message(rows))
            return summary
        (usage,) = (UsagePayload.model_validate(row.payload) for row in rows if row.kind is RowKind.USAGE)
        raise await self._cut_short(record, usage)

    async def _cut_short(self, record: SessionRecord, usage: UsagePayload) -> ApplicationError:
        """Return the error by which a reply that was cut short ends the turn."""
        if not was_cut_by_budget(usage):
            reason = conditions.REASON_MODEL_RESPONSE_INCOMPLETE
            return turn_failed(reason, "the provider cut the reply short (its length limit, or a content filter)")
        prices = None
        with suppress(errors.UnknownProvider):
            prices = target_of(self._providers, record).prices
        transcript = await self._transcripts.load(record.session)
        return budget_error(end_of_cut_answer(record.settings, transcript.spent, prices))


def _require_json(message: str) -> None:
    try:
        json.loads(message)
    # Nesting without bounds is refused by Python itself.
    except (ValueError, RecursionError) as error:
        reason = conditions.REASON_OUTPUT_INVALID
        raise turn_failed(reason, f"the final message is not the JSON that was asked for: {message[:200]!r}") from error


def _rows_of(
    record: SessionRecord,
    request: ModelCallInput,
    transcript: Transcript,
    content: StepContent,
    reply: ModelReply,
    usage: UsagePayload,
) -> list[NewRow]:
    context = CallContext(
        session=record.session,
        turn=request.turn,
        step=request.step,
        settings=record.settings,
        nonce=secrets.token_hex(16),
        asked_before=transcript.asked_in(request.turn),
    )
    told = context_rows(content.context, request.turn, request.step)
    return reply_rows(context, messages=content.messages, items=reply.items, usage=usage, context_rows=told)


def _require_next_step(transcript: Transcript, request: ModelCallInput) -> None:
    """Raise a final error unless the step is the next one of the running turn: anybody can ask for any step."""
    running = request.turn == transcript.turn > transcript.ended_turn
    if not running or request.step != transcript.last_step.get(request.turn, 0) + 1:
        raise ApplicationError(
            f"turn {request.turn} step {request.step} is not the next step of a running turn",
            type=errors.SESSION_CLOSED if request.turn <= transcript.ended_turn else errors.WRONG_STEP,
            non_retryable=True,
        )
