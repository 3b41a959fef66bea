"""Conditions and phase of a session, derived from its journal and from what the last reconcile saw. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from codex_api import conditions
from codex_api.names import APPROVAL_PREFIX
from codex_api.session import Condition, NetworkMode, Phase
from codex_operator.call_notes import KIND_QUESTION
from codex_operator.display import paragraph
from codex_operator.observations import Observation
from codex_operator.session_view import SessionView

MESSAGE_BYTES = 2048
# Without a sandbox no command runs, and these do not pass by themselves soon.
STUCK_SANDBOX = frozenset(
    {
        conditions.REASON_SANDBOX_IMAGE,
        conditions.REASON_SANDBOX_REFUSED,
        conditions.REASON_SANDBOX_UNSCHEDULABLE,
        conditions.REASON_SANDBOX_LOST,
    }
)
# A session that was closed for any other reason has failed.
CLOSED_PHASES = {
    conditions.REASON_SESSION_COMPLETED: Phase.COMPLETED,
    conditions.REASON_SESSION_CANCELLED: Phase.CANCELLED,
}
SESSION_OVER = "the session is over"
# Ends of a last turn that tell nothing which the session's own end does not.
EXPECTED_ENDS = frozenset(
    {conditions.REASON_TURN_COMPLETE, conditions.REASON_SESSION_CLOSED, conditions.REASON_DEADLINE_EXCEEDED}
)
ANSWERS = ("FIRST", "SECOND", "THIRD")  # of as many questions as a call may hold
DEADLINE_OVER = "the session is over: the time that limits.activeDeadlineSeconds allows has passed"
ISOLATION_CURE = "Use a cluster that does, or install with sandbox.isolation=Reported"


@dataclass(frozen=True)
class ShownSession:
    """What a status needs to know of the session's object and of the installation."""

    name: str
    network: NetworkMode
    isolation_required: bool = True
    """Whether commands wait until the sandbox is isolated (network mode None only)."""


@dataclass(frozen=True)
class Verdict:
    """A condition without its times."""

    status: bool | None
    """None: Unknown."""
    reason: str
    message: str


def rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def phase(view: SessionView) -> Phase:
    if view.closed is not None:
        return CLOSED_PHASES.get(view.closed, Phase.FAILED)
    if view.pending:
        return Phase.AWAITING_APPROVAL
    if view.turn_running:
        return Phase.RUNNING
    if view.last_end is not None and not view.waiting_messages:
        return Phase.IDLE
    return Phase.RUNNING if view.last_end is not None else Phase.PENDING


def _ready(view: SessionView, seen: Observation, shown: ShownSession) -> Verdict:
    if view.closed is not None:
        return Verdict(False, view.closed, f"{_over(view)}; create a new CodexSession to go on working")
    if seen.problem is not None:
        return Verdict(False, seen.problem.reason, seen.problem.message)
    if view.retry is not None:
        return Verdict(False, view.retry.reason, f"{view.retry.message} ({view.retry.outlook})")
    sandbox = _sandbox_ready(view, seen)
    if (view.turn_running or view.pending) and not sandbox.status and sandbox.reason in STUCK_SANDBOX:
        return sandbox
    if view.pending:
        return Verdict(True, conditions.REASON_WAITING_FOR_DECISION, _approval_message(view, shown.name))
    isolation = _network_isolated(view, shown.network)
    if view.turn_running and shown.isolation_required and isolation.reason == conditions.REASON_REACHED:
        return Verdict(False, isolation.reason, f"commands wait, because {isolation.message} {ISOLATION_CURE}")
    if view.turn_running:
        return Verdict(True, conditions.REASON_RUNNING, f"turn {view.turn} is running")
    if view.last_end is not None:
        return Verdict(not view.last_end.failed, view.last_end.reason, view.last_end.message)
    if seen.run_id is not None:
        return Verdict(False, conditions.REASON_PENDING, "the workflow waits for a worker")
    return Verdict(False, conditions.REASON_PENDING, "the session is being set up")


def _sandbox_ready(view: SessionView, seen: Observation) -> Verdict:
    sandbox, report = seen.sandbox, view.report
    # A worker's report is newer than the kubelet's probe, but says nothing about a pod that came after it.
    if sandbox.ready and report is not None and not report.ready and report.generation == sandbox.generation:
        return Verdict(False, report.reason, report.message or "the worker cannot use the sandbox")
    return Verdict(sandbox.ready, sandbox.reason, sandbox.message)


