"""From a bare machine to a `HostNode`: checks, packages, programs."""

from __future__ import annotations

import sys
from pathlib import Path

from codex_cluster import apiserver, binaries, debian, kubectl, preflight
from codex_cluster.components import HOST_NODE
from codex_cluster.errors import ClusterError
from codex_cluster.host_network import link_of
from codex_cluster.host_node import HostNode
from codex_cluster.layout import REPOSITORY, Layout
from codex_cluster.node_plan import Node
from codex_cluster.preflight import Machine
from codex_cluster.progress import Progress

RESOLVERS = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
CNI_PLUGINS = Path("/usr/lib/cni")


def is_built(cache: Path) -> bool:
    """Whether all programs of the node are in the cache."""
    return all(binaries.is_built(component, cache) for component in HOST_NODE)


def prepare(layout: Layout, machine: Machine, progress: Progress) -> HostNode:
    """Make sure of everything the node needs; raises ClusterError with all problems at once."""
    problems = preflight.host_problems(machine)
    if problems:
        raise ClusterError("this machine cannot run the host node:\n" + "\n".join(f"  - {line}" for line in problems))
    debian.install(preflight.packages_for(machine.missing), layout.logs / "apt-get.log", progress)
    for component in HOST_NODE:
        binaries.build(component, layout.cache, progress)
    return existing(layout, progress)


def existing(layout: Layout, progress: Progress) -> HostNode:
    """The node of a layout, without any check or build."""
    node = Node(
        layout=layout,
        address=link_of(layout).inner,
        programs={component.name: layout.cache / component.folder for component in HOST_NODE},
        etcd=apiserver.etcd_program(),
        python=Path(sys.executable),
        sources=REPOSITORY / "cluster",
        cni_plugins=CNI_PLUGINS,
        resolver=next(path for path in RESOLVERS if path.exists()),
        may_lower_oom_score=preflight.may_lower_oom_score(Path("/proc/self/status").read_text()),
    )
    return HostNode(node, kubectl.install(layout.cache, progress), progress)


def changes(layout: Layout, machine: Machine) -> list[str]:
    """What `up` will change on this machine, in sentences."""
    packages = preflight.packages_for(machine.missing)
    return [
        *([f"installs the Debian packages {' '.join(packages)} (they stay)"] if packages else []),
        *([] if machine.built else [f"builds Kubernetes, containerd, runc and CoreDNS into {layout.cache} (they stay)"]),
        f"writes {layout.state}, {layout.data} and {layout.run}",
        f"adds network namespace {layout.name}, interface {link_of(layout).interface}, one nftables masquerade rule",
        f"adds cgroup /{layout.name}, sets ip_forward and the kernel parameters that a kubelet wants",
        "`make down` removes or restores all of it except what stays",
    ]
