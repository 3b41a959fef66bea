"""What a provider asks to wait is read from headers and texts, and never trusted blindly."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_worker.responses.retry_after import MAX_DELAY_SECONDS, requested_delay

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


@given(st.text() | st.from_regex(r"[-+0-9.eE:, a-zA-Z]{0,40}"), st.text(), st.text())
def test_whatever_is_sent_gives_no_delay_or_one_within_bounds(after: str, milliseconds: str, message: str) -> None:
    delay = requested_delay({"retry-after": after, "retry-after-ms": milliseconds}, message, NOW)
    assert delay is None or 0 <= delay <= MAX_DELAY_SECONDS


@given(st.integers(0, 3600))
def test_seconds_and_dates_mean_the_same(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert requested_delay({"retry-after": str(seconds)}, "", NOW) == float(seconds)
    assert requested_delay({"retry-after": date}, "", NOW) == float(seconds)


@given(st.floats(0, 3600, allow_nan=False), st.sampled_from(["s", " s", " seconds", "sec"]))
def test_advice_in_a_text_is_read_in_any_spelling(seconds: float, unit: str) -> None:
    message = f"Rate limit reached for x on tokens per min. Please try again in {seconds:.3f}{unit}. Visit us."
    assert requested_delay({}, message, NOW) == pytest.approx(seconds, abs=0.001)


@pytest.mark.parametrize(
    ("headers", "message", "expected"),
    [
        ({}, "", None),
        ({}, "Try again in a moment.", None),
        ({}, "Please try again in 20ms.", 0.02),
        ({}, "please TRY AGAIN IN 1m26.4s.", 86.4),
        ({}, "Please try again in 6m0s.", 360.0),
        ({}, "Retry after 2 minutes", 120.0),
        ({}, "Please try again in 7h12m0s.", 3600.0),
        ({}, "try again in 5 apples", None),
        ({}, "try again in " + "9" * 5000 + "s", None),
        ({"retry-after": "-5"}, "", 0.0),
        ({"retry-after": "1e9"}, "", 3600.0),
        ({"retry-after": "inf"}, "", None),
        ({"retry-after": "nan"}, "", None),
        ({"retry-after": "soon"}, "try again in 2s", 2.0),
        ({"retry-after": "4"}, "try again in 2s", 4.0),
        ({"retry-after-ms": "250"}, "", 0.25),
        ({"retry-after": "Wed, 31 Dec 2025 12:00:00 GMT"}, "", 0.0),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:10 -0000"}, "", 10.0),
        ({"retry-after": "Thu, 01 Jan 2026 14:00:10 +0200"}, "", 10.0),
    ],
)
def test_a_delay_is_read(headers: dict[str, str], message: str, expected: float | None) -> None:
    found = requested_delay(headers, message, NOW)
    assert found == (None if expected is None else pytest.approx(expected))
