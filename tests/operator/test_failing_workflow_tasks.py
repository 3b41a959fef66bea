"""Workers that cannot run the workflow: shown as a condition, gone by itself once they are mended."""

from __future__ import annotations

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from codex_api import conditions, names
from codex_api.workflow_payloads import SessionInput
from codex_journal.journal import Journal
from codex_operator.settings import Settings
from codex_operator.testing import ClusterUser, RunningOperator, eventually

pytestmark = [pytest.mark.apiserver, pytest.mark.temporal]

PATIENCE_SECONDS = 60.0


@workflow.defn(name=names.WORKFLOW_TYPE)
class BrokenWorkflow:
    """Fails in every workflow task, as one of an incompatible version does."""

    @workflow.run
    async def run(self, start: SessionInput) -> None:
        raise RuntimeError(f"cannot replay {start.session}")


@workflow.defn(name=names.WORKFLOW_TYPE)
class MendedWorkflow:
    @workflow.run
    async def run(self, start: SessionInput) -> None:
        await workflow.wait_condition(lambda: False)


async def test_a_workflow_task_that_keeps_failing_is_shown_until_it_is_mended(
    user: ClusterUser, settings: Settings, journal: Journal, temporal: Client
) -> None:
    def worker(definition: type) -> Worker:
        return Worker(
            temporal,
            task_queue=settings.task_queue,
            workflows=[definition],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )

    async with RunningOperator(settings, full_pass_seconds=0.3):
        async with worker(BrokenWorkflow):
            await user.create_session("x")
            condition = await eventually(
                lambda: user.condition("x", conditions.READY),
                lambda c: c.get("reason") == conditions.REASON_WORKFLOW_TASK_FAILING,
                PATIENCE_SECONDS,
            )
            assert "same version" in condition["message"]
        async with worker(MendedWorkflow):
            await eventually(
                lambda: user.condition("x", conditions.READY),
                lambda c: c["reason"] == conditions.REASON_PENDING,
                PATIENCE_SECONDS,
            )
