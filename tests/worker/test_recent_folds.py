"""When a session's journal has to be read again, and when the fold in memory is known to be complete."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codex_api.rows import POSITION_OUTPUT, RowKind, ToolResultPayload
from codex_journal.journal import Journal
from codex_journal.rows import NewRow
from codex_journal.testing import event_row, message_row, open_example, sqlite_journal
from codex_worker import transcript
from codex_worker.transcript import Transcript, Transcripts

SESSION = "session-1"


@pytest.fixture
async def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Journal]:
    monkeypatch.setattr(transcript, "RECENT_SECONDS", 1_000.0)
    async with sqlite_journal(tmp_path / "journal.db") as journal:
        await open_example(journal)
        yield journal


async def outdated_fold(transcripts: Transcripts) -> Transcript:
    """Return a fold of everything there is, read so long ago that it has to be read again."""
    fold = await transcripts.load(SESSION)
    fold.complete_at = -math.inf
    return fold


async def test_an_append_that_follows_what_is_known_makes_another_read_needless(journal: Journal) -> None:
    transcripts = Transcripts(journal)
    fold = await outdated_fold(transcripts)
    transcripts.add(await journal.append(SESSION, "ours", [event_row(1)]))
    await journal.append(SESSION, "theirs", [message_row("a moment later")])
    assert await transcripts.load_recent(SESSION) is fold
    assert fold.seq == 3
    assert (await transcripts.load(SESSION)).seq == 4


async def test_rows_of_others_before_ones_own_are_read(journal: Journal) -> None:
    transcripts = Transcripts(journal)
    await outdated_fold(transcripts)
    await journal.append(SESSION, "theirs", [message_row("steering")])
    transcripts.add(await journal.append(SESSION, "ours", [event_row(1)]))
    fold = await transcripts.load_recent(SESSION)
    assert fold.seq == 4
    assert [message.key for message in fold.waiting_messages().values()] == ["prompt", "steering"]


async def test_an_append_that_stood_already_says_nothing_of_what_came_after_it(journal: Journal) -> None:
    transcripts = Transcripts(journal)
    await outdated_fold(transcripts)
    await journal.append(SESSION, "ours", [event_row(1)])
    await journal.append(SESSION, "theirs", [message_row("steering")])
    transcripts.add(await journal.append(SESSION, "ours", [event_row(1)]))
    assert (await transcripts.load_recent(SESSION)).seq == 4


async def test_a_fold_that_is_not_recent_is_read_again(journal: Journal) -> None:
    transcripts = Transcripts(journal)
    await outdated_fold(transcripts)
    await journal.append(SESSION, "theirs", [message_row("steering")])
    assert (await transcripts.load_recent(SESSION)).seq == 3


async def test_folds_full_of_pictures_make_room_for_others(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcript, "MAX_IMAGE_CHARACTERS", 100)
    transcripts = Transcripts(journal)
    with_pictures = await transcripts.load(SESSION)
    assert await transcripts.load(SESSION) is with_pictures
    await journal.append(SESSION, "t1.s1.c0/result", [picture_row(101)])
    assert await transcripts.load(SESSION) is with_pictures, "the one in use stays"
    await transcripts.load("another session")
    assert await transcripts.load(SESSION) is not with_pictures


def picture_row(characters: int) -> NewRow:
    url = "data:".ljust(characters, "x")
    item = {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": url}]}
    result = ToolResultPayload(call_id="t1.s1.c0", item=item)
    return NewRow(RowKind.TOOL_RESULT, result.model_dump(), 1, 1, POSITION_OUTPUT)
