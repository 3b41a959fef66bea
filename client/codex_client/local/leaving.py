"""Signals: the first Ctrl-C interrupts the turn, the second leaves; SIGTERM and SIGHUP leave at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

# The shell's way to say that a signal ended a program.
EXIT_OF_SIGNAL = 128
CLEAN_UP_SECONDS = 6.0
# What is still there then is killed by the kernel when we are gone.
AT_ONCE_SECONDS = 0.5


class Leaving:
    """Whether to leave, and with which exit code."""

    def __init__(self) -> None:
        self.exit_code = 0
        self._leave = asyncio.Event()
        self._interrupting = False
        self._background: set[asyncio.Task[Any]] = set()

    @contextmanager
    def watching(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Take the signals; ``interrupt`` begins to end the turn."""

        def receive(number: signal.Signals) -> None:
            if number is signal.SIGINT and not self._interrupting:
                self._interrupting = True
                interrupt()
                return
            self.exit_code = EXIT_OF_SIGNAL + number
            self._leave.set()

        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, receive, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
            for task in self._background:
                task.cancel()

    def background(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something that nobody waits for."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def wait_for(self, work: asyncio.Task[Any]) -> None:
        """Return when the work is done, or cancelled because it is time to leave."""
        leave = asyncio.create_task(self._leave.wait())
        await asyncio.wait([work, leave], return_when=asyncio.FIRST_COMPLETED)
        leave.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait([work], timeout=AT_ONCE_SECONDS if self._interrupting else CLEAN_UP_SECONDS)
