"""The sessions of this machine: which one a prefix means, and how one stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from codex_api.conditions import REASON_INTERRUPTED
from codex_api.rows import RowKind
from codex_client.local.errors import UnknownSession
from codex_client.local.session_control import INSTALLATION
from codex_client.local.session_lock import last_run

if TYPE_CHECKING:
    from pathlib import Path

    from codex_journal.journal import Journal
    from codex_journal.rows import Row, SessionRecord

_END_TYPES = frozenset({"TurnComplete", "TurnAborted", "TurnFailed"})


def unfinished_turn(rows: Sequence[Row]) -> int | None:
    """Return the turn that was started and has no end."""
    events = [row for row in rows if row.kind is RowKind.EVENT]
    started = max((row.turn for row in events if row.payload["type"] == "TurnStarted"), default=0)
    ended = max((row.turn for row in events if row.payload["type"] in _END_TYPES), default=0)
    return started if started > ended else None


def last_turn_completed(rows: Sequence[Row]) -> bool:
    """Tell whether the last turn that ended came to its own end; True where there was none."""
    end = next((row for row in reversed(rows) if row.payload.get("type") in _END_TYPES), None)
    return end is None or end.payload["type"] == "TurnComplete"


def waiting_messages(rows: Sequence[Row]) -> list[Row]:
    """Return the messages that no turn has taken."""
    taken = {row.payload["message"] for row in rows if row.kind is RowKind.ADMISSION}
    taken |= {row.payload["message"] for row in rows if row.payload.get("type") == "TurnStarted"}
    return [row for row in rows if row.kind is RowKind.MESSAGE and row.seq not in taken]


def state_of(rows: Sequence[Row], *, closed: bool, running: bool) -> str:
    """Return a word or two for the table of sessions."""
    if closed:
        return "closed"
    if running:
        return "running"
    if unfinished_turn(rows) is not None or waiting_messages(rows):
        return "unfinished"
    end = next((row for row in reversed(rows) if row.payload.get("type") in _END_TYPES), None)
    if end is None:
        return "new"
    if end.payload["type"] == "TurnComplete":
        return "done"
    if end.payload["reason"] == REASON_INTERRUPTED:
        return "interrupted"
    return "failed" if end.payload["type"] == "TurnFailed" else "stopped"


async def find_session(journal: Journal, locks: Path, prefix: str | None) -> SessionRecord:
    """Return the session that ``prefix`` begins, or the one run last; raises UnknownSession."""
    records = await journal.sessions(INSTALLATION)
    if prefix is None:
        if not records:
            raise UnknownSession("there is no session yet; begin one with: codex-temporal run")
        return max(records, key=lambda record: last_run(locks, record.session))
    found = [record for record in records if record.session.startswith(prefix.strip().lower())]
    if len(found) == 1 and prefix.strip():
        return found[0]
    what = f"{len(found)} sessions begin" if found else "no session begins"
    raise UnknownSession(f"{what} with {prefix!r}; codex-temporal sessions lists them")
