"""A whole session without a cluster, for tests: real Temporal, real journal, real supervisor, scripted model.

``SessionDriver`` plays the operator: it journals and signals, and decides approvals as a person would.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import sys
import sysconfig
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry
from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from codex_api import names
from codex_api.approvals import Decision, DecisionKind
from codex_api.rows import (
    Delivery,
    MessagePayload,
    RowKind,
    SandboxAddressPayload,
    SessionSettings,
)
from codex_api.workflow_payloads import ApprovalSignal, MessageSignal, SessionInput
from codex_journal.journal import Journal
from codex_journal.rows import NewRow, Row
from codex_sandbox.tls import TlsFiles
from codex_worker.assembly import RunningWorker, assemble_worker
from codex_worker.dev_server import DEV_SERVER_OPTIONS
from codex_worker.providers import Provider, Providers

PATIENCE_SECONDS = 60.0

Found = TypeVar("Found")

OpenSession = Callable[[str], Awaitable[None]]
"""Open a session with a prompt."""


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what no journal tells, such as a file; raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


def installed_program(name: str) -> str:
    """Return the path of a program of this environment, activated or not; raises RuntimeError without it."""
    path = shutil.which(name, path=f"{sysconfig.get_path('scripts')}:{os.environ.get('PATH', os.defpath)}")
    if path is None:
        raise RuntimeError(f"{name} is missing: install the development dependencies (make install)")
    return path


@asynccontextmanager
async def temporal_dev_server(*options: str) -> AsyncIterator[WorkflowEnvironment]:
    """Start Temporal's dev server on a free port, in memory; ``options`` go to its command line."""
    environment = await WorkflowEnvironment.start_local(
        data_converter=pydantic_data_converter,
        dev_server_existing_path=installed_program("temporal"),
        dev_server_extra_args=[*DEV_SERVER_OPTIONS, *options],
    )
    async with environment:
        yield environment


@asynccontextmanager
async def temporal_time_skipping_server() -> AsyncIterator[WorkflowEnvironment]:
    """Start Temporal's test server, which jumps over timers while nothing else happens."""
    environment = await WorkflowEnvironment.start_time_skipping(
        data_converter=pydantic_data_converter, test_server_existing_path=installed_program("temporal-test-server")
    )
    async with environment:
        yield environment


def make_worker(
    client: Client,
    journal: Journal,
    *,
    task_queue: str,
    base_url: str,
    tls: TlsFiles | None = None,
    providers: Providers | None = None,
) -> RunningWorker:
    """Build a worker whose provider ``default`` is the model at ``base_url``."""
    providers = providers or Providers(
        providers={"default": Provider(base_url=base_url, api_key="test-key", default_model="scripted")}
    )
    return assemble_worker(
        client, journal, task_queue=task_queue, providers=providers, registry=CollectorRegistry(), tls=tls
    )


