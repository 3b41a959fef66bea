"""What counts as a healthy node, also right after it came back with the objects of its last life."""

from typing import Any

import pytest

from codex_cluster import node_health

STARTED = 1_795_378_634.6
BEFORE = "2026-11-22T20:17:13Z"
SAME_SECOND = "2026-11-22T20:17:14Z"
AFTER = "2026-11-22T20:17:20Z"


def node(status: str = "True", heartbeat: str = AFTER) -> dict[str, Any]:
    return {"status": {"conditions": [{"type": "Ready", "status": status, "lastHeartbeatTime": heartbeat}]}}


def pod(*, started: str | None = AFTER, ready: str = "True", namespace: str = "kube-system") -> dict[str, Any]:
    state = {"waiting": {"reason": "CrashLoopBackOff"}} if started is None else {"running": {"startedAt": started}}
    return {
        "metadata": {"name": "coredns", "namespace": namespace, "labels": {"k8s-app": "kube-dns"}},
        "status": {"conditions": [{"type": "Ready", "status": ready}], "containerStatuses": [{"state": state}]},
    }


def problems(found: dict[str, Any], *pods: dict[str, Any]) -> list[str]:
    return node_health.problems(found, pods, STARTED, STARTED)


@pytest.mark.parametrize("moment", [SAME_SECOND, AFTER])
def test_a_ready_node_with_running_dns_is_healthy(moment: str) -> None:
    assert problems(node(heartbeat=moment), pod(started=moment)) == []


@pytest.mark.parametrize("found", [node(status="False"), node(status="Unknown"), node(heartbeat=BEFORE), {}])
def test_a_node_is_ready_only_by_the_word_of_its_present_kubelet(found: dict[str, Any]) -> None:
    assert problems(found, pod()) == ["the node is not Ready"]


def test_a_pod_shown_as_running_since_before_the_start_is_not_believed() -> None:
    assert problems(node(), pod(started=BEFORE)) == ["its pods are not started again"]
    assert problems(node(), pod(), pod(started=BEFORE, namespace="default")) == ["its pods are not started again"]


def test_somebody_elses_failing_pod_leaves_the_node_healthy() -> None:
    assert problems(node(), pod(), pod(started=None, ready="False", namespace="default")) == []


@pytest.mark.parametrize(
    "pods", [[], [pod(ready="False")], [pod(namespace="default")], [{"metadata": {"namespace": "kube-system"}}]]
)
def test_without_a_ready_dns_pod_the_node_is_not_healthy(pods: list[dict[str, Any]]) -> None:
    assert problems(node(), *pods) == ["cluster DNS is not ready"]
