"""Objects that every cluster of ours starts with: cluster DNS, rights of the policy agent, rights of ordinary users."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from codex_cluster.certificates import DEVELOPERS
from codex_cluster.components import COREDNS
from codex_cluster.node_plan import AGENT_USER, DNS_ADDRESS

DNS_IMAGE = f"localhost/codex-cluster/coredns:{COREDNS.version}"
DNS_LABELS = {"k8s-app": "kube-dns"}
COREFILE = """.:53 {
    errors
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }
    forward . /etc/resolv.conf
    cache 30
    loadbalance
}
"""
Manifest = Mapping[str, Any]


def host_node() -> str:
    """What the host node needs, as one JSON list for `kubectl apply`."""
    return _listed([*_policy_agent_rights(), *_dns(), developer_rights()])


def developer_rights() -> Manifest:
    """Ordinary users may edit in the namespace `default`; what a chart adds to `edit` reaches them too."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "developers-edit", "namespace": "default"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": DEVELOPERS}],
    }


def _policy_agent_rights() -> list[Manifest]:
    rules = [
        {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["list", "watch"]},
    ]
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": AGENT_USER}
    return _cluster_role(AGENT_USER, rules, subject)


def _dns() -> list[Manifest]:
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    account = {"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    return [
        _object("v1", "ServiceAccount", "coredns"),
        *_cluster_role("system:coredns", rules, account),
        _object("v1", "ConfigMap", "coredns", data={"Corefile": COREFILE}),
        _object("apps/v1", "Deployment", "coredns", labels=DNS_LABELS, spec=_dns_deployment()),
        _object(
            "v1",
            "Service",
            "kube-dns",
            labels=DNS_LABELS,
            spec={"clusterIP": DNS_ADDRESS, "selector": DNS_LABELS, "ports": ports},
        ),
    ]


def _dns_deployment() -> Manifest:
    container = {
        "name": "coredns",
        "image": DNS_IMAGE,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "30Mi"}, "limits": {"memory": "170Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    return {
        "replicas": 1,
        "selector": {"matchLabels": DNS_LABELS},
        "template": {"metadata": {"labels": DNS_LABELS}, "spec": pod},
    }


def _cluster_role(name: str, rules: Sequence[Manifest], subject: Manifest) -> list[Manifest]:
    group = "rbac.authorization.k8s.io"
    reference = {"apiGroup": group, "kind": "ClusterRole", "name": name}
    return [
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": reference,
            "subjects": [subject],
        },
    ]


def _object(version: str, kind: str, name: str, *, labels: Mapping[str, str] | None = None, **content: Any) -> Manifest:
    metadata = {"name": name, "namespace": "kube-system", "labels": labels or {}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def _listed(items: Sequence[Manifest]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
