"""The journal folded into a status: order, bounds, conditions, phase."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex_api import conditions
from codex_api.rows import RowKind
from codex_api.session import NetworkMode
from codex_journal.rows import Row
from codex_operator.observations import Observation, Problem, SandboxObservation
from codex_operator.session_view import RING_SIZE, SessionView, fold
from codex_operator.status import PENDING_LIMIT, STATUS_BYTES, session_status, size
from codex_operator.status_conditions import ShownSession

SHOWN = ShownSession("fix", NetworkMode.NONE)
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
READY_SANDBOX = SandboxObservation(True, conditions.REASON_SANDBOX_RUNNING, "running", "pod-g1", 1)
SEEN = Observation(observed_generation=1, workflow_id="codex/x", run_id="run", sandbox=READY_SANDBOX)
TIMES = {"request_time": "2026-01-02T03:04:06Z", "expiration_time": "2026-01-02T04:04:06Z"}


class Story:
    """A journal being written."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, kind: RowKind, **payload: Any) -> Story:
        seq = len(self.rows) + 1
        at = START + timedelta(seconds=seq)
        self.rows.append(Row("uid", seq, 1, 1, 0, kind, f"claim/{seq}", 0, payload, at))
        return self

    def event(self, kind: str, **payload: Any) -> Story:
        return self.add(RowKind.EVENT, type=kind, turn=1, **payload)

    def prompt(self) -> Story:
        return self.add(RowKind.SESSION_OPENED).add(RowKind.MESSAGE, key="prompt", text="Do it.", delivery="Queue")

    def turn(self) -> Story:
        return self.prompt().event("TurnStarted", message=2)

    def call(self, index: int = 0, preview: str = "make test", **payload: Any) -> Story:
        call_id = f"t1.s1.c{index}"
        return self.add(
            RowKind.TOOL_CALL,
            call_id=call_id,
            provider_call_id="x",
            index=index,
            tool="exec_command",
            classification="ask",
            preview=preview,
            directory="/workspace",
            digest="sha256:0",
            approval_id=f"id-{index}",
            **payload,
        )

    def ask(self, index: int = 0, preview: str = "make test", **payload: Any) -> Story:
        self.call(index, preview, **payload)
        return self.event("ExecApprovalRequest", approval_id=f"id-{index}", call_id=f"t1.s1.c{index}", **TIMES)

    def decide(self, index: int = 0, decision: str = "approve") -> Story:
        return self.event(
            "ApprovalDecided",
            approval_id=f"id-{index}",
            call_id=f"t1.s1.c{index}",
            decision=decision,
            decided_by="alice",
            waited_seconds=12.4,
        )

    def result(self, index: int = 0, **payload: Any) -> Story:
        payload = {"exit_code": 0, "duration_seconds": 1.2, **payload}
        return self.add(RowKind.TOOL_RESULT, call_id=f"t1.s1.c{index}", item={}, **payload)

    def view(self) -> SessionView:
        return reduce(fold, self.rows, SessionView())

    def status(self, seen: Observation = SEEN, before: dict[str, Any] | None = None) -> dict[str, Any]:
        return session_status(self.view(), seen, SHOWN, before=before or {}, now=START)

    def condition(self, kind: str, seen: Observation = SEEN) -> tuple[str, str]:
        (found,) = (c for c in self.status(seen)["conditions"] if c["type"] == kind)
        return found["status"], found["reason"]


def test_all_conditions_are_there_from_the_first_visit() -> None:
    status = session_status(SessionView(), Observation(), SHOWN, before={}, now=START)
    assert [condition["type"] for condition in status["conditions"]] == list(conditions.ALL_TYPES)
    assert all(condition["reason"] and condition["lastTransitionTime"] for condition in status["conditions"])
    assert status["phase"] == "Pending"


def test_a_whole_turn_reads_like_a_story() -> None:
    story = Story().turn().ask().decide()
    story.add(RowKind.TOOL_INTENT, call_id="t1.s1.c0", boot_id="b", generation=1).result()
    story.event("TurnComplete", last_agent_message="All tests pass.", message_seq=9)
    shown = [(event["type"], event["summary"]) for event in story.status()["events"]]
    assert shown == [
        ("TurnStarted", "turn 1 started"),
        ("ExecApprovalRequest", "make test"),
        ("ApprovalDecided", "approved by alice after 12 s: make test"),
        ("ExecCommandBegin", "make test"),
        ("ExecCommandEnd", "exit 0 after 1.2 s: make test"),
        ("TurnComplete", "turn 1: All tests pass."),
    ]
    assert story.status()["lastMessage"] == "All tests pass."
    assert story.status()["phase"] == "Idle"
    assert story.condition(conditions.IDLE) == ("True", conditions.REASON_TURN_COMPLETE)