@dataclass
class SessionDriver:
    """One session and what an operator and a person do to it."""

    client: Client
    journal: Journal
    task_queue: str
    session: str = field(default_factory=lambda: str(uuid.uuid4()))
    settings: SessionSettings = field(default_factory=SessionSettings)
    _keys: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def workflow_id(self) -> str:
        return names.workflow_id("test", "default", "test", self.session)

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(self.workflow_id)

    async def open(self, prompt: str, sandbox: SandboxAddressPayload | None = None) -> None:
        """Journal the session with its prompt and start its workflow."""
        message = MessagePayload(key="prompt", text=prompt, delivery=Delivery.QUEUE)
        rows = [NewRow(RowKind.SESSION_OPENED, {}), NewRow(RowKind.MESSAGE, message.model_dump(mode="json"))]
        await self.journal.create_session(self.session, "test", "default", "test", self.settings, rows)
        if sandbox is not None:
            await self.announce(sandbox)
        await self.start()

    async def announce(self, sandbox: SandboxAddressPayload) -> None:
        """Journal where the session's sandbox listens."""
        row = NewRow(RowKind.SANDBOX_ADDRESS, sandbox.model_dump())
        await self.journal.append(self.session, f"address/{sandbox.generation}", [row])

    async def start(self) -> None:
        """Start the workflow, or find it running."""
        await self.client.start_workflow(
            names.WORKFLOW_TYPE,
            SessionInput(session=self.session),
            id=self.workflow_id,
            task_queue=self.task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            task_timeout=timedelta(seconds=names.WORKFLOW_TASK_TIMEOUT_SECONDS),
        )

    async def say(self, text: str, delivery: Delivery = Delivery.STEER) -> int:
        """Send a message; returns its seq."""
        key = f"message-{next(self._keys)}"
        message = MessagePayload(key=key, text=text, delivery=delivery)
        row = NewRow(RowKind.MESSAGE, message.model_dump(mode="json"))
        seq = (await self.journal.append(self.session, f"message/{key}", [row])).rows[0].seq
        await self.handle.signal(names.SIGNAL_USER_TURN, MessageSignal(key=key, seq=seq, delivery=delivery))
        return seq

    async def decide(self, approval_id: str, kind: DecisionKind, reason: str = "") -> None:
        """Decide as a person through the operator: the row first, then the signal that wakes."""
        await self.journal.decide(self.session, Decision(approval_id, kind, reason, "alice"))
        await self.handle.signal(names.SIGNAL_APPROVAL, ApprovalSignal(approval_id=approval_id))

    async def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        rows = await self.journal.read(self.session, kinds=[RowKind.EVENT])
        return [row.payload for row in rows if kind is None or row.payload["type"] == kind]

    async def rows(self, kind: RowKind) -> list[Row]:
        return await self.journal.read(self.session, kinds=[kind])

    async def outputs(self) -> list[str]:
        """Return the texts that tool calls gave the model, in the order of the conversation."""
        rows = await self.journal.conversation(self.session)
        return [row.payload["item"]["output"] for row in rows if row.kind is RowKind.TOOL_RESULT]

    async def wait_for(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until so many events of a kind stand in the journal, and return them."""
        return await self.until(lambda events: len(events) >= count, kind)

    async def wait_for_end(self, turn: int = 1) -> dict[str, Any]:
        """Wait for a turn's end event and return it."""
        ends = ("TurnComplete", "TurnAborted", "TurnFailed")

        def ended(events: Sequence[dict[str, Any]]) -> bool:
            return any(event["type"] in ends and event["turn"] == turn for event in events)

        events = await self.until(ended)
        return next(event for event in events if event["type"] in ends and event["turn"] == turn)

    async def until(
        self, condition: Callable[[list[dict[str, Any]]], bool], kind: str | None = None
    ) -> list[dict[str, Any]]:
        """Wait until the journaled events satisfy a condition, and return them."""
        return await self._poll(lambda: self.events(kind), condition)

    async def wait_for_rows(self, kind: RowKind, count: int = 1) -> list[Row]:
        """Wait until so many rows of a kind stand in the journal, and return them."""
        return await self._poll(lambda: self.rows(kind), lambda rows: len(rows) >= count)

    async def _poll(
        self, read: Callable[[], Awaitable[list[Found]]], condition: Callable[[list[Found]], bool]
    ) -> list[Found]:
        """Read until what is found satisfies a condition; the error of a timeout shows what there was."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not condition(found := await read()):
                    await asyncio.sleep(0.02)
                return found
        except TimeoutError:
            rows = [(row.seq, row.kind.value, row.payload) for row in await self.journal.read(self.session)]
            raise AssertionError(f"not reached within {PATIENCE_SECONDS} s; the journal holds {rows}") from None


class WorkerProcess:
    """A worker as the cluster runs it: a process of its own that can be killed, paused and told to stop."""

    def __init__(self, *, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self._environment = {**os.environ, **environment}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self._environment['METRICS_PORT']}/metrics"

    async def start(self) -> None:
        """Start it and wait until it polls for work."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "codex_worker", stderr=log, stdout=log, env=self._environment
            )
        async with asyncio.timeout(PATIENCE_SECONDS):
            while b"worker ready" not in self.log.read_bytes():
                if self._process.returncode is not None:
                    raise RuntimeError(f"the worker did not start: {self.log.read_text()}")
                await asyncio.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        assert self._process is not None
        return await self._process.wait()

    async def end(self) -> None:
        """Kill it if it still runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
