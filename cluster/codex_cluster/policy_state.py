"""What the policy agent knows of the cluster: objects from watches and addresses from the network plugin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from codex_cluster.policy_rules import Endpoint, Snapshot

Object = Mapping[str, Any]
Key = tuple[str, str]
"""Namespace (empty for cluster-wide objects) and name."""

FINISHED_PHASES = {"Succeeded", "Failed"}


def key_of(item: Object) -> Key:
    """Namespace and name of an object."""
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


@dataclass
class ClusterState:
    """The objects by resource (`pods`, `namespaces`, `networkpolicies`) and the addresses given out since the start."""

    objects: dict[str, dict[Key, Object]] = field(
        default_factory=lambda: {"pods": {}, "namespaces": {}, "networkpolicies": {}}
    )
    assigned: dict[str, tuple[Key, str]] = field(default_factory=dict)
    """Address to pod and its uid: newer than the pod's status, which the kubelet writes about a second later."""

    def replace(self, resource: str, items: Iterable[Object]) -> None:
        """Take a whole list."""
        self.objects[resource] = {key_of(item): item for item in items}
        self._forget_gone_pods()

    def observe(self, resource: str, kind: str, item: Object) -> None:
        """Take one watch event: ADDED, MODIFIED or DELETED."""
        if kind == "DELETED":
            self.objects[resource].pop(key_of(item), None)
            self._forget_gone_pods()
        else:
            self.objects[resource][key_of(item)] = item

    def assign(self, pod: Key, address: str) -> bool:
        """Record an address that the network plugin just gave a pod; False while the pod itself is unknown."""
        known = self.objects["pods"].get(pod)
        if known is None:
            return False
        self.assigned[address] = (pod, known["metadata"]["uid"])
        return True

    def snapshot(self) -> Snapshot:
        """The input of the rules; a finished pod has no address any more, even where its status still shows one."""
        endpoints = {}
        for pod in self.objects["pods"].values():
            status = pod.get("status") or {}
            address = status.get("podIP")
            if address and _has_own_network(pod) and address not in self.assigned:
                endpoints[address] = _endpoint(pod, address)
        for address, (key, _) in self.assigned.items():
            pod = self.objects["pods"][key]
            if _has_own_network(pod):
                endpoints[address] = _endpoint(pod, address)
        namespaces = {key[1]: item["metadata"].get("labels") or {} for key, item in self.objects["namespaces"].items()}
        return Snapshot(list(endpoints.values()), namespaces, list(self.objects["networkpolicies"].values()))

    def _forget_gone_pods(self) -> None:
        pods = self.objects["pods"]
        self.assigned = {
            address: (key, uid)
            for address, (key, uid) in self.assigned.items()
            if key in pods and pods[key]["metadata"]["uid"] == uid
        }


def _has_own_network(pod: Object) -> bool:
    finished = (pod.get("status") or {}).get("phase") in FINISHED_PHASES
    return not finished and not pod["spec"].get("hostNetwork", False)


def _endpoint(pod: Object, address: str) -> Endpoint:
    namespace, name = key_of(pod)
    return Endpoint(namespace, name, pod["metadata"].get("labels") or {}, address)
