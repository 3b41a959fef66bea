"""How long to wait before a failed model call is tried again. Pure; all times in seconds."""

from __future__ import annotations

MAX_UNEXPECTED_FAILURES = 5
FIRST_RETRY = 0.2
LONGEST_RETRY = 30.0
FIRST_PARK = 2.0


def retry_delay(failures: int) -> float:
    """Return the wait after so many earlier failures of the same kind."""
    return min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(failures, 16))


def park_delay(failures: int) -> float:
    """Return how soon to look whether somebody mended what keeps the turn from going on."""
    return min(LONGEST_RETRY, FIRST_PARK * 2.0 ** min(failures, 16))
