"""How a turn that did not complete ended, and the command that goes on, as a person at a terminal reads it. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

from codex_api import conditions
from codex_api.approvals import DecisionKind
from codex_api.events import TurnAborted, TurnFailed
from codex_client.view.presenter import Outcome
from codex_worker.cures import AT_A_TERMINAL

RESUME = "codex-temporal resume"
SHORT_ID_CHARACTERS = 8
REFUSALS = {
    DecisionKind.DENY: "denied",
    DecisionKind.ABORT: "aborted",
    DecisionKind.EXPIRE: "not answered in time",
    DecisionKind.ANSWER: "refused",
}

_WORDS = {
    conditions.REASON_STEP_LIMIT: "the turn took as many steps as it may",
    conditions.REASON_TOKEN_LIMIT: "the session used up its tokens",
    conditions.REASON_COST_LIMIT: "the session cost as much as it may",
    conditions.REASON_TURN_TIMEOUT: "the turn took as long as it may",
    conditions.REASON_DEADLINE_EXCEEDED: "the session's time is over",
    conditions.REASON_INTERRUPTED: "interrupted",
    conditions.REASON_APPROVAL_ABORTED: "an approval was refused",
}
_OPTIONS = {
    conditions.REASON_STEP_LIMIT: "--max-steps",
    conditions.REASON_TOKEN_LIMIT: "--max-tokens",
    conditions.REASON_COST_LIMIT: "--max-cost",
    conditions.REASON_TURN_TIMEOUT: "--timeout",
}
_CURES = {
    conditions.REASON_MODEL_UNAVAILABLE: "check OPENAI_BASE_URL and the network",
    conditions.REASON_PRICE_UNKNOWN: "give the model a price in CODEX_PROVIDERS_FILE",
}
_MORE = {
    conditions.REASON_MODEL_UNKNOWN: " --model NAME",
    conditions.REASON_CONTEXT_WINDOW_EXCEEDED: " --compact",
}
# What was used of the whole session stays used: another turn needs a higher limit.
_OF_THE_SESSION = frozenset({conditions.REASON_TOKEN_LIMIT, conditions.REASON_COST_LIMIT})
# The field of the resource that sets a limit: a terminal has an option for it.
_FIELD = re.compile(r" \((?:limit |spec\.limits\.)\w+\)")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w])")
_NUMBERS_OF_A_LIMIT = 3
_COMMAND = re.compile("codex-temporal (?:run|resume)")


def ending_words(end: TurnAborted | TurnFailed, decision: DecisionKind | None = None, call: str = "") -> str:
    """Return why the turn ended; ``decision`` about the ``call`` is what aborted it, where that is the reason."""
    if end.reason == conditions.REASON_APPROVAL_ABORTED and call and decision is not None:
        return f"{call}: {REFUSALS[decision]}"
    text = _WORDS.get(end.reason, f"the turn ended: {end.reason}")
    if end.message and end.reason != conditions.REASON_APPROVAL_ABORTED:
        text = _FIELD.sub("", end.message)
    option = _OPTIONS.get(end.reason)
    return f"{text} ({option})" if option else text


def with_way_on(words: str, end: TurnAborted | TurnFailed, session: str) -> str:
    """Return the words with what to mend, where they do not name it, and with the command to type after that."""
    if end.reason in (conditions.REASON_DEADLINE_EXCEEDED, conditions.REASON_SESSION_CLOSED):
        return f'{words}; the session is closed; start another with: codex-temporal run "…"'
    going_on = f"go on with: {resume_command(session)}{_more(end)}"
    named = AT_A_TERMINAL.get(end.reason, "")
    if named and words.endswith(named):
        return f"{words}, then {going_on}"
    cure = _CURES.get(end.reason, named)
    return f"{words}; {cure}, then {going_on}" if cure else f"{words}; {going_on}"


def resume_command(session: str) -> str:
    """Return the command that goes on with a session; the newest where its id is not known."""
    return f"{RESUME} {session[:SHORT_ID_CHARACTERS] or '--last'}"


def missing_way_on(outcome: Outcome) -> str:
    """Return how to go on where the outcome's message does not say it; a turn that completed wants a new prompt."""
    if outcome.reason == conditions.REASON_TURN_COMPLETE:
        return f'go on with: {resume_command(outcome.session)} "…"'
    return "" if _COMMAND.search(outcome.message) else f"go on with: {resume_command(outcome.session)}"


def _more(end: TurnAborted | TurnFailed) -> str:
    if end.reason not in _OF_THE_SESSION:
        return _MORE.get(end.reason, "")
    option, numbers = _OPTIONS[end.reason], [Decimal(text) for text in _NUMBER.findall(end.message)]
    if not 2 <= len(numbers) <= _NUMBERS_OF_A_LIMIT:
        return f" {option} NUMBER"
    used, limit, needed = [*numbers, Decimal(0)][:_NUMBERS_OF_A_LIMIT]
    return f" {option} {(2 * (max(used, limit) + needed)).normalize():f}"
