"""A whole turn through operator, worker, supervisor and scripted model; only the kubelet is played by the test."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.client import Client

from codex_api import conditions
from codex_client.model_server.testing import ScriptedModel
from codex_journal.journal import Journal
from codex_operator.cluster_api import Manifest
from codex_operator.settings import Isolation, Settings
from codex_operator.testing import ClusterUser, RunningOperator, eventually
from codex_sandbox.tls import TlsFiles
from codex_worker.testing import make_worker

pytestmark = [pytest.mark.apiserver, pytest.mark.temporal]


@pytest.fixture
def local_settings(settings: Settings) -> Settings:
    """Settings for sandboxes on this machine, whose isolation nobody can show."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return settings.model_copy(update={"sandbox_port": port, "sandbox_isolation": Isolation.REPORTED})


@asynccontextmanager
async def kubelet(user: ClusterUser, pod: Manifest, directory: Path) -> AsyncIterator[Path]:
    """Run the pod's own command here, with its Secret and a workspace; yields the workspace."""
    name = pod["metadata"]["name"]
    tls = await user.secret_files(f"{name}-tls", directory / "tls")
    workspace = directory / "workspace"
    workspace.mkdir()
    (container,) = pod["spec"]["containers"]
    mounts = {"/etc/codex/tls": str(tls), "/workspace": str(workspace)}
    command = list(container["command"][2:])
    for inside, outside in mounts.items():
        command = [part.replace(inside, outside) for part in command]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "codex_sandbox", *command)
    try:
        await user.run_pod(name, "127.0.0.1")
        yield workspace
    finally:
        process.terminate()
        await process.wait()


async def test_an_annotated_approval_lets_the_command_run_and_the_turn_end(
    user: ClusterUser, local_settings: Settings, journal: Journal, temporal: Client, tmp_path: Path
) -> None:
    # There is no /workspace on this machine, so the model asks for the directory that stands in for it.
    arguments = {"cmd": "echo built > result.txt", "login": False, "workdir": str(tmp_path / "workspace")}
    replies = [{"calls": [{"name": "exec_command", "arguments": arguments}]}]
    async with ScriptedModel(replies=[*replies, {"text": "Done."}]) as model, RunningOperator(local_settings):
        tls = await user.secret_files("codex-worker-tls", tmp_path / "worker", local_settings.system_namespace)
        files = TlsFiles(*(str(tls / name) for name in ("tls.crt", "tls.key", "ca.crt")))
        worker = make_worker(
            temporal, journal, task_queue=local_settings.task_queue, base_url=model.base_url, tls=files
        )
        async with worker:
            uid = await user.create_session("x", "Build it.")
            pod = (await eventually(lambda: user.pods(uid), bool))[0]
            async with kubelet(user, pod, tmp_path) as workspace:
                status = await eventually(lambda: user.status("x"), lambda s: s["phase"] == "AwaitingApproval")
                assert not (workspace / "result.txt").exists()
                (pending,) = status["pendingApprovals"]
                assert "echo built > result.txt" in pending["command"]
                await user.decide("x", pending["id"], "approve")
                status = await eventually(lambda: user.status("x"), lambda s: s["phase"] == "Idle")
                assert (workspace / "result.txt").read_text() == "built\n"
                events = await eventually(user.events, lambda e: any(x["reason"] == "TurnComplete" for x in e))
    assert status["lastMessage"] == "Done."
    assert status["usage"]["modelCalls"] == 2
    shown = [event["type"] for event in status["events"]]
    assert [kind for kind in shown if not kind.startswith("Sandbox")] == [
        "TurnStarted",
        "ExecApprovalRequest",
        "ApprovalDecided",
        "ExecCommandBegin",
        "ExecCommandEnd",
        "TurnComplete",
    ]
    assert "approved by alice" in next(e["summary"] for e in status["events"] if e["type"] == "ApprovalDecided")
    assert {event["reason"] for event in events} >= {"ApprovalRequested", "ApprovalDecided", "TurnComplete"}
    ready = next(c for c in status["conditions"] if c["type"] == conditions.READY)
    assert (ready["status"], ready["reason"]) == ("True", conditions.REASON_TURN_COMPLETE)


async def test_a_session_told_to_complete_ends_after_its_turn(
    user: ClusterUser, local_settings: Settings, journal: Journal, temporal: Client
) -> None:
    async with ScriptedModel(replies=[{"text": "Hello."}]) as model, RunningOperator(local_settings):
        worker = make_worker(temporal, journal, task_queue=local_settings.task_queue, base_url=model.base_url)
        async with worker:
            uid = await user.create_session("x", "Say hello.")
            await eventually(lambda: user.status("x"), lambda s: s.get("phase") == "Idle")
            await user.patch_session("x", {"spec": {"operatingMode": "Completed"}})
            status = await eventually(lambda: user.status("x"), lambda s: s["phase"] == "Completed")
            await eventually(lambda: user.pods(uid), lambda pods: not pods)
    completed = next(c for c in status["conditions"] if c["type"] == conditions.COMPLETED)
    assert (completed["status"], completed["reason"]) == ("True", conditions.REASON_SESSION_COMPLETED)
    assert status["lastMessage"] == "Hello."


async def test_an_annotated_answer_reaches_the_model_without_a_sandbox(
    user: ClusterUser, local_settings: Settings, journal: Journal, temporal: Client
) -> None:
    question = {"id": "side", "header": "Side", "question": "Left or right?", "options": []}
    asks = {"calls": [{"name": "request_user_input", "arguments": {"questions": [question]}}]}
    async with ScriptedModel(replies=[asks, {"text": "{{last_output}}"}]) as model, RunningOperator(local_settings):
        worker = make_worker(temporal, journal, task_queue=local_settings.task_queue, base_url=model.base_url)
        async with worker:
            await user.create_session("x", "Ask me.")
            status = await eventually(lambda: user.status("x"), lambda s: s.get("phase") == "AwaitingApproval")
            (pending,) = status["pendingApprovals"]
            assert (pending["kind"], pending["command"]) == ("Question", "Side: Left or right?")
            await user.decide("x", pending["id"], "answer: left")
            status = await eventually(lambda: user.status("x"), lambda s: s["phase"] == "Idle")
    assert status["lastMessage"] == '{"answers": {"side": {"answers": ["left"]}}}'
    decided = next(event for event in status["events"] if event["type"] == "ApprovalDecided")
    assert decided["summary"].startswith("answered by alice after")


async def test_a_session_past_its_deadline_fails_and_says_so(
    user: ClusterUser, local_settings: Settings, journal: Journal, temporal: Client
) -> None:
    async with ScriptedModel(replies=[{"text": "Hello."}]) as model, RunningOperator(local_settings):
        worker = make_worker(temporal, journal, task_queue=local_settings.task_queue, base_url=model.base_url)
        async with worker:
            uid = await user.create_session("x", "Say hello.", limits={"activeDeadlineSeconds": 4})
            await eventually(lambda: user.status("x"), lambda s: s.get("phase") == "Idle")
            status = await eventually(lambda: user.status("x"), lambda s: s["phase"] == "Failed")
            await eventually(lambda: user.pods(uid), lambda pods: not pods)
    ready = next(c for c in status["conditions"] if c["type"] == conditions.READY)
    assert ready["reason"] == conditions.REASON_DEADLINE_EXCEEDED
    assert status["lastMessage"] == "Hello."
