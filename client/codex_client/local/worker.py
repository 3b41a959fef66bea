"""``codex-temporal worker``: a worker that stays, so that commands on this machine begin at once."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import secrets
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from codex_client.local.config import LocalConfig
from codex_client.local.errors import LocalError
from codex_client.local.logs import forward_temporal_logs
from codex_client.local.providers import default_model, provider_digest, require_provider
from codex_client.local.session_control import SessionControl
from codex_client.local.socket_folder import SocketFolder
from codex_client.local.temporal_server import TemporalServer, connect
from codex_client.local.worker_registration import RegisteredWorker, WorkerRegistration

if TYPE_CHECKING:
    from temporalio.client import Client

    from codex_client.local.worker_socket import NewSession
    from codex_journal.journal import Journal

TASK_QUEUE = "codex-temporal-local"
WATCH_SECONDS = 1.0

log = logging.getLogger(__name__)


async def serve(config: LocalConfig) -> None:
    """Serve the sessions of this machine until SIGTERM, SIGINT or SIGHUP; raises LocalError."""
    from codex_client.local.journal_file import local_journal
    from codex_client.local.runtime import make_local_worker, start_server, stop_worker
    from codex_client.local.worker_socket import WorkerSocket

    config.state.create()
    require_provider(config)
    salt = secrets.token_hex(16)
    digest = provider_digest(config, salt)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        place = stack.enter_context(RegisteredWorker(config.state))
        server = None
        if config.temporal_address is None:
            server = await start_server(config, "worker-temporal.log")
            stack.push_async_callback(server.stop)
        journal = await stack.enter_async_context(local_journal(config.state))
        folder = SocketFolder(config.runtime_folder)
        stack.callback(folder.remove)
        client, address = await _connect(config, server)
        begin = functools.partial(_begin, client, journal)
        socket = await stack.enter_async_context(WorkerSocket(folder.path / "worker", begin))
        worker = make_local_worker(client, journal, TASK_QUEUE, config, socket.publish)
        await worker.__aenter__()
        stack.push_async_callback(stop_worker, worker)
        place.announce(
            WorkerRegistration(
                pid=os.getpid(),
                temporal_address=address,
                temporal_namespace=client.namespace,
                task_queue=TASK_QUEUE,
                salt=salt,
                provider_digest=digest,
                default_model=default_model(config),
                socket=str(folder.path / "worker"),
            )
        )
        log.info("worker ready: Temporal at %s, queue %s", address, TASK_QUEUE)
        await _wait(stop, server)


async def _begin(client: Client, journal: Journal, new: NewSession) -> int:
    control = SessionControl(client, journal, new.workflow_id)
    message = await control.create(new.settings, new.sandbox_socket, new.prompt)
    await control.start(TASK_QUEUE, afresh=False)
    return message


async def _connect(config: LocalConfig, server: TemporalServer | None) -> tuple[Client, str]:
    forward_temporal_logs()
    if server is not None:
        await server.wait_until_ready()
        return await connect(server.address, "default"), server.address
    assert config.temporal_address is not None
    return await connect(config.temporal_address, config.temporal_namespace), config.temporal_address


async def _wait(stop: asyncio.Event, server: TemporalServer | None) -> None:
    while not stop.is_set():
        if server is not None and not server.running:
            raise LocalError("Temporal's dev server has stopped")
        try:
            async with asyncio.timeout(WATCH_SECONDS):
                await stop.wait()
        except TimeoutError:
            continue
