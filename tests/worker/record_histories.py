"""Records the histories that the tests replay: `python tests/worker/record_histories.py` writes those that are missing.

A recorded history is never recorded anew to make a test pass: sessions with such histories are running somewhere.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from codex_api import names
from codex_api.approvals import DecisionKind
from codex_api.rows import Delivery, SandboxAddressPayload, SessionSettings
from codex_api.session import ApprovalPolicy
from codex_client.model_server.testing import ScriptedModel, shell, shell_call
from codex_journal.testing import sqlite_journal
from codex_sandbox.testing import LocalSandbox
from codex_worker.testing import SessionDriver, make_worker, temporal_dev_server

HISTORIES = Path(__file__).parents[1] / "fixtures" / "histories"


async def approve_all(driver: SessionDriver, count: int, kind: DecisionKind = DecisionKind.APPROVE) -> None:
    for asked in await driver.wait_for("ExecApprovalRequest", count):
        await driver.decide(asked["approval_id"], kind)
    await driver.wait_for_end()


async def wait(driver: SessionDriver) -> None:
    await driver.wait_for_end()


async def interrupt(driver: SessionDriver) -> None:
    await driver.wait_for("TurnStarted")
    await asyncio.sleep(1)
    await driver.handle.signal(names.SIGNAL_INTERRUPT)
    await driver.wait_for_end()


async def second_turn_and_shutdown(driver: SessionDriver) -> None:
    await driver.wait_for_end(1)
    await driver.say("Again.", Delivery.QUEUE)
    await driver.wait_for_end(2)
    await driver.handle.signal(names.SIGNAL_SHUTDOWN)
    await driver.handle.result()


async def compaction_between_turns(driver: SessionDriver) -> None:
    await driver.wait_for_end(1)
    await driver.handle.signal(names.SIGNAL_COMPACTION)
    await driver.say("Again.", Delivery.QUEUE)
    await driver.wait_for_end(2)


async def end_of_the_session(driver: SessionDriver) -> None:
    await driver.handle.result()


Person = Callable[[SessionDriver], Awaitable[None]]
DONE = {"text": "Done."}
PATCH = {"name": "apply_patch", "input": "*** Begin Patch\n*** Add File: x\n+x\n*** End Patch\n"}
PLAN = {"name": "update_plan", "arguments": {"plan": [{"step": "x", "status": "completed"}]}}
QUESTION = {"id": "q", "header": "Q", "question": "Which?", "options": [{"label": "a", "description": "A"}]}
SCENARIOS: dict[str, tuple[list[dict[str, Any]], Person]] = {
    "model-only-turn": ([DONE], wait),
    "two-turns-and-shutdown": ([DONE, DONE], second_turn_and_shutdown),
    "automatic-commands": ([{"calls": [shell_call("ls"), shell_call("pwd")]}, shell("ls"), DONE], wait),
    "approved": ([shell("touch x"), DONE], lambda driver: approve_all(driver, 1)),
    "denied": ([shell("touch x"), DONE], lambda driver: approve_all(driver, 1, DecisionKind.DENY)),
    "aborted": ([shell("touch x"), DONE], lambda driver: approve_all(driver, 1, DecisionKind.ABORT)),
    "mixed-reply": (
        [{"calls": [shell_call("ls"), shell_call("touch x"), shell_call("touch y")]}, DONE],
        lambda driver: approve_all(driver, 2),
    ),
    "serial-calls": (
        [{"calls": [shell_call("ls"), PATCH, shell_call("cat x"), PLAN]}, DONE],
        lambda driver: approve_all(driver, 1),
    ),
    "answered": (
        [{"calls": [{"name": "request_user_input", "arguments": {"questions": [QUESTION]}}]}, DONE],
        lambda driver: approve_all(driver, 1, DecisionKind.ANSWER),
    ),
    "interrupted": ([shell("tail -f /dev/null", yield_time_ms=30000), DONE], interrupt),
    "failed": ([{"fail": {"status": 400, "message": "no"}}], wait),
    "compacted": ([{"text": "One."}, {"text": "A summary, and an answer."}, DONE], compaction_between_turns),
    "deadline-in-a-turn": ([shell("tail -f /dev/null", yield_time_ms=30000), DONE], end_of_the_session),
    "deadline-while-asked": ([shell("touch x"), DONE], end_of_the_session),
    "deadline-while-idle": ([DONE], end_of_the_session),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "deadline-in-a-turn": {"active_deadline_seconds": 3, "approval_policy": ApprovalPolicy.NEVER},
    "deadline-while-asked": {"active_deadline_seconds": 3},
    "deadline-while-idle": {"active_deadline_seconds": 3},
}


def without_origin(node: Any) -> Any:
    """Return a history without what tells of the machine it was recorded on."""
    if isinstance(node, dict):
        return {key: without_origin(value) for key, value in node.items() if key not in ("identity", "stackTrace")}
    return [without_origin(value) for value in node] if isinstance(node, list) else node


async def record(name: str, replies: list[dict[str, Any]], person: Person, client: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        queue = f"record-{uuid.uuid4()}"
        async with sqlite_journal(Path(folder) / "journal.db") as journal, ScriptedModel(replies=replies) as model:
            settings = SessionSettings(isolation_required=False, **SETTINGS.get(name, {}))
            driver = SessionDriver(client=client, journal=journal, task_queue=queue, settings=settings)
            async with LocalSandbox(session=driver.session) as sandbox:
                workspace = {"workspace": str(sandbox.workspace)}
                driver.settings = driver.settings.model_copy(update=workspace)
                async with make_worker(client, journal, task_queue=queue, base_url=model.base_url):
                    address = SandboxAddressPayload(generation=1, unix_path=str(sandbox.address.path))
                    await driver.open("Go.", address)
                    await person(driver)
                    history = await driver.handle.fetch_history()
                    document = without_origin(json.loads(history.to_json()))
                    (HISTORIES / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


async def main() -> None:
    HISTORIES.mkdir(parents=True, exist_ok=True)
    async with temporal_dev_server() as environment:
        for name, (replies, person) in SCENARIOS.items():
            if not (HISTORIES / f"{name}.json").exists():
                await record(name, replies, person, environment.client)


if __name__ == "__main__":
    asyncio.run(main())
