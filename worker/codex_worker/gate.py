"""May this call run? The executor's own judgement, made from the journal and nothing the workflow was told. Pure."""

from __future__ import annotations

from codex_api.approvals import Decision, DecisionKind, approval_id
from codex_api.rows import Classification, SessionSettings, ToolCallPayload
from codex_api.session import ApprovalPolicy
from codex_api.tools import REQUEST_USER_INPUT
from codex_worker.tools import outcomes
from codex_worker.tools.catalogue import lets_run
from codex_worker.tools.digests import digest_of


class NotAllowed(Exception):
    """The call must not run now; the message says why."""


def require_allowed(call: ToolCallPayload, *, session: str, policy: ApprovalPolicy, decision: Decision | None) -> None:
    """Raise NotAllowed unless the call is automatic, or a person approved exactly what would run."""
    if call.digest != digest_of(call):
        raise NotAllowed("the journaled call does not match its digest")
    if call.classification is Classification.AUTOMATIC:
        return
    if call.classification is not Classification.ASK:
        raise NotAllowed(f"a call classified as {call.classification.value} never runs")
    if policy is ApprovalPolicy.NEVER:
        raise NotAllowed("nothing can be approved under policy Never")
    if call.truncated:
        raise NotAllowed("a call that could not be shown whole cannot be approved")
    expected = approval_id(session, call.nonce, call.digest, 0, 0)
    if _hash_of(call.approval_id) != _hash_of(expected):
        raise NotAllowed("the approval id does not belong to what would run")
    if decision is None or not lets_run(call.tool, decision.kind):
        raise NotAllowed("no person approved this call")


def told_instead(call: ToolCallPayload, settings: SessionSettings, decision: Decision | None) -> tuple[str, str]:
    """Return what the model reads of a call that was not let run, and the outcome of its result."""
    question = call.tool == REQUEST_USER_INPUT
    match decision.kind if decision is not None else None:
        case DecisionKind.EXPIRE:
            told = outcomes.unanswered if question else outcomes.expired
            return told(settings.approval_timeout_seconds), "expired"
        case DecisionKind.DENY | DecisionKind.ANSWER:
            assert decision is not None
            return (outcomes.declined if question else outcomes.denied)(decision.reason), "denied"
        case DecisionKind.APPROVE if question:
            return outcomes.declined(), "denied"
    return outcomes.failed("the call was not allowed to run"), "refused"


def _hash_of(identity: str) -> str:
    """Return the part of an approval id that binds; what stands before it only makes it readable."""
    return identity.rpartition("-")[2]
