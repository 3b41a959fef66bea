from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from codex_api import conditions
from codex_api.approvals import DecisionKind
from codex_api.events import ApprovalDecided, TurnAborted, TurnComplete, TurnEnd, TurnFailed, TurnStarted
from codex_api.rows import SessionSettings
from codex_client.view.outcome import outcome_of
from codex_client.view.testing import SESSION, SessionRows
from codex_worker.budget import RequestSize, Spent, budget_end
from codex_worker.cures import with_cure
from codex_worker.providers import Prices

RESUME = f"codex-temporal resume {SESSION[:8]}"


def turn(rows: SessionRows, end: TurnEnd | None = None) -> None:
    rows.event(TurnStarted(message=rows.message("Do it.").seq))
    if end is not None:
        rows.event(end)


def decided(rows: SessionRows, kind: DecisionKind, tool: str = "exec_command", reason: str = "") -> None:
    rows.event(TurnStarted(message=1))
    call = rows.command("rm -rf build") if tool == "exec_command" else rows.call(tool)
    rows.event(ApprovalDecided(approval_id="a", call_id=call.call_id, decision=kind, reason=reason))
    rows.event(TurnComplete())


def test_a_complete_turn_exits_with_zero_and_says_nothing_more(rows: SessionRows) -> None:
    turn(rows, TurnComplete(last_agent_message="Done."))
    outcome = outcome_of(rows.all)
    assert (outcome.exit_code, outcome.message, outcome.session) == (0, "", SESSION)
    assert outcome.last_message == "Done."


def test_the_last_message_is_whole_although_the_event_holds_only_its_beginning(rows: SessionRows) -> None:
    text = "x" * 5000
    said = rows.said(text)
    turn(rows, TurnComplete(last_agent_message=text[:1000], message_seq=said.seq))
    assert outcome_of(rows.all).last_message == text


@pytest.mark.parametrize(
    ("reason", "option"),
    [
        (conditions.REASON_STEP_LIMIT, "--max-steps"),
        (conditions.REASON_TOKEN_LIMIT, "--max-tokens"),
        (conditions.REASON_COST_LIMIT, "--max-cost"),
        (conditions.REASON_TURN_TIMEOUT, "--timeout"),
    ],
)
def test_a_reached_limit_exits_with_three_and_names_the_option_that_raises_it(
    rows: SessionRows, reason: str, option: str
) -> None:
    turn(rows, TurnAborted(reason=reason))
    outcome = outcome_of(rows.all)
    assert (outcome.exit_code, outcome.reason) == (3, reason)
    assert option in outcome.message
    assert RESUME in outcome.message


def test_a_reached_limit_does_not_name_the_field_of_a_resource(rows: SessionRows) -> None:
    message = "the turn used its 2 model calls (spec.limits.maxSteps)"
    turn(rows, TurnAborted(reason=conditions.REASON_STEP_LIMIT, message=message))
    expected = f"the turn used its 2 model calls (--max-steps); go on with: {RESUME}"
    assert outcome_of(rows.all).message == expected


@pytest.mark.parametrize("spent", [Spent(0, 0), Spent(90, 400), Spent(2_000, 900_000)])
@pytest.mark.parametrize("limits", [{"max_tokens": 100}, {"max_cost_millionths": 500}])
def test_the_command_after_a_limit_of_the_session_lets_the_next_call_through(
    rows: SessionRows, spent: Spent, limits: dict[str, Any]
) -> None:
    prices = Prices(input=Decimal(3), cached_input=Decimal(1), output=Decimal(9))
    settings = SessionSettings(**{"max_tokens": 1_000_000, "model": "m"} | limits)
    size = RequestSize(600, 600)
    end = budget_end(settings, spent, "m", prices, size)
    assert end is not None
    turn(rows, TurnAborted(reason=end.reason, message=end.message))
    _, _, number = outcome_of(rows.all).message.rpartition(" ")
    tokens = "max_tokens" in limits
    raised = {"max_tokens": int(number)} if tokens else {"max_cost_millionths": int(Decimal(number) * 1_000_000)}
    assert budget_end(settings.model_copy(update=raised), spent, "m", prices, size) is None


def test_a_session_out_of_time_cannot_be_resumed_and_says_so(rows: SessionRows) -> None:
    turn(rows, TurnAborted(reason=conditions.REASON_DEADLINE_EXCEEDED))
    outcome = outcome_of(rows.all)
    assert outcome.exit_code == 3
    assert "resume" not in outcome.message
    assert "codex-temporal run" in outcome.message


