"""Ending processes for certain: ask, wait a moment, kill until none is left."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_sandbox.process_tree import ProcessEntry

GRACE_SECONDS = 1.0
KILL_SECONDS = 4.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.005, 0.05


async def stop_processes(
    find: Callable[[], list[ProcessEntry]],
    grace_seconds: float = GRACE_SECONDS,
    kill_seconds: float = KILL_SECONDS,
) -> tuple[int, int]:
    """End every process that `find` returns, now and later; return (signalled, remaining).

    SIGTERM first, SIGKILL to what is left after the grace. Something remains only if the kernel cannot end it within
    `kill_seconds`.
    """
    found = find()
    signalled = len(found)
    # A stopped process sees SIGTERM only once it is continued.
    _signal(found, signal.SIGTERM, signal.SIGCONT)
    if not await _gone(find, grace_seconds):
        loop = asyncio.get_running_loop()
        deadline = loop.time() + kill_seconds
        found = find()
        while found and loop.time() < deadline:
            # Stopped first: what is still being forked is then found in the next round, not outrun.
            _signal(found, signal.SIGSTOP)
            _signal(find(), signal.SIGKILL)
            await asyncio.sleep(FIRST_PAUSE_SECONDS)
            found = find()
    return signalled, len(find())


async def _gone(find: Callable[[], list[ProcessEntry]], seconds: float) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    pause = FIRST_PAUSE_SECONDS
    while find():
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    return True


def _signal(entries: list[ProcessEntry], *numbers: int) -> None:
    # A group is signalled in one step, so that none of its members forks away from under it.
    for group in {entry.group for entry in entries} - {os.getpgrp()}:
        for number in numbers:
            try:
                os.killpg(group, number)
            except (ProcessLookupError, PermissionError):
                continue
