"""The journal: what any part of the product may ask of the session log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from codex_api.approvals import Decision
from codex_api.rows import RowKind, SessionClosedPayload, SessionSettings
from codex_journal import queries
from codex_journal.backends import Backend, make_backend
from codex_journal.batches import Batch, Written, check_fence, make_batch, make_ending, written_rows
from codex_journal.channels import make_channel
from codex_journal.errors import JournalUnavailable, UnknownSession
from codex_journal.failures import ClaimTaken, translated
from codex_journal.rows import Appended, Hint, NewRow, Row, SessionRecord, TurnEnding
from codex_journal.tables import decisions, sessions
from codex_journal.watching import HintBoard, Watcher

T = TypeVar("T")
P = ParamSpec("P")

DEFAULT_POOL_SIZE = 8
OPEN_CLAIM = "open"
CLOSE_CLAIM = "close"
# Each lost race is lost to a commit of the same claim, which the next read sees: two rounds settle it.
_APPEND_ROUNDS = 4


class Journal:
    """An open journal. Every method raises JournalUnavailable while the database is away, and may be repeated then."""

    def __init__(self, backend: Backend, application: str) -> None:
        self._backend = backend
        self._board = HintBoard()
        self._channel = make_channel(backend, application, self._board)
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    @classmethod
    async def connect(
        cls, url: str, *, password: str | None = None, application: str, pool_size: int = DEFAULT_POOL_SIZE
    ) -> Self:
        """Open the journal at ``url`` (postgresql+asyncpg://user@host/db or sqlite+aiosqlite:///path).

        Connections are made when first needed, so a database that is away is no error yet: ask ping().
        Raises ValueError for another kind of URL.
        """
        return cls(make_backend(url, password=password, application=application, pool_size=pool_size), application)

    async def close(self) -> None:
        """Finish what is under way, end all watchers, and close the connections; what is asked later is refused."""
        self._closed = True
        await asyncio.gather(*self._running, return_exceptions=True)
        self._board.close()
        await self._channel.close()
        await self._backend.close()

    async def ping(self) -> None:
        """Raise JournalUnavailable, or NotMigrated, where the journal could not be read now."""
        await self._ask(queries.list_sessions, limit=1)

    async def create_session(
        self,
        session: str,
        installation: str,
        namespace: str,
        name: str,
        settings: SessionSettings,
        rows: Sequence[NewRow],
    ) -> SessionRecord:
        """Create the session with its first rows under the claim "open"; if it exists, return it as it stands."""
        batch = make_batch(session, OPEN_CLAIM, rows)
        values = {
            "session": session,
            "installation": installation,
            "namespace": namespace,
            "name": name,
            "settings": settings.model_dump_json(),
            "last_seq": 0,
            "ended_turn": 0,
            "closed": False,
            "projected_seq": 0,
            "created_at": datetime.now(UTC),
        }

        async def create() -> SessionRecord:
            async with self._writing() as connection:
                await connection.execute(self._backend.insert_ignore(sessions), values)
                written = await self._backend.write_in(connection, batch)
                record = await queries.lock_session(connection, session)
            self._announce(batch, written)
            return record

        return await self._unbroken(create())

    async def session(self, session: str) -> SessionRecord | None:
        return await self._ask(queries.find_session, session)

    async def append(self, session: str, claim: str, rows: Sequence[NewRow]) -> Appended:
        """Append all rows or none, once per claim, with the next seqs of the session.

        Raises UnknownSession; SessionClosed and TurnEnded for rows of FENCED_KINDS; AlreadyRecorded for a second
        result of a call or admission of a message; ValueError without rows.
        """
        return await self._unbroken(self._append(make_batch(session, claim, rows)))

    async def close_session(
        self, session: str, payload: SessionClosedPayload, *, unless_messages_wait: bool = False
    ) -> Appended:
        """Close the session: from here on the fence refuses rows of its turns. Raises UnknownSession.

        With ``unless_messages_wait`` a session in which a message waits stays open, and no rows come back.
        """
        row = NewRow(RowKind.SESSION_CLOSED, payload.model_dump(mode="json"))
        batch = make_batch(session, CLOSE_CLAIM, [row], closes=True)
        if not unless_messages_wait:
            return await self._append(batch)
        with translated():
            async with self._backend.transaction() as connection:
                await queries.lock_session(connection, session)
                if await queries.read_waiting_messages(connection, session):
                    return Appended([], inserted=False)
                written = await self._backend.write_in(connection, batch)
        if written is None:
            return Appended(await self._standing(batch), inserted=False)
        self._announce(batch, written)
        return Appended(written_rows(batch, written), inserted=True)

    async def end_turn(self, session: str, turn: int, build: Callable[[TurnEnding], Sequence[NewRow]]) -> Appended:
        """End the turn in one transaction; ``build`` settles what is open and runs under the session's lock.

        A turn that has ended already returns what stands. Raises UnknownSession.
        """
        return await self._unbroken(self._end_turn(session, turn, build))

    async def read(
        self,
        session: str,
        *,
        after: int = 0,
        kinds: Collection[RowKind] | None = None,
        turn: int | None = None,
        step: int | None = None,
        claim: str | None = None,
        limit: int | None = None,
    ) -> list[Row]:
        """Return rows with seq > ``after``, by seq; a tail that goes on from the last seq misses nothing."""
        if (kinds, turn, step, claim, limit) == (None,) * 5:
            return await self._unbroken(self._read_after(session, after))
        return await self._ask(
            queries.read_rows, session, after=after, kinds=kinds, turn=turn, step=step, claim=claim, limit=limit
        )

    async def conversation(self, session: str, *, after: int = 0) -> list[Row]:
        """Return what the model has seen and said, by (turn, step, position), of rows with seq > ``after``."""
        return await self._ask(queries.read_conversation, session, after)

    async def waiting_messages(self, session: str) -> list[Row]:
        """Return the messages that no request has admitted, by seq."""
        return await self._ask(queries.read_waiting_messages, session)

    async def decide(self, session: str, decision: Decision) -> tuple[Decision, bool]:
        """Record the decision unless there is one; return the one that counts and whether this call recorded it.

        Raises UnknownSession, and NotPermitted where the database role may not decide so.
        """
        values = {
            "session": session,
            "approval_id": decision.approval_id,
            "kind": decision.kind.value,
            "reason": _storable(decision.reason),
            "decided_by": _storable(decision.decided_by),
            "at": datetime.now(UTC),
        }

        async def decide() -> tuple[Decision, bool]:
            async with self._writing() as connection:
                if await queries.find_session(connection, session) is None:
                    raise UnknownSession(f"session {session} is not in the journal")
                insert = self._backend.insert_ignore(decisions).returning(decisions.c.approval_id)
                inserted = (await connection.execute(insert, values)).one_or_none() is not None
                standing = await queries.read_decisions(connection, session, [decision.approval_id])
            return standing[decision.approval_id][0], inserted

        return await self._unbroken(decide())

    async def decisions(
        self, session: str, approval_ids: Collection[str] | None = None
    ) -> dict[str, tuple[Decision, datetime]]:
        """Return {approval id: (the decision that counts, when it was recorded)}."""
        return await self._ask(queries.read_decisions, session, approval_ids)

    async def behind(self, installation: str, limit: int = 100) -> list[SessionRecord]:
        """Return sessions with rows that the projector has not shown, oldest session first."""
        is_behind = sessions.c.last_seq > sessions.c.projected_seq
        return await self._ask(queries.list_sessions, sessions.c.installation == installation, is_behind, limit=limit)

    async def set_projected(self, session: str, seq: int) -> None:
        """Note that everything up to ``seq`` has been shown; it never goes back."""
        statement = (
            sa.update(sessions)
            .where(sessions.c.session == session, sessions.c.projected_seq < seq)
            .values(projected_seq=seq)
        )

        async def note() -> None:
            async with self._writing() as connection:
                await connection.execute(statement)

        await self._unbroken(note())

    async def open_sessions(self, installation: str) -> list[SessionRecord]:
        """Return the sessions that nobody closed, oldest first."""
        return await self._ask(
            queries.list_sessions, sessions.c.installation == installation, sa.not_(sessions.c.closed)
        )

    async def sessions(self, installation: str) -> list[SessionRecord]:
        """Return all sessions, oldest first."""
        return await self._ask(queries.list_sessions, sessions.c.installation == installation)

    async def change_settings(self, session: str, settings: SessionSettings) -> None:
        """Replace the settings of a session that no workflow runs; raises UnknownSession."""
        statement = sa.update(sessions).where(sessions.c.session == session).values(settings=settings.model_dump_json())

        async def change() -> None:
            async with self._writing() as connection:
                if (await connection.execute(statement)).rowcount == 0:
                    raise UnknownSession(f"session {session} is not in the journal")

        await self._unbroken(change())

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Hint | None]]:
        """Give hints of commits by any process; None means: read again, now and at least once per second."""
        watcher: Watcher = self._board.add()
        try:
            self._channel.watch()
            yield watcher
        finally:
            self._board.remove(watcher)

    async def _append(self, batch: Batch) -> Appended:
        for _ in range(_APPEND_ROUNDS):
            written = await self._write(batch)
            if written is not None:
                self._announce(batch, written)
                return Appended(written_rows(batch, written), inserted=True)
            standing = await self._standing(batch)
            if standing:
                return Appended(standing, inserted=False)
        raise JournalUnavailable(f"session {batch.session}: {batch.claim} was neither refused nor written")

    async def _read_after(self, session: str, after: int) -> list[Row]:
        with translated():
            return await self._backend.read_after(session, after)

    async def _write(self, batch: Batch) -> Written | None:
        try:
            with translated():
                return await self._backend.write(batch)
        except ClaimTaken:
            return None

    async def _end_turn(self, session: str, turn: int, build: Callable[[TurnEnding], Sequence[NewRow]]) -> Appended:
        claim = f"t{turn}/end"
        async with self._writing() as connection:
            record = await queries.lock_session(connection, session)
            if record.ended_turn >= turn:
                return Appended(await queries.read_rows(connection, session, claim=claim), inserted=False)
            ending = await queries.read_turn_ending(connection, session, turn)
            batch = make_ending(session, claim, turn, build(ending))
            written = await self._backend.write_in(connection, batch)
        assert written is not None, "the claim of a turn's end was taken by something else"
        self._announce(batch, written)
        return Appended(written_rows(batch, written), inserted=True)

    async def _standing(self, batch: Batch) -> list[Row]:
        """Return the rows of a claim that is there already; raises what keeps the batch out."""
        async with self._reading() as connection:
            record = await queries.find_session(connection, batch.session)
            if record is None:
                raise UnknownSession(f"session {batch.session} is not in the journal")
            check_fence(batch, record)
            return await queries.read_rows(connection, batch.session, claim=batch.claim)

    def _announce(self, batch: Batch, written: Written | None) -> None:
        if written is None or not batch.rows:
            return
        seq = written.first_seq + len(batch.rows) - 1
        self._board.publish(batch.session, seq)
        self._channel.announce(batch.session, seq)

    async def _ask(
        self, query: Callable[Concatenate[AsyncConnection, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        async def ask() -> T:
            async with self._reading() as connection:
                return await query(connection, *args, **kwargs)

        return await self._unbroken(ask())

    async def _unbroken(self, work: Coroutine[object, object, T]) -> T:
        """Finish what was begun though the caller is cancelled: a connection cut in mid-statement is lost or locked."""
        if self._closed:
            # It would open a connection that nobody closes.
            work.close()
            raise JournalUnavailable("the journal was closed")
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        with translated():
            async with self._backend.transaction() as connection:
                yield connection

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        with translated():
            async with self._backend.reader.connect() as connection:
                yield connection


def _storable(text: str) -> str:
    """Replace what PostgreSQL's text cannot hold: NUL and lone surrogates."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
