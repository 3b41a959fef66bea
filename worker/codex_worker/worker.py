"""Assembles the Temporal worker: which workflow, which activities, which limits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner

from codex_worker.activities.model import ModelActivities
from codex_worker.activities.session import SessionActivities
from codex_worker.activities.tools import ToolActivities
from codex_worker.activity_options import GRACEFUL_SHUTDOWN, MAX_HEARTBEAT_THROTTLE, STICKY_SCHEDULE_TO_START
from codex_worker.workflow import CodexWorkflow


async def connect(address: str, namespace: str) -> Client:
    """Connect to Temporal at host:port; raises RuntimeError when it does not answer."""
    return await Client.connect(address, namespace=namespace, data_converter=pydantic_data_converter)


def build_worker(
    client: Client,
    *,
    task_queue: str,
    session: SessionActivities,
    model: ModelActivities,
    tools: ToolActivities,
    max_concurrent_activities: int = 100,
    max_cached_workflows: int = 1000,
    workflow_runner: WorkflowRunner | None = None,
) -> Worker:
    """Build the worker. Workflows run unsandboxed, at a third of the memory; the tests replay them in the sandbox."""
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[CodexWorkflow],
        activities=[
            session.open_session,
            session.journal_events,
            session.resolve_approvals,
            model.model_call,
            tools.tool_exec,
            tools.stop_processes,
        ],
        workflow_runner=workflow_runner or UnsandboxedWorkflowRunner(),
        workflow_task_executor=ThreadPoolExecutor(max_workers=4),
        max_concurrent_activities=max_concurrent_activities,
        max_cached_workflows=max_cached_workflows,
        sticky_queue_schedule_to_start_timeout=STICKY_SCHEDULE_TO_START,
        max_heartbeat_throttle_interval=MAX_HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=MAX_HEARTBEAT_THROTTLE,
        graceful_shutdown_timeout=GRACEFUL_SHUTDOWN,
    )
