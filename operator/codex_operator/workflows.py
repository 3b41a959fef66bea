"""The sessions' Temporal workflows as the operator uses them: start, wake, cancel, look at.

WorkflowError
├── TemporalUnavailable   not reached or overloaded; try again
└── WorkflowGone          no run of that workflow is open
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RetryConfig, RPCError, RPCStatusCode

from codex_api import names
from codex_api.workflow_payloads import ApprovalSignal, MessageSignal, SessionInput
from codex_operator.display import one_line

RPC_SECONDS = 5.0
SUMMARY_BYTES = 200
# A few attempts by the client itself; whatever takes longer becomes a condition and is tried again by the reconcile.
RETRIES = RetryConfig(initial_interval_millis=50, max_elapsed_time_millis=2000, max_retries=4)
FAILING_ATTEMPTS = 3


class WorkflowError(Exception):
    """Base of this module's errors."""


class TemporalUnavailable(WorkflowError):
    """Temporal was not reached, refuses for now or did not answer in time; trying again later is right."""


class WorkflowGone(WorkflowError):
    """No run of the workflow is open: it ended, or this Temporal has never seen it."""


@dataclass(frozen=True)
class RunningWorkflow:
    run_id: str
    failing_attempts: int
    """How often the pending workflow task has failed; 0 where none is pending or it never failed."""

    @property
    def is_failing(self) -> bool:
        return self.failing_attempts > FAILING_ATTEMPTS


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(RPC_SECONDS):
            yield
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise WorkflowGone(error.message) from error
        raise TemporalUnavailable(f"{error.status.name}: {error.message}") from error
    except (RuntimeError, OSError, TimeoutError) as error:
        # A lazy client's failed connection is a RuntimeError.
        raise TemporalUnavailable(f"{type(error).__name__}: {error}") from error


async def connect(target: str, namespace: str) -> Client:
    """Return a client that connects when first used, so that the operator starts while Temporal is away."""
    return await Client.connect(
        target, namespace=namespace, data_converter=pydantic_data_converter, lazy=True, retry_config=RETRIES
    )


class Workflows:
    """Every method raises TemporalUnavailable while Temporal is away."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def start(self, workflow_id: str, session: str, summary: str) -> str:
        """Start the workflow unless a run is open; return the id of the run that is open now."""
        async with _translated():
            handle = await self._client.start_workflow(
                names.WORKFLOW_TYPE,
                SessionInput(session=session),
                id=workflow_id,
                task_queue=self._task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                task_timeout=timedelta(seconds=names.WORKFLOW_TASK_TIMEOUT_SECONDS),
                static_summary=one_line(summary, SUMMARY_BYTES),
                rpc_timeout=timedelta(seconds=RPC_SECONDS),
            )
        return handle.result_run_id or ""

    async def _signal(self, workflow_id: str, signal: str, argument: object = None) -> None:
        arguments = [] if argument is None else [argument]
        async with _translated():
            handle = self._client.get_workflow_handle(workflow_id)
            await handle.signal(signal, args=arguments, rpc_timeout=timedelta(seconds=RPC_SECONDS))

    async def signal_message(self, workflow_id: str, message: MessageSignal) -> None:
        """Wake the workflow for a journaled message. Raises WorkflowGone."""
        await self._signal(workflow_id, names.SIGNAL_USER_TURN, message)

    async def signal_approval(self, workflow_id: str, approval_id: str) -> None:
        """Wake the workflow for a journaled decision. Raises WorkflowGone."""
        await self._signal(workflow_id, names.SIGNAL_APPROVAL, ApprovalSignal(approval_id=approval_id))

    async def signal_shutdown(self, workflow_id: str) -> None:
        """Ask the workflow to end after the current turn. Raises WorkflowGone."""
        await self._signal(workflow_id, names.SIGNAL_SHUTDOWN)

    async def describe(self, workflow_id: str) -> RunningWorkflow:
        """Return the open run. Raises WorkflowGone where there is none."""
        async with _translated():
            found = await self._client.get_workflow_handle(workflow_id).describe(
                rpc_timeout=timedelta(seconds=RPC_SECONDS)
            )
        if found.status is not WorkflowExecutionStatus.RUNNING:
            raise WorkflowGone(f"{workflow_id} is {found.status.name if found.status else 'unknown'}")
        pending = found.raw_description.pending_workflow_task
        return RunningWorkflow(found.run_id, max(0, pending.attempt - 1) if pending.ByteSize() else 0)

    async def cancel(self, workflow_id: str) -> None:
        """Ask the workflow to end now; one that ended already is fine."""
        try:
            async with _translated():
                await self._client.get_workflow_handle(workflow_id).cancel(rpc_timeout=timedelta(seconds=RPC_SECONDS))
        except WorkflowGone:
            return

    async def running_ids(self, prefix: str) -> list[str]:
        """Return the ids of open workflows of ours that begin with ``prefix``."""
        quoted = prefix.replace("'", "''")
        query = (
            f"WorkflowType = '{names.WORKFLOW_TYPE}' AND ExecutionStatus = 'Running' "
            f"AND WorkflowId STARTS_WITH '{quoted}'"
        )
        async with _translated():
            return [found.id async for found in self._client.list_workflows(query)]

    async def ping(self) -> None:
        async with _translated():
            if not await self._client.service_client.check_health(timeout=timedelta(seconds=RPC_SECONDS)):
                raise TemporalUnavailable("the server says that it is not serving")
