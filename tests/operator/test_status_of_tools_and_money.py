"""Patches, plans, questions, compactions and costs as a status shows them."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_api import conditions
from codex_api.rows import RowKind
from codex_api.session import NetworkMode
from codex_journal.rows import Row
from codex_operator.money import from_millionths, to_millionths
from codex_operator.observations import Observation
from codex_operator.session_object import parse_session, session_settings
from codex_operator.session_view import SessionView, fold
from codex_operator.status import STATUS_BYTES, session_status, size
from codex_operator.status_conditions import ShownSession
from codex_operator.turn_diff import summarize_diff

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TIMES = {"request_time": "2026-01-02T03:04:06Z", "expiration_time": "2026-01-02T04:04:06Z"}
PATCH = "*** Begin Patch⏎*** Add File: a.py⏎+x⏎*** Update File: b.py⏎-y⏎+z⏎*** End Patch"
QUESTION = "Which database? (1) PostgreSQL - as in production (2) SQLite"


class Journal:
    """Rows of a running turn, folded into a status."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.add(RowKind.SESSION_OPENED)
        self.event("TurnStarted", message=1)

    def add(self, kind: RowKind, **payload: Any) -> Journal:
        seq = len(self.rows) + 1
        self.rows.append(Row("uid", seq, 1, 1, 0, kind, f"claim/{seq}", 0, payload, START + timedelta(seconds=seq)))
        return self

    def event(self, kind: str, **payload: Any) -> Journal:
        return self.add(RowKind.EVENT, type=kind, turn=1, **payload)

    def call(self, tool: str, *, ask: bool = False, **payload: Any) -> Journal:
        call = {"call_id": "t1.s1.c0", "provider_call_id": "x", "index": 0, "tool": tool, "approval_id": "id"}
        self.add(RowKind.TOOL_CALL, classification="ask" if ask else "automatic", **{**call, **payload})
        if ask:
            self.event("ExecApprovalRequest", approval_id="id", call_id="t1.s1.c0", **TIMES)
        return self

    def decide(self, decision: str, reason: str = "") -> Journal:
        decided = {"decision": decision, "reason": reason, "decided_by": "alice", "waited_seconds": 12.4}
        return self.event("ApprovalDecided", approval_id="id", call_id="t1.s1.c0", **decided)

    def result(self, **payload: Any) -> Journal:
        return self.add(RowKind.TOOL_RESULT, call_id="t1.s1.c0", item={}, **payload)

    def diff(self, text: str, *, truncated: bool = False) -> Journal:
        return self.event("TurnDiff", unified_diff=text, truncated=truncated)

    def status(self) -> dict[str, Any]:
        shown = ShownSession("fix", NetworkMode.NONE)
        return session_status(reduce(fold, self.rows, SessionView()), Observation(), shown, before={}, now=START)

    def events(self) -> list[tuple[str, str]]:
        return [(event["type"], event["summary"]) for event in self.status()["events"][1:]]

    def condition(self, kind: str) -> dict[str, Any]:
        (found,) = (c for c in self.status()["conditions"] if c["type"] == kind)
        return dict(found)


@pytest.mark.parametrize(
    ("tool", "kind"),
    [
        ("exec_command", "Exec"),
        ("write_stdin", "WriteStdin"),
        ("apply_patch", "Patch"),
        ("request_user_input", "Question"),
    ],
)
def test_the_kind_of_an_approval_is_told_by_its_tool(tool: str, kind: str) -> None:
    (pending,) = Journal().call(tool, ask=True, preview="x").status()["pendingApprovals"]
    assert pending["kind"] == kind


def test_a_patch_shows_its_files_before_and_what_it_changed_afterwards() -> None:
    journal = Journal().call("apply_patch", ask=True, preview=PATCH, directory="/workspace").decide("approve")
    journal.add(RowKind.TOOL_INTENT, call_id="t1.s1.c0", boot_id="b", generation=1)
    changes = [{"path": "a.py", "kind": "add"}, {"path": "b.py", "kind": "update", "move_path": "c.py"}]
    journal.result(exit_code=0, duration_seconds=0.1, changes=changes)
    assert journal.events() == [
        ("ExecApprovalRequest", "patch A a.py, M b.py"),
        ("ApprovalDecided", "approved by alice after 12 s: patch A a.py, M b.py"),
        ("PatchApplyBegin", "patch A a.py, M b.py"),
        ("PatchApplyEnd", "exit 0 after 0.1 s: A a.py, M b.py → c.py"),
    ]


