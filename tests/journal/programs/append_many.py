"""Append COUNT claims of three rows to SESSION at URL; print each claim once the journal has confirmed it."""

import asyncio
import sys

from codex_journal.journal import Journal
from codex_journal.testing import event_row


async def main(url: str, session: str, writer: str, count: str) -> None:
    journal = await Journal.connect(url, application=writer)
    for n in range(int(count)):
        await journal.append(session, f"{writer}/{n}", [event_row(1)] * 3)
        print(f"{writer}/{n}", flush=True)
    await journal.close()


asyncio.run(main(*sys.argv[1:]))
