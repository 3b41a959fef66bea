"""What a reconcile saw, handed to the projector: the part of the status that does not stand in the journal."""

from __future__ import annotations

from dataclasses import dataclass

from codex_api import conditions


@dataclass(frozen=True)
class Problem:
    """Something that keeps a session from going on, as a condition's reason with the cure in its message."""

    reason: str
    message: str


@dataclass(frozen=True)
class Notice:
    """Something a person should read once, as a Warning event of the object."""

    reason: str
    message: str


@dataclass(frozen=True)
class SandboxObservation:
    ready: bool
    reason: str
    message: str
    pod_name: str | None = None
    generation: int | None = None


SANDBOX_PENDING = SandboxObservation(
    ready=False, reason=conditions.REASON_SANDBOX_STARTING, message="the sandbox pod has not been created yet"
)


@dataclass(frozen=True)
class Observation:
    observed_generation: int | None = None
    problem: Problem | None = None
    workflow_id: str | None = None
    run_id: str | None = None
    sandbox: SandboxObservation = SANDBOX_PENDING
    notices: tuple[Notice, ...] = ()