def test_a_person_who_decides_about_a_patch_sees_all_of_it() -> None:
    (pending,) = Journal().call("apply_patch", ask=True, preview=PATCH).status()["pendingApprovals"]
    assert pending["command"] == PATCH


def test_why_the_model_wants_something_is_shown_escaped_and_short() -> None:
    journal = Journal().call("exec_command", ask=True, preview="rm x", justification="it is\nold\x1b[2J" + "!" * 2000)
    (pending,) = journal.status()["pendingApprovals"]
    assert pending["justification"].startswith("it is old\\x1b[2J!!!")
    assert len(pending["justification"].encode()) <= 512
    (without,) = Journal().call("exec_command", ask=True, preview="rm x").status()["pendingApprovals"]
    assert "justification" not in without


def test_a_question_says_how_it_is_answered() -> None:
    journal = Journal().call("request_user_input", ask=True, preview=QUESTION + "\\nReally?\u202e")
    (pending,) = journal.status()["pendingApprovals"]
    assert pending["command"] == QUESTION + "\\nReally?\\u202e"
    message = journal.condition(conditions.AWAITING_APPROVAL)["message"]
    assert "kubectl annotate cxs/fix approval.codex-temporal.dev/id='answer: TEXT'" in message
    assert journal.condition(conditions.READY)["message"] == message


@pytest.mark.parametrize(("count", "hint"), [(2, "FIRST; SECOND"), (3, "FIRST; SECOND; THIRD")])
def test_several_questions_say_how_they_are_answered_at_once(count: int, hint: str) -> None:
    questions = {"questions": [{"id": f"q{number}", "question": "Really?\nYes?"} for number in range(count)]}
    journal = Journal().call("request_user_input", ask=True, preview="Really?", arguments=questions)
    for kind in (conditions.AWAITING_APPROVAL, conditions.READY):
        message = journal.condition(kind)["message"]
        assert f"{count} questions, answer them with: kubectl annotate cxs/fix" in message
        assert message.endswith(f"/id='answer: {hint}'")


def test_an_answer_is_an_answer_to_a_question_and_a_refusal_of_anything_else() -> None:
    question = Journal().call("request_user_input", ask=True, preview=QUESTION)
    question.decide("answer", "SQLite").result(outcome="answered")
    assert [summary for _, summary in question.events()[1:]] == [f"answered by alice after 12 s (SQLite): {QUESTION}"]
    command = Journal().call("exec_command", ask=True, preview="rm x").decide("answer", "use git rm")
    assert command.events()[-1][1] == "denied by alice after 12 s (use git rm): rm x"


def test_a_plan_is_told_by_how_far_it_is() -> None:
    steps = [("Read", "completed"), ("Write", "completed"), ("Test", "in_progress"), ("Ship", "pending")]
    plan = [{"step": step, "status": status} for step, status in steps]
    journal = Journal().call("update_plan", arguments={"plan": plan, "explanation": None}).result()
    assert journal.events() == [("PlanUpdate", "2 of 4 done, now: Test")]
    done = Journal().call("update_plan", arguments={"plan": plan[:2]}).result()
    assert done.events() == [("PlanUpdate", "2 of 2 done")]


def test_a_refused_plan_is_no_plan() -> None:
    journal = Journal().call("update_plan", preview="update_plan").result(outcome="refused")
    assert journal.events() == [("ToolCallEnd", "refused: update_plan")]


def test_a_compaction_is_told_with_its_reason_and_not_with_what_it_holds() -> None:
    journal = Journal().add(RowKind.COMPACTION, reason="limit", items=[{"role": "user", "content": "x" * 100_000}])
    assert journal.events() == [("ContextCompacted", "context compacted (limit)")]


