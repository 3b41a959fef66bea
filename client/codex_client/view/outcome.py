"""How a turn ended, for the exit code and for the person who reads it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from codex_api import conditions
from codex_api.approvals import DecisionKind
from codex_api.events import TurnAborted, TurnComplete, TurnEnd
from codex_client.view.happenings import AgentSaid, ApprovalAnswered, Happening, TurnBegan, TurnEnded
from codex_client.view.items import REQUEST_USER_INPUT, agent_text
from codex_client.view.presenter import Outcome
from codex_client.view.progress import Progress
from codex_journal.rows import Row

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_LIMIT = 3
EXIT_NOT_APPROVED = 4
EXIT_INTERRUPTED = 130

_LIMITS = {
    conditions.REASON_STEP_LIMIT: "the turn took as many steps as it may",
    conditions.REASON_TOKEN_LIMIT: "the session used up its tokens",
    conditions.REASON_COST_LIMIT: "the session cost as much as it may",
    conditions.REASON_TURN_TIMEOUT: "the turn took as long as it may",
    conditions.REASON_DEADLINE_EXCEEDED: "the session's time is over",
}
_RAISE = {
    conditions.REASON_STEP_LIMIT: "allow more with --max-steps",
    conditions.REASON_TOKEN_LIMIT: "allow more with --max-tokens",
    conditions.REASON_COST_LIMIT: "allow more with --max-cost",
    conditions.REASON_TURN_TIMEOUT: "allow more with --timeout",
}
_CURES = {
    conditions.REASON_PROVIDER_UNAUTHORIZED: "check OPENAI_API_KEY",
    conditions.REASON_PROVIDER_SECRET_MISSING: "set OPENAI_API_KEY",
    conditions.REASON_PROVIDER_QUOTA_EXHAUSTED: "raise the quota at the provider",
    conditions.REASON_MODEL_UNKNOWN: "name another model with --model",
    conditions.REASON_MODEL_UNAVAILABLE: "check OPENAI_BASE_URL and the network",
    conditions.REASON_PRICE_UNKNOWN: "leave out --max-cost, or give the model a price",
    conditions.REASON_CONTEXT_WINDOW_EXCEEDED: "compact the conversation with --compact",
}
_REFUSALS = {
    DecisionKind.DENY: "denied",
    DecisionKind.ABORT: "aborted",
    DecisionKind.EXPIRE: "not answered in time",
    DecisionKind.ANSWER: "refused",
}
_RESUME = "codex-temporal resume"


def outcome_of(rows: Sequence[Row]) -> Outcome:
    """Return how the newest turn among the rows ended; rows of earlier turns may be left out.

    A turn without an end counts as failed with the reason TurnRunning: it can be resumed.
    """
    session = rows[0].session if rows else ""
    turn = max((row.turn for row in rows), default=0)
    progress = Progress()
    happened: list[Happening] = []
    for row in rows:
        news = progress.feed(row)
        if any(isinstance(happening, TurnBegan) for happening in news):
            happened = []
        happened += news
    end = next((happening.end for happening in reversed(happened) if isinstance(happening, TurnEnded)), None)
    last_message = _last_message(rows, happened, end)
    if end is None:
        message = f"turn {turn} has not ended; go on with: {_RESUME} {session}"
        return Outcome(EXIT_FAILED, conditions.REASON_TURN_RUNNING, message, last_message, session)
    if isinstance(end, TurnComplete):
        refused = list(_refusals(happened))
        code = EXIT_NOT_APPROVED if refused else EXIT_DONE
        message = "; ".join([*refused, f"go on with: {_RESUME} {session}"]) if refused else ""
        return Outcome(code, conditions.REASON_TURN_COMPLETE, message, last_message, session)
    return Outcome(_exit_code(end), end.reason, _message(end, session), last_message, session)


def _exit_code(end: TurnEnd) -> int:
    reason = "" if isinstance(end, TurnComplete) else end.reason
    if reason in _LIMITS:
        return EXIT_LIMIT
    if reason == conditions.REASON_INTERRUPTED:
        return EXIT_INTERRUPTED
    return EXIT_NOT_APPROVED if reason == conditions.REASON_APPROVAL_ABORTED else EXIT_FAILED


def _message(end: TurnEnd, session: str) -> str:
    assert not isinstance(end, TurnComplete)
    text = end.message or _LIMITS.get(end.reason) or _plain_words(end.reason)
    if _RESUME in text:
        return text
    if end.reason in (conditions.REASON_DEADLINE_EXCEEDED, conditions.REASON_SESSION_CLOSED):
        return f"{text}; the session is closed: start another with codex-temporal run"
    resume = f"{_RESUME} {session}"
    cure = _RAISE.get(end.reason) or _CURES.get(end.reason)
    if cure:
        return f"{text}; {cure}, then go on with: {resume}"
    stopped = isinstance(end, TurnAborted)
    return f"{text}; {'go on' if stopped else 'try again'} with: {resume}"


def _plain_words(reason: str) -> str:
    if reason == conditions.REASON_INTERRUPTED:
        return "interrupted"
    return "an approval was refused" if reason == conditions.REASON_APPROVAL_ABORTED else f"the turn ended: {reason}"


def _refusals(happened: Iterable[Happening]) -> Iterable[str]:
    for happening in happened:
        if not isinstance(happening, ApprovalAnswered) or happening.decided.decision is DecisionKind.APPROVE:
            continue
        call, decided = happening.call, happening.decided
        question = call is None or call.tool == REQUEST_USER_INPUT
        if decided.decision is DecisionKind.ANSWER and question:
            continue
        yield f"{call.preview if call else decided.call_id}: {_REFUSALS[decided.decision]}" + (
            f" ({decided.reason})" if decided.reason else ""
        )


def _last_message(rows: Sequence[Row], happened: Sequence[Happening], end: TurnEnd | None) -> str:
    if isinstance(end, TurnComplete):
        whole = next((row.payload.get("item") for row in rows if row.seq == end.message_seq), None)
        if isinstance(whole, dict) and (text := agent_text(whole)):
            return text
    said = [happening.text for happening in happened if isinstance(happening, AgentSaid)]
    return said[-1] if said else end.last_agent_message if isinstance(end, TurnComplete) else ""
