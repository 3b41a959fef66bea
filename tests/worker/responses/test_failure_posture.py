"""What follows from a failure, as a table."""

from datetime import UTC, datetime

import pytest

from codex_api import conditions
from codex_worker.responses.errors import FailureKind, ModelFailure
from codex_worker.responses.posture import Fail, Overflow, Park, Posture, Retry, posture

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REFUSED, FAILED = FailureKind.REFUSED, FailureKind.FAILED
SAID = "as the provider says"


def refused(status: int, code: str | None = None, message: str = SAID, **more: object) -> ModelFailure:
    return ModelFailure(REFUSED, message, status=status, code=code, **{"api_error": True, **more})  # type: ignore[arg-type]


def failed(code: str | None, message: str = SAID) -> ModelFailure:
    return ModelFailure(FAILED, message, code=code)


RATE = conditions.REASON_MODEL_RATE_LIMITED
AWAY = conditions.REASON_MODEL_UNAVAILABLE
REJECTED = conditions.REASON_MODEL_REQUEST_REJECTED
UNKNOWN = conditions.REASON_MODEL_UNKNOWN


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (refused(429), Retry(RATE, SAID)),
        (refused(429, "rate_limit_exceeded", headers={"retry-after": "3"}), Retry(RATE, SAID, 3.0)),
        (refused(429, headers={"retry-after-ms": "1500", "retry-after": "9"}), Retry(RATE, SAID, 1.5)),
        (refused(400, "rate_limit_exceeded"), Retry(RATE, SAID)),
        *((refused(status), Retry(AWAY, SAID)) for status in (408, 409, 425, 500, 502, 503, 504, 529)),
        (refused(503, "slow_down"), Retry(AWAY, SAID)),
        (refused(529, "overloaded_error", headers={"retry-after": "30"}), Retry(AWAY, SAID, 30.0)),
        (refused(413), Overflow(SAID)),
        (refused(400, "context_length_exceeded"), Overflow(SAID)),
        (refused(400, None, "This model's maximum context length is 8192 tokens."), None),
        (refused(404, "model_not_found"), Fail(UNKNOWN, SAID)),
        (refused(400, "model_not_found"), Fail(UNKNOWN, SAID)),
        (refused(404, "404", "The model `x` does not exist."), Fail(UNKNOWN, "The model `x` does not exist.")),
        (refused(404, None, "Item with id 'rs_1' not found."), Fail(REJECTED, "Item with id 'rs_1' not found.")),
        *((refused(status), Fail(REJECTED, SAID)) for status in (400, 405, 415, 422)),
        (failed("context_length_exceeded"), Overflow(SAID)),
        (failed(None, "Your input exceeds the context window of this model."), None),
        (failed("server_error"), Retry(AWAY, SAID)),
        (failed("vector_store_timeout"), Retry(AWAY, SAID)),
        (failed("rate_limit_exceeded", "Try again in 20ms."), Retry(RATE, "Try again in 20ms.", 0.02)),
        *((failed(code), Fail(REJECTED, SAID)) for code in ("invalid_prompt", "cyber_policy", "image_too_large")),
        (failed("model_not_found"), Fail(UNKNOWN, SAID)),
        (failed("something_new"), Retry(AWAY, SAID, None, counts_as_failure=True)),
        (failed(None), Retry(AWAY, SAID, None, counts_as_failure=True)),
        (ModelFailure(FailureKind.CONNECTION, SAID), Retry(AWAY, SAID)),
        (ModelFailure(FailureKind.TIMEOUT, SAID), Retry(AWAY, SAID)),
        (ModelFailure(FailureKind.DROPPED, SAID), Retry(AWAY, SAID)),
        (
            ModelFailure(FailureKind.INVALID, SAID),
            Retry(conditions.REASON_MODEL_RESPONSE_INVALID, SAID, None, counts_as_failure=True),
        ),
    ],
)
def test_a_failure_has_its_posture(failure: ModelFailure, expected: Posture | None) -> None:
    assert posture(failure, NOW) == (expected or Overflow(failure.message))


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (refused(401), conditions.REASON_PROVIDER_UNAUTHORIZED),
        (refused(403), conditions.REASON_PROVIDER_UNAUTHORIZED),
        (refused(400, "invalid_api_key"), conditions.REASON_PROVIDER_UNAUTHORIZED),
        (refused(402), conditions.REASON_PROVIDER_QUOTA_EXHAUSTED),
        (refused(429, "insufficient_quota"), conditions.REASON_PROVIDER_QUOTA_EXHAUSTED),
        (failed("insufficient_quota"), conditions.REASON_PROVIDER_QUOTA_EXHAUSTED),
        (refused(404, api_error=False), conditions.REASON_MODEL_UNAVAILABLE),
        (ModelFailure(FailureKind.UNUSABLE_KEY, SAID), conditions.REASON_PROVIDER_SECRET_MISSING),
    ],
)
def test_what_somebody_can_mend_is_waited_for(failure: ModelFailure, reason: str) -> None:
    found = posture(failure, NOW)
    assert isinstance(found, Park)
    assert found.reason == reason
    assert found.message


def test_every_kind_of_failure_has_a_posture() -> None:
    for kind in FailureKind:
        for status in (None, 400, 500):
            assert posture(ModelFailure(kind, SAID, status=status), NOW).message
