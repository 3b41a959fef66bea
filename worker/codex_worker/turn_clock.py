"""The clock of a turn: it stands still while a person is waited for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class TurnClock:
    """All times in seconds; ``now`` and ``started_at`` since the epoch."""

    limit: float
    started_at: float
    waited: float = 0.0
    paused_at: float | None = None

    def pause(self, now: float) -> None:
        if self.paused_at is None:
            self.paused_at = now

    def resume(self, now: float) -> None:
        if self.paused_at is not None:
            self.waited += now - self.paused_at
            self.paused_at = None

    def remaining(self, now: float) -> float:
        """Return the seconds left, never negative."""
        until = self.paused_at if self.paused_at is not None else now
        return max(0.0, self.limit - (until - self.started_at - self.waited))
