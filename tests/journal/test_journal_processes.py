"""Several processes on one journal, some of which are killed, paused or out of disk."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from codex_journal.journal import Journal
from codex_journal.rows import Row
from codex_journal.testing import DatabaseUrls, event_row, item_row, open_example

OpenJournal = Callable[..., Awaitable[Journal]]


async def run(program: Path, *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, str(program), *arguments, stdout=PIPE)


async def line(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return (await process.stdout.readline()).decode().strip()


async def output(process: Process) -> list[str]:
    stdout, _ = await process.communicate()
    return stdout.decode().split("\n")[:-1]


def assert_whole(rows: list[Row], size: int) -> None:
    """Numbers without gaps, and every claim in one piece."""
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    claims = rows[2:]
    for start in range(0, len(claims), size):
        claim = claims[start : start + size]
        assert len({row.claim for row in claim}) == 1
        assert [row.ordinal for row in claim] == list(range(size))


async def test_a_tail_misses_nothing_of_eight_writers_in_two_processes(
    journal: Journal, journal_url: str, programs: Path
) -> None:
    await open_example(journal)
    groups = ("a,b,c,d", "e,f,g,h")
    writers = [await run(programs / "append_many.py", journal_url, "session-1", group, "15") for group in groups]
    total = 2 + 8 * 15 * 3
    seen: list[Row] = []
    async with asyncio.timeout(90), journal.watch() as hints:
        async for _ in hints:
            seen += await journal.read("session-1", after=seen[-1].seq if seen else 0)
            if len(seen) >= total:
                break
    for writer in writers:
        await output(writer)
    assert len(seen) == total
    assert_whole(seen, size=3)
    assert Counter(row.claim.split("/")[0] for row in seen[2:]) == dict.fromkeys("abcdefgh", 45)


async def test_of_processes_under_the_same_claims_one_wins_each(
    journal: Journal, journal_url: str, programs: Path
) -> None:
    await open_example(journal)
    twins = [await run(programs / "append_many.py", journal_url, "session-1", "same", "40") for _ in range(2)]
    assert [len(await output(twin)) for twin in twins] == [40, 40]
    rows = await journal.read("session-1")
    assert len(rows) == 2 + 40 * 3
    assert_whole(rows, size=3)


async def test_what_a_killed_process_was_promised_stands_and_nothing_stands_by_halves(
    journal: Journal, journal_url: str, programs: Path
) -> None:
    await open_example(journal)
    writer = await run(programs / "append_many.py", journal_url, "session-1", "w", "100000")
    promised = [await line(writer) for _ in range(20)]
    writer.kill()
    promised += await output(writer)
    assert (await journal.append("session-1", "after", [event_row(1)] * 3)).inserted
    rows = await journal.read("session-1")
    assert_whole(rows, size=3)
    assert set(promised) <= {row.claim for row in rows}


@pytest.mark.database
async def test_a_process_paused_within_the_end_of_a_turn_keeps_nobody_out(
    postgres_urls: DatabaseUrls, open_journal: OpenJournal, programs: Path
) -> None:
    journal = await open_journal(postgres_urls.operator)
    await open_example(journal)
    paused = await run(programs / "end_turn_and_stop.py", postgres_urls.worker, "session-1")
    assert await line(paused) == "holding the lock"
    async with asyncio.timeout(40):
        assert (await journal.append("session-1", "t1.s1/reply", [item_row(1, 1)])).inserted
    os.kill(paused.pid, signal.SIGCONT)
    assert await output(paused) == ["unavailable", "inserted=True"]
    assert [row.payload["type"] for row in await journal.read("session-1", claim="t1/end")] == ["TurnComplete"]


async def test_a_full_disk_is_an_error_and_not_half_an_append(
    sqlite_url: str, open_journal: OpenJournal, programs: Path
) -> None:
    journal = await open_journal(sqlite_url)
    await open_example(journal)
    said = await output(await run(programs / "append_until_full.py", sqlite_url, "session-1"))
    full = said.index("full")
    assert full > 0, "the disk was full before anything was written"
    rows = await journal.read("session-1")
    assert_whole(rows, size=3)
    assert list(dict.fromkeys(row.claim for row in rows[2:])) == said[:full] + said[full + 1 :]