def test_a_pending_approval_shows_what_would_run() -> None:
    status = Story().turn().ask(preview="rm -rf build").status()
    (pending,) = status["pendingApprovals"]
    assert pending == {
        "id": "id-0",
        "kind": "Exec",
        "command": "rm -rf build",
        "directory": "/workspace",
        "digest": "sha256:0",
        "truncated": False,
        "requestTime": TIMES["request_time"],
        "expirationTime": TIMES["expiration_time"],
    }
    assert status["phase"] == "AwaitingApproval"


@pytest.mark.parametrize(
    "end",
    [
        lambda story: story.decide(),
        lambda story: story.decide(decision="expire"),
        lambda story: story.event("TurnAborted", reason=conditions.REASON_INTERRUPTED),
        lambda story: story.add(RowKind.SESSION_CLOSED, reason=conditions.REASON_SESSION_CANCELLED),
    ],
    ids=["decided", "expired", "turn aborted", "session closed"],
)
def test_an_approval_is_pending_until_it_is_decided_or_moot(end: Any) -> None:
    story = Story().turn().ask()
    assert story.condition(conditions.AWAITING_APPROVAL)[0] == "True"
    end(story)
    assert story.condition(conditions.AWAITING_APPROVAL) == ("False", conditions.REASON_NOTHING_PENDING)
    assert story.status()["pendingApprovals"] == []


@pytest.mark.parametrize("call_id", ["t1.s1.c0", "t1.s1.c7"], ids=["another call", "no call"])
def test_an_event_cannot_show_another_command_under_an_approval_id(call_id: str) -> None:
    story = Story().turn().call(0, "ls").ask(1, "rm -rf /")
    before = story.status()
    story.event("ExecApprovalRequest", approval_id="id-1", call_id=call_id, **TIMES)
    story.event("ExecApprovalRequest", approval_id="id-9", call_id=call_id, **TIMES)
    assert story.status()["pendingApprovals"] == before["pendingApprovals"]
    assert story.status()["events"] == before["events"]


def test_deceiving_characters_of_a_command_are_escaped() -> None:
    (pending,) = Story().turn().ask(preview="ls \u202e\x1b[2Jx").status()["pendingApprovals"]
    assert pending["command"] == "ls \\u202e\\x1b[2Jx"


def test_a_command_that_is_not_shown_whole_is_marked() -> None:
    (pending,) = Story().turn().ask(preview="x" * 5000).status()["pendingApprovals"]
    assert pending["truncated"] is True


def test_usage_adds_up() -> None:
    story = Story().turn()
    for _ in range(2):
        story.add(RowKind.USAGE, model="m", input_tokens=100, cached_input_tokens=60, output_tokens=7)
    story.call().result()
    assert story.status()["usage"] == {
        "modelCalls": 2,
        "toolCalls": 1,
        "inputTokens": 200,
        "cachedInputTokens": 120,
        "outputTokens": 14,
        "totalTokens": 214,
    }


def test_a_retry_shows_why_the_session_waits_until_the_model_answers() -> None:
    story = Story().turn()
    story.add(RowKind.MODEL_RETRY, attempt=2, reason="ProviderUnauthorized", message="no key", until="soon")
    assert story.condition(conditions.READY) == ("False", "ProviderUnauthorized")
    story.add(RowKind.USAGE, model="m")
    assert story.condition(conditions.READY) == ("True", conditions.REASON_RUNNING)


