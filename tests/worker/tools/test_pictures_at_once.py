"""view_image of many sessions at once: few pictures are in memory, and no sandbox keeps the others waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from temporalio.testing import ActivityEnvironment

from codex_api.rows import Classification, SessionSettings, ToolCallPayload, ToolResultPayload
from codex_journal.rows import SessionRecord
from codex_sandbox.client import SandboxClient
from codex_sandbox.protocol import FileContent
from codex_worker.handlers import images
from codex_worker.handlers.images import MAX_AT_ONCE, Images
from codex_worker.handlers.results import GrantedCall, Results
from codex_worker.sandboxes import Sandboxes
from codex_worker.transcript import Transcript, Transcripts

NO_PICTURE = FileContent(content=b"text", size=4, truncated=False)


class FakeSandboxes:
    """Sandboxes of three kinds: one that is not there yet, one that does not answer, and one that does."""

    def __init__(self) -> None:
        self.reading = 0
        self.most_reading = 0

    @asynccontextmanager
    async def lease(self, session: str, *_: Any, **__: Any) -> AsyncIterator[SandboxClient]:
        if session.startswith("missing"):
            await asyncio.Event().wait()
        yield cast(SandboxClient, FakeClient(self, answers=not session.startswith("silent")))


class FakeClient:
    def __init__(self, sandboxes: FakeSandboxes, *, answers: bool) -> None:
        self._sandboxes = sandboxes
        self._answers = answers

    async def read_file(self, path: str, max_bytes: int) -> FileContent:
        self._sandboxes.reading += 1
        self._sandboxes.most_reading = max(self._sandboxes.reading, self._sandboxes.most_reading)
        try:
            await (asyncio.sleep(0.01) if self._answers else asyncio.Event().wait())
            return NO_PICTURE
        finally:
            self._sandboxes.reading -= 1


class FakeResults:
    def __init__(self) -> None:
        self.finished: list[tuple[str, str]] = []

    async def finish(self, granted: GrantedCall, result: ToolResultPayload) -> None:
        self.finished.append((granted.record.session, str(result.item["output"])))


class Viewing:
    """One process's pictures, and the calls that wait for them."""

    def __init__(self) -> None:
        self.sandboxes = FakeSandboxes()
        self.results = FakeResults()
        self._images = Images(cast(Sandboxes, self.sandboxes), cast(Transcripts, None), cast(Results, self.results))
        self._waiting: list[asyncio.Task[None]] = []

    async def view(self, session: str) -> None:
        now = datetime.now(UTC)
        record = SessionRecord(session, "test", "default", "test", SessionSettings(), 0, 0, False, 0, now)
        call = ToolCallPayload(
            call_id="t1.s1.c0",
            provider_call_id="c0",
            index=0,
            tool="view_image",
            classification=Classification.AUTOMATIC,
            arguments={"path": "a.png", "detail": "high"},
        )
        await ActivityEnvironment().run(self._images.run, GrantedCall(record, Transcript(), call, None))

    async def view_meanwhile(self, *sessions: str) -> None:
        """Begin calls and go on while they wait."""
        self._waiting += [asyncio.create_task(self.view(session)) for session in sessions]
        await asyncio.sleep(0.02)

    async def end(self) -> None:
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)


@pytest.fixture
async def viewing() -> AsyncIterator[Viewing]:
    viewing = Viewing()
    yield viewing
    await viewing.end()


async def test_few_pictures_are_read_at_a_time(viewing: Viewing) -> None:
    await asyncio.gather(*(viewing.view(f"session-{number}") for number in range(10)))
    assert len(viewing.results.finished) == 10
    assert viewing.sandboxes.most_reading == MAX_AT_ONCE


async def test_sandboxes_that_are_not_there_yet_keep_no_other_waiting(viewing: Viewing) -> None:
    await viewing.view_meanwhile(*(f"missing-{number}" for number in range(6)))
    async with asyncio.timeout(2):
        await viewing.view("good")


async def test_a_sandbox_that_does_not_answer_holds_one_place_however_many_pictures_it_is_asked_for(
    viewing: Viewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "READ_SECONDS", 60.0)
    await viewing.view_meanwhile(*["silent"] * 6)
    async with asyncio.timeout(2):
        await viewing.view("good")


async def test_a_sandbox_that_does_not_answer_gives_its_place_back_and_the_model_is_told(
    viewing: Viewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "READ_SECONDS", 0.05)
    await viewing.view_meanwhile(*(f"silent-{number}" for number in range(6)))
    async with asyncio.timeout(2):
        await viewing.view("good")
        await viewing.view("silent")
    told = dict(viewing.results.finished)
    assert "it is none of PNG, JPEG, GIF, WebP" in told["good"]
    assert told["silent"].startswith("unable to read image at `a.png`: it took longer than")
