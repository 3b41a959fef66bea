"""What can go wrong with the journal.

JournalError
├── UnknownSession
├── SessionClosed        the fence
├── TurnEnded            the fence
├── AlreadyRecorded      a second result of one call, a second admission of one message
├── NotPermitted         the database role may not do this
└── JournalUnavailable   try again: every write is safe to repeat
    └── NotMigrated
"""


class JournalError(Exception):
    """Base of all errors of this package."""


class UnknownSession(JournalError):
    """No session with this uid was ever created."""


class SessionClosed(JournalError):
    """The session is closed: rows of its turns are refused (events and usage are not)."""


class TurnEnded(JournalError):
    """The turn has ended: a writer that still works on it lost its place and must stop."""


class AlreadyRecorded(JournalError):
    """The call has a result, or the message an admission, under another claim."""


class NotPermitted(JournalError):
    """The database role lacks the right; repeating does not help."""


class JournalUnavailable(JournalError):
    """The database could not be asked, or its answer was lost; repeating the call is safe and right."""


class NotMigrated(JournalUnavailable):
    """The tables are not there (yet): `codex-temporal-journal migrate` makes them."""
