"""`python -m bench`: what a step costs here, and in a loop that keeps its transcript in Temporal's history."""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peer import PeerActivities, TranscriptInHistory
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from codex_api.rows import SandboxAddressPayload, SessionSettings
from codex_client.model_server.testing import ScriptedModel, shell
from codex_journal.journal import Journal
from codex_journal.testing import PostgresServer, migrated_database, sqlite_journal
from codex_sandbox.testing import LocalSandbox
from codex_worker.testing import SessionDriver, make_worker, temporal_dev_server

STEPS = 50
POLL_SECONDS = 0.1  # looking at the journal more often would be measured too
OUTPUT_LINES = 90  # about a kilobyte per command


@dataclass
class Measured:
    name: str
    wall_ms: float
    cpu_ms: float
    """Of this process: worker, scripted model and client together."""
    events: float
    history_bytes: float
    """All per step."""


def measured(name: str, wall: float, cpu: float, history: WorkflowHistory) -> Measured:
    size = sum(event.ByteSize() for event in history.events)
    return Measured(name, wall * 1000 / STEPS, cpu * 1000 / STEPS, len(history.events) / STEPS, size / STEPS)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def ours(name: str, client: Client, model: ScriptedModel, journal: Journal) -> Measured:
    queue = f"bench-{uuid.uuid4()}"
    settings = SessionSettings(isolation_required=False, max_steps=STEPS + 1)
    driver = SessionDriver(client=client, journal=journal, task_queue=queue, settings=settings)
    async with LocalSandbox(session=driver.session) as sandbox:
        driver.settings = driver.settings.model_copy(update={"workspace": str(sandbox.workspace)})
        async with make_worker(client, journal, task_queue=queue, base_url=model.base_url):
            began, cpu = time.monotonic(), cpu_seconds()
            await driver.open("Go.", SandboxAddressPayload(generation=1, unix_path=str(sandbox.address.path)))
            while not await driver.events("TurnComplete"):
                await asyncio.sleep(POLL_SECONDS)
            wall, cpu = time.monotonic() - began, cpu_seconds() - cpu
            return measured(name, wall, cpu, await driver.handle.fetch_history())


async def peer(client: Client, model: ScriptedModel) -> Measured:
    queue = f"bench-{uuid.uuid4()}"
    activities = PeerActivities(model.base_url)
    worker = Worker(
        client,
        task_queue=queue,
        workflows=[TranscriptInHistory],
        activities=[activities.ask, activities.run],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with worker:
        began, cpu = time.monotonic(), cpu_seconds()
        handle = await client.start_workflow(TranscriptInHistory.run, "Go.", id=queue, task_queue=queue)
        await handle.result()
        wall, cpu = time.monotonic() - began, cpu_seconds() - cpu
        await activities.close()
        return measured("transcript in history", wall, cpu, await handle.fetch_history())


def show(rows: list[Measured]) -> None:
    base = rows[0]
    out = sys.stdout
    out.write(f"{'per step':28} {'wall ms':>9} {'cpu ms':>9} {'events':>8} {'history B':>10}\n")
    for row in rows:
        out.write(f"{row.name:28} {row.wall_ms:9.1f} {row.cpu_ms:9.1f} {row.events:8.1f} {row.history_bytes:10.0f}\n")
    for row in rows[1:]:
        out.write(
            f"{row.name:28} {row.wall_ms / base.wall_ms:8.1f}x {row.cpu_ms / base.cpu_ms:8.1f}x "
            f"{row.events / base.events:7.1f}x {row.history_bytes / base.history_bytes:9.1f}x\n"
        )


@asynccontextmanager
async def postgresql_journal() -> AsyncIterator[Journal]:
    with PostgresServer() as server:
        urls = await migrated_database(server)
        journal = await Journal.connect(urls.owner, application="bench")
        yield journal
        await journal.close()


async def main() -> None:
    replies = [*[shell(f"seq {OUTPUT_LINES}") for _ in range(STEPS)], {"text": "Done."}]
    async with AsyncExitStack() as stack:
        client = (await stack.enter_async_context(temporal_dev_server())).client
        model = await stack.enter_async_context(ScriptedModel(replies=replies))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        sqlite = await stack.enter_async_context(sqlite_journal(Path(folder) / "journal.db"))
        postgresql = await stack.enter_async_context(postgresql_journal())
        await ours("warm-up", client, model, postgresql)  # imports and caches are warm afterwards, for all
        rows = [await ours("codex-temporal, PostgreSQL", client, model, postgresql)]
        rows.append(await ours("codex-temporal, SQLite", client, model, sqlite))
        rows.append(await peer(client, model))
        show(rows)


if __name__ == "__main__":
    asyncio.run(main())
