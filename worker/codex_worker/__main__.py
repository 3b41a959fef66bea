"""The worker process: settings, logging, metrics, connections, run until told to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from codex_api.log_levels import InvalidLogLevel
from codex_journal.errors import JournalError
from codex_journal.journal import Journal
from codex_sandbox.tls import TlsFiles
from codex_worker.assembly import assemble_worker
from codex_worker.health import HealthServer
from codex_worker.log_setup import set_up_logging
from codex_worker.providers import Provider, Providers
from codex_worker.settings import WorkerSettings
from codex_worker.worker import connect

RETRY_SECONDS = 1.0

T = TypeVar("T")

log = structlog.get_logger("codex_worker")


def providers_of(settings: WorkerSettings) -> Providers:
    """Return the chart's providers, or the one that the environment describes."""
    if settings.codex_providers_file:
        return Providers.read(settings.codex_providers_file)
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
    provider = Provider(base_url=settings.openai_base_url, api_key=key, default_model=settings.codex_model)
    return Providers(providers={"default": provider})


async def serve(settings: WorkerSettings, registry: CollectorRegistry, health: HealthServer) -> None:
    """Run the worker until SIGTERM or SIGINT; what it holds is handed over to other workers."""
    stop = asyncio.Event()
    ticking = asyncio.create_task(health.tick())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    journal = await Journal.connect(
        settings.codex_database_url, password=settings.database_password(), application="codex-worker"
    )
    await _until_up("database", journal.ping)
    tls = None
    if folder := settings.codex_tls_directory:
        tls = TlsFiles(certificate=str(folder / "tls.crt"), key=str(folder / "tls.key"), ca=str(folder / "ca.crt"))
    client = await _until_up("Temporal", lambda: connect(settings.temporal_address, settings.temporal_namespace))
    worker = assemble_worker(
        client,
        journal,
        task_queue=settings.codex_task_queue,
        providers=providers_of(settings),
        registry=registry,
        tls=tls,
        max_concurrent_activities=settings.codex_max_concurrent_activities,
        max_cached_workflows=settings.codex_max_cached_workflows,
    )
    async with worker:
        log.info("worker ready", task_queue=settings.codex_task_queue, temporal=settings.temporal_address)
        health.set_ready(True)
        await stop.wait()
        health.set_ready(False)
        log.info("worker stopping: running steps are handed over")
    await journal.close()
    ticking.cancel()


async def _until_up(what: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what the attempt returns once it succeeds; the wait is told, never a crash loop."""
    while True:
        try:
            return await attempt()
        except (JournalError, RuntimeError, OSError) as error:
            log.warning("waiting", what=what, error=str(error)[:300])
            await asyncio.sleep(RETRY_SECONDS)


def main() -> None:
    """Run the worker; the settings come from the environment (see codex_worker.settings)."""
    settings = WorkerSettings()
    try:
        set_up_logging(settings.log_level)
    except InvalidLogLevel as error:
        sys.exit(str(error))
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    health = HealthServer(settings.metrics_port, registry)
    asyncio.run(serve(settings, registry, health))


if __name__ == "__main__":
    main()
