"""How hints get from process to process: NOTIFY on PostgreSQL, a polled change counter on SQLite."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, Protocol, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from codex_journal.backends import COMMAND_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS, Backend, SqliteBackend
from codex_journal.errors import JournalUnavailable
from codex_journal.failures import translated
from codex_journal.watching import HintBoard

CHANNEL = "codex_journal"
RECONNECT_SECONDS = 0.25
# A connection that died without a word is found by asking.
KEEPALIVE_SECONDS = 10.0
SQLITE_POLL_SECONDS = 0.005

# rowid grows with every insert of any session: nobody deletes.
_NEWER = sa.text("SELECT session, max(seq) AS seq, max(rowid) AS row FROM journal WHERE rowid > :last GROUP BY session")

T = TypeVar("T")
P = ParamSpec("P")

logger = logging.getLogger(__name__)


class HintChannel(Protocol):
    def announce(self, session: str, seq: int) -> None:
        """Tell other processes, soon and without waiting; the commit has happened."""

    def watch(self) -> None:
        """Make sure that hints of other processes reach the board while somebody watches."""

    async def close(self) -> None: ...


class _Background:
    """A task that starts when first needed, restarts its body after a loss, and ends with close()."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._forever(), name=type(self).__name__)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _forever(self) -> None:
        while not self.idle():
            try:
                with translated():
                    await self.run()
            except JournalUnavailable as error:
                logger.warning("journal hints are late by up to a second until the database is back: %s", error)
                await asyncio.sleep(RECONNECT_SECONDS)

    def idle(self) -> bool:
        return False

    async def run(self) -> None:
        raise NotImplementedError


class PostgresHints(_Background):
    """One connection for both directions.

    NOTIFY is a statement of its own after the commit: inside the transaction it would serialise all commits of the
    database. What gathers while one is in flight goes out as one.
    """

    def __init__(self, url: URL, application: str, board: HintBoard) -> None:
        super().__init__()
        self._board = board
        self._pending: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._engine = create_async_engine(
            url,
            poolclass=NullPool,
            connect_args={
                "timeout": CONNECT_TIMEOUT_SECONDS,
                "command_timeout": COMMAND_TIMEOUT_SECONDS,
                # A hint may be lost: its commit need not wait for the disk.
                "server_settings": {"application_name": f"{application} hints", "synchronous_commit": "off"},
            },
        )

    def announce(self, session: str, seq: int) -> None:
        self._pending[session] = max(seq, self._pending.get(session, 0))
        self._wake.set()
        self.start()

    def watch(self) -> None:
        self._wake.set()
        self.start()

    async def close(self) -> None:
        await super().close()
        await self._engine.dispose()

    async def run(self) -> None:
        async with self._engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            driver.add_termination_listener(lambda _: self._wake.set())
            listening = False
            while True:
                if self._board.watched and not listening:
                    await driver.add_listener(CHANNEL, self._receive)
                    listening = True
                    self._board.reread()
                await self._exchange(driver)

    async def _exchange(self, driver: Any) -> None:
        """Wait until there is something to say, then say it, or ask whether the connection still lives."""
        self._wake.clear()
        if not self._pending and not driver.is_closed():
            with suppress(TimeoutError):
                async with asyncio.timeout(KEEPALIVE_SECONDS):
                    await self._wake.wait()
        hints = [json.dumps(hint) for hint in self._pending.items()]
        self._pending.clear()
        await driver.execute("SELECT pg_notify($1, hint) FROM unnest($2::text[]) AS hint", CHANNEL, hints)

    def _receive(self, connection: asyncpg.Connection, pid: int, channel: str, payload: str) -> None:
        session, seq = json.loads(payload)
        self._board.publish(session, seq)


class SqliteHints(_Background):
    """Reads SQLite's change counter every few milliseconds, only while somebody watches."""

    def __init__(self, engine: sa.Engine, board: HintBoard) -> None:
        super().__init__()
        self._engine = engine
        self._board = board

    def announce(self, session: str, seq: int) -> None:
        """Nothing to do: the commit itself moved the counter that other processes read."""

    def watch(self) -> None:
        self.start()

    def idle(self) -> bool:
        return not self._board.watched

    async def run(self) -> None:
        with await _in_thread(self._engine.connect) as connection:
            version, last = None, await _in_thread(connection.scalar, sa.text("SELECT max(rowid) FROM journal")) or 0
            self._board.reread()
            while not self.idle():
                seen = await _in_thread(lambda: connection.exec_driver_sql("PRAGMA data_version").scalar())
                if seen != version:
                    version, last = seen, await self._publish_since(connection, last)
                await asyncio.sleep(SQLITE_POLL_SECONDS)

    async def _publish_since(self, connection: sa.Connection, last: int) -> int:
        newer = await _in_thread(lambda: connection.execute(_NEWER, {"last": last}).all())
        for found in newer:
            self._board.publish(found.session, found.seq)
            last = max(last, found.row)
        return last


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run work in a thread to its end, also where the caller is cancelled: its connection may not be touched before."""
    running = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


def make_channel(backend: Backend, application: str, board: HintBoard) -> HintChannel:
    if isinstance(backend, SqliteBackend):
        return SqliteHints(backend.threaded_reader, board)
    return PostgresHints(backend.engine.url, application, board)
