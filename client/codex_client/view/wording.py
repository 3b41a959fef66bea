"""How times, amounts and reasons are put into words. Pure."""

from __future__ import annotations

from datetime import datetime

from codex_api import conditions
from codex_api.approvals import DecisionKind
from codex_api.events import ApprovalDecided
from codex_api.rows import ModelRetryPayload, ToolResultPayload
from codex_client.view.safe_text import safe_line
from codex_client.view.usage import UsageTotal

_TROUBLE = {
    conditions.REASON_MODEL_RATE_LIMITED: "rate limited",
    conditions.REASON_MODEL_UNAVAILABLE: "not available",
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
MESSAGE_WIDTH = 300
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
    """Return for example ``waiting for the provider: rate limited, until 12:03:10``."""
    trouble = _TROUBLE.get(retry.reason) or safe_line(retry.message or retry.reason, MESSAGE_WIDTH)
    return f"waiting for the provider: {trouble}, until {clock_time(retry.until)}"


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