def _network_isolated(view: SessionView, network: NetworkMode) -> Verdict:
    if network is NetworkMode.INTERNET:
        return Verdict(False, conditions.REASON_NETWORK_NOT_RESTRICTED, "spec.sandbox.network.mode is Internet")
    report = view.report
    if report is None or report.isolated is None or report.generation < view.sandbox_generation:
        return Verdict(None, conditions.REASON_NOT_PROBED, "tested when the first command is about to run")
    if report.isolated:
        return Verdict(True, conditions.REASON_ISOLATED, "the sandbox could not reach anything that it tried")
    reached = ", ".join(report.reached) or "the network"
    message = f"the sandbox reached {reached}: does this cluster enforce NetworkPolicies?"
    return Verdict(False, conditions.REASON_REACHED, message)


def _approval_message(view: SessionView, name: str) -> str:
    first, others = view.pending[0], len(view.pending) - 1
    more = f" ({others} more wait)" if others else ""
    annotate = f"kubectl annotate cxs/{name} {APPROVAL_PREFIX}{first.id}"
    if first.kind == KIND_QUESTION:
        return f"the agent has {_question(view, first.id, annotate)}{more}"
    decision = "deny" if first.truncated else "approve"
    return f"decide with: {annotate}={decision}{more}"


def _question(view: SessionView, approval_id: str, annotate: str) -> str:
    count = next((note.questions for note in view.open_calls.values() if note.approval_id == approval_id), 1)
    if count == 1:
        return f"a question, answer it with: {annotate}='answer: TEXT'"
    return f"{count} questions, answer them with: {annotate}='answer: {'; '.join(ANSWERS[:count])}'"


def _awaiting_approval(view: SessionView, shown: ShownSession) -> Verdict:
    if view.pending:
        return Verdict(True, conditions.REASON_WAITING_FOR_DECISION, _approval_message(view, shown.name))
    return Verdict(False, conditions.REASON_NOTHING_PENDING, "nothing waits for a decision")


def _idle(view: SessionView) -> Verdict:
    if view.turn_running:
        return Verdict(False, conditions.REASON_TURN_RUNNING, f"turn {view.turn} is running")
    if view.closed is not None and view.last_end is None:
        return Verdict(True, conditions.REASON_SESSION_CLOSED, "the session was closed before its first turn ended")
    if view.last_end is None or (view.waiting_messages and view.closed is None):
        return Verdict(False, conditions.REASON_PENDING, "a turn is about to start")
    return Verdict(True, view.last_end.reason, view.last_end.message)


def _completed(view: SessionView) -> Verdict:
    if view.closed is None:
        return Verdict(False, conditions.REASON_SESSION_OPEN, "the session is open")
    return Verdict(view.closed == conditions.REASON_SESSION_COMPLETED, view.closed, _over(view))


def _over(view: SessionView) -> str:
    if view.closed == conditions.REASON_DEADLINE_EXCEEDED:
        return DEADLINE_OVER
    if view.last_end is None or view.last_end.reason in EXPECTED_ENDS:
        return SESSION_OVER
    return f"{SESSION_OVER}; its last turn ended with {view.last_end.reason}: {view.last_end.message}"


def verdicts(view: SessionView, seen: Observation, shown: ShownSession) -> dict[str, Verdict]:
    """Return all conditions; each is there from the first visit."""
    return {
        conditions.READY: _ready(view, seen, shown),
        conditions.SANDBOX_READY: _sandbox_ready(view, seen),
        conditions.NETWORK_ISOLATED: _network_isolated(view, shown.network),
        conditions.AWAITING_APPROVAL: _awaiting_approval(view, shown),
        conditions.IDLE: _idle(view),
        conditions.COMPLETED: _completed(view),
    }


def with_times(
    wanted: Mapping[str, Verdict], before: Iterable[Mapping[str, Any]], generation: int | None, now: datetime
) -> list[Condition]:
    """Give verdicts their times; lastTransitionTime changes only when the status does."""
    known = {condition.get("type"): condition for condition in before}
    result = []
    for kind, verdict in wanted.items():
        status = "Unknown" if verdict.status is None else str(verdict.status)
        old = known.get(kind, {})
        since = old.get("lastTransitionTime") if old.get("status") == status else None
        result.append(
            Condition(
                type=kind,
                status=status,
                reason=verdict.reason,
                message=paragraph(verdict.message, MESSAGE_BYTES),
                last_transition_time=since or rfc3339(now),
                observed_generation=generation,
            )
        )
    return result
