"""What a session costs in Temporal's history, and recorded histories replayed."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from codex_client.model_server.testing import ScriptedModel, shell
from codex_sandbox.testing import LocalSandbox
from codex_worker.testing import OpenSession, RunningWorker, SessionDriver
from codex_worker.workflow import CodexWorkflow

pytestmark = pytest.mark.temporal

HISTORIES = Path(__file__).parents[1] / "fixtures" / "histories"
STEPS = 12


async def test_a_step_costs_little_history_however_long_its_output(
    worker: RunningWorker, driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    (sandbox.workspace / "long.txt").write_text("0123456789\n" * 2000)
    model.script(replies=[*[shell("cat long.txt") for _ in range(STEPS)], {"text": "Done."}])
    await open_session("Read it often.")
    await driver.wait_for_end()
    history = await driver.handle.fetch_history()
    size = sum(event.ByteSize() for event in history.events)
    assert size / STEPS < 1500
    assert len(history.events) / STEPS < 8


def recorded() -> list[Path]:
    return sorted(HISTORIES.glob("*.json"))


def test_there_are_recorded_histories() -> None:
    assert len(recorded()) >= 4


@pytest.mark.parametrize("path", recorded(), ids=lambda path: path.stem)
async def test_a_recorded_history_is_replayed_without_a_difference(path: Path) -> None:
    history = WorkflowHistory.from_json("recorded", path.read_text())
    replayer = Replayer(
        workflows=[CodexWorkflow],
        data_converter=pydantic_data_converter,
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    await replayer.replay_workflow(history)


async def test_the_workflow_loads_in_the_sandbox_that_refuses_non_deterministic_imports() -> None:
    path = recorded()[0]
    history = WorkflowHistory.from_json("recorded", path.read_text())
    await Replayer(workflows=[CodexWorkflow], data_converter=pydantic_data_converter).replay_workflow(history)