def retried(story: Story, times: int, seconds: int = 60, reason: str = "ProviderUnauthorized", **place: int) -> None:
    """Journal so many failures, each to be tried again after so long."""
    for attempt in range(1, times + 1):
        until = (START + timedelta(seconds=len(story.rows) + 1 + seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        story.add(RowKind.MODEL_RETRY, attempt=attempt, reason=reason, message="no key", until=until)
        story.rows[-1] = replace(story.rows[-1], **place)


def retry_lines(story: Story) -> list[str]:
    return [event["summary"] for event in story.status()["events"] if event["type"] == "ModelRetry"]


def test_a_parked_provider_does_not_push_the_story_out_of_the_ring() -> None:
    story = Story().turn()
    retried(story, 3 * RING_SIZE)
    events = story.status()["events"]
    assert [event["type"] for event in events] == ["TurnStarted", "ModelRetry"]
    assert events[-1]["seq"] == len(story.rows)
    assert events[-1]["summary"] == "ProviderUnauthorized, tried 96 times, next at 2026-01-02T03:06:44Z: no key"
    (ready,) = (c for c in story.status()["conditions"] if c["type"] == conditions.READY)
    assert ready["message"] == "no key (tried 96 times, next at 2026-01-02T03:06:44Z)"


def test_retries_of_other_reasons_and_of_other_steps_are_told_apart() -> None:
    story = Story().turn()
    retried(story, 2)
    retried(story, 1, reason="ModelUnavailable")
    retried(story, 1)
    retried(story, 1, step=2)
    assert [line.split(", next")[0] for line in retry_lines(story)] == [
        "ModelUnavailable, tried once",
        "ProviderUnauthorized, tried 3 times",
        "ProviderUnauthorized, tried once",
    ]


def test_a_final_failure_promises_no_next_attempt() -> None:
    story = Story().turn()
    retried(story, 2)
    retried(story, 1, seconds=0)
    assert retry_lines(story) == ["ProviderUnauthorized, tried 3 times: no key"]
    assert "next at" not in str(story.status()["conditions"])


@pytest.mark.parametrize("kind", ["TurnFailed", "TurnAborted"])
def test_the_end_of_a_turn_takes_back_the_promise_of_a_next_attempt(kind: str) -> None:
    story = Story().turn()
    retried(story, 1)
    assert "next at" in retry_lines(story)[0]
    story.event(kind, reason=conditions.REASON_TURN_TIMEOUT)
    assert retry_lines(story) == ["ProviderUnauthorized, tried once: no key"]


def test_the_cost_of_a_failed_attempt_does_not_end_the_waiting() -> None:
    story = Story().turn()
    retried(story, 1)
    story.add(RowKind.USAGE, model="m", input_tokens=5)
    story.rows[-1] = replace(story.rows[-1], claim=story.rows[-2].claim)
    assert story.condition(conditions.READY) == ("False", "ProviderUnauthorized")


@pytest.mark.parametrize(
    "reason",
    [
        conditions.REASON_SANDBOX_IMAGE,
        conditions.REASON_SANDBOX_REFUSED,
        conditions.REASON_SANDBOX_UNSCHEDULABLE,
        conditions.REASON_SANDBOX_LOST,
    ],
)
def test_a_turn_that_cannot_have_a_sandbox_is_not_ready(reason: str) -> None:
    seen = replace(SEEN, sandbox=SandboxObservation(False, reason, "use another image", "pod-g1", 1))
    for story in (Story().turn(), Story().turn().ask()):
        (ready,) = (c for c in story.status(seen)["conditions"] if c["type"] == conditions.READY)
        assert (ready["status"], ready["reason"], ready["message"]) == ("False", reason, "use another image")
    done = Story().turn().event("TurnComplete")
    assert done.condition(conditions.READY, seen) == ("True", conditions.REASON_TURN_COMPLETE)


def test_a_sandbox_that_is_starting_does_not_make_a_running_turn_unready() -> None:
    seen = replace(SEEN, sandbox=SandboxObservation(False, conditions.REASON_SANDBOX_STARTING, "starting", "pod-g1", 1))
    assert Story().turn().condition(conditions.READY, seen) == ("True", conditions.REASON_RUNNING)


def test_a_failed_turn_leaves_the_session_idle_but_not_ready() -> None:
    story = Story().turn().event("TurnFailed", reason=conditions.REASON_MODEL_UNKNOWN, message="no such model")
    assert story.condition(conditions.IDLE) == ("True", conditions.REASON_MODEL_UNKNOWN)
    assert story.condition(conditions.READY) == ("False", conditions.REASON_MODEL_UNKNOWN)


def test_what_a_reconcile_saw_wins_over_what_the_journal_says() -> None:
    seen = replace(SEEN, problem=Problem(conditions.REASON_JOURNAL_UNAVAILABLE, "away"))
    assert Story().turn().condition(conditions.READY, seen) == ("False", conditions.REASON_JOURNAL_UNAVAILABLE)


@pytest.mark.parametrize(
    ("reason", "phase", "completed"),
    [
        (conditions.REASON_SESSION_COMPLETED, "Completed", "True"),
        (conditions.REASON_SESSION_CANCELLED, "Cancelled", "False"),
    ],
)
def test_a_closed_session_says_how_it_ended(reason: str, phase: str, completed: str) -> None:
    story = Story().turn().event("TurnComplete").add(RowKind.SESSION_CLOSED, reason=reason)
    assert story.status()["phase"] == phase
    assert story.condition(conditions.COMPLETED) == (completed, reason)
    assert story.condition(conditions.IDLE)[0] == "True"


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({"ready": True, "isolated": True}, ("True", conditions.REASON_ISOLATED)),
        ({"ready": True, "isolated": False, "reached": ["api-server"]}, ("False", conditions.REASON_REACHED)),
        ({"ready": True, "isolated": None}, ("Unknown", conditions.REASON_NOT_PROBED)),
    ],
)
def test_isolation_is_what_the_sandbox_reported(report: dict[str, Any], expected: tuple[str, str]) -> None:
    story = Story().turn().add(RowKind.SANDBOX_REPORT, generation=1, reason="x", **report)
    assert story.condition(conditions.NETWORK_ISOLATED) == expected


