"""What runs on the host node and with which files; everything here is pure rendering."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codex_cluster import control_plane
from codex_cluster.control_plane import ControlPlane
from codex_cluster.layout import Layout

API_PORT = 6443
POD_NETWORK = "10.244.0.0/16"
NODE_POD_NETWORK = "10.244.0.0/24"
"""The first /24, which the controller manager gives to the only node."""
DNS_ADDRESS = "10.96.0.10"
PAUSE_IMAGE = "localhost/codex-cluster/pause:1"
BRIDGE = "cni0"
POLICY_PLUGIN = "codex-policy"

AGENT_USER = "codex-policy-agent"
COMPONENT_USERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "controller-manager": ("system:kube-controller-manager", ()),
    "scheduler": ("system:kube-scheduler", ()),
    "kube-proxy": ("system:kube-proxy", ()),
}
"""Kubeconfig name to user and groups; the kubelet's carries the node's name and is added by `component_users`."""


@dataclass(frozen=True)
class Node:
    """One host node."""

    layout: Layout
    address: str
    """Of the node inside its network namespace."""
    programs: Mapping[str, Path]
    """Component name to the folder of its programs."""
    etcd: Path
    python: Path
    sources: Path
    """Folder that holds the package `codex_cluster`."""
    cni_plugins: Path
    resolver: Path
    """The resolv.conf that CoreDNS forwards to; a loopback resolver cannot be reached from the node."""
    may_lower_oom_score: bool
    """False without CAP_SYS_RESOURCE: then runc must not try."""

    @property
    def config(self) -> Path:
        return self.layout.data / "config"

    @property
    def certificates(self) -> Path:
        return self.config / "certificates"

    @property
    def containerd_socket(self) -> Path:
        return self.layout.run / "containerd.sock"

    @property
    def policy_socket(self) -> Path:
        return self.layout.run / "policy.sock"

    @property
    def plane(self) -> ControlPlane:
        return ControlPlane(
            programs=self.programs["kubernetes"],
            etcd=self.etcd,
            certificates=self.certificates,
            data=self.layout.data / "etcd",
            address=self.address,
            port=API_PORT,
            etcd_port=2379,
            etcd_peer_port=2380,
        )

    def kubeconfig(self, component: str) -> Path:
        return self.config / f"{component}.kubeconfig"


def component_users(node: Node) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Kubeconfig name to (user, groups) of every program on the node that talks to the API server."""
    return {**COMPONENT_USERS, "kubelet": (f"system:node:{node.layout.name}", ("system:nodes",))}


def processes(node: Node) -> list[dict[str, Any]]:
    """What PID 1 keeps running: name, argv and the socket or `host:port` that must answer first."""
    plane, kubernetes, containerd = node.plane, node.programs["kubernetes"], node.programs["containerd"]
    api = f"{node.address}:{API_PORT}"
    kubelet_certificate = node.certificates / "kubelet-client"
    api_server = control_plane.api_server_command(
        plane,
        [
            f"--kubelet-client-certificate={kubelet_certificate}.crt",
            f"--kubelet-client-key={kubelet_certificate}.key",
            "--kubelet-preferred-address-types=InternalIP",
        ],
    )
    kubelet = [str(kubernetes / "kubelet"), f"--config={node.config / 'kubelet.json'}"]
    kubelet += [f"--kubeconfig={node.kubeconfig('kubelet')}", f"--hostname-override={node.layout.name}"]
    kubelet += [f"--root-dir={node.layout.data / 'kubelet'}", f"--cert-dir={node.certificates}"]
    kubelet += [f"--node-ip={node.address}"]
    path = f"PATH={containerd}:{node.programs['runc']}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    manager = control_plane.controller_manager_command(plane, node.kubeconfig("controller-manager"), POD_NETWORK)
    return [
        _process("etcd", control_plane.etcd_command(plane)),
        _process("kube-apiserver", api_server, after=f"127.0.0.1:{plane.etcd_port}"),
        _process(
            "containerd", ["env", path, str(containerd / "containerd"), "-c", str(node.config / "containerd.toml")]
        ),
        _process("policy-agent", _policy_agent_command(node), after=api),
        _process("kube-proxy", kube_proxy_command(node), after=api),
        _process("controller-manager", manager, after=api),
        _process("scheduler", control_plane.scheduler_command(plane, node.kubeconfig("scheduler")), after=api),
        _process("kubelet", kubelet, after=str(node.containerd_socket)),
    ]


