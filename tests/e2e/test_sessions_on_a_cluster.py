"""Sessions from apply to answer."""

from __future__ import annotations

import json
import time

import pytest

pytestmark = pytest.mark.cluster

NEVER = {"policy": "Never"}


def runs_a_command(status) -> bool:
    return any(event["type"] == "ExecCommandBegin" for event in status.get("events", []))


def test_model_only_turn(kube) -> None:
    kube.create("hello", "Only say hello, please.")
    kube.wait("hello", "Idle")
    status = kube.status("hello")
    assert status["lastMessage"] == "Hello from the cluster."
    assert status["phase"] == "Idle"
    assert status["turn"]["number"] == 1
    assert status["usage"]["modelCalls"] == 1
    assert "Idle" in kube("get", "cxs", "hello")


def test_tool_approval_flow(kube, system) -> None:
    kube.create("build", "Write the result to a file.")
    kube.wait("build", "AwaitingApproval")
    pending = kube.wait_for_approvals("build")[0]
    assert pending["command"] == "echo 42 > result.txt && cat result.txt"
    assert pending["directory"] == "/workspace"
    assert pending["id"] in kube("get", "cxs", "build")
    assert "build" in kube("get", "cxs", "--field-selector", "status.phase=AwaitingApproval", "-o", "name")
    kube.annotate("build", pending["id"], "approve")
    kube.wait("build", "Idle")
    assert "42" in kube.status("build")["lastMessage"]
    described = kube("describe", "cxs", "build")
    assert "alice" in described
    text = "".join(system.metrics(pod) for pod in system.workers())
    assert 'codex_approval_wait_seconds_count{decision="approve"}' in text
    assert "codex_model_request_duration_seconds_count{" in text


def test_a_denied_command_never_runs_and_the_model_is_told(kube) -> None:
    kube.create("deny", "Leave a mark.")
    pending = kube.wait_for_approvals("deny")[0]
    kube.annotate("deny", pending["id"], "deny: not in production")
    kube.wait("deny", "Idle")
    assert "marked" not in kube.status("deny")["lastMessage"]
    summaries = " ".join(event["summary"] for event in kube.status("deny")["events"])
    assert "not in production" in summaries


def test_a_denial_s_reason_reaches_the_model(kube) -> None:
    kube.create("deny", "Try what is forbidden.")
    pending = kube.wait_for_approvals("deny")[0]
    kube.annotate("deny", pending["id"], "deny: ask Bob first")
    kube.wait("deny", "Idle")
    assert "ask Bob first" in kube.status("deny")["lastMessage"]


def test_two_approvals_pending_at_once_are_answered_in_the_other_order(kube) -> None:
    kube.create("two", "Two at once.")
    first, second = kube.wait_for_approvals("two", 2)
    kube.annotate("two", second["id"], "approve")
    kube.until("two", lambda status: len(status["pendingApprovals"]) == 1)
    time.sleep(1)
    kube.annotate("two", first["id"], "approve")
    kube.wait("two", "Idle")
    assert kube.status("two")["lastMessage"].split() == ["second", "first"]


def test_two_sessions_at_once_keep_their_files_apart(kube) -> None:
    for name in ("alpha", "beta"):
        kube.create(name, f"Keep the secret {name}.", user="alice", approval=NEVER)
    for name in ("alpha", "beta"):
        kube.wait(name, "Idle")
        assert kube.status(name)["lastMessage"].split() == [name, "mine"]


def test_deleting_a_session_in_mid_command_ends_its_workflow_and_removes_its_pod(kube, system) -> None:
    kube.create("doomed", "Sleep for long.", user="alice", approval=NEVER)
    kube.until("doomed", runs_a_command)
    session = kube.get("doomed")
    assert kube.pods("doomed")
    kube("delete", "cxs", "doomed", "--timeout=60s")
    deadline = time.monotonic() + 60
    while kube.pods_of(session["metadata"]["uid"]):
        assert time.monotonic() < deadline, "the pod is still there"
        time.sleep(0.5)
    workflow = session["status"]["workflow"]["id"]
    temporal = (
        "exec",
        "deploy/codex-temporal",
        "--",
        "temporal",
        "workflow",
        "describe",
        "-w",
        workflow,
        "-o",
        "json",
        "--address=127.0.0.1:7233",
    )
    while "RUNNING" in system(*temporal):
        assert time.monotonic() < deadline, "the workflow still runs"
        time.sleep(0.5)


def test_a_worker_killed_in_mid_command_costs_nothing(kube, system) -> None:
    kube.create("survivor", "Survive the worker.", user="alice", approval=NEVER)
    kube.until("survivor", runs_a_command)
    workers = system.workers()
    assert len(workers) == 2
    system("delete", "pod", *workers, "--grace-period=0", "--force", "--wait=false")
    kube.wait("survivor", "Idle")
    assert kube.status("survivor")["lastMessage"].split() == ["ran"]
    system("rollout", "status", "deploy/codex-worker", "--timeout=120s")


def test_a_sandbox_pod_deleted_in_mid_command_is_replaced_and_the_model_is_told(kube) -> None:
    kube.create("replaced", "Lose the pod.", user="alice", approval=NEVER)
    kube.until("replaced", runs_a_command)
    pod = kube.pods("replaced")[0]["metadata"]["name"]
    kube("delete", "pod", pod, "--grace-period=0", "--force", user="admin")
    kube.wait("replaced", "Idle")
    status = kube.status("replaced")
    assert "interrupted" in status.get("lastMessage", ""), status
    assert status["sandbox"]["generation"] == 2


def test_an_approval_given_while_the_operator_is_away_is_delivered_when_it_is_back(kube, system) -> None:
    kube.create("late", "Write the result to a file.")
    pending = kube.wait_for_approvals("late")[0]
    system("scale", "deploy/codex-operator", "--replicas=0")
    system("wait", "--for=delete", "pod", "-l", "app.kubernetes.io/component=operator", "--timeout=90s")
    try:
        kube.annotate("late", pending["id"], "approve")
    finally:
        system("scale", "deploy/codex-operator", "--replicas=1")
    system("rollout", "status", "deploy/codex-operator", "--timeout=120s")
    kube.wait("late", "Idle")
    assert "42" in kube.status("late")["lastMessage"]
    decided = [event for event in kube.status("late")["events"] if event["type"] == "ApprovalDecided"]
    assert len(decided) == 1


def test_kubectl_explain_describes_the_fields(kube) -> None:
    text = kube("explain", "codexsession.spec.approval.policy")
    assert "Untrusted" in text
    assert "DESCRIPTION" in text


def test_a_cancelled_session_ends_and_stays_cancelled(kube) -> None:
    kube.create("stop", "Sleep for long.", user="alice", approval=NEVER)
    kube.until("stop", runs_a_command)
    patch = json.dumps({"spec": {"operatingMode": "Cancelled"}})
    kube("patch", "cxs", "stop", "--type=merge", "-p", patch)
    kube.until("stop", lambda status: status.get("phase") == "Cancelled")
    assert "are final" in kube.refused(
        "patch", "cxs", "stop", "--type=merge", "-p", '{"spec":{"operatingMode":"Running"}}'
    )
