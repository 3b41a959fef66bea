"""What pods say about a sandbox, and which pods count at all."""

from __future__ import annotations

from typing import Any

import pytest

from codex_api import conditions
from codex_operator.sandbox_state import observe, pod_address, sort_out

UID = "uid-1"


def make_pod(generation: int = 1, *, owner: str = UID, status: dict[str, Any] | None = None, **metadata: Any) -> Any:
    return {
        "metadata": {
            "name": f"codex-x-g{generation}",
            "namespace": "default",
            "uid": f"pod-{generation}",
            "labels": {"codex-temporal.dev/generation": str(generation)},
            "annotations": {"codex-temporal.dev/spec-hash": "abc"},
            "ownerReferences": [{"uid": owner, "controller": True}],
            **metadata,
        },
        "spec": {"containers": [{"name": "sandbox", "image": "python:3.12"}]},
        "status": status or {"phase": "Pending"},
    }


def container(**state: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "sandbox", "image": "python:3.12", **state}]}


def test_the_newest_living_pod_is_the_current_one() -> None:
    pods = [make_pod(2), make_pod(1), make_pod(3, deletionTimestamp="2026-01-01T00:00:00Z")]
    sorted_pods = sort_out(pods, UID)
    assert sorted_pods.current is pods[0]
    assert sorted_pods.newest_generation == 3


def test_a_failed_pod_is_not_current_but_to_be_removed() -> None:
    failed = make_pod(1, status={"phase": "Failed"})
    sorted_pods = sort_out([failed], UID)
    assert sorted_pods.current is None
    assert sorted_pods.ended == (failed,)
    assert sorted_pods.newest_generation == 1


@pytest.mark.parametrize(
    "foreign",
    [make_pod(owner="someone else"), make_pod(annotations={}), make_pod(ownerReferences=[{"uid": UID}])],
    ids=["another owner", "without the operator's mark", "owned but not controlled"],
)
def test_a_foreign_pod_is_never_adopted_by_its_name(foreign: Any) -> None:
    assert sort_out([foreign], UID).current is None


def test_the_address_is_known_as_soon_as_the_container_runs() -> None:
    waiting = make_pod(status={"podIP": "10.0.0.1", **container(state={"waiting": {}})})
    running = make_pod(status={"podIP": "10.0.0.1", **container(state={"running": {}})})
    assert pod_address(waiting) is None
    assert pod_address(running) == "10.0.0.1"


PROBLEMS = {
    "image cannot be pulled": (
        container(state={"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}),
        conditions.REASON_SANDBOX_IMAGE,
        "imagePullSecret",
    ),
    "image without python3": (
        container(state={"waiting": {"reason": "CrashLoopBackOff"}})["containerStatuses"][0]
        | {"lastState": {"terminated": {"exitCode": 128, "reason": "StartError", "message": "python3: not found"}}},
        conditions.REASON_SANDBOX_IMAGE,
        "python3 3.9",
    ),
    "no node": (
        {"conditions": [{"type": "PodScheduled", "status": "False", "message": "Insufficient memory"}]},
        conditions.REASON_SANDBOX_UNSCHEDULABLE,
        "Insufficient memory",
    ),
    "supervisor keeps ending": (
        container(
            state={"waiting": {"reason": "CrashLoopBackOff"}},
            lastState={"terminated": {"exitCode": 1, "reason": "Error"}},
        ),
        conditions.REASON_SANDBOX_LOST,
        "kubectl logs",
    ),
}


@pytest.mark.parametrize(("status", "reason", "told"), PROBLEMS.values(), ids=PROBLEMS)
def test_a_problem_is_named_with_its_cure(status: dict[str, Any], reason: str, told: str) -> None:
    status = {"containerStatuses": [status]} if "name" in status else status
    seen = observe(make_pod(status={"phase": "Pending", **status}))
    assert not seen.ready
    assert seen.reason == reason
    assert told in seen.message


def test_a_ready_pod_is_a_ready_sandbox() -> None:
    seen = observe(make_pod(2, status={"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}))
    assert (seen.ready, seen.reason, seen.generation) == (True, conditions.REASON_SANDBOX_RUNNING, 2)


def test_a_young_pod_is_starting() -> None:
    assert observe(make_pod()).reason == conditions.REASON_SANDBOX_STARTING
