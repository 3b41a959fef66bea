"""What ``codex-temporal sessions`` and ``show`` do; they only read."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime

from codex_api.rows import RowKind
from codex_client.local.config import LocalConfig
from codex_client.local.journal_file import local_journal
from codex_client.local.session_control import INSTALLATION
from codex_client.local.session_list import find_session, state_of
from codex_client.local.session_lock import is_locked
from codex_client.view.listing import print_sessions, show_transcript
from codex_journal.journal import Journal
from codex_journal.rows import Row, SessionRecord


@dataclass(frozen=True)
class SessionSummary:
    session: str
    created_at: datetime
    updated_at: datetime
    directory: str
    model: str
    state: str
    prompt: str
    """The whole first message."""


_KINDS = (RowKind.MESSAGE, RowKind.ADMISSION, RowKind.EVENT)


async def list_sessions(config: LocalConfig, *, json_lines: bool, limit: int) -> None:
    """Print this machine's sessions, newest first; raises LocalError."""
    config.state.create()
    async with local_journal(config.state) as journal:
        records = (await journal.sessions(INSTALLATION))[::-1][:limit]
        summaries = [await _summary(config, journal, record) for record in records]
    with _until_nobody_reads():
        if not json_lines:
            print_sessions(summaries, sys.stdout)
            return
        for summary in summaries:
            fields = asdict(summary) | {
                "created_at": summary.created_at.isoformat(),
                "updated_at": summary.updated_at.isoformat(),
            }
            sys.stdout.write(json.dumps(fields) + "\n")


async def show_session(config: LocalConfig, prefix: str | None, *, json_lines: bool) -> None:
    """Print a session's transcript, or its rows as JSON lines; raises LocalError."""
    config.state.create()
    async with local_journal(config.state) as journal:
        record = await find_session(journal, config.state.locks, prefix)
        rows = await journal.read(record.session)
    with _until_nobody_reads():
        if not json_lines:
            show_transcript(rows, sys.stdout)
            return
        for row in rows:
            sys.stdout.write(json.dumps(_json_row(row)) + "\n")


@contextlib.contextmanager
def _until_nobody_reads() -> Iterator[None]:
    """Stop printing without a word once the reader of a pipe has gone, as ``head`` does."""
    with contextlib.suppress(BrokenPipeError):
        yield
        sys.stdout.flush()


def _json_row(row: Row) -> dict[str, object]:
    return asdict(row) | {"kind": row.kind.value, "at": row.at.isoformat()}


async def _summary(config: LocalConfig, journal: Journal, record: SessionRecord) -> SessionSummary:
    rows = await journal.read(record.session, kinds=_KINDS)
    messages = [row for row in rows if row.kind is RowKind.MESSAGE]
    return SessionSummary(
        session=record.session,
        created_at=record.created_at,
        updated_at=rows[-1].at if rows else record.created_at,
        directory=record.settings.workspace,
        model=record.settings.model or "",
        state=state_of(rows, closed=record.closed, running=is_locked(config.state.locks, record.session)),
        prompt=messages[0].payload["text"] if messages else "",
    )
