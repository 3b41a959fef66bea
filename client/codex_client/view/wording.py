"""How times, amounts and reasons are put into words. Pure."""

from __future__ import annotations

import re
from datetime import datetime

from codex_api import conditions
from codex_api.approvals import DecisionKind
from codex_api.events import ApprovalDecided
from codex_api.rows import ModelRetryPayload, ToolResultPayload
from codex_client.view.safe_text import safe_line
from codex_client.view.usage import UsageTotal

_TROUBLE = {
    conditions.REASON_MODEL_RATE_LIMITED: "rate limited",
    conditions.REASON_PROVIDER_UNAUTHORIZED: "it refuses the key",
    conditions.REASON_PROVIDER_SECRET_MISSING: "there is no key",
    conditions.REASON_PROVIDER_QUOTA_EXHAUSTED: "the quota is used up",
    conditions.REASON_PROVIDER_UNKNOWN: "nobody knows it",
    conditions.REASON_CONTEXT_WINDOW_EXCEEDED: "the conversation is too long for the model",
}
_DECIDED = {
    DecisionKind.APPROVE: "approved",
    DecisionKind.DENY: "denied",
    DecisionKind.ABORT: "aborted",
    DecisionKind.ANSWER: "answered",
    DecisionKind.EXPIRE: "nobody answered in time",
}
_CONNECTION_FAILED = re.compile(r"the connection to (?:the provider at )?(\S+:\d+) failed: (.+)", re.DOTALL)
_TECHNICAL_NAMES = re.compile(r"\b[A-Z]\w*(?:Error|Exception|Timeout): |\[Errno -?\d+\] ")
_WORD_BOUNDARY = re.compile(r"(?<=[a-z])(?=[A-Z])")
MESSAGE_WIDTH = 300
HOST_WIDTH = 100
DEFAULT_MODEL = "the provider's model"


def duration(seconds: float) -> str:
    if seconds < 10:
        return f"{max(0.0, seconds):.1f}s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m {rest:02}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02}m"


def clock_time(moment: str, now: datetime | None = None) -> str:
    """Return an RFC 3339 time as the clock on the wall shows it, with the day where that is another one."""
    try:
        local = datetime.fromisoformat(moment).astimezone()
    except (ValueError, OverflowError):
        return safe_line(moment, 40)
    today = (now or datetime.now().astimezone()).date() == local.date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def retry_words(retry: ModelRetryPayload) -> str:
    """Return for example ``127.0.0.1:8080: connection refused; attempt 7, until 12:03:10``."""
    when = f"attempt {retry.attempt}, until {clock_time(retry.until)}"
    if failed := _CONNECTION_FAILED.match(retry.message):
        return f"{safe_line(failed[1], HOST_WIDTH)}: {_cause(failed[2])}; {when}"
    trouble = _TROUBLE.get(retry.reason) or _cause(retry.message) or safe_line(retry.reason, MESSAGE_WIDTH)
    return f"waiting for the provider: {trouble}; {when}"


def option_value(name: str) -> str:
    """Return a value of the interface, for example ``OnRequest``, as the command line spells it: ``on-request``."""
    return _WORD_BOUNDARY.sub("-", name).lower()


def _cause(message: str) -> str:
    """Return what went wrong without the names of Python and of the operating system for it."""
    text = _TECHNICAL_NAMES.sub("", safe_line(message, MESSAGE_WIDTH))
    # An abbreviation stays as it is.
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def decided_words(decided: ApprovalDecided) -> str:
    words = _DECIDED[decided.decision]
    if decided.decided_by:
        words += f" by {safe_line(decided.decided_by, 64)}"
    return f"{words}: {safe_line(decided.reason, MESSAGE_WIDTH)}" if decided.reason else words


def result_words(result: ToolResultPayload) -> str:
    """Return what is worth telling about a call beside its output, for example ``exit 1, 0.3s``."""
    words = [] if result.outcome in ("completed", "answered") else [safe_line(result.outcome, 40)]
    if result.exit_code:
        words.append(f"exit {result.exit_code}")
    elif result.process is not None and result.exit_code is None:
        words.append(f"still running as {result.process}")
    if result.duration_seconds >= 0.05:
        words.append(duration(result.duration_seconds))
    return ", ".join(words)


def usage_words(usage: UsageTotal) -> str:
    """Return for example ``4,120 tokens (3,000 cached), cost 0.0213``."""
    tokens = usage.input_tokens + usage.output_tokens
    words = f"{tokens:,} token{'' if tokens == 1 else 's'}"
    if usage.cached_input_tokens:
        words += f" ({usage.cached_input_tokens:,} cached)"
    return f"{words}, cost {usage.cost}" if usage.cost is not None else words
