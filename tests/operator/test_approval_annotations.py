"""Which annotations become decisions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from codex_api.approvals import Decision, DecisionKind
from codex_api.rows import RowKind
from codex_journal.rows import Row
from codex_operator.approvals import ApprovalBook, plan_decisions, read_book, undelivered

ID = "t1-c0-mfrggzdfmztwq2lknnwg23tpoa"
BOOK = ApprovalBook(requested=frozenset({ID}))


def make_row(kind: RowKind, payload: dict[str, Any], seq: int = 1) -> Row:
    return Row("uid", seq, 1, 1, 0, kind, "claim", 0, payload, datetime.now(UTC))


def test_decisions_are_read_with_the_user_the_api_server_stamped() -> None:
    annotations = {
        f"approval.codex-temporal.dev/{ID}": "approve",
        f"approved-by.codex-temporal.dev/{ID}": "alice",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
    }
    plan = plan_decisions(undelivered(annotations, ()), BOOK, stamp_required=True)
    assert plan.decisions == (Decision(ID, DecisionKind.APPROVE, "", "alice"),)
    assert plan.notices == ()


def test_an_acknowledged_decision_is_not_looked_at_again() -> None:
    annotations = {f"approval.codex-temporal.dev/{ID}": "approve"}
    assert undelivered(annotations, {ID}) == {}
    book = ApprovalBook(requested=frozenset({ID}), acknowledged=frozenset({ID}))
    assert plan_decisions({ID: ("approve", "alice")}, book, stamp_required=True).decisions == ()


@pytest.mark.parametrize(
    ("candidates", "book", "reason"),
    [
        ({ID: ("yes", "alice")}, BOOK, "ApprovalInvalid"),
        ({ID: ("approve ", "alice")}, BOOK, "ApprovalInvalid"),
        ({"t9-c9-unknown": ("approve", "alice")}, BOOK, "ApprovalUnknown"),
        ({ID: ("approve", "")}, BOOK, "ApprovalNotAttributed"),
        ({ID: ("approve", "alice")}, ApprovalBook(frozenset({ID}), truncated=frozenset({ID})), "ApprovalTruncated"),
        ({ID: ("approve", "alice")}, ApprovalBook(frozenset({ID}), questions=frozenset({ID})), "ApprovalOfQuestion"),
        ({ID: ("answer: ", "alice")}, BOOK, "ApprovalInvalid"),
    ],
)
def test_what_does_not_count_is_told_and_ignored(
    candidates: dict[str, tuple[str, str]], book: ApprovalBook, reason: str
) -> None:
    plan = plan_decisions(candidates, book, stamp_required=True)
    assert plan.decisions == ()
    assert [notice.reason for notice in plan.notices] == [reason]


def test_a_truncated_command_can_be_denied() -> None:
    book = ApprovalBook(frozenset({ID}), truncated=frozenset({ID}))
    plan = plan_decisions({ID: ("deny: too long", "alice")}, book, stamp_required=True)
    assert plan.decisions == (Decision(ID, DecisionKind.DENY, "too long", "alice"),)


@pytest.mark.parametrize("book", [ApprovalBook(frozenset({ID}), questions=frozenset({ID})), BOOK])
def test_an_answer_is_delivered_with_its_words(book: ApprovalBook) -> None:
    plan = plan_decisions({ID: ("answer: first; second: both\nthanks", "alice")}, book, stamp_required=True)
    assert plan.decisions == (Decision(ID, DecisionKind.ANSWER, "first; second: both\nthanks", "alice"),)


def test_where_the_cluster_cannot_attribute_decisions_count_without_a_name() -> None:
    plan = plan_decisions({ID: ("approve", "")}, BOOK, stamp_required=False)
    assert plan.decisions == (Decision(ID, DecisionKind.APPROVE, "", ""),)


def test_the_book_is_made_of_requests_decisions_questions_and_truncated_calls() -> None:
    rows = [
        make_row(RowKind.TOOL_CALL, {"call_id": "B", "approval_id": "b", "truncated": True}),
        make_row(RowKind.TOOL_CALL, {"call_id": "A", "approval_id": "a", "tool": "request_user_input"}),
        make_row(RowKind.EVENT, {"type": "ExecApprovalRequest", "approval_id": "a", "call_id": "A"}),
        make_row(RowKind.EVENT, {"type": "ExecApprovalRequest", "approval_id": "b", "call_id": "B"}),
        make_row(RowKind.EVENT, {"type": "ApprovalDecided", "approval_id": "a"}),
        make_row(RowKind.EVENT, {"type": "TurnStarted", "turn": 1}),
    ]
    assert read_book(rows) == ApprovalBook(*map(frozenset, ({"a", "b"}, {"a"}, {"b"}, {"a"})))


@pytest.mark.parametrize("call_id", ["A", "unknown"])
def test_an_event_alone_requests_nothing(call_id: str) -> None:
    rows = [
        make_row(RowKind.TOOL_CALL, {"call_id": "A", "approval_id": "a"}),
        make_row(RowKind.TOOL_CALL, {"call_id": "B", "approval_id": "b"}),
        make_row(RowKind.EVENT, {"type": "ExecApprovalRequest", "approval_id": "b", "call_id": call_id}),
    ]
    assert read_book(rows).requested == frozenset()