def test_a_compaction_that_the_limits_do_not_allow_is_told_with_what_it_needs() -> None:
    journal = Journal().event("CompactionSkipped", reason="requested", message="used 9 of its 10 tokens")
    assert journal.events() == [("CompactionSkipped", "the conversation is not summarised: used 9 of its 10 tokens")]


def test_only_the_newest_diff_of_a_turn_is_shown() -> None:
    journal = Journal().diff(diff_of("a.py", "x\n", "y\n")).diff(diff_of("a.py", "x\n", "y\nz\n"))
    assert journal.events() == [("TurnDiff", "1 file, +2 -1: a.py")]
    journal.event("TurnComplete").event("TurnStarted", message=1).diff(diff_of("b.py", "", "y\n"), truncated=True)
    assert [summary for kind, summary in journal.events() if kind == "TurnDiff"] == [
        "1 file, +2 -1: a.py",
        "at least 1 file, +1 -0: b.py",
    ]
    assert Journal().diff("").events() == [("TurnDiff", "no file is changed any more")]


def diff_of(name: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(before.split("\n"), after.split("\n"), f"a/{name}", f"b/{name}", lineterm="")
    return "\n".join(lines)


@given(st.lists(st.text("ab+-@ \t", max_size=6), max_size=12), st.lists(st.text("ab+-@ \t", max_size=6), max_size=12))
def test_lines_that_look_like_headers_are_counted_as_lines(before: list[str], after: list[str]) -> None:
    diff = list(difflib.unified_diff(before, after, "a/x", "b/x", lineterm=""))
    summary = summarize_diff("\n".join(diff))
    assert summary.added == sum(line.startswith("+") for line in diff[2:])
    assert summary.removed == sum(line.startswith("-") for line in diff[2:])
    assert list(summary.files) == (["x"] if before != after else [])


def test_renamed_and_binary_files_have_no_lines_and_are_named() -> None:
    text = "diff --git a/old b/new\nrename from old\nrename to new\ndiff --git a/x.png b/x.png\nBinary files differ\n"
    text += "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x\n\\ No newline at end of file\n+y\n"
    assert summarize_diff(text).line(truncated=False) == "3 files, +1 -1: new, x.png, a.py"


def test_a_deleted_and_an_added_file_go_by_their_own_names() -> None:
    text = "--- a/old.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n--- /dev/null\n+++ b/new.py\n@@ -0,0 +1,2 @@\n+x\n+y\n"
    assert summarize_diff(text).line(truncated=False) == "2 files, +2 -1: old.py, new.py"


@given(st.text())
def test_whatever_a_sandbox_calls_a_diff_becomes_one_bounded_line(text: str) -> None:
    ((_, summary),) = Journal().diff(text).events()
    assert len(summary.encode()) <= 200
    assert summary.isprintable()


def test_what_priced_calls_cost_adds_up_exactly() -> None:
    journal = Journal()
    assert "cost" not in journal.add(RowKind.USAGE, model="m", output_tokens=5).status()["usage"]
    journal.add(RowKind.USAGE, model="m", cost_millionths=100_000).add(
        RowKind.USAGE, model="m", cost_millionths=200_001
    )
    assert journal.status()["usage"]["cost"] == "0.300001"


@pytest.mark.parametrize(
    ("amount", "millionths"), [("0", 0), ("2", 2_000_000), ("0.1", 100_000), ("2.50", 2_500_000), ("0.000001", 1)]
)
def test_money_is_counted_in_whole_millionths(amount: str, millionths: int) -> None:
    assert to_millionths(amount) == millionths
    assert to_millionths(from_millionths(millionths)) == millionths


@given(st.integers(0, 999_999_999_999_999))
def test_no_amount_changes_on_its_way_into_words_and_back(millionths: int) -> None:
    assert to_millionths(from_millionths(millionths)) == millionths


@pytest.mark.parametrize("amount", ["", ".5", "1.", "-1", "1e3", "1.0000001", "1,5", "one", "٣", " 1"])
def test_what_is_no_amount_is_refused(amount: str) -> None:
    with pytest.raises(ValueError, match="decimal number"):
        to_millionths(amount)


def test_the_new_limits_of_a_spec_are_journaled() -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    limits = {"maxCost": "2.50", "activeDeadlineSeconds": 600}
    spec = {"prompt": "x", "approval": {"policy": "OnRequest"}, "limits": limits, "outputSchema": schema}
    session = parse_session({"metadata": {"uid": "u", "namespace": "n", "name": "x"}, "spec": spec})
    settings = session_settings(session.spec, isolation_required=True)
    assert (settings.max_cost_millionths, settings.active_deadline_seconds) == (2_500_000, 600)
    assert settings.output_schema == schema
    assert settings.approval_policy == "OnRequest"
    assert settings.park_when_mendable


def test_a_session_whose_deadline_passed_has_failed_and_says_why() -> None:
    journal = Journal().event("TurnAborted", reason=conditions.REASON_DEADLINE_EXCEEDED)
    journal.add(RowKind.SESSION_CLOSED, reason=conditions.REASON_DEADLINE_EXCEEDED)
    assert journal.status()["phase"] == "Failed"
    for kind in (conditions.READY, conditions.COMPLETED):
        found = journal.condition(kind)
        assert (found["status"], found["reason"]) == ("False", "DeadlineExceeded")
        assert "limits.activeDeadlineSeconds" in found["message"]
    assert journal.events()[-1] == ("SessionClosed", "the session has failed: its deadline passed")


def test_calls_that_a_close_cut_short_keep_their_names() -> None:
    journal = Journal().call("apply_patch", ask=True, preview=PATCH)
    journal.add(RowKind.SESSION_CLOSED, reason=conditions.REASON_SESSION_CANCELLED)
    assert journal.status()["pendingApprovals"] == []
    journal.result(outcome="aborted").event("TurnAborted", reason=conditions.REASON_SESSION_CLOSED)
    assert journal.events()[-2] == ("PatchApplyEnd", "aborted: patch A a.py, M b.py")
    assert (journal.status()["phase"], journal.condition(conditions.IDLE)["status"]) == ("Cancelled", "True")


def test_a_session_that_is_over_says_how_its_last_turn_ended_where_that_was_not_well() -> None:
    journal = Journal().event("TurnAborted", reason=conditions.REASON_COST_LIMIT, message="0.50 are spent")
    journal.add(RowKind.SESSION_CLOSED, reason=conditions.REASON_SESSION_COMPLETED)
    told = "the session is over; its last turn ended with CostLimitReached: 0.50 are spent"
    assert journal.condition(conditions.COMPLETED)["message"] == told
    assert journal.condition(conditions.READY)["message"].startswith(told)
    assert journal.condition(conditions.IDLE)["reason"] == conditions.REASON_COST_LIMIT
    well = Journal().event("TurnComplete").add(RowKind.SESSION_CLOSED, reason=conditions.REASON_SESSION_COMPLETED)
    assert well.condition(conditions.COMPLETED)["message"] == "the session is over"


@pytest.mark.parametrize(
    ("end", "reason", "ready"),
    [
        ("TurnAborted", conditions.REASON_COST_LIMIT, "True"),
        ("TurnFailed", conditions.REASON_PRICE_UNKNOWN, "False"),
    ],
)
def test_a_turn_that_money_ended_says_so_in_its_conditions(end: str, reason: str, ready: str) -> None:
    journal = Journal().event(end, reason=reason, message="2.50 are spent")
    idle = journal.condition(conditions.IDLE)
    assert (idle["status"], idle["reason"], idle["message"]) == ("True", reason, "2.50 are spent")
    assert journal.condition(conditions.READY)["status"] == ready


def test_a_status_full_of_patches_and_questions_stays_small() -> None:
    journal = Journal()
    for index in range(20):
        call = {"call_id": f"c{index}", "approval_id": f"id{index}", "justification": "é" * 5000, "ask": True}
        if index % 2:
            journal.call("apply_patch", preview="\u202e" * 2048, **call)
        else:
            journal.call("request_user_input", preview="\u202e" * 2048, **call)
        journal.rows[-1].payload.update(approval_id=f"id{index}", call_id=f"c{index}")
        journal.diff("+++ b/" + "n" * 60_000)
    status = journal.status()
    assert len(status["pendingApprovals"]) == 8
    assert size(status) <= STATUS_BYTES
