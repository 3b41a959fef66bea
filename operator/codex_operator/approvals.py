"""Which of an object's approval annotations are decisions to deliver. Pure: rows and annotations in, plan out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from codex_api.approvals import Decision, DecisionKind, InvalidDecision, approval_annotations, parse_decision
from codex_api.rows import RowKind
from codex_api.tools import REQUEST_USER_INPUT
from codex_journal.rows import Row
from codex_operator.display import one_line
from codex_operator.observations import Notice

NOTICE_BYTES = 512

NOTICE_INVALID = "ApprovalInvalid"
NOTICE_UNKNOWN = "ApprovalUnknown"
NOTICE_UNATTRIBUTED = "ApprovalNotAttributed"
NOTICE_TRUNCATED = "ApprovalTruncated"
NOTICE_QUESTION = "ApprovalOfQuestion"


@dataclass(frozen=True)
class ApprovalBook:
    """What the journal knows of a session's approvals."""

    requested: frozenset[str] = frozenset()
    acknowledged: frozenset[str] = frozenset()
    """Ids whose decision has its event: the workflow knows."""
    truncated: frozenset[str] = frozenset()
    """Ids whose command was not shown whole."""
    questions: frozenset[str] = frozenset()
    """Ids of questions: they are answered, not approved."""


@dataclass(frozen=True)
class DecisionPlan:
    decisions: tuple[Decision, ...] = ()
    notices: tuple[Notice, ...] = field(default=())


def read_book(rows: Iterable[Row]) -> ApprovalBook:
    """Collect approvals from tool_call and event rows, in journal order; others are ignored.

    A request counts only where the journaled call of its call id was given that approval id.
    """
    given: dict[str, str] = {}
    requested, acknowledged, truncated, questions = set(), set(), set(), set()
    for row in rows:
        if row.kind is RowKind.TOOL_CALL:
            approval_id = given[row.payload.get("call_id", "")] = row.payload.get("approval_id", "")
            if row.payload.get("truncated"):
                truncated.add(approval_id)
            if row.payload.get("tool") == REQUEST_USER_INPUT:
                questions.add(approval_id)
        elif row.kind is RowKind.EVENT and row.payload.get("type") == "ExecApprovalRequest":
            approval_id = row.payload["approval_id"]
            if approval_id and given.get(row.payload.get("call_id", "")) == approval_id:
                requested.add(approval_id)
        elif row.kind is RowKind.EVENT and row.payload.get("type") == "ApprovalDecided":
            acknowledged.add(row.payload["approval_id"])
    return ApprovalBook(*map(frozenset, (requested, acknowledged, truncated, questions)))


def undelivered(annotations: Mapping[str, str], acknowledged: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return {id: (value, stamped user)} of decisions whose acknowledgement has not been seen."""
    known = set(acknowledged)
    return {name: found for name, found in approval_annotations(annotations).items() if name not in known}


def _judge(name: str, value: str, user: str, book: ApprovalBook, *, stamp_required: bool) -> Decision | Notice:
    if name not in book.requested:
        return Notice(NOTICE_UNKNOWN, f"approval {name}: no command of this session waits for that id; it was ignored")
    if stamp_required and not user:
        return Notice(
            NOTICE_UNATTRIBUTED,
            f"approval {name}: the API server did not record who decided, so it does not count; "
            "are the chart's approval policies installed?",
        )
    try:
        decision = parse_decision(name, value, user)
    except InvalidDecision as error:
        return Notice(NOTICE_INVALID, f"{error}; it was ignored")
    if decision.kind is DecisionKind.APPROVE and name in book.questions:
        cure = "answer it with 'answer: text'; this decision was ignored"
        return Notice(NOTICE_QUESTION, f"approval {name}: a question cannot be approved: {cure}")
    if decision.kind is DecisionKind.APPROVE and name in book.truncated:
        return Notice(NOTICE_TRUNCATED, f"approval {name}: the command was not shown whole; it can only be denied")
    return decision


def plan_decisions(
    candidates: Mapping[str, tuple[str, str]], book: ApprovalBook, *, stamp_required: bool
) -> DecisionPlan:
    """Judge annotations by what the journal knows; ids that are acknowledged already need nothing."""
    judged = [
        _judge(name, value, user, book, stamp_required=stamp_required)
        for name, (value, user) in sorted(candidates.items())
        if name not in book.acknowledged
    ]
    notices = (Notice(n.reason, one_line(n.message, NOTICE_BYTES)) for n in judged if isinstance(n, Notice))
    return DecisionPlan(tuple(d for d in judged if isinstance(d, Decision)), tuple(notices))
