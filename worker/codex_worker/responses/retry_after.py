"""How long a provider asks to wait: in headers, and in the text of errors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_DELAY_SECONDS = 3600.0
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_ADVICE = re.compile(r"(?:try again|retry) (?:in|after) ((?:\d[\d.]{0,20}\s{0,2}[a-z]{1,20}\s?){1,4})", re.IGNORECASE)
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|milliseconds?|s|sec(?:onds?)?|m|min(?:utes?)?|h|hours?)(?![a-z])")


def requested_delay(headers: Mapping[str, str], message: str, now: datetime) -> float | None:
    """Return the seconds to wait, at most an hour; None where nobody said. Header names are in lower case."""
    for delay in (
        _number(headers.get("retry-after-ms"), 0.001),
        _number(headers.get("retry-after"), 1.0),
        _until(headers.get("retry-after"), now),
        _advice(message),
    ):
        if delay is not None:
            return min(max(delay, 0.0), MAX_DELAY_SECONDS)
    return None


def _number(value: str | None, unit_seconds: float) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number * unit_seconds if math.isfinite(number) else None


def _until(value: str | None, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(value or "")
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - now).total_seconds()


def _advice(message: str) -> float | None:
    """Read ``try again in 1.5s``, ``… in 1m26.4s``, ``… in 20 seconds``."""
    found = _ADVICE.search(message[:2000])
    amounts = _AMOUNT.findall(found.group(1).lower()) if found else []
    if not amounts:
        return None
    return sum(float(number) * _UNIT_SECONDS[_unit(name)] for number, name in amounts)


def _unit(name: str) -> str:
    return "ms" if name in ("ms", "millisecond", "milliseconds") else name[0]
