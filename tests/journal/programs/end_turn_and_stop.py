"""End turn 1 of SESSION at URL, but stop (SIGSTOP) while holding the session's lock; say what came of it."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from codex_journal.errors import JournalUnavailable
from codex_journal.journal import Journal
from codex_journal.rows import NewRow, TurnEnding
from codex_journal.testing import event_row


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def build(ending: TurnEnding) -> Sequence[NewRow]:
    say("holding the lock")
    os.kill(os.getpid(), signal.SIGSTOP)
    return [event_row(1, "TurnAborted")]


async def main(url: str, session: str) -> None:
    journal = await Journal.connect(url, application="paused")
    try:
        await journal.end_turn(session, 1, build)
        say("ended")
    except JournalUnavailable:
        say("unavailable")
        again = await journal.end_turn(session, 1, lambda _: [event_row(1, "TurnComplete")])
        say(f"inserted={again.inserted}")
    await journal.close()


asyncio.run(main(*sys.argv[1:]))
