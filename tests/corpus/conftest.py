"""Sessions written down as files, and how each is replayed: real Temporal, journal and supervisor, a scripted model."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from pydantic import BaseModel, ConfigDict
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from codex_api import names
from codex_api.approvals import parse_decision
from codex_api.rows import RowKind, SandboxAddressPayload, SessionSettings
from codex_client.model_server.testing import ScriptedModel
from codex_journal.journal import Journal
from codex_journal.migrating import migrate
from codex_journal.rows import Row
from codex_sandbox.testing import LocalSandbox
from codex_worker.assembly import RunningWorker
from codex_worker.testing import SessionDriver, make_worker, temporal_dev_server

SESSIONS = Path(__file__).parent / "sessions"
PATIENCE_SECONDS = 60.0
ENDS = ("TurnComplete", "TurnAborted", "TurnFailed")
# What may differ between two replays of one session: clocks, numbers of processes, what a provider makes of its ids.
_VARYING = (
    (re.compile(r"Wall time: [\d.]+ seconds"), "Wall time: … seconds"),
    (re.compile(r"session ID \d+"), "session ID …"),
    (re.compile(r'session_id(\\?)": \d+'), r'session_id\1": …'),
    # A killed command tells of the signal, or of the end of its turn, whichever comes first.
    (re.compile(r'"(aborted by user|Chunk ID: [^"]*Process exited with code 143[^"]*)"'), '"killed"'),
    (re.compile(r"<current_date>[\d-]+<"), "<current_date>…<"),
    (re.compile(r'"encrypted_content": "[^"]+"'), '"encrypted_content": "…"'),
)
_PROVIDER_ID = re.compile(r"\b[a-z]+_[0-9a-f]{20,}\b")


class Way(StrEnum):
    STRAIGHT = "straight"
    NEW_WORKERS = "new-workers"
    """A new worker after the first reply, and after every second one from there on."""
    TEMPORAL_LOST = "temporal-lost"
    """A new workflow in the middle, from nothing but the journal."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Happening(Part):
    """What a person does besides deciding: once a file is there, or after a turn; what they save comes last."""

    once_there: str | None = None
    after_turn: int | None = None
    say: str | None = None
    interrupt: bool = False
    save: dict[str, str] = {}


class Ending(Part):
    type: str
    reason: str | None = None
    says: str = ""
    """A pattern in the last message."""


class Expected(Part):
    """What must come out; texts of outputs, of the diff and of what the model was told are patterns."""

    ends: list[Ending]
    files: dict[str, str]
    outputs: list[str] = []
    outcomes: list[str] | None = None
    """Patterns too; None: completed, each of them."""
    exit_codes: list[int | None] | None = None
    changes: list[str] = []
    diff: list[str] = []
    requests: int
    told: list[str] = []
    """Patterns in what the newest request says as a user or developer, in this order."""
    retries: list[str] = []
    compactions: list[str] = []
    events: list[str]


