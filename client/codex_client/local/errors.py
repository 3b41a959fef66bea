"""What keeps a command from doing what it was asked; each message is one line with its cure.

LocalError              exit code 1
└── UsageError          exit code 2
    ├── UnknownSession
    └── SessionInUse
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from codex_journal.errors import JournalError


class LocalError(Exception):
    """Base of all errors of local mode."""

    exit_code = 1


class UsageError(LocalError):
    """What was asked for cannot be, as asked."""

    exit_code = 2


class UnknownSession(UsageError):
    """No session of this machine begins with these characters, or several do."""


class SessionInUse(UsageError):
    """Another process of this machine runs the session."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the machine, the journal or Temporal refused into a LocalError of one line."""
    try:
        yield
    except (OSError, JournalError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise LocalError("the disk is full: make some room, then try again") from error
        raise LocalError(first_line(error)) from error
    except LocalError:
        raise
    except Exception as error:
        from temporalio.service import RPCError

        if isinstance(error, RPCError):
            raise LocalError(f"Temporal: {first_line(error)}") from error
        raise


def first_line(error: BaseException) -> str:
    """Return what an error says, cut to a line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
