"""Builds a worker with everything it holds; the process, one machine's command line and the tests all begin here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from temporalio.client import Client
from temporalio.worker import Worker

from codex_journal.journal import Journal
from codex_sandbox.tls import TlsFiles
from codex_worker.activities.model import ModelActivities
from codex_worker.activities.session import SessionActivities
from codex_worker.activities.tools import ToolActivities
from codex_worker.deltas import OnDelta
from codex_worker.execution import Executor
from codex_worker.metrics import WorkerMetrics
from codex_worker.providers import Providers
from codex_worker.responses.client import ResponsesModel
from codex_worker.sandboxes import Sandboxes
from codex_worker.transcript import Transcripts
from codex_worker.worker import build_worker


@dataclass
class RunningWorker:
    """``async with``: polls for work inside the block; what it holds is handed over and closed at its end."""

    worker: Worker
    registry: CollectorRegistry
    sandboxes: Sandboxes
    model: ResponsesModel

    async def __aenter__(self) -> RunningWorker:
        await self.worker.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> None:
        await self.worker.__aexit__(*details)
        await self.sandboxes.close()
        await self.model.close()


def assemble_worker(
    client: Client,
    journal: Journal,
    *,
    task_queue: str,
    providers: Providers,
    registry: CollectorRegistry,
    tls: TlsFiles | None = None,
    on_delta: OnDelta | None = None,
    max_concurrent_activities: int = 100,
    max_cached_workflows: int = 1000,
) -> RunningWorker:
    """Build the worker; without ``tls`` it speaks to sandboxes on Unix sockets only."""
    metrics = WorkerMetrics(registry)
    transcripts = Transcripts(journal)
    sandboxes = Sandboxes(journal, tls)
    executor = Executor(journal, transcripts, sandboxes, metrics)
    model = ResponsesModel()
    worker = build_worker(
        client,
        task_queue=task_queue,
        session=SessionActivities(journal, transcripts, metrics),
        model=ModelActivities(journal, transcripts, providers, model, executor, sandboxes, metrics, on_delta),
        tools=ToolActivities(journal, transcripts, executor, sandboxes),
        max_concurrent_activities=max_concurrent_activities,
        max_cached_workflows=max_cached_workflows,
    )
    return RunningWorker(worker, registry, sandboxes, model)
