"""One process per session: a file that its holder keeps locked, so that no lock outlives who took it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from codex_client.local.errors import SessionInUse

# Commands that only look hold the lock for a moment.
PATIENCE_SECONDS = 0.5
POLL_SECONDS = 0.01


class SessionLock:
    def __init__(self, folder: Path, session: str) -> None:
        self._path = folder / session
        self._session = session
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise SessionInUse, which tells who holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _locked(descriptor, fcntl.LOCK_EX):
            if time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                continue
            holder = os.read(descriptor, 100).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise SessionInUse(f"session {self._session[:8]} is in use by process {holder}; end that one first")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        # The file stays: removing it would let two processes lock two files of one name.
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> SessionLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_locked(folder: Path, session: str) -> bool:
    """Tell whether some process runs the session."""
    try:
        descriptor = os.open(folder / session, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _locked(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, how: int) -> bool:
    """Lock the file unless others forbid it."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def last_run(folder: Path, session: str) -> float:
    """Return when a process last began to run the session, in seconds since the epoch; 0.0 where that is not known."""
    try:
        return (folder / session).stat().st_mtime
    except OSError:
        return 0.0
