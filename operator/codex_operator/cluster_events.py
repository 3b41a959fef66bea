"""Kubernetes Events of a CodexSession, for ``kubectl describe``: milestones only, each posted once.

The name of an Event is made of what it tells, so that a repeat is a conflict instead of a second Event.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from codex_api.events import SANDBOX_RESET
from codex_api.names import API_VERSION, KIND
from codex_api.session import EventStatus
from codex_operator.display import cut, one_line
from codex_operator.observations import Notice

COMPONENT = "codex-operator"
MESSAGE_BYTES = 1024
NAME_LIMIT = 253

NORMAL, WARNING = "Normal", "Warning"

# Types of status events that are milestones, with the reason and type of the Event.
MILESTONES = {
    "ExecApprovalRequest": ("ApprovalRequested", NORMAL),
    "ApprovalDecided": ("ApprovalDecided", NORMAL),
    "TurnComplete": ("TurnComplete", NORMAL),
    "TurnAborted": ("TurnAborted", WARNING),
    "TurnFailed": ("TurnFailed", WARNING),
    "SandboxNotIsolated": ("SandboxNotIsolated", WARNING),
    SANDBOX_RESET: ("SandboxReset", WARNING),
    "SessionClosed": ("SessionClosed", NORMAL),
}


@dataclass(frozen=True)
class Subject:
    """The object an Event is about."""

    uid: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Milestone:
    key: str
    """What makes it the same milestone when it is seen again."""
    reason: str
    kind: str
    message: str


def milestone(event: EventStatus) -> Milestone | None:
    if event.type not in MILESTONES:
        return None
    reason, kind = MILESTONES[event.type]
    return Milestone(f"seq/{event.seq}", reason, kind, event.summary)


def warning(notice: Notice) -> Milestone:
    return Milestone(f"{notice.reason}/{notice.message}", notice.reason, WARNING, notice.message)


def event_manifest(subject: Subject, told: Milestone, now: datetime) -> dict[str, Any]:
    hashed = hashlib.sha256(f"{subject.uid}/{told.key}".encode()).hexdigest()[:16]
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{subject.name[: NAME_LIMIT - 17]}.{hashed}", "namespace": subject.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
        },
        "type": told.kind,
        "reason": told.reason,
        "message": one_line(cut(told.message, MESSAGE_BYTES), MESSAGE_BYTES),
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
