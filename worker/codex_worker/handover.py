"""A worker that is told to stop hands over what it only waits for; the command itself goes on in its sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from temporalio import activity

Result = TypeVar("Result")


class WorkerStopping(Exception):
    """This worker is shutting down: another one attaches to what was waited for."""


async def until_shutdown(waiting: Coroutine[Any, Any, Result]) -> Result:
    """Return what is waited for; raises WorkerStopping when the worker is told to stop first."""
    work = asyncio.create_task(waiting)
    stop = asyncio.create_task(activity.wait_for_worker_shutdown())
    try:
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise WorkerStopping("the worker is being replaced")
    finally:
        work.cancel()
        stop.cancel()
