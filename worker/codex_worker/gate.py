"""May this call run? The executor's own judgement, made from the journal and nothing the workflow was told. Pure."""

from __future__ import annotations

from codex_api.approvals import Decision, DecisionKind, approval_id
from codex_api.rows import Classification, ToolCallPayload
from codex_api.session import ApprovalPolicy
from codex_sandbox.digest import command_digest, write_digest


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
    if decision is None or decision.kind is not DecisionKind.APPROVE:
        raise NotAllowed("no person approved this call")


def digest_of(call: ToolCallPayload) -> str:
    """Return the digest of what the call would execute, computed anew from its arguments."""
    if call.argv:
        return command_digest(call.argv, call.directory, call.stdin, call.environment, call.tty)
    process = call.arguments.get("session_id")
    return write_digest(process if isinstance(process, int) else -1, str(call.arguments.get("chars", "")))


def _hash_of(identity: str) -> str:
    """Return the part of an approval id that binds; what stands before it only makes it readable."""
    return identity.rpartition("-")[2]
