"""Append COUNT claims of three rows as each of the WRITERS (a,b,…) to SESSION at URL; print what is confirmed."""

import asyncio
import sys

from codex_journal.journal import Journal
from codex_journal.testing import event_row


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def write(journal: Journal, session: str, writer: str, count: int) -> None:
    for n in range(count):
        await journal.append(session, f"{writer}/{n}", [event_row(1)] * 3)
        say(f"{writer}/{n}")


async def main(url: str, session: str, writers: str, count: str) -> None:
    journal = await Journal.connect(url, application="test")
    await asyncio.gather(*(write(journal, session, writer, int(count)) for writer in writers.split(",")))
    await journal.close()


asyncio.run(main(*sys.argv[1:]))
