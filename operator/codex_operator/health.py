"""What the liveness endpoint shows. Only an endpoint that does not answer, a stuck event loop, ends the process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from codex_journal.errors import JournalError
from codex_journal.journal import Journal
from codex_operator.projector import Projector
from codex_operator.workflows import WorkflowError, Workflows

PING_SECONDS = 10.0
REACHABLE = "reachable"


@dataclass
class Health:
    """Asks in the background, so that a database that hangs cannot hang the endpoint."""

    journal: Journal
    workflows: Workflows
    projector: Projector
    last_watch_event: float | None = None
    """Loop time of the newest event of the API server."""
    seen: dict[str, str] = field(default_factory=lambda: {"journal": "not asked yet", "temporal": "not asked yet"})

    def beat(self) -> None:
        """Note that the watch of the API server lives."""
        self.last_watch_event = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Ask the journal and Temporal again and again, until cancelled."""
        while True:
            self.seen = {"journal": await self._journal(), "temporal": await self._temporal()}
            await asyncio.sleep(PING_SECONDS)

    def report(self) -> dict[str, object]:
        """Return what is known: reachability, and the seconds since the last beats (None: none yet)."""
        now = asyncio.get_running_loop().time()
        projector, watch = self.projector.last_beat, self.last_watch_event
        return {
            **self.seen,
            "projectorBeatAgeSeconds": round(now - projector, 1) if projector is not None else None,
            "watchEventAgeSeconds": round(now - watch, 1) if watch is not None else None,
        }

    async def _journal(self) -> str:
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self.journal.ping()
        except (JournalError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}"
        return REACHABLE

    async def _temporal(self) -> str:
        try:
            await self.workflows.ping()
        except WorkflowError as error:
            return f"{type(error).__name__}: {error}"
        return REACHABLE
