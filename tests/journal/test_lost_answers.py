"""What the network and a dying server do to a write: it may be repeated, and stands once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from codex_api.approvals import Decision, DecisionKind
from codex_journal.errors import JournalUnavailable
from codex_journal.journal import Journal
from codex_journal.rows import Hint
from codex_journal.testing import (
    DatabaseUrls,
    PostgresServer,
    call_row,
    event_row,
    item_row,
    migrated_database,
    open_example,
    result_row,
)

pytestmark = pytest.mark.database
OpenJournal = Callable[..., Awaitable[Journal]]


class CuttingProxy:
    """Stands between client and server; cuts the connection before or after the server handled a certain message."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._marker: bytes | None = None
        self._forward = True
        self.port = 0
        self.cuts = 0

    def cut(self, marker: bytes, *, forward: bool) -> None:
        """Cut at the next message with ``marker``; ``forward``: only after the server has answered it."""
        self._marker, self._forward = marker, forward

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        cutting = asyncio.Event()

        async def to_server() -> None:
            while data := await reader.read(65536):
                if self._marker is not None and self._marker in data:
                    self._marker = None
                    self.cuts += 1
                    if not self._forward:
                        return
                    cutting.set()
                upstream_writer.write(data)
                await upstream_writer.drain()

        async def to_client() -> None:
            while data := await upstream_reader.read(65536):
                if cutting.is_set():
                    return
                writer.write(data)
                await writer.drain()

        directions = [asyncio.create_task(to_server()), asyncio.create_task(to_client())]
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        for direction in directions:
            direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)
        for side in (writer, upstream_writer):
            side.transport.abort()


@pytest.fixture
async def proxy(postgres: PostgresServer) -> AsyncIterator[CuttingProxy]:
    proxy = CuttingProxy(postgres.port)
    async with await proxy.serve():
        yield proxy


@pytest.fixture
async def direct(postgres_urls: DatabaseUrls, open_journal: OpenJournal) -> Journal:
    journal = await open_journal(postgres_urls.operator)
    await open_example(journal)
    await journal.append("session-1", "t1.s1/reply", [item_row(1, 1), call_row(1, 1)])
    return journal


@pytest.fixture
async def proxied(
    direct: Journal,
    proxy: CuttingProxy,
    postgres: PostgresServer,
    postgres_urls: DatabaseUrls,
    open_journal: OpenJournal,
) -> Journal:
    url = postgres_urls.operator.replace(f":{postgres.port}/", f":{proxy.port}/")
    journal = await open_journal(url, pool_size=1)
    await journal.append("session-1", "warm", [event_row(1)])
    return journal


async def test_a_lost_commit_acknowledgement_appends_once(
    proxied: Journal, direct: Journal, proxy: CuttingProxy
) -> None:
    proxy.cut(b"t1.s1.c0/result", forward=True)
    with pytest.raises(JournalUnavailable):
        await proxied.append("session-1", "t1.s1.c0/result", [result_row(1, 1), event_row(1)])
    standing = await direct.read("session-1", claim="t1.s1.c0/result")
    assert len(standing) == 2, "the server had committed"
    again = await proxied.append("session-1", "t1.s1.c0/result", [result_row(1, 1), event_row(1)])
    assert not again.inserted
    assert again.rows == standing
    assert proxy.cuts == 1


async def test_an_append_that_never_arrived_is_written_by_its_repetition(
    proxied: Journal, direct: Journal, proxy: CuttingProxy
) -> None:
    proxy.cut(b"t1.s1.c0/result", forward=False)
    with pytest.raises(JournalUnavailable):
        await proxied.append("session-1", "t1.s1.c0/result", [result_row(1, 1)])
    assert await direct.read("session-1", claim="t1.s1.c0/result") == []
    assert (await proxied.append("session-1", "t1.s1.c0/result", [result_row(1, 1)])).inserted


@pytest.mark.parametrize("committed", [True, False])
async def test_a_turn_whose_end_was_not_confirmed_ends_once(
    proxied: Journal, direct: Journal, proxy: CuttingProxy, committed: bool
) -> None:
    proxy.cut(b"COMMIT;", forward=committed)
    with pytest.raises(JournalUnavailable):
        await proxied.end_turn("session-1", 1, lambda _: [result_row(1, 1), event_row(1)])
    assert len(await direct.read("session-1", claim="t1/end")) == (2 if committed else 0)
    async with asyncio.timeout(40):
        again = await proxied.end_turn("session-1", 1, lambda _: [result_row(1, 1), event_row(1)])
    assert again.inserted is not committed
    assert len(again.rows) == 2
    assert len(await direct.read("session-1", turn=1)) == 2 + 1 + 2


async def test_a_decision_that_was_not_confirmed_counts_once(
    proxied: Journal, direct: Journal, proxy: CuttingProxy
) -> None:
    decision = Decision("id", DecisionKind.APPROVE, "", "alice")
    proxy.cut(b"COMMIT;", forward=True)
    with pytest.raises(JournalUnavailable):
        await proxied.decide("session-1", decision)
    assert await proxied.decide("session-1", decision) == (decision, False)


@pytest.fixture
def mortal() -> Iterator[PostgresServer]:
    """A server that a test may restart or kill."""
    with PostgresServer() as server:
        yield server


@pytest.mark.parametrize("ending", ["stop", "kill"])
async def test_a_server_that_goes_and_comes_back_costs_nothing_that_was_confirmed(
    mortal: PostgresServer, open_journal: OpenJournal, ending: str
) -> None:
    urls = await migrated_database(mortal)
    worker, operator = await open_journal(urls.worker), await open_journal(urls.operator)
    await open_example(operator)
    refused = 0
    done = asyncio.Event()

    async def write(writer: int) -> int:
        nonlocal refused
        written = 0
        while not done.is_set():
            try:
                await worker.append("session-1", f"{writer}/{written}", [event_row(1)] * 2)
                written += 1
            except JournalUnavailable:
                refused += 1
                await asyncio.sleep(0.05)
        return written

    writers = [asyncio.create_task(write(n)) for n in range(5)]
    async with operator.watch() as hints:
        await asyncio.sleep(0.5)
        await asyncio.to_thread(getattr(mortal, ending))
        with pytest.raises(JournalUnavailable):
            await operator.read("session-1")
        await asyncio.sleep(0.3)
        await asyncio.to_thread(mortal.start)
        await asyncio.sleep(0.5)
        done.set()
        written = [await writer for writer in writers]
        rows = await _patiently(lambda: operator.read("session-1"))
        assert refused > 0
        assert [row.seq for row in rows] == list(range(1, 3 + 2 * sum(written)))
        assert {row.claim for row in rows[2:]} == {f"{n}/{i}" for n in range(5) for i in range(written[n])}
        # The worker's notices travel again too, though nobody asked for a new connection.
        await _hint_arrives(hints, worker, after=rows[-1].seq)


async def _patiently(ask: Callable[[], Awaitable[list]]) -> list:  # type: ignore[type-arg]
    async with asyncio.timeout(30):
        while True:
            try:
                return await ask()
            except JournalUnavailable:
                await asyncio.sleep(0.05)


async def _hint_arrives(hints: AsyncIterator[Hint | None], writing: Journal, after: int) -> None:
    """Keep writing until one is heard of: each hint alone may be lost while the connections come back."""
    async with asyncio.timeout(30):
        n = 0
        async for hint in hints:
            if hint is not None and hint.seq > after:
                return
            n += 1
            await writing.append("session-1", f"again/{n}", [event_row(1)])
