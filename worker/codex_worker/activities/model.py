"""The activity that is a step: run what was allowed after the previous reply, then ask the model."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from codex_api import conditions, names
from codex_api.approvals import DecisionKind
from codex_api.rows import (
    MessagePayload,
    ModelRetryPayload,
    RowKind,
    ToolCallPayload,
    ToolResultPayload,
    UsagePayload,
)
from codex_api.workflow_payloads import ModelCallInput, ModelCallReply
from codex_journal.journal import Journal
from codex_journal.rows import NewRow, Row, SessionRecord
from codex_worker import errors
from codex_worker.activities.session import journal_errors
from codex_worker.activities.tools import sandbox_errors
from codex_worker.execution import Executor, run_in_parallel
from codex_worker.heartbeat import heartbeating
from codex_worker.metrics import WorkerMetrics
from codex_worker.providers import Providers
from codex_worker.reply import output_of, reply_claim, reply_rows, reply_summary
from codex_worker.request import model_request
from codex_worker.responses.client import ResponsesModel
from codex_worker.responses.errors import ModelCallFailed
from codex_worker.responses.posture import Fail, Overflow, Park, Posture, Retry, posture
from codex_worker.responses.reply import ModelReply, ReplyInProgress
from codex_worker.responses.request import ModelRequest
from codex_worker.retrying import MAX_UNEXPECTED_FAILURES, park_delay, retry_delay
from codex_worker.tools import outcomes
from codex_worker.tools.prepare import CallContext
from codex_worker.transcript import Transcript, Transcripts

log = structlog.get_logger("codex_worker.model")

OTHER_MODEL = "other"


class ModelActivities:
    """Safe to retry at any point: what was done stands in the journal and is not done again."""

    def __init__(
        self,
        journal: Journal,
        transcripts: Transcripts,
        providers: Providers,
        model: ResponsesModel,
        executor: Executor,
        metrics: WorkerMetrics,
    ) -> None:
        self._journal = journal
        self._transcripts = transcripts
        self._providers = providers
        self._model = model
        self._executor = executor
        self._metrics = metrics

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
                await self._run_calls(record, transcript, request)
                return await self._ask(record, request)

    async def _standing_reply(self, transcript: Transcript, request: ModelCallInput) -> ModelCallReply | None:
        """Return the step's reply where an earlier attempt journaled it."""
        if transcript.last_step.get(request.turn, 0) < request.step:
            return None
        rows = await self._journal.read(request.session, claim=reply_claim(request.turn, request.step))
        return summary_or_end(rows) if rows else None

    async def _run_calls(self, record: SessionRecord, transcript: Transcript, request: ModelCallInput) -> None:
        """Run the allowed calls, then answer those of the previous step that a person or the clock refused."""
        allowed = request.allowed_calls
        await run_in_parallel([partial(self._executor.run, record, transcript, call) for call in allowed])
        if not transcript.results.issuperset(allowed):
            # Somebody else's rows came in between.
            transcript = await self._transcripts.load(record.session)
        refused = transcript.open_calls(request.turn, request.step - 1)
        if refused:
            decisions = await self._journal.decisions(record.session, [call.approval_id for call in refused])
            for call in refused:
                decision, _ = decisions.get(call.approval_id, (None, None))
                text, outcome = outcomes.failed("the call was not allowed to run"), "refused"
                if decision is not None and decision.kind is DecisionKind.DENY:
                    text, outcome = outcomes.denied(decision.reason), "denied"
                elif decision is not None and decision.kind is DecisionKind.EXPIRE:
                    text, outcome = outcomes.expired(record.settings.approval_timeout_seconds), "expired"
                await self._answer(record.session, call, text, outcome)

    async def _answer(self, session: str, call: ToolCallPayload, text: str, outcome: str) -> None:
        result = ToolResultPayload(call_id=call.call_id, item=output_of(call, text), outcome=outcome)
        await self._executor.journal_result(session, call, result)

    async def _ask(self, record: SessionRecord, request: ModelCallInput) -> ModelCallReply:
        transcript = await self._transcripts.load(record.session)
        self._check_budget(record, transcript)
        messages = transcript.messages_for(request.turn)
        try:
            provider = self._providers.select(record.settings.provider, record.namespace)
            sent = model_request(
                session=record.session,
                settings=record.settings,
                provider=provider,
                transcript=transcript,
                messages=messages,
            )
        except errors.UnknownProvider as error:
            raise await self._failure(
                Park(conditions.REASON_PROVIDER_UNKNOWN, str(error)), request, transcript
            ) from error
        except errors.MissingProviderKey as error:
            problem: Posture = Park(conditions.REASON_PROVIDER_SECRET_MISSING, str(error))
            raise await self._failure(problem, request, transcript) from error
        # A tenant's own spelling becomes a label only once a provider has answered to it.
        failed_model = sent.model if sent.model == provider.default_model else OTHER_MODEL
        began = time.monotonic()
        usage = UsagePayload(model=sent.model)
        try:
            reply = await self._stream(request, sent)
            usage = reply.usage
            rows = self._reply_rows(record, request, transcript, messages, reply)
        except ModelCallFailed as error:
            problem = posture(error.failure, datetime.now(UTC))
            usage = error.failure.usage or usage
            cause: Exception = error
        except Exception as error:
            log.exception("a step failed unexpectedly", session=record.session)
            problem = Retry(conditions.REASON_INTERNAL_ERROR, repr(error)[:500], counts_as_failure=True)
            cause = error
        else:
            return await self._journal_reply(record, request, reply, rows)
        usage = usage.model_copy(update={"duration_seconds": usage.duration_seconds or time.monotonic() - began})
        raise await self._failure(problem, request, transcript, usage, failed_model) from cause

    async def _stream(self, request: ModelCallInput, sent: ModelRequest) -> ModelReply:
        progress = ReplyInProgress()
        try:
            return await self._model.stream(sent, progress=progress)
        except asyncio.CancelledError:
            if progress.began:
                await asyncio.shield(self._charge(request, progress.usage(sent), f"cancelled/{uuid.uuid4()}"))
            raise

    def _reply_rows(
        self,
        record: SessionRecord,
        request: ModelCallInput,
        transcript: Transcript,
        messages: dict[int, MessagePayload],
        reply: ModelReply,
    ) -> list[NewRow]:
        context = CallContext(
            session=record.session,
            turn=request.turn,
            step=request.step,
            settings=record.settings,
            nonce=secrets.token_hex(16),
            asked_before=transcript.asked_in(request.turn),
        )
        return reply_rows(context, messages=messages, items=reply.items, usage=reply.usage)

    async def _journal_reply(
        self, record: SessionRecord, request: ModelCallInput, reply: ModelReply, rows: list[NewRow]
    ) -> ModelCallReply:
        if not reply.items:
            await self._charge(request, reply.usage, f"empty/{uuid.uuid4()}")
            raise turn_failed(
                conditions.REASON_MODEL_RESPONSE_INVALID,
                f"the model's reply held nothing to go on with ({reply.incomplete_reason or 'empty'})",
            )
        appended = await self._journal.append(record.session, reply_claim(request.turn, request.step), rows)
        self._transcripts.add(appended)
        if appended.inserted:
            self._observe(reply.usage, "completed")
        else:
            await self._charge(request, reply.usage, f"lost/{uuid.uuid4()}")
        return summary_or_end(appended.rows)

    def _observe(self, usage: UsagePayload, outcome: str, model: str = "") -> None:
        model = model or usage.model
        self._metrics.model_request_duration.labels(model=model, outcome=outcome).observe(usage.duration_seconds)
        for direction, tokens in (
            ("input", usage.input_tokens - usage.cached_input_tokens),
            ("cached", usage.cached_input_tokens),
            ("output", usage.output_tokens),
        ):
            self._metrics.model_tokens.labels(model=model, direction=direction).inc(tokens)

    async def _charge(self, request: ModelCallInput, usage: UsagePayload, what: str) -> None:
        """Keep what an attempt cost that did not become the step's reply."""
        row = NewRow(RowKind.USAGE, usage.model_dump(), request.turn, request.step)
        await self._journal.append(request.session, f"{names.step_label(request.turn, request.step)}/{what}", [row])

    def _check_budget(self, record: SessionRecord, transcript: Transcript) -> None:
        if transcript.tokens >= record.settings.max_tokens:
            raise ApplicationError(
                f"the session used {transcript.tokens} of its {record.settings.max_tokens} tokens "
                "(spec.limits.maxTokens)",
                conditions.REASON_TOKEN_LIMIT,
                type=errors.TURN_ABORTED,
                non_retryable=True,
            )

    async def _failure(
        self,
        problem: Posture,
        request: ModelCallInput,
        transcript: Transcript,
        usage: UsagePayload | None = None,
        model: str = OTHER_MODEL,
    ) -> ApplicationError:
        """Journal what went wrong; return the error by which it is tried again later, or ends the turn.

        ``usage`` is None where nothing was sent; ``model`` is the metrics' label.
        """
        before = transcript.retries(request.turn, request.step)
        delay, final = 0.0, False
        match problem:
            case Overflow(message):
                reason, final = conditions.REASON_CONTEXT_WINDOW_EXCEEDED, True
            case Fail(reason, message):
                final = True
            case Park(reason, message):
                delay = park_delay(sum(retry.reason == reason for retry in before))
            case Retry(reason, message, wanted, counts):
                failures = sum(retry.reason == reason for retry in before)
                delay = retry_delay(failures) if wanted is None else wanted
                final = counts and failures + 1 >= MAX_UNEXPECTED_FAILURES
        retry = ModelRetryPayload(attempt=len(before) + 1, reason=reason, message=message[:1000], until=_until(delay))
        await self._journal_failure(request, retry, usage, model)
        if final:
            return turn_failed(reason, message)
        wait = timedelta(seconds=max(0.05, delay))
        return ApplicationError(
            message,
            reason,
            type=errors.MODEL_RETRY,
            next_retry_delay=wait,
            category=ApplicationErrorCategory.BENIGN,
        )

    async def _journal_failure(
        self, request: ModelCallInput, retry: ModelRetryPayload, usage: UsagePayload | None, model: str
    ) -> None:
        """Journal a failed attempt with what it cost, so that people see why a turn waits."""
        rows = []
        if usage is not None and (usage.input_tokens or usage.output_tokens):
            rows.append(NewRow(RowKind.USAGE, usage.model_dump(), request.turn, request.step))
        # Last, so that the newest thing told of the step is why it waits.
        rows.append(NewRow(RowKind.MODEL_RETRY, retry.model_dump(), request.turn, request.step))
        claim = f"{names.step_label(request.turn, request.step)}/retry/{retry.attempt}"
        appended = await self._journal.append(request.session, claim, rows)
        if appended.inserted and usage is not None:
            self._observe(usage, retry.reason, model)
        log.warning(
            "model call failed", session=request.session, reason=retry.reason, attempt=retry.attempt, until=retry.until
        )


