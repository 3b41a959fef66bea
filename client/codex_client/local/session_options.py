"""What a new session may be told, with the defaults of one machine."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from codex_api.rows import SandboxMode, SessionSettings
from codex_api.session import ApprovalPolicy, ReasoningEffort

# A person decides at the same terminal: all of a command is shown, and a decision may take until tomorrow.
PREVIEW_BYTES = 256 * 1024
APPROVAL_TIMEOUT_SECONDS = 24 * 3600
MILLION = 1_000_000


@dataclass(frozen=True)
class SessionOptions:
    directory: Path
    """Absolute; where commands start and, in the mode workspace-write, what they may change."""
    sandbox: SandboxMode = SandboxMode.WORKSPACE_WRITE
    approval_policy: ApprovalPolicy | None = None
    """None: OnRequest in a sandbox, Untrusted without one."""
    model: str | None = None
    """None: the provider's default."""
    reasoning_effort: ReasoningEffort | None = None
    output_schema: dict[str, Any] | None = None
    max_steps: int = 50
    """Model calls per turn."""
    max_tokens: int = 2_000_000
    """Uncached input and output tokens of the whole session."""
    max_cost: Decimal | None = None
    """In the currency of the provider's price table, for the whole session."""
    turn_timeout_seconds: int = 3600
    """Waiting for a person does not count."""

    @property
    def policy(self) -> ApprovalPolicy:
        if self.approval_policy is not None:
            return self.approval_policy
        return ApprovalPolicy.UNTRUSTED if self.sandbox is SandboxMode.NONE else ApprovalPolicy.ON_REQUEST

    def settings(self, default_model: str) -> SessionSettings:
        """Return them as they are journaled."""
        return SessionSettings(
            model=self.model or default_model,
            reasoning_effort=self.reasoning_effort,
            approval_policy=self.policy,
            approval_timeout_seconds=APPROVAL_TIMEOUT_SECONDS,
            max_steps=self.max_steps,
            max_tokens=self.max_tokens,
            turn_timeout_seconds=self.turn_timeout_seconds,
            max_cost_millionths=None if self.max_cost is None else millionths(self.max_cost),
            output_schema=self.output_schema,
            park_when_mendable=False,
            preview_bytes=PREVIEW_BYTES,
            sandbox_mode=self.sandbox,
            isolation_required=False,
            workspace=str(self.directory),
        )


@dataclass(frozen=True)
class SettingsChange:
    """What may be different when a session goes on; None leaves it as it was."""

    model: str | None = None
    reasoning_effort: ReasoningEffort | None = None
    max_steps: int | None = None
    max_tokens: int | None = None
    max_cost: Decimal | None = None
    turn_timeout_seconds: int | None = None

    def applied_to(self, settings: SessionSettings) -> SessionSettings:
        changes: dict[str, Any] = {
            "model": self.model,
            "reasoning_effort": self.reasoning_effort,
            "max_steps": self.max_steps,
            "max_tokens": self.max_tokens,
            "max_cost_millionths": None if self.max_cost is None else millionths(self.max_cost),
            "turn_timeout_seconds": self.turn_timeout_seconds,
        }
        return settings.model_copy(update={name: value for name, value in changes.items() if value is not None})


def millionths(amount: Decimal) -> int:
    """Return an amount of money as the journal counts it; what is finer is cut off."""
    return int(amount * MILLION)
