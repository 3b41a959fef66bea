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
FREEZING_ROUNDS = 8
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
        while find() and loop.time() < deadline:
            if os.getpid() == 1:
                _kill_in_container(find)
            else:
                _signal(_freeze(find), signal.SIGKILL)
            await asyncio.sleep(FIRST_PAUSE_SECONDS)
    return signalled, len(find())


def _kill_in_container(find: Callable[[], list[ProcessEntry]]) -> None:
    # For the first process -1 means everyone else in its container, in one step that no fork can outrun.
    try:
        os.kill(-1, signal.SIGSTOP)
        _signal(find(), signal.SIGKILL)
        os.kill(-1, signal.SIGCONT)
    except ProcessLookupError:
        # Nobody else is left.
        return


def _freeze(find: Callable[[], list[ProcessEntry]]) -> list[ProcessEntry]:
    # What is stopped neither forks nor makes room for the forks of others: killing alone can be outrun.
    frozen: set[int] = set()
    found = find()
    for _ in range(FREEZING_ROUNDS):
        running = [entry for entry in found if entry.pid not in frozen]
        if not running:
            break
        _signal(running, signal.SIGSTOP)
        frozen.update(entry.pid for entry in running)
        found = find()
    return found


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