def _until(delay: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=delay)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _require_next_step(transcript: Transcript, request: ModelCallInput) -> None:
    """Raise a final error unless the step is the next one of the running turn: anybody can ask for any step."""
    running = request.turn == transcript.turn > transcript.ended_turn
    if not running or request.step != transcript.last_step.get(request.turn, 0) + 1:
        raise ApplicationError(
            f"turn {request.turn} step {request.step} is not the next step of a running turn",
            type=errors.SESSION_CLOSED if request.turn <= transcript.ended_turn else errors.WRONG_STEP,
            non_retryable=True,
        )


def summary_or_end(rows: list[Row]) -> ModelCallReply:
    """Return what the workflow needs to know of a step; raises the turn's end where the reply was cut short."""
    summary = reply_summary(rows)
    cut = any(row.kind is RowKind.ITEM and row.payload["item"].get("status") == "incomplete" for row in rows)
    if cut and not summary.follow_up:
        reason = conditions.REASON_MODEL_RESPONSE_INCOMPLETE
        raise turn_failed(reason, "the provider cut the reply short (its length limit, or a content filter)")
    return summary


def turn_failed(reason: str, message: str) -> ApplicationError:
    return ApplicationError(
        message, reason, type=errors.TURN_FAILED, non_retryable=True, category=ApplicationErrorCategory.BENIGN
    )
