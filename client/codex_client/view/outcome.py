"""How a turn ended, for the exit code and for the person who reads it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from codex_api import conditions
from codex_api.approvals import DecisionKind
from codex_api.events import TurnComplete, TurnEnd
from codex_api.tools import REQUEST_USER_INPUT
from codex_client.view.endings import REFUSALS, resume_command, with_way_on
from codex_client.view.happenings import AgentSaid, ApprovalAnswered, Happening, TurnBegan, TurnEnded
from codex_client.view.items import agent_text
from codex_client.view.lines import call_words, ended_words
from codex_client.view.presenter import Outcome
from codex_client.view.progress import Progress
from codex_journal.rows import Row

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_LIMIT = 3
EXIT_NOT_APPROVED = 4
EXIT_INTERRUPTED = 130

_LIMITS = frozenset(
    {
        conditions.REASON_STEP_LIMIT,
        conditions.REASON_TOKEN_LIMIT,
        conditions.REASON_COST_LIMIT,
        conditions.REASON_TURN_TIMEOUT,
        conditions.REASON_DEADLINE_EXCEEDED,
    }
)


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
    ended = next((happening for happening in reversed(happened) if isinstance(happening, TurnEnded)), None)
    end = ended.end if ended else None
    last_message = _last_message(rows, happened, end)
    if ended is None or end is None:
        stands = f"turn {turn} has not ended" if turn else "the turn has not begun"
        message = f"{stands}; go on with: {resume_command(session)}"
        return Outcome(EXIT_FAILED, conditions.REASON_TURN_RUNNING, message, last_message, session)
    if isinstance(end, TurnComplete):
        refused = list(_refusals(happened))
        code = EXIT_NOT_APPROVED if refused else EXIT_DONE
        message = "; ".join(refused)
        return Outcome(code, conditions.REASON_TURN_COMPLETE, message, last_message, session)
    message = with_way_on(ended_words(ended), end, session)
    return Outcome(_exit_code(end), end.reason, message, last_message, session)


def _exit_code(end: TurnEnd) -> int:
    reason = "" if isinstance(end, TurnComplete) else end.reason
    if reason in _LIMITS:
        return EXIT_LIMIT
    if reason == conditions.REASON_INTERRUPTED:
        return EXIT_INTERRUPTED
    return EXIT_NOT_APPROVED if reason == conditions.REASON_APPROVAL_ABORTED else EXIT_FAILED


def _refusals(happened: Iterable[Happening]) -> Iterable[str]:
    for happening in happened:
        if not isinstance(happening, ApprovalAnswered) or happening.decided.decision is DecisionKind.APPROVE:
            continue
        call, decided = happening.call, happening.decided
        question = call is None or call.tool == REQUEST_USER_INPUT
        if decided.decision is DecisionKind.ANSWER and question:
            continue
        why = f" ({decided.reason})" if decided.reason else ""
        yield f"{call_words(call) if call else 'a call'}: {REFUSALS[decided.decision]}{why}"


def _last_message(rows: Sequence[Row], happened: Sequence[Happening], end: TurnEnd | None) -> str:
    if isinstance(end, TurnComplete):
        whole = next((row.payload.get("item") for row in rows if row.seq == end.message_seq), None)
        if isinstance(whole, dict) and (text := agent_text(whole)):
            return text
    said = [happening.text for happening in happened if isinstance(happening, AgentSaid)]
    return said[-1] if said else end.last_agent_message if isinstance(end, TurnComplete) else ""
