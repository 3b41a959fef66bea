"""`python -m bench`: what a step costs here, and in a loop that keeps its transcript in Temporal's history."""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peer import PeerActivities, TranscriptInHistory
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from codex_api.rows import SandboxAddressPayload, SessionSettings
from codex_client.model_server.testing import ScriptedModel
from codex_journal.testing import sqlite_journal
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


def command() -> dict[str, Any]:
    arguments = {"cmd": f"seq {OUTPUT_LINES}", "login": False}
    return {"calls": [{"name": "exec_command", "arguments": arguments}]}


def measured(name: str, wall: float, cpu: float, history: WorkflowHistory) -> Measured:
    size = sum(event.ByteSize() for event in history.events)
    return Measured(name, wall * 1000 / STEPS, cpu * 1000 / STEPS, len(history.events) / STEPS, size / STEPS)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def ours(client: Client, model: ScriptedModel) -> Measured:
    queue = f"bench-{uuid.uuid4()}"
    with tempfile.TemporaryDirectory() as folder:
        async with sqlite_journal(Path(folder) / "journal.db") as journal:
            settings = SessionSettings(isolation_required=False, max_steps=STEPS + 1)
            driver = SessionDriver(client=client, journal=journal, task_queue=queue, settings=settings)
            async with LocalSandbox(session=driver.session) as sandbox:
                workspace = {"workspace": str(sandbox.workspace)}
                driver.settings = driver.settings.model_copy(update=workspace)
                async with make_worker(client, journal, task_queue=queue, base_url=model.base_url):
                    began, cpu = time.monotonic(), cpu_seconds()
                    await driver.open("Go.", SandboxAddressPayload(generation=1, unix_path=str(sandbox.address.path)))
                    while not await driver.events("TurnComplete"):
                        await asyncio.sleep(POLL_SECONDS)
                    wall, cpu = time.monotonic() - began, cpu_seconds() - cpu
                    return measured("codex-temporal", wall, cpu, await driver.handle.fetch_history())


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
    out.write(f"{'per step':24} {'wall ms':>9} {'cpu ms':>9} {'events':>8} {'history B':>10}\n")
    for row in rows:
        out.write(f"{row.name:24} {row.wall_ms:9.1f} {row.cpu_ms:9.1f} {row.events:8.1f} {row.history_bytes:10.0f}\n")
    for row in rows[1:]:
        out.write(
            f"{row.name:24} {row.wall_ms / base.wall_ms:8.1f}x {row.cpu_ms / base.cpu_ms:8.1f}x "
            f"{row.events / base.events:7.1f}x {row.history_bytes / base.history_bytes:9.1f}x\n"
        )


async def main() -> None:
    replies = [*[command() for _ in range(STEPS)], {"text": "Done."}]
    async with temporal_dev_server() as environment, ScriptedModel(replies=replies) as model:
        await ours(environment.client, model)  # imports and caches are warm afterwards, for both
        show([await ours(environment.client, model), await peer(environment.client, model)])


asyncio.run(main())
