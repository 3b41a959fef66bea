"""What the API server's objects say about the node, told from what they still say about its last life."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

Object = Mapping[str, Any]


def problems(node: Object, pods: Sequence[Object], node_started: float, kubelet_started: float) -> list[str]:
    """What is wrong, each in a few words; times are seconds since the epoch.

    A node that comes back with its old data finds itself Ready and its pods running: until the new kubelet has looked,
    these are the words of the one that was killed.
    """
    if not _is_ready(node, kubelet_started):
        return ["the node is not Ready"]
    if any(_is_of_an_earlier_life(pod, node_started) for pod in pods):
        return ["its pods are not started again"]
    if not any(_condition(pod, "Ready").get("status") == "True" for pod in pods if _is_dns(pod)):
        return ["cluster DNS is not ready"]
    return []


def _is_ready(node: Object, kubelet_started: float) -> bool:
    ready = _condition(node, "Ready")
    return ready.get("status") == "True" and not _is_before(ready.get("lastHeartbeatTime"), kubelet_started)


def _is_of_an_earlier_life(pod: Object, node_started: float) -> bool:
    containers = pod.get("status", {}).get("containerStatuses", [])
    return any(
        _is_before(container.get("state", {}).get("running", {}).get("startedAt"), node_started)
        for container in containers
    )


def _is_dns(pod: Object) -> bool:
    metadata = pod["metadata"]
    return bool(metadata["namespace"] == "kube-system" and metadata.get("labels", {}).get("k8s-app") == "kube-dns")


def _condition(found: Object, wanted: str) -> Object:
    conditions = found.get("status", {}).get("conditions", [])
    return next((entry for entry in conditions if entry["type"] == wanted), {})


def _is_before(timestamp: str | None, moment: float) -> bool:
    """Kubernetes cuts times to whole seconds, so the second in which something began counts as after it."""
    return timestamp is not None and datetime.fromisoformat(timestamp).timestamp() < int(moment)
