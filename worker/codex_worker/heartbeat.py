"""Heartbeats while an activity waits: they are how a dead worker is noticed and how a cancellation arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio import activity

from codex_worker.activity_options import HEARTBEAT_EVERY_SECONDS


@asynccontextmanager
async def heartbeating() -> AsyncIterator[None]:
    """Send heartbeats until the block is left."""

    async def beat() -> None:
        while True:
            # First wait: a step is often done before it has to say that it lives.
            await asyncio.sleep(HEARTBEAT_EVERY_SECONDS)
            activity.heartbeat()

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
