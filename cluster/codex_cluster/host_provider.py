"""The provider `host`: from a bare machine to a running node with the product's images."""

from __future__ import annotations

import sys
from pathlib import Path

from codex_cluster import apiserver, binaries, debian, images, preflight
from codex_cluster.components import HOST_NODE
from codex_cluster.errors import ClusterError
from codex_cluster.host_network import link_of
from codex_cluster.host_node import HostNode
from codex_cluster.layout import REPOSITORY, Layout
from codex_cluster.node_plan import Node
from codex_cluster.preflight import Machine
from codex_cluster.progress import Progress

RESOLVERS = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
"""The first one that exists names servers which are no loopback addresses."""
CNI_PLUGINS = Path("/usr/lib/cni")


class HostProvider:
    """Checks, packages and programs around a `HostNode`."""

    def __init__(self, layout: Layout, programs: Path, machine: Machine, progress: Progress) -> None:
        self._layout = layout
        self._machine = machine
        self._progress = progress
        self._node = HostNode(_node(layout), programs, progress)

    def up(self) -> None:
        """Install and build what is missing, then start or repair the node."""
        problems = preflight.host_problems(self._machine)
        if problems:
            listed = "\n".join(f"  - {problem}" for problem in problems)
            raise ClusterError(f"this machine cannot run the host node:\n{listed}")
        if not self._layout.data.exists():
            for change in changes(self._layout, self._machine):
                self._progress.say(f"  this {change}")
        packages = preflight.packages_for(self._machine.missing)
        debian.install(packages, self._layout.logs / "apt-get.log", self._progress)
        binaries.build(HOST_NODE, self._layout.cache, self._progress)
        self._node.up()

    def down(self) -> None:
        self._node.down()

    def problems(self) -> list[str]:
        return self._node.problems()

    def load_images(self, context: Path) -> dict[str, str]:
        return images.build_for_host(self._layout, self._node, context, self._progress)


def is_built(cache: Path) -> bool:
    """Whether all programs of the node are in the cache."""
    return all(binaries.is_built(component, cache) for component in HOST_NODE)


def changes(layout: Layout, machine: Machine) -> list[str]:
    """What `up` will change on this machine, each to be read after the word "this"."""
    packages = preflight.packages_for(machine.missing)
    return [
        *([f"installs Debian packages, which stay: {' '.join(packages)}"] if packages else []),
        *([] if machine.built else [f"builds Kubernetes, containerd, runc and CoreDNS into {layout.cache}"]),
        f"writes {layout.state}, {layout.data} and {layout.run}",
        f"adds network namespace {layout.name}, interface {link_of(layout).interface} and one masquerade rule",
        f"adds cgroup /{layout.name} and sets ip_forward and the kernel parameters that a kubelet wants",
        "is undone by `make down`, except packages and builds",
    ]


def _node(layout: Layout) -> Node:
    return Node(
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