def kube_proxy_command(node: Node) -> list[str]:
    """kube-proxy on nftables; connection-tracking limits belong to the machine and are left alone."""
    return [
        str(node.programs["kubernetes"] / "kube-proxy"),
        f"--kubeconfig={node.kubeconfig('kube-proxy')}",
        f"--hostname-override={node.layout.name}",
        f"--cluster-cidr={POD_NETWORK}",
        "--proxy-mode=nftables",
        "--conntrack-max-per-core=0",
        "--conntrack-min=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
        "--healthz-bind-address=127.0.0.1",
        "--metrics-bind-address=127.0.0.1",
    ]


def kubelet_configuration(node: Node) -> str:
    """KubeletConfiguration as JSON. A full disk evicts nothing: that would test the machine, not the product."""
    data, certificates = node.layout.data, node.certificates
    return _json(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(certificates / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(certificates / "kubelet.crt"),
            "tlsPrivateKeyFile": str(certificates / "kubelet.key"),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{node.layout.name}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [DNS_ADDRESS],
            "clusterDomain": "cluster.local",
            "resolvConf": str(node.resolver),
            "containerRuntimeEndpoint": f"unix://{node.containerd_socket}",
            "podLogsDir": str(data / "pod-logs"),
            "volumePluginDir": str(data / "volume-plugins"),
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "serializeImagePulls": False,
        }
    )


def containerd_configuration(node: Node) -> str:
    """containerd's TOML: one runtime, one snapshotter, no plugin that would leave files outside the node's folders."""
    runtime = "plugins.'io.containerd.cri.v1.runtime'"
    disabled = [
        *("io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"),
        *(f"io.containerd.snapshotter.v1.{name}" for name in ("blockfile", "btrfs", "devmapper", "erofs", "zfs")),
    ]
    plugins = [str(node.cni_plugins), str(node.layout.data / "cni-plugins")]
    return f"""version = 3
root = '{node.layout.data / "containerd"}'
state = '{node.layout.run / "containerd"}'
disabled_plugins = {json.dumps(disabled)}

[grpc]
address = '{node.containerd_socket}'

[plugins.'io.containerd.cri.v1.images']
snapshotter = 'overlayfs'
pinned_images = {{ sandbox = '{PAUSE_IMAGE}' }}

[{runtime}]
restrict_oom_score_adj = {json.dumps(not node.may_lower_oom_score)}

[{runtime}.cni]
bin_dirs = {json.dumps(plugins)}
conf_dir = '{node.config / "cni"}'

[{runtime}.containerd]
default_runtime_name = 'runc'

[{runtime}.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'

[{runtime}.containerd.runtimes.runc.options]
BinaryName = '{node.programs["runc"] / "runc"}'
SystemdCgroup = false
"""


def cni_configuration(node: Node) -> str:
    """A bridge with addresses from one /24, then the plugin that waits until the pod's policies are programmed."""
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isDefaultGateway": True,
        "hairpinMode": True,
        # The node masquerades with one nftables rule of its own.
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": str(node.layout.run / "addresses"),
            "ranges": [[{"subnet": NODE_POD_NETWORK}]],
        },
    }
    policy = {"type": POLICY_PLUGIN, "socket": str(node.policy_socket)}
    return _json({"cniVersion": "1.0.0", "name": "codex", "plugins": [bridge, policy]})


def policy_plugin(node: Node) -> str:
    """The executable that containerd runs for `codex-policy`."""
    script = node.sources / "codex_cluster" / "policy_plugin.py"
    return f"#!/bin/sh\nexec '{node.python}' -I -S '{script}'\n"


def node_ruleset() -> str:
    """nftables of the node's own namespace: pods leave it with the node's address."""
    return f"""table ip codex_node {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {POD_NETWORK} ip daddr != {POD_NETWORK} oifname "eth0" masquerade
  }}
}}
"""


def _policy_agent_command(node: Node) -> list[str]:
    return [
        *("env", f"PYTHONPATH={node.sources}", str(node.python), "-m", "codex_cluster.policy_agent"),
        *("--server", node.plane.server, "--certificates", str(node.certificates)),
        *("--socket", str(node.policy_socket), "--pod-network", POD_NETWORK),
    ]


def _process(name: str, argv: Sequence[str], after: str | None = None) -> dict[str, Any]:
    return {"name": name, "argv": list(argv), "after": after}


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
