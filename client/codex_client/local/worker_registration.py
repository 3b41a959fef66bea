"""How a worker that stays and the commands of its user find each other."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass

from codex_client.local.errors import UsageError
from codex_client.local.state_folder import StateFolder

LOCK_SECONDS = 1.0  # commands that only look hold the lock for a moment


@dataclass(frozen=True)
class WorkerRegistration:
    pid: int
    temporal_address: str
    temporal_namespace: str
    task_queue: str
    salt: str
    provider_digest: str
    """Its provider and key, salted: a command with another one brings its own worker."""
    default_model: str
    socket: str
    """Where it takes sessions and streams what models write."""


class RegisteredWorker:
    """``with``: this process is the machine's worker, until it ends in whatever way."""

    def __init__(self, state: StateFolder) -> None:
        self._state = state
        self._descriptor: int | None = None

    def __enter__(self) -> RegisteredWorker:
        """Take the place; raises UsageError where another worker has it."""
        descriptor = os.open(self._state.worker_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                os.close(descriptor)
                registration = _read(self._state)
                who = f" (process {registration.pid})" if registration else ""
                raise UsageError(f"a worker of {self._state.root} runs already{who}") from None
            self._descriptor = descriptor
            self._state.worker.unlink(missing_ok=True)
            return self

    def announce(self, registration: WorkerRegistration) -> None:
        """Let commands use this worker from now on."""
        new = self._state.worker.with_suffix(".new")
        new.write_text(json.dumps(asdict(registration)))
        new.replace(self._state.worker)

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            self._state.worker.unlink(missing_ok=True)
            os.close(self._descriptor)


def find_worker(state: StateFolder) -> WorkerRegistration | None:
    """Return the worker that runs on this machine's journal now."""
    try:
        descriptor = os.open(state.worker_lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(state)
    finally:
        os.close(descriptor)
    return None


def _read(state: StateFolder) -> WorkerRegistration | None:
    try:
        return WorkerRegistration(**json.loads(state.worker.read_text()))
    except (OSError, ValueError, TypeError):
        return None
