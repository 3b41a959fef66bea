"""What follows from a failed model call: wait and retry, wait until it is mended, give up, or compact."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from codex_api import conditions
from codex_worker.responses.errors import FailureKind, ModelFailure
from codex_worker.responses.retry_after import requested_delay


@dataclass(frozen=True)
class Retry:
    """The same request may succeed later."""

    reason: str
    """A reason of codex_api.conditions."""
    message: str
    delay_seconds: float | None = None
    """As the provider asked; None: the caller's own backoff."""
    counts_as_failure: bool = False
    """True for what no waiting is known to mend: the caller gives up after some of these."""


@dataclass(frozen=True)
class Park:
    """Somebody has to mend something; the message says what is wrong, and how to mend it depends on where it runs."""

    reason: str
    message: str


@dataclass(frozen=True)
class Fail:
    """The same request will never succeed."""

    reason: str
    message: str


@dataclass(frozen=True)
class Overflow:
    """The conversation does not fit the model's context window."""

    message: str


Posture = Retry | Park | Fail | Overflow

QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "quota_exceeded",
        "usage_limit_reached",
        "usage_not_included",
    }
)
KEY_CODES = frozenset({"invalid_api_key", "account_deactivated", "invalid_organization"})
RATE_CODES = frozenset({"rate_limit_exceeded", "rate_limit_error", "too_many_requests"})
OVERLOAD_CODES = frozenset(
    {"server_error", "internal_error", "server_is_overloaded", "overloaded_error", "slow_down", "vector_store_timeout"}
)
REJECTED_CODE = re.compile(r"invalid_|bio_policy|cyber_policy|policy_violation|content_filter|data_residency|image")
# Providers without error codes say it in words.
OVERFLOW_WORDS = re.compile(r"context (?:length|window)|maximum context|input is too long|prompt is too long", re.I)
UNKNOWN_MODEL_WORDS = re.compile(r"model .{0,200}(?:does not exist|not found)", re.IGNORECASE)
RETRIED_STATUSES = frozenset({408, 409, 425})


def posture(failure: ModelFailure, now: datetime) -> Posture:
    """Return what the caller should do; ``now`` (aware) is what a date in Retry-After is compared with."""
    match failure.kind:
        case FailureKind.UNUSABLE_KEY:
            return Park(conditions.REASON_PROVIDER_SECRET_MISSING, failure.message)
        case FailureKind.INVALID:
            reason = conditions.REASON_MODEL_RESPONSE_INVALID
            return Retry(reason, failure.message, counts_as_failure=True)
        case FailureKind.REFUSED | FailureKind.FAILED:
            return _by_code(failure, now) or _by_status(failure, now)
    return Retry(conditions.REASON_MODEL_UNAVAILABLE, failure.message)


def _by_code(failure: ModelFailure, now: datetime) -> Posture | None:
    code = (failure.code or "").lower()
    if code in QUOTA_CODES:
        return _quota(failure)
    if code in KEY_CODES:
        return _unauthorized(failure)
    if code == "context_length_exceeded":
        return Overflow(failure.message)
    if code == "model_not_found":
        return Fail(conditions.REASON_MODEL_UNKNOWN, failure.message)
    if code in RATE_CODES:
        return _retry(conditions.REASON_MODEL_RATE_LIMITED, failure, now)
    if code in OVERLOAD_CODES:
        return _retry(conditions.REASON_MODEL_UNAVAILABLE, failure, now)
    return None


def _by_status(failure: ModelFailure, now: datetime) -> Posture:
    status = failure.status
    if status is None:
        return _failed_response(failure, now)
    if status in (401, 403):
        return _unauthorized(failure)
    if status == 402:
        return _quota(failure)
    if status == 413:
        return Overflow(failure.message)
    if status == 429:
        return _retry(conditions.REASON_MODEL_RATE_LIMITED, failure, now)
    if status >= 500 or status in RETRIED_STATUSES:
        return _retry(conditions.REASON_MODEL_UNAVAILABLE, failure, now)
    if OVERFLOW_WORDS.search(failure.message):
        return Overflow(failure.message)
    if status in (400, 404) and UNKNOWN_MODEL_WORDS.search(failure.message):
        return Fail(conditions.REASON_MODEL_UNKNOWN, failure.message)
    if status == 404 and not failure.api_error:
        return Park(conditions.REASON_MODEL_UNAVAILABLE, "there is no Responses API at the provider's base URL (404)")
    return Fail(conditions.REASON_MODEL_REQUEST_REJECTED, failure.message)


def _failed_response(failure: ModelFailure, now: datetime) -> Posture:
    if OVERFLOW_WORDS.search(failure.message):
        return Overflow(failure.message)
    if REJECTED_CODE.search((failure.code or "").lower()):
        return Fail(conditions.REASON_MODEL_REQUEST_REJECTED, failure.message)
    return _retry(conditions.REASON_MODEL_UNAVAILABLE, failure, now, counts_as_failure=True)


def _retry(reason: str, failure: ModelFailure, now: datetime, *, counts_as_failure: bool = False) -> Retry:
    delay = requested_delay(failure.headers, failure.message, now)
    return Retry(reason, failure.message, delay, counts_as_failure)


def _quota(failure: ModelFailure) -> Park:
    return Park(conditions.REASON_PROVIDER_QUOTA_EXHAUSTED, "the provider's quota is exhausted")


def _unauthorized(failure: ModelFailure) -> Park:
    # The provider's own words may repeat parts of the key.
    message = f"the provider refuses the API key ({failure.status or failure.code})"
    return Park(conditions.REASON_PROVIDER_UNAUTHORIZED, message)