class ScriptedSession(Part):
    shows: str
    prompt: str
    settings: dict[str, Any] = {}
    files: dict[str, str] = {}
    pictures: dict[str, str] = {}
    """Base64; they stay as they are."""
    replies: list[dict[str, Any]]
    summary: str | None = None
    """What the model says when it is asked to sum the conversation up."""
    people: list[str] = []
    """Values of approval annotations, by order of asking."""
    meanwhile: list[Happening] = []
    lost_after: int | None = None
    """The reply after which Temporal is lost; None: the middle one."""
    expected: Expected

    def disturbed_at(self, way: str) -> list[int]:
        """Return after which replies a replay is disturbed; they count from 1."""
        replies = len(self.replies)
        match Way(way):
            case Way.STRAIGHT:
                return []
            case Way.NEW_WORKERS:
                return list(range(1, replies + 1, 2))
            case Way.TEMPORAL_LOST:
                return [self.lost_after or (replies + 1) // 2]


@dataclass
class Outcome:
    """What a replay left behind."""

    replies: int
    disturbances: int
    conversation: list[str]
    """JSON of the items with their places, without what varies."""
    results: list[dict[str, Any]]
    intents: Counter[str]
    events: list[dict[str, Any]]
    retries: list[str]
    compactions: list[str]
    files: dict[str, bytes]
    pictures: frozenset[str]
    settings: dict[str, Any]
    requests: list[dict[str, Any]]

    def texts(self) -> dict[str, str]:
        """Return the workspace's files but the pictures."""
        return {name: data.decode() for name, data in self.files.items() if name not in self.pictures}


@dataclass
class Stage:
    """The parts of one replay; ``replace_worker`` and ``lose_workflow`` are its disturbances."""

    driver: SessionDriver
    journal_url: str
    base_url: str
    way: Way
    script: ScriptedSession
    workspace: Path
    replies: int = 0
    disturbances: int = 0
    ended: int = 0
    asked: int = 0
    to_happen: list[Happening] = field(default_factory=list)
    _worker: tuple[RunningWorker, Journal] | None = None
    _leaving: list[asyncio.Task[None]] = field(default_factory=list)

    async def replace_worker(self) -> None:
        """Start a worker that knows nothing and shares no connection; the old one leaves when it is there."""
        address = self.driver.client.service_client.config.target_host
        client = await Client.connect(address, data_converter=pydantic_data_converter)
        journal = await Journal.connect(self.journal_url, application="corpus")
        worker = make_worker(client, journal, task_queue=self.driver.task_queue, base_url=self.base_url)
        await worker.__aenter__()
        self.release_worker()
        self._worker = (worker, journal)

    def release_worker(self) -> None:
        if self._worker is not None:
            self._leaving.append(asyncio.create_task(_leave(*self._worker)))
            self._worker = None

    async def close(self) -> None:
        self.release_worker()
        await asyncio.gather(*self._leaving)

    async def lose_workflow(self) -> None:
        await self.driver.handle.terminate("the test forgets it")
        await self.driver.start()

    async def play(self) -> None:
        """Do what people and the way of the replay do, until all turns have ended."""
        seq = 0
        self.to_happen = list(self.script.meanwhile)
        while self.ended < len(self.script.expected.ends):
            for row in await self.driver.journal.read(self.driver.session, after=seq):
                seq = row.seq
                await self._react(row)
            await self._let_happen()
            await asyncio.sleep(0.02)

    async def _react(self, row: Row) -> None:
        if row.claim.endswith("/reply") and row.ordinal == 0:
            self.replies += 1
            await self._disturb()
        if row.kind is RowKind.EVENT and row.payload["type"] == "ExecApprovalRequest":
            assert self.asked < len(self.script.people), f"nobody expected to be asked {row.payload}"
            decision = parse_decision(row.payload["approval_id"], self.script.people[self.asked], "alice")
            self.asked += 1
            await self.driver.decide(decision.approval_id, decision.kind, decision.reason)
        self.ended += row.kind is RowKind.EVENT and row.payload["type"] in ENDS

    async def _disturb(self) -> None:
        if self.replies in self.script.disturbed_at(self.way):
            self.disturbances += 1
            await (self.replace_worker() if self.way is Way.NEW_WORKERS else self.lose_workflow())

    async def _let_happen(self) -> None:
        for happening in list(self.to_happen):
            there = happening.once_there is not None and (self.workspace / happening.once_there).exists()
            if there or (happening.after_turn is not None and self.ended >= happening.after_turn):
                self.to_happen.remove(happening)
                if happening.interrupt:
                    await self.driver.handle.signal(names.SIGNAL_INTERRUPT)
                if happening.say is not None:
                    await self.driver.say(happening.say)
                for name, text in happening.save.items():
                    (self.workspace / name).write_text(text)


async def _leave(worker: RunningWorker, journal: Journal) -> None:
    await worker.__aexit__(None, None, None)
    await journal.close()


def _without_what_varies(texts: Iterable[str], workspace: Path) -> list[str]:
    """Replace what differs between replays; the provider's ids become numbers, so that what belongs together shows."""
    ids: dict[str, str] = {}

    def numbered(match: re.Match[str]) -> str:
        return ids.setdefault(match[0], f"id-{len(ids) + 1}")

    plain = []
    for text in texts:
        text = text.replace(str(workspace), "/workspace")
        for pattern, replacement in _VARYING:
            text = pattern.sub(replacement, text)
        plain.append(_PROVIDER_ID.sub(numbered, text))
    return plain


def _items(row: Row) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = row.payload["items"] if row.kind is RowKind.COMPACTION else [row.payload["item"]]
    return items


async def _outcome(stage: Stage, model: ScriptedModel) -> Outcome:
    journal, session, workspace = stage.driver.journal, stage.driver.session, stage.workspace
    conversation = await journal.conversation(session)
    rows = await journal.read(session)
    placed = [json.dumps([row.turn, row.step, row.position, row.kind, _items(row)]) for row in conversation]
    return Outcome(
        replies=stage.replies,
        disturbances=stage.disturbances,
        conversation=_without_what_varies(placed, workspace),
        results=[row.payload for row in conversation if row.kind is RowKind.TOOL_RESULT],
        intents=Counter(row.payload["call_id"] for row in rows if row.kind is RowKind.TOOL_INTENT),
        events=[row.payload for row in rows if row.kind is RowKind.EVENT],
        retries=[row.payload["reason"] for row in rows if row.kind is RowKind.MODEL_RETRY],
        compactions=[row.payload["reason"] for row in rows if row.kind is RowKind.COMPACTION],
        files={str(path.relative_to(workspace)): path.read_bytes() for path in workspace.rglob("*") if path.is_file()},
        pictures=frozenset(stage.script.pictures),
        settings=stage.script.settings,
        requests=[recorded.body for recorded in model.requests],
    )


async def _replay(script: ScriptedSession, way: Way, client: Client, empty_journal: Path, folder: Path) -> Outcome:
    workspace = folder / "workspace"
    workspace.mkdir(parents=True)
    pictures = {name: base64.b64decode(data) for name, data in script.pictures.items()}
    for name, content in {**{name: text.encode() for name, text in script.files.items()}, **pictures}.items():
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_bytes(content)
    settings = SessionSettings(isolation_required=False, workspace=str(workspace), **script.settings)
    summary = {"compaction": {"text": script.summary}} if script.summary else {}
    async with AsyncExitStack() as stack:
        url = f"sqlite+aiosqlite:///{shutil.copy(empty_journal, folder / 'journal.db')}"
        journal = await Journal.connect(url, application="corpus")
        stack.push_async_callback(journal.close)
        conversations = [{"match": "always", "replies": script.replies, **summary}]
        model = await stack.enter_async_context(ScriptedModel(conversations=conversations))
        driver = SessionDriver(client=client, journal=journal, task_queue=f"corpus-{folder}", settings=settings)
        sandbox = await stack.enter_async_context(LocalSandbox(session=driver.session, workspace=workspace))
        stage = Stage(driver, url, model.base_url, way, script, workspace)
        stack.push_async_callback(stage.close)
        await stage.replace_worker()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                address = SandboxAddressPayload(generation=sandbox.generation, unix_path=str(sandbox.address.path))
                await driver.open(script.prompt, address)
                await stage.play()
        except TimeoutError:
            rows = [(row.seq, row.kind.value, row.payload) for row in await journal.read(driver.session)]
            raise AssertionError(f"not done within {PATIENCE_SECONDS} s; the journal holds {rows}") from None
        return await _outcome(stage, model)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def temporal_address() -> AsyncIterator[str]:
    async with temporal_dev_server() as environment:
        yield environment.client.service_client.config.target_host


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def empty_journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database, of which each replay has a copy."""
    path = tmp_path_factory.mktemp("journal") / "journal.db"
    await migrate(f"sqlite+aiosqlite:///{path}")
    return path


Replay = Callable[[str, str], Awaitable[Outcome]]
ReadSession = Callable[[str], ScriptedSession]


@pytest.fixture(scope="session")
def outcomes() -> dict[tuple[str, Way], Outcome | BaseException]:
    """What came of each replay, by file and way."""
    return {}


@pytest.fixture
async def replay(
    temporal_address: str,
    empty_journal: Path,
    tmp_path_factory: pytest.TempPathFactory,
    outcomes: dict[tuple[str, Way], Outcome | BaseException],
) -> Replay:
    """Replay a file of the corpus in one of the ways; all ways are gone side by side, once per file."""
    client = await Client.connect(temporal_address, data_converter=pydantic_data_converter)

    async def replayed(name: str, way: str) -> Outcome:
        if (name, Way(way)) not in outcomes:
            script = _read_session(name)
            replays = [_replay(script, each, client, empty_journal, tmp_path_factory.mktemp(name)) for each in Way]
            finished = await asyncio.gather(*replays, return_exceptions=True)
            outcomes.update(((name, each), outcome) for each, outcome in zip(Way, finished, strict=True))
        outcome = outcomes[name, Way(way)]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return replayed


@pytest.fixture
def read_session() -> ReadSession:
    return _read_session


def _read_session(name: str) -> ScriptedSession:
    """Read a file of the corpus; raises pydantic.ValidationError for fields it does not know."""
    return ScriptedSession.model_validate(yaml.safe_load((SESSIONS / f"{name}.yaml").read_text()))