def test_commands_that_wait_for_isolation_make_the_session_not_ready() -> None:
    story = Story().turn()
    story.add(RowKind.SANDBOX_REPORT, generation=1, reason="x", ready=True, isolated=False, reached=["api-server"])
    assert story.condition(conditions.READY) == ("False", conditions.REASON_REACHED)
    shown = ShownSession("fix", NetworkMode.NONE, isolation_required=False)
    status = session_status(story.view(), SEEN, shown, before={}, now=START)
    assert status["conditions"][0]["reason"] == conditions.REASON_RUNNING


def test_a_new_generation_has_not_been_probed_yet() -> None:
    story = Story().turn().add(RowKind.SANDBOX_REPORT, generation=1, reason="x", ready=True, isolated=True)
    story.add(RowKind.SANDBOX_ADDRESS, generation=2, host="10.0.0.2", port=7443)
    assert story.condition(conditions.NETWORK_ISOLATED) == ("Unknown", conditions.REASON_NOT_PROBED)


def test_a_sandbox_that_the_worker_cannot_reach_is_not_ready() -> None:
    report = {"generation": 1, "ready": False, "reason": conditions.REASON_SANDBOX_UNREACHABLE}
    story = Story().turn().add(RowKind.SANDBOX_REPORT, **report)
    assert story.condition(conditions.SANDBOX_READY) == ("False", conditions.REASON_SANDBOX_UNREACHABLE)


def test_transition_times_change_only_with_the_status() -> None:
    before = Story().turn().status()
    later = START + timedelta(hours=1)
    story = Story().turn().ask()
    after = session_status(story.view(), SEEN, SHOWN, before=before, now=later)
    times = {c["type"]: c["lastTransitionTime"] for c in after["conditions"]}
    assert times[conditions.READY] == "2026-01-02T03:04:05Z"
    assert times[conditions.AWAITING_APPROVAL] == "2026-01-02T04:04:05Z"


def test_a_row_seen_twice_counts_once() -> None:
    story = Story().turn().add(RowKind.USAGE, model="m", input_tokens=5).ask()
    twice = reduce(fold, [*story.rows, *story.rows], SessionView())
    assert twice == story.view()


texts = st.text(max_size=3000)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 40), texts),
        st.tuples(st.just("decide"), st.integers(0, 40), st.just("")),
        st.tuples(st.just("result"), st.integers(0, 40), st.just("")),
        st.tuples(st.just("complete"), st.just(0), texts),
        st.tuples(st.just("retry"), st.just(0), texts),
        st.tuples(st.just("report"), st.just(0), texts),
    ),
    max_size=60,
)


def tell(story: Story, step: str, index: int, text: str) -> None:
    match step:
        case "ask":
            story.ask(index, text)
        case "decide":
            story.decide(index)
        case "result":
            story.result(index)
        case "complete":
            story.event("TurnComplete", last_agent_message=text)
        case "retry":
            story.add(RowKind.MODEL_RETRY, attempt=1, reason="ModelRateLimited", message=text, until="soon")
        case "report":
            story.add(RowKind.SANDBOX_REPORT, generation=1, ready=False, reason="SandboxLost", message=text)


@settings(max_examples=40, deadline=None)
@given(steps)
def test_whatever_is_journaled_the_status_stays_within_its_bounds_and_in_order(told: list[Any]) -> None:
    story = Story().turn()
    for step, index, text in told:
        tell(story, step, index, text)
    status = story.status()
    assert size(status) <= STATUS_BYTES
    assert len(status["pendingApprovals"]) <= PENDING_LIMIT
    seqs = [event["seq"] for event in status["events"]]
    assert seqs == sorted(set(seqs))
    assert len(seqs) <= RING_SIZE
    assert all("\n" not in event["summary"] and len(event["summary"].encode()) <= 200 for event in status["events"])
    assert len(status.get("lastMessage", "").encode()) <= 1024
    assert status["lastEventSeq"] == len(story.rows)


def test_eight_approvals_of_the_widest_characters_still_fit() -> None:
    story = Story().turn()
    for index in range(12):
        story.ask(index, "\U0001f600" * 2048)
    status = story.status()
    assert size(status) <= STATUS_BYTES
    assert len(status["pendingApprovals"]) == PENDING_LIMIT
    for pending in status["pendingApprovals"]:
        assert pending["truncated"] is (len(pending["command"]) < 2048)
