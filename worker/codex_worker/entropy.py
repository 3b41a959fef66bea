"""Time and randomness inside the workflow: replay-safe, and the only source of both there."""

from __future__ import annotations

import random
import uuid
from datetime import datetime

from temporalio import workflow


class TemporalClock:
    """Workflow time: the same at every replay."""

    def now(self) -> datetime:
        return workflow.now()

    def timestamp(self) -> float:
        """Return seconds since the epoch."""
        return workflow.time()

    def rfc3339(self, seconds: float | None = None) -> str:
        """Return a UTC time, now unless seconds since the epoch are given, as Kubernetes writes it."""
        moment = self.now() if seconds is None else datetime.fromtimestamp(seconds, tz=self.now().tzinfo)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class TemporalRandomSource:
    """Randomness seeded by the server: the same at every replay."""

    def random(self) -> random.Random:
        return workflow.random()

    def uuid(self) -> uuid.UUID:
        return workflow.uuid4()
