"""Watchers of this process: hints are gathered per session until the watcher comes for them. No I/O."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from codex_journal.rows import Hint

REREAD_SECONDS = 1.0


class Watcher(AsyncIterator[Hint | None]):
    """Yields hints, and None at least once per second: then everything has to be read again, hints get lost."""

    def __init__(self) -> None:
        self._pending: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._closed = False
        self._reread_at = 0.0

    def hint(self, session: str, seq: int) -> None:
        self._pending[session] = max(seq, self._pending.get(session, 0))
        self._wake.set()

    def reread(self) -> None:
        self._reread_at = 0.0
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    async def __anext__(self) -> Hint | None:
        clock = asyncio.get_running_loop().time
        while not self._closed:
            if clock() >= self._reread_at:
                self._reread_at = clock() + REREAD_SECONDS
                return None
            if self._pending:
                session = next(iter(self._pending))
                return Hint(session, self._pending.pop(session))
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._reread_at - clock()):
                    await self._wake.wait()
        raise StopAsyncIteration


class HintBoard:
    """All watchers of a process."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()

    @property
    def watched(self) -> bool:
        return bool(self._watchers)

    def add(self) -> Watcher:
        watcher = Watcher()
        self._watchers.add(watcher)
        return watcher

    def remove(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)

    def publish(self, session: str, seq: int) -> None:
        for watcher in self._watchers:
            watcher.hint(session, seq)

    def reread(self) -> None:
        for watcher in self._watchers:
            watcher.reread()

    def close(self) -> None:
        for watcher in self._watchers:
            watcher.close()
