"""Turns what drivers raise into the errors of this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import sqlalchemy.exc as sa_exc

from codex_journal.errors import AlreadyRecorded, JournalUnavailable, NotMigrated, NotPermitted

CLAIM_CONSTRAINT = "journal_claim"
ONCE_CONSTRAINT = "journal_once"


# SQLSTATE classes of a server that is away, busy, failing over or asked with the wrong credentials: others stay errors.
_UNAVAILABLE_CLASSES = frozenset({"08", "25", "28", "3D", "40", "53", "55", "57", "58", "XX"})


class ClaimTaken(Exception):
    """Another writer committed the same claim after this statement took its snapshot; read again."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise the errors of codex_journal.errors, or ClaimTaken, instead of the driver's."""
    try:
        yield
    except sa_exc.DBAPIError as error:
        raise _from_database(error) from error
    except (sa_exc.TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        # Raised while connecting: before SQLAlchemy has a cursor to blame.
        raise JournalUnavailable(_text(error)) from error


def _from_database(error: sa_exc.DBAPIError) -> Exception:
    text = _text(error.driver_exception)
    if isinstance(error, sa_exc.IntegrityError):
        return _from_constraint(error, text)
    state = getattr(error.driver_exception, "sqlstate", None)
    if state == "42501":
        return NotPermitted(text)
    if state == "42P01" or "no such table" in text:
        return NotMigrated(f"{text}: run codex-temporal-journal migrate")
    if state is None:
        # The driver itself: a connection that broke, or SQLite, whose operational errors are locks and full disks.
        mistake = isinstance(error, sa_exc.ProgrammingError | sa_exc.DataError | sa_exc.NotSupportedError)
        return error if mistake else JournalUnavailable(text)
    return JournalUnavailable(text) if state[:2] in _UNAVAILABLE_CLASSES else error


def _from_constraint(error: sa_exc.DBAPIError, text: str) -> Exception:
    # SQLite names columns instead of constraints.
    if CLAIM_CONSTRAINT in text or "journal.claim" in text:
        return ClaimTaken()
    if ONCE_CONSTRAINT in text or "journal.subject" in text:
        return AlreadyRecorded(text)
    return error


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
