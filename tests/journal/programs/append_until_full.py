"""Append to SESSION at URL until no file may grow any more, then with room again; print every confirmed claim."""

import asyncio
import resource
import sys

from codex_api.rows import RowKind
from codex_journal.errors import JournalUnavailable
from codex_journal.journal import Journal
from codex_journal.rows import NewRow

ROWS = [NewRow(RowKind.EVENT, {"text": "x" * 20_000})] * 3
LIMIT_BYTES = 1_000_000


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main(url: str, session: str) -> None:
    journal = await Journal.connect(url, application="test")
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, resource.RLIM_INFINITY))
    for n in range(100):
        try:
            await journal.append(session, f"claim/{n}", ROWS)
        except JournalUnavailable:
            say("full")
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            await journal.append(session, f"claim/{n}", ROWS)
            say(f"claim/{n}")
            break
        say(f"claim/{n}")
    await journal.close()


asyncio.run(main(*sys.argv[1:]))
