"""What one operator process remembers of one session between reconciles; losing it costs work, never correctness."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass
class SessionMemory:
    journaled: bool = False
    run_id: str | None = None
    signalled: set[tuple[str, str]] = field(default_factory=set)
    """(run id, key) of every signal this process has sent."""
    acknowledged: set[str] = field(default_factory=set)
    """Approval ids whose decision has its event."""
    delivered: object = None
    """The run, journal and annotations of which everything was delivered."""
    addressed_generation: int = 0
    sandbox_seq: int = 0
    """The journal was read up to here for addresses and for sandboxes that were given up."""
    newest_address: int = 0
    """Newest generation with an address in the journal."""
    discarded_generation: int = 0
    """Up to this generation no sandbox is used again: its processes could not be stopped."""
    policy_applied: bool = False
    pods_created: int = 0
    pod_created_at: float = 0.0
    """Loop time of the last attempt to create a pod."""
    create_not_before: float = 0.0
    """Loop time before which no further pod is created."""
    wound_down: bool = False
    trouble: str = ""
    """Reason of the problem that the log was told of; empty while all is well."""
    deadline: datetime | None = None
    """When the operator ends the session, if nobody else has by then; None once it is over."""


@dataclass
class SessionWakeup:
    """Wakes a session's loop when the part of its object that matters has changed."""

    event: asyncio.Event = field(default_factory=asyncio.Event)
    signature: object = None
    served: bool = False
    """Whether a loop listens."""
    gone: bool = False
    """The object was deleted without a finalizer holding it."""

    def notice(self, body: Mapping[str, Any]) -> None:
        """Wake for a changed spec, annotation or deletion; a mere change of the status wakes nobody."""
        metadata = body["metadata"]
        signature = (
            metadata.get("generation"),
            tuple(sorted((metadata.get("annotations") or {}).items())),
            "deletionTimestamp" in metadata,
        )
        if signature != self.signature:
            self.signature = signature
            self.event.set()


class Wakeups:
    """The wake-ups of all sessions this process serves, by uid."""

    def __init__(self) -> None:
        self._wakeups: dict[str, SessionWakeup] = {}

    def of(self, uid: str) -> SessionWakeup:
        return self._wakeups.setdefault(uid, SessionWakeup())

    def wake(self, uid: str) -> None:
        """Wake a session's loop; a session that has none is none of ours."""
        if uid in self._wakeups:
            self._wakeups[uid].event.set()

    def end(self, uid: str) -> bool:
        """Tell a session's loop that its object is gone; return whether there was a loop to tell."""
        wakeup = self._wakeups.pop(uid, None)
        if wakeup is None or not wakeup.served:
            return False
        wakeup.gone = True
        wakeup.event.set()
        return True