def test_an_interrupted_turn_exits_as_the_shell_expects(rows: SessionRows) -> None:
    turn(rows, TurnAborted(reason=conditions.REASON_INTERRUPTED))
    outcome = outcome_of(rows.all)
    assert outcome.exit_code == 130
    assert outcome.message == f"interrupted; go on with: {RESUME}"


def test_a_failure_repeats_what_the_event_says_and_adds_the_cure(rows: SessionRows) -> None:
    turn(rows, TurnFailed(reason=conditions.REASON_MODEL_UNKNOWN, message="the provider knows no model gpt-9"))
    outcome = outcome_of(rows.all)
    assert outcome.exit_code == 1
    assert outcome.message == f"the provider knows no model gpt-9; go on with: {RESUME} --model NAME"


def test_a_cure_that_the_event_names_itself_is_not_told_twice(rows: SessionRows) -> None:
    message = with_cure(conditions.REASON_PROVIDER_SECRET_MISSING, "there is no key", waits=False)
    turn(rows, TurnFailed(reason=conditions.REASON_PROVIDER_SECRET_MISSING, message=message))
    expected = f"there is no key; set OPENAI_API_KEY, then go on with: {RESUME}"
    assert outcome_of(rows.all).message == expected


def test_a_failure_that_names_no_cure_gets_one(rows: SessionRows) -> None:
    turn(rows, TurnFailed(reason=conditions.REASON_MODEL_UNAVAILABLE, message="broken"))
    expected = f"broken; check OPENAI_BASE_URL and the network, then go on with: {RESUME}"
    assert outcome_of(rows.all).message == expected


def test_a_conversation_that_is_too_long_is_compacted_by_the_command_named(rows: SessionRows) -> None:
    turn(rows, TurnFailed(reason=conditions.REASON_CONTEXT_WINDOW_EXCEEDED, message="too long"))
    assert outcome_of(rows.all).message == f"too long; go on with: {RESUME} --compact"


@pytest.mark.parametrize("kind", [DecisionKind.DENY, DecisionKind.EXPIRE, DecisionKind.ABORT, DecisionKind.ANSWER])
def test_a_refused_command_exits_with_four_although_the_turn_went_on(rows: SessionRows, kind: DecisionKind) -> None:
    decided(rows, kind, reason="not on a Sunday")
    outcome = outcome_of(rows.all)
    assert outcome.exit_code == 4
    assert "rm -rf build" in outcome.message
    assert "not on a Sunday" in outcome.message


@pytest.mark.parametrize(
    ("kind", "tool"), [(DecisionKind.APPROVE, "exec_command"), (DecisionKind.ANSWER, "request_user_input")]
)
def test_an_approved_command_and_an_answered_question_are_no_refusals(
    rows: SessionRows, kind: DecisionKind, tool: str
) -> None:
    decided(rows, kind, tool)
    assert outcome_of(rows.all).exit_code == 0


def test_an_aborting_decision_ends_the_turn_with_four(rows: SessionRows) -> None:
    turn(rows, TurnAborted(reason=conditions.REASON_APPROVAL_ABORTED))
    assert outcome_of(rows.all).exit_code == 4


@pytest.mark.parametrize(
    ("kind", "words"), [(DecisionKind.ABORT, "aborted"), (DecisionKind.EXPIRE, "not answered in time")]
)
def test_an_aborted_turn_names_the_command_and_no_approval(rows: SessionRows, kind: DecisionKind, words: str) -> None:
    rows.event(TurnStarted(message=1))
    call = rows.command("rm -rf build")
    rows.event(ApprovalDecided(approval_id="t1-c1-x", call_id=call.call_id, decision=kind))
    rows.event(TurnAborted(reason=conditions.REASON_APPROVAL_ABORTED, message=f"approval t1-c1-x: {kind.value}"))
    assert outcome_of(rows.all).message == f"rm -rf build: {words}; go on with: {RESUME}"


def test_refusals_of_an_earlier_turn_do_not_count(rows: SessionRows) -> None:
    decided(rows, DecisionKind.DENY)
    rows.turn = 2
    turn(rows, TurnComplete())
    assert outcome_of(rows.all).exit_code == 0


def test_a_turn_without_an_end_can_be_resumed(rows: SessionRows) -> None:
    turn(rows)
    outcome = outcome_of(rows.all)
    assert (outcome.exit_code, outcome.reason) == (1, conditions.REASON_TURN_RUNNING)
    assert "has not ended" in outcome.message


def test_no_rows_are_no_error() -> None:
    assert outcome_of([]).exit_code == 1
