"""The operator process: reads the environment, builds the parts, runs until it is told to stop.

``prepare`` only makes what workers wait for, and ends: an init container's task, long before the database answers.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import structlog

from codex_api.log_levels import InvalidLogLevel
from codex_operator.cluster_api import ClusterApi, load_configuration
from codex_operator.log_setup import set_up_logging
from codex_operator.preparing import prepare_cluster
from codex_operator.settings import PreparingSettings, Settings, settings_from_environment

PREPARE = "prepare"

log = structlog.get_logger("codex_operator")


async def prepare(settings: PreparingSettings) -> None:
    api = ClusterApi(await load_configuration(settings.kubeconfig))
    try:
        await prepare_cluster(api, settings)
    finally:
        await api.close()


async def run(settings: Settings) -> None:
    # Not for `prepare`: kopf and Temporal take a second to import.
    from codex_journal.journal import Journal
    from codex_operator.assembly import assemble, run_operator
    from codex_operator.workflows import Workflows, connect

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    api = ClusterApi(await load_configuration(settings.kubeconfig))
    journal = await Journal.connect(
        settings.database_url, password=settings.database_password(), application="codex-operator"
    )
    try:
        client = await connect(settings.temporal_target, settings.temporal_namespace)
        installation, authority = await prepare_cluster(api, settings)
        context = assemble(
            settings,
            api=api,
            journal=journal,
            workflows=Workflows(client, settings.task_queue),
            installation=installation,
            authority=authority,
        )
        log.info("operator ready", installation=installation, temporal=settings.temporal_target)
        await run_operator(context, stop, health_port=settings.health_port)
        log.info("operator stopped")
    finally:
        await journal.close()
        await api.close()


def log_at(levels: str) -> None:
    try:
        set_up_logging(levels)
    except InvalidLogLevel as error:
        sys.exit(str(error))


def main() -> None:
    arguments = sys.argv[1:]
    if arguments not in ([], [PREPARE]):
        sys.exit(f"usage: codex-temporal-operator [{PREPARE}]; everything else is set in the environment")
    if arguments == [PREPARE]:
        preparing = PreparingSettings()
        log_at(preparing.log_level)
        asyncio.run(prepare(preparing))
        return
    settings = settings_from_environment()
    log_at(settings.log_level)
    # The init container has no port to serve.
    from prometheus_client import start_http_server

    start_http_server(settings.metrics_port)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
