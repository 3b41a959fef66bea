"""What keeps a command from doing what it was asked; each message is one line with its cure.

LocalError              exit code 1
├── WorkerStopped
└── UsageError          exit code 2
    ├── UnknownSession
    └── SessionInUse
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from codex_journal.errors import JournalError


class LocalError(Exception):
    """Base of all errors of local mode."""

    exit_code = 1


class UsageError(LocalError):
    """What was asked for cannot be, as asked."""

    exit_code = 2


class WorkerStopped(LocalError):
    """The machine's worker has gone; the session can go on without it."""

    def __init__(self, what: str, session: str) -> None:
        super().__init__(str(cut_off(what, session)))
        self.what = what
        self.session = session


class UnknownSession(UsageError):
    """No session of this machine begins with these characters, or several do."""


class SessionInUse(UsageError):
    """Another process of this machine runs the session."""


def cut_off(what: str, session: str) -> LocalError:
    """Return the error of a turn that nobody goes on with."""
    return LocalError(f"{what}; the turn is unfinished; go on with: codex-temporal resume {session}")


@contextmanager
def translated(state: Path | None = None) -> Iterator[None]:
    """Turn what the machine, the journal or Temporal refused into a LocalError of one line.

    ``state`` is the folder whose disk is meant where one is full.
    """
    try:
        yield
    except (OSError, JournalError) as error:
        if _is_full_disk(error):
            disk = f"the disk of {state}" if state else "the disk"
            raise LocalError(f"{disk} is full: make some room, then try again") from error
        raise LocalError(first_line(error)) from error
    except LocalError:
        raise
    except Exception as error:
        from temporalio.service import RPCError

        if isinstance(error, RPCError):
            raise LocalError(f"Temporal: {first_line(error)}") from error
        raise


def _is_full_disk(error: OSError | JournalError) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "disk is full" in str(error)


def first_line(error: BaseException) -> str:
    """Return what an error says, cut to a line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
