"""What of a session lasts from one opening to the next on this machine: its lock and its sandbox."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Self

from codex_client.local.sandbox import LocalSandbox
from codex_client.local.session_lock import SessionLock


class KeptSession:
    """``async with``: nobody else gets the session, and its commands go on, while openings of it follow each other."""

    def __init__(self) -> None:
        self._lock: SessionLock | None = None
        self._sandbox: LocalSandbox | None = None

    def lock(self, folder: Path, session: str) -> None:
        """Take the session unless it is ours already; raises SessionInUse."""
        if self._lock is None:
            lock = SessionLock(folder, session)
            lock.acquire()
            self._lock = lock

    def sandbox(self, make: Callable[[], LocalSandbox]) -> LocalSandbox:
        """Return the sandbox of the opening before, or one that is made now and not started yet."""
        if self._sandbox is None:
            self._sandbox = make()
        return self._sandbox

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._sandbox is not None:
                await self._sandbox.stop()
        finally:
            if self._lock is not None:
                self._lock.release()
