"""One attempt at asking a model: it is sent, and what it cost and why it failed stands in the journal."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import structlog
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from codex_api import conditions, names
from codex_api.rows import ModelRetryPayload, RowKind, SessionSettings, UsagePayload
from codex_api.workflow_payloads import ModelCallInput
from codex_journal.journal import Journal
from codex_journal.rows import NewRow
from codex_worker import errors
from codex_worker.budget import BudgetEnd, priced
from codex_worker.cures import with_cure
from codex_worker.delta_batches import DeltaBatches
from codex_worker.deltas import OnDelta
from codex_worker.metrics import WorkerMetrics
from codex_worker.request import Target
from codex_worker.responses.client import ResponsesModel
from codex_worker.responses.errors import ModelCallFailed
from codex_worker.responses.posture import Fail, Overflow, Park, Posture, Retry, posture
from codex_worker.responses.reply import ModelReply, ReplyInProgress
from codex_worker.responses.request import ModelRequest
from codex_worker.retrying import MAX_UNEXPECTED_FAILURES, park_delay, retry_delay
from codex_worker.transcript import Transcript

log = structlog.get_logger("codex_worker.model")

OTHER_MODEL = "other"


class ModelAttempts:
    def __init__(
        self, journal: Journal, model: ResponsesModel, metrics: WorkerMetrics, on_delta: OnDelta | None = None
    ) -> None:
        self._journal = journal
        self._model = model
        self._metrics = metrics
        self._on_delta = on_delta

    async def stream(self, step: ModelCallInput, sent: ModelRequest, target: Target, *, shown: bool) -> ModelReply:
        """Send the request; ``shown``: whoever watches sees the reply as it comes. Raises ModelCallFailed."""
        progress = ReplyInProgress()
        batches = self._batches(step) if shown else None
        try:
            return await self._model.stream(sent, on_event=batches.take if batches else None, progress=progress)
        except asyncio.CancelledError:
            if progress.began:
                await self.charge_cancelled(step, priced(progress.usage(sent), target.prices))
            raise
        finally:
            if batches is not None:
                batches.close()

    def _batches(self, step: ModelCallInput) -> DeltaBatches | None:
        if self._on_delta is None:
            return None
        attempt = str(uuid.uuid4())
        return DeltaBatches(self._on_delta, session=step.session, turn=step.turn, step=step.step, attempt=attempt)

    async def charge(self, step: ModelCallInput, usage: UsagePayload, what: str) -> None:
        """Keep what an attempt cost that did not become the step's reply."""
        row = NewRow(RowKind.USAGE, usage.model_dump(), step.turn, step.step)
        await self._journal.append(step.session, f"{names.step_label(step.turn, step.step)}/{what}", [row])

    async def charge_cancelled(self, step: ModelCallInput, usage: UsagePayload) -> None:
        """Keep what an attempt cost that is cancelled; another cancellation does not keep it from that."""
        await asyncio.shield(self.charge(step, usage, f"cancelled/{uuid.uuid4()}"))

    async def overflowed(self, error: Exception, step: ModelCallInput, target: Target) -> bool:
        """Tell whether a request did not fit the model's window; what it cost all the same is kept."""
        if not isinstance(error, ModelCallFailed) or not isinstance(problem_of(error, step.session), Overflow):
            return False
        if error.failure.usage is not None:
            await self.charge(step, priced(error.failure.usage, target.prices), f"overflow/{uuid.uuid4()}")
        return True

    def observe(self, usage: UsagePayload, outcome: str, model: str = "") -> None:
        model = model or usage.model
        self._metrics.model_request_duration.labels(model=model, outcome=outcome).observe(usage.duration_seconds)
        for direction, tokens in (
            ("input", usage.input_tokens - usage.cached_input_tokens),
            ("cached", usage.cached_input_tokens),
            ("output", usage.output_tokens),
        ):
            self._metrics.model_tokens.labels(model=model, direction=direction).inc(tokens)

    async def failed_exchange(
        self,
        error: Exception,
        step: ModelCallInput,
        settings: SessionSettings,
        transcript: Transcript,
        target: Target,
        usage: UsagePayload,
    ) -> ApplicationError:
        """Like ``failure``, for what went wrong while the model was asked; ``usage`` where the error names none."""
        if isinstance(error, ModelCallFailed):
            usage = error.failure.usage or usage
        usage = priced(usage, target.prices)
        problem = problem_of(error, step.session)
        if isinstance(problem, Fail) and problem.reason == conditions.REASON_MODEL_UNKNOWN:
            problem = Fail(problem.reason, _naming(target.model, problem.message))
        return await self.failure(problem, step, settings, transcript, usage, target.label or OTHER_MODEL)

    async def failure(
        self,
        problem: Posture,
        step: ModelCallInput,
        settings: SessionSettings,
        transcript: Transcript,
        usage: UsagePayload | None = None,
        model: str = OTHER_MODEL,
    ) -> ApplicationError:
        """Journal what went wrong; return the error by which it is tried again later, or ends the turn.

        ``usage`` is None where nothing was sent; ``model`` is the metrics' label.
        """
        before = transcript.retries(step.turn, step.step)
        delay, final = 0.0, False
        match problem:
            case Overflow(message):
                reason, final = conditions.REASON_CONTEXT_WINDOW_EXCEEDED, True
            case Fail(reason, message):
                final = True
            case Park(reason, message):
                final = not settings.park_when_mendable
                message = with_cure(reason, message, waits=not final)
                delay = park_delay(sum(retry.reason == reason for retry in before))
            case Retry(reason, message, wanted, counts):
                failures = sum(retry.reason == reason for retry in before)
                delay = retry_delay(failures) if wanted is None else wanted
                final = counts and failures + 1 >= MAX_UNEXPECTED_FAILURES
        delay = 0.0 if final else delay
        retry = ModelRetryPayload(attempt=len(before) + 1, reason=reason, message=message[:1000], until=_until(delay))
        await self._journal_failure(step, retry, usage, model)
        if final:
            return turn_failed(reason, message)
        return ApplicationError(
            message,
            reason,
            type=errors.MODEL_RETRY,
            next_retry_delay=timedelta(seconds=max(0.05, delay)),
            category=ApplicationErrorCategory.BENIGN,
        )

    async def _journal_failure(
        self, step: ModelCallInput, retry: ModelRetryPayload, usage: UsagePayload | None, model: str
    ) -> None:
        """Journal a failed attempt with what it cost, so that people see why a turn waits."""
        rows = []
        if usage is not None and (usage.input_tokens or usage.output_tokens):
            rows.append(NewRow(RowKind.USAGE, usage.model_dump(), step.turn, step.step))
        # Last, so that the newest thing told of the step is why it waits.
        rows.append(NewRow(RowKind.MODEL_RETRY, retry.model_dump(), step.turn, step.step))
        claim = f"{names.step_label(step.turn, step.step)}/retry/{retry.attempt}"
        appended = await self._journal.append(step.session, claim, rows)
        if appended.inserted and usage is not None:
            self.observe(usage, retry.reason, model)
        elif usage is not None and (usage.input_tokens or usage.output_tokens):
            await self.charge(step, usage, f"lost/{uuid.uuid4()}")
        log.warning(
            "model call failed", session=step.session, reason=retry.reason, attempt=retry.attempt, until=retry.until
        )


def problem_of(error: Exception, session: str) -> Posture:
    """Return what follows from an exchange that failed."""
    if isinstance(error, ModelCallFailed):
        return posture(error.failure, datetime.now(UTC))
    log.error("a step failed unexpectedly", session=session, exc_info=error)
    return Retry(conditions.REASON_INTERNAL_ERROR, repr(error)[:500], counts_as_failure=True)


def turn_failed(reason: str, message: str) -> ApplicationError:
    return ApplicationError(
        message, reason, type=errors.TURN_FAILED, non_retryable=True, category=ApplicationErrorCategory.BENIGN
    )


def budget_error(end: BudgetEnd) -> ApplicationError:
    """Return the error by which a limit ends the turn."""
    if end.failed:
        return turn_failed(end.reason, end.message)
    return ApplicationError(
        end.message,
        end.reason,
        type=errors.TURN_ABORTED,
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN,
    )


def _naming(model: str, message: str) -> str:
    return message if model in message else f"{message} (model {model})"


def _until(delay: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=delay)).strftime("%Y-%m-%dT%H:%M:%SZ")
