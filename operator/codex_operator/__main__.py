"""The operator process: reads the environment, builds the parts, runs until it is told to stop."""

from __future__ import annotations

import asyncio
import signal

from prometheus_client import start_http_server

from codex_journal.journal import Journal
from codex_operator.assembly import assemble, prepare_cluster, run_operator
from codex_operator.cluster_api import ClusterApi, load_configuration
from codex_operator.log_setup import set_up_logging
from codex_operator.settings import Settings, settings_from_environment
from codex_operator.workflows import Workflows, connect


async def run(settings: Settings) -> None:
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
        await run_operator(context, stop, health_port=settings.health_port)
    finally:
        await journal.close()
        await api.close()


def main() -> None:
    settings = settings_from_environment()
    set_up_logging(settings.log_level)
    start_http_server(settings.metrics_port)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
