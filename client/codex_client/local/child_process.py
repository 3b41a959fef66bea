"""Processes that must not outlive this one, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_SECONDS = 3.0
# -I -S: starts in 15 ms and reads nothing of the user's.
ISOLATED_PYTHON = (sys.executable, "-I", "-S", "-c")
# A function between fork and exec could hang in a process with threads: a program in between cannot.
_TIE_TO_PARENT = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, int(sys.argv[2]))
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
"""
_THEN_PROGRAM = "os.execv(sys.argv[3], sys.argv[3:])"


def ending_with_us(argv: Sequence[str], number: signal.Signals = signal.SIGKILL) -> list[str]:
    """Return a command that runs ``argv``, an absolute path first, and gets the signal when this process is gone.

    Only Linux knows such a signal; elsewhere a killed parent leaves the program running.
    """
    return [*ISOLATED_PYTHON, _TIE_TO_PARENT + _THEN_PROGRAM, str(os.getpid()), str(int(number)), *argv]


async def spawn(argv: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Start a program in a session of its own, so that Ctrl-C reaches only us; raises OSError.

    Call it from the main thread: the kernel takes the end of the calling thread for the end of the parent.
    """
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            start_new_session=True,
        )


async def end(process: asyncio.subprocess.Process, number: signal.Signals = signal.SIGTERM) -> None:
    """Send a signal and wait; kill what does not end in time."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def tail(log: Path, offset: int = 0) -> str:
    """Return the last line of a log beyond ``offset``, for an error message."""
    try:
        lines = log.read_bytes()[offset:].decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""
