"""The status of a CodexSession: a bounded projection of its journal. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from codex_api.session import PendingApproval, SandboxStatus, SessionStatus, TurnStatus, WorkflowStatus
from codex_operator.display import cut
from codex_operator.observations import Observation
from codex_operator.session_view import SessionView
from codex_operator.status_conditions import ShownSession, phase, verdicts, with_times

STATUS_BYTES = 64 * 1024
PENDING_LIMIT = 8
SHORT_COMMAND_BYTES = 256
SHORT_MESSAGE_BYTES = 1024

StatusDocument = dict[str, Any]


def size(document: Mapping[str, Any]) -> int:
    """Return the document's size in bytes as it travels: JSON in UTF-8."""
    return len(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))


def _document(status: SessionStatus) -> StatusDocument:
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _shortened(pending: PendingApproval) -> PendingApproval:
    """Show less of a command; what is not shown whole is marked and cannot be approved."""
    short = cut(pending.command, SHORT_COMMAND_BYTES)
    return pending.model_copy(update={"command": short, "truncated": pending.truncated or short != pending.command})


def bounded(status: SessionStatus) -> StatusDocument:
    """Return the status in at most 64 KiB: old events go first, then a long message, whole commands last."""
    document = _document(status)
    while size(document) > STATUS_BYTES and status.events:
        status = status.model_copy(update={"events": status.events[len(status.events) // 2 + 1 :]})
        document = _document(status)
    if size(document) > STATUS_BYTES and len(status.last_message or "") > SHORT_MESSAGE_BYTES:
        short = cut(status.last_message or "", SHORT_MESSAGE_BYTES)
        status = status.model_copy(update={"last_message": short, "last_message_truncated": True})
        document = _document(status)
    for index in reversed(range(len(status.pending_approvals))):
        if size(document) <= STATUS_BYTES:
            break
        pending = list(status.pending_approvals)
        pending[index] = _shortened(pending[index])
        status = status.model_copy(update={"pending_approvals": pending})
        document = _document(status)
    return document


def session_status(
    view: SessionView,
    seen: Observation,
    shown: ShownSession,
    *,
    before: Mapping[str, Any],
    now: datetime,
) -> StatusDocument:
    """Return the whole status; ``before`` is the last one, for the times of its conditions."""
    generation = seen.observed_generation
    conditions = with_times(verdicts(view, seen, shown), before.get("conditions") or (), generation, now)
    sandbox, message = seen.sandbox, view.last_message
    status = SessionStatus(
        observed_generation=generation,
        phase=phase(view),
        conditions=conditions,
        workflow=WorkflowStatus(id=seen.workflow_id, run_id=seen.run_id) if seen.workflow_id else None,
        sandbox=SandboxStatus(pod_name=sandbox.pod_name, generation=sandbox.generation) if sandbox.pod_name else None,
        turn=TurnStatus(number=view.turn) if view.turn else None,
        pending_approvals=list(view.pending[:PENDING_LIMIT]),
        usage=view.usage,
        last_message=message.text if message else None,
        last_message_truncated=message.truncated if message else None,
        events=list(view.events),
        last_event_seq=view.seq,
    )
    return bounded(status)
