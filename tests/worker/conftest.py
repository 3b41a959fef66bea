from __future__ import annotations

import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from codex_api.rows import SandboxAddressPayload, SessionSettings
from codex_client.model_server.testing import ScriptedModel
from codex_journal.journal import Journal
from codex_journal.testing import sqlite_journal
from codex_sandbox.testing import LocalSandbox
from codex_worker.testing import (
    OpenSession,
    RunningWorker,
    SessionDriver,
    WorkerProcess,
    make_worker,
    temporal_dev_server,
)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def temporal_address() -> AsyncIterator[str]:
    async with temporal_dev_server() as environment:
        yield environment.client.service_client.config.target_host


@pytest.fixture
async def client(temporal_address: str) -> Client:
    return await Client.connect(temporal_address, data_converter=pydantic_data_converter)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with sqlite_journal(tmp_path / "journal.db") as journal:
        yield journal


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(replies=[{"text": "Hello."}]) as model:
        yield model


@pytest.fixture
def task_queue() -> str:
    return f"test-{uuid.uuid4()}"


StartWorker = Callable[[], Awaitable[RunningWorker]]


@pytest.fixture
async def start_worker(
    client: Client, journal: Journal, model: ScriptedModel, task_queue: str
) -> AsyncIterator[StartWorker]:
    async with AsyncExitStack() as stack:

        async def start() -> RunningWorker:
            worker = make_worker(client, journal, task_queue=task_queue, base_url=model.base_url)
            return await stack.enter_async_context(worker)

        yield start


@pytest.fixture
async def worker(start_worker: StartWorker) -> RunningWorker:
    return await start_worker()


@pytest.fixture
def settings() -> SessionSettings:
    """Settings of the test's session; a module overrides this fixture to change them."""
    return SessionSettings(isolation_required=False)


@pytest.fixture
async def sandbox(driver: SessionDriver, tmp_path: Path) -> AsyncIterator[LocalSandbox]:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    async with LocalSandbox(session=driver.session, workspace=workspace) as sandbox:
        driver.settings = driver.settings.model_copy(update={"workspace": str(workspace)})
        yield sandbox


@pytest.fixture
def driver(client: Client, journal: Journal, task_queue: str, settings: SessionSettings) -> SessionDriver:
    return SessionDriver(client=client, journal=journal, task_queue=task_queue, settings=settings)


def address_of(sandbox: LocalSandbox) -> SandboxAddressPayload:
    return SandboxAddressPayload(generation=sandbox.generation, unix_path=str(sandbox.address.path))


@pytest.fixture
def open_session(driver: SessionDriver, sandbox: LocalSandbox) -> OpenSession:
    """Open the session with a prompt, its sandbox announced."""

    async def open_with(prompt: str) -> None:
        await driver.open(prompt, address_of(sandbox))

    return open_with


@pytest.fixture
def announce(driver: SessionDriver, sandbox: LocalSandbox) -> Callable[[], Awaitable[None]]:
    """Journal the sandbox's address, which ``open_session`` does at once."""

    async def announce_sandbox() -> None:
        await driver.announce(address_of(sandbox))

    return announce_sandbox


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def worker_processes(
    temporal_address: str, tmp_path: Path, journal: Journal, model: ScriptedModel, task_queue: str
) -> AsyncIterator[Callable[[], Awaitable[WorkerProcess]]]:
    """Start worker processes on the test's journal; whatever is left of them is killed in the end."""
    started: list[WorkerProcess] = []

    async def start() -> WorkerProcess:
        process = WorkerProcess(
            log=tmp_path / f"worker-{len(started)}.log",
            environment={
                "TEMPORAL_ADDRESS": temporal_address,
                "CODEX_TASK_QUEUE": task_queue,
                "CODEX_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'journal.db'}",
                "OPENAI_BASE_URL": model.base_url,
                "OPENAI_API_KEY": "test-key",
                "CODEX_MODEL": "scripted",
                "METRICS_PORT": str(free_port()),
            },
        )
        started.append(process)
        await process.start()
        return process

    yield start
    for process in started:
        await process.end()
