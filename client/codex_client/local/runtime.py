"""Temporal and a worker for the sessions of one process: those of a worker that stays, or our own."""

from __future__ import annotations

import asyncio
import importlib
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from codex_client.local.config import LocalConfig
from codex_client.local.errors import LocalError, WorkerStopped, cut_off
from codex_client.local.logs import forward_structlog, forward_temporal_logs, log_file
from codex_client.local.providers import local_providers, provider_digest, require_provider
from codex_client.local.temporal_server import TemporalServer, connect
from codex_client.local.worker_registration import WorkerRegistration, find_worker

if TYPE_CHECKING:
    from temporalio.client import Client

    from codex_journal.journal import Journal
    from codex_worker.assembly import RunningWorker
    from codex_worker.deltas import OnDelta

WORKER_STOP_SECONDS = 3.0
WATCH_SECONDS = 1.0


class LocalRuntime:
    """``begin`` starts what takes long, ``connect`` waits for it; ``async with`` ends what was started."""

    def __init__(self, config: LocalConfig, session: str) -> None:
        """Look for the machine's worker; raises UsageError where no model could be asked."""
        require_provider(config)
        self._config = config
        self._session = session
        self._stack = AsyncExitStack()
        self._server: TemporalServer | None = None
        self.shared = self._usable_worker()
        self.client: Client
        self.task_queue = self.shared.task_queue if self.shared else f"codex-temporal-{session}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def begin(self) -> None:
        """Start Temporal's server where there is none to use; raises LocalError."""
        if self.shared is None and self._config.temporal_address is None:
            self._server = await start_server(self._config, "temporal.log")
            self._stack.push_async_callback(self._server.stop)

    async def connect(self) -> None:
        """Make the client; raises LocalError."""
        forward_temporal_logs()
        if self._server is not None:
            await self._server.wait_until_ready()
            self.client = await connect(self._server.address, "default")
        elif self.shared is not None:
            try:
                self.client = await connect(self.shared.temporal_address, self.shared.temporal_namespace)
            except LocalError as error:
                if self._worker_lives():
                    raise self._out_of_reach(self.shared, error) from error
                # The session may have been begun there already.
                raise WorkerStopped(_stopped(self.shared), self._session) from error
        else:
            assert self._config.temporal_address is not None
            self.client = await connect(self._config.temporal_address, self._config.temporal_namespace)

    async def end_workflow_of_worker(self, workflow_id: str) -> None:
        """End a workflow that the machine's worker may still run, so that one of ours is the only one.

        Raises LocalError.
        """
        from temporalio.service import RPCError, RPCStatusCode

        from codex_worker.activity_options import MAX_HEARTBEAT_THROTTLE

        worker = find_worker(self._config.state)
        if worker is None:
            return
        forward_temporal_logs()
        try:
            client = await connect(worker.temporal_address, worker.temporal_namespace)
            workflow = client.get_workflow_handle(workflow_id)
            pending = (await workflow.describe()).raw_description.pending_activities
            await workflow.terminate("the session goes on in another workflow")
            if pending:
                # They learn with their next heartbeats that it has ended; until then they would ask the model, too.
                await asyncio.sleep(2 * MAX_HEARTBEAT_THROTTLE.total_seconds())
        except LocalError as error:
            raise self._out_of_reach(worker, error) from error
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    async def start_worker(self, journal: Journal, on_delta: OnDelta | None) -> None:
        """Serve our own queue, unless the machine's worker serves it; raises LocalError."""
        if self.shared is None:
            worker = make_local_worker(self.client, journal, self.task_queue, self._config, on_delta)
            await worker.__aenter__()
            self._stack.push_async_callback(stop_worker, worker)
        elif on_delta is not None:
            from codex_client.local.worker_socket import read_deltas

            reading = asyncio.create_task(read_deltas(self.shared.socket, self._session, on_delta))
            self._stack.callback(reading.cancel)

    async def failed(self) -> LocalError:
        """Wait until the session cannot go on in this runtime, and return why."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._server is not None and not self._server.running:
                return cut_off("Temporal's dev server has stopped", self._session)
            if self.shared is not None and not self._worker_lives():
                return WorkerStopped(_stopped(self.shared), self._session)

    def _out_of_reach(self, worker: WorkerRegistration, error: LocalError) -> LocalError:
        """Return the error of a session that a worker may go on with once its Temporal answers again."""
        cure = f"end the worker (process {worker.pid}), then go on with: codex-temporal resume {self._session}"
        return LocalError(f"{error}; the session may go on there: {cure}")

    def _worker_lives(self) -> bool:
        return find_worker(self._config.state) == self.shared

    def _usable_worker(self) -> WorkerRegistration | None:
        """Return the machine's worker if it asks the same provider with the same key as we would."""
        found = find_worker(self._config.state)
        if found is None or self._config.temporal_address not in (None, found.temporal_address):
            return None
        return found if found.provider_digest == provider_digest(self._config, found.salt) else None


def _stopped(worker: WorkerRegistration) -> str:
    return f"the worker (process {worker.pid}) has stopped"


async def start_server(config: LocalConfig, log: str) -> TemporalServer:
    """Start a dev server of our own; raises LocalError."""
    return await TemporalServer.start(
        program_path=config.program_path,
        home=config.home,
        downloads=config.state.downloads,
        log=log_file(config.state.logs, log),
    )


def make_local_worker(
    client: Client, journal: Journal, task_queue: str, config: LocalConfig, on_delta: OnDelta | None
) -> RunningWorker:
    from prometheus_client import CollectorRegistry

    from codex_worker.assembly import assemble_worker

    forward_structlog()
    # It takes up to a second to import, and the first step needs it.
    asyncio.get_running_loop().run_in_executor(None, importlib.import_module, "openai")
    return assemble_worker(
        client,
        journal,
        task_queue=task_queue,
        providers=local_providers(config),
        registry=CollectorRegistry(),
        on_delta=on_delta,
    )


async def stop_worker(worker: RunningWorker) -> None:
    """End it in good order, or not at all where that takes long: a process that ends needs neither."""
    try:
        async with asyncio.timeout(WORKER_STOP_SECONDS):
            await worker.__aexit__(None, None, None)
    except (TimeoutError, RuntimeError):
        return
