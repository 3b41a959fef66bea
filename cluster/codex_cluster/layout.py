"""Where everything lives: the clone's `.cluster/`, the user's cache, the node's folders and its names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = REPOSITORY / "cluster" / "modules"
CACHE_NAME = "codex-temporal"


def cache_directory(environment: Mapping[str, str]) -> Path:
    """The folder of build results that all clones of a user share."""
    base = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME", "/root")) / ".cache")
    return Path(base) / CACHE_NAME


@dataclass(frozen=True)
class Layout:
    """All paths and names of one cluster; a cluster is named by the folder of its state."""

    state: Path
    """What the user touches: kubeconfigs, `env`, `bin/`, `images.json`, logs."""
    cache: Path
    """Build results per component and version."""

    @property
    def identifier(self) -> str:
        """Eight hexadecimal digits of the state folder: two clones get two nodes that share nothing."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """Name of the network namespace, the nftables table, the cgroup and the kind cluster."""
        return f"codex-{self.identifier}"

    @property
    def data(self) -> Path:
        """The node's disk: etcd, containerd's content, kubelet."""
        return Path("/var/lib/codex-temporal") / self.name

    @property
    def run(self) -> Path:
        """The node's sockets and container bundles; every folder above must be 0711 for user namespaces in pods."""
        return Path("/run/codex-temporal") / self.name

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def binaries(self) -> Path:
        return self.state / "bin"

    @property
    def images_file(self) -> Path:
        return self.state / "images.json"

    def kubeconfig(self, user: str = "admin") -> Path:
        return self.state / ("kubeconfig" if user == "admin" else f"kubeconfig-{user}")
