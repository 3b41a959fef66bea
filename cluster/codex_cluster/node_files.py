"""Writes what `node_plan` renders, and the node's certificates and kubeconfigs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from codex_cluster import certificates, control_plane, host_settings, node_plan
from codex_cluster.node_plan import Node

NODE_SYSCTL = {
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
    "net/bridge/bridge-nf-call-ip6tables": "1",
}
"""Set inside the node's network namespace."""
FILE_MODE = 0o755


def plan_path(node: Node) -> Path:
    """The plan that the node's first process reads."""
    return node.config / "plan.json"


def are_current(node: Node) -> bool:
    """Whether the running node was started from exactly the files that would be written now."""
    stamp = _stamp(node)
    return stamp.exists() and stamp.read_text() == _digest(_rendered(node))


def written_at(node: Node) -> float:
    """When the files of the running node were written, which is just before each of its starts; epoch seconds."""
    return _stamp(node).stat().st_mtime


def write(node: Node) -> None:
    """Write all files; certificates and kubeconfigs only where they are missing."""
    rendered = _rendered(node)
    for path, text in rendered.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(FILE_MODE)
    _write_credentials(node)
    _stamp(node).write_text(_digest(rendered))


def _rendered(node: Node) -> dict[Path, str]:
    plan = {
        "logs": str(node.layout.logs),
        "running": str(node.layout.run / "running"),
        "private": host_settings.HIDDEN_FOLDERS,
        "sysctl": NODE_SYSCTL,
        "ruleset": node_plan.node_ruleset(),
        "processes": node_plan.processes(node),
        # Only so that a change of this code restarts the node.
        "code": _source_digest(node.sources / "codex_cluster"),
    }
    return {
        plan_path(node): json.dumps(plan, indent=2),
        node.config / "kubelet.json": node_plan.kubelet_configuration(node),
        node.config / "containerd.toml": node_plan.containerd_configuration(node),
        node.config / "cni" / "10-codex.conflist": node_plan.cni_configuration(node),
        node.layout.data / "cni-plugins" / node_plan.POLICY_PLUGIN: node_plan.policy_plugin(node),
    }


def _write_credentials(node: Node) -> None:
    folder, server, layout = node.certificates, node.plane.server, node.layout
    users = {layout.kubeconfig(user): (user, groups) for user, groups in certificates.USERS.items()}
    if (folder / "complete").exists() and all(path.exists() for path in users):
        return
    authority = certificates.write_control_plane(folder, (*control_plane.SERVICE_HOSTS, node.address))
    authority.issue("kubelet", hosts=(node.address, layout.name)).write(folder, "kubelet")
    authority.issue("kubelet-client", ("system:masters",)).write(folder, "kubelet-client")
    authority.issue(node_plan.AGENT_USER).write(folder, "policy-agent")
    components = {node.kubeconfig(name): who for name, who in node_plan.component_users(node).items()}
    for path, (user, groups) in {**components, **users}.items():
        certificates.write_kubeconfig(path, server, authority, user, groups)
    (folder / "complete").touch()


def _source_digest(package: Path) -> str:
    sources = [path.read_bytes() for path in [*sorted(package.glob("policy_*.py")), package / "node_init.py"]]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()


def _stamp(node: Node) -> Path:
    return node.layout.run / "plan.sha256"


def _digest(files: dict[Path, str]) -> str:
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
