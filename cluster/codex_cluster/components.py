"""The Go programs that are built from their modules, each pinned by a `go.mod` and `go.sum` below `cluster/modules`."""

from __future__ import annotations

from dataclasses import dataclass

KUBERNETES = "1.36.3"
KUBERNETES_WITHOUT_MUTATING_POLICIES = "1.34.4"
KUBERNETES_VERSION_PACKAGE = "k8s.io/component-base/version"
CONTAINERD_VERSION_PACKAGE = "github.com/containerd/containerd/v2/version"


@dataclass(frozen=True)
class Component:
    """One module of tools and how it is built."""

    name: str
    version: str
    module: str
    """Folder below `cluster/modules`."""
    programs: tuple[str, ...]
    estimate_seconds: float
    """On two cores with empty caches."""
    linker_flags: str = ""
    tags: str = ""
    uses_c: bool = False
    package: str = "tool"
    """What `go install` builds: all tools that the module names, or a package of ours."""

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.version}"


def _kubernetes(name: str, version: str, module: str, programs: tuple[str, ...], estimate: float) -> Component:
    major, minor, _ = version.split(".")
    values = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
    flags = " ".join(f"-X {KUBERNETES_VERSION_PACKAGE}.{key}={value}" for key, value in values.items())
    return Component(name, version, module, programs, estimate, linker_flags=flags)


CONTAINERD = Component(
    "containerd",
    "2.4.2",
    "containerd",
    ("containerd", "containerd-shim-runc-v2", "ctr"),
    60,
    linker_flags=f"-X {CONTAINERD_VERSION_PACKAGE}.Version=v2.4.2",
)
RUNC = Component("runc", "1.4.3", "runc", ("runc",), 15, tags="seccomp", uses_c=True)
COREDNS = Component("coredns", "1.15.0", "coredns", ("coredns",), 110)
PAUSE = Component("pause", "1", "pause", ("pause",), 5, package=".")
NODE = _kubernetes(
    "kubernetes",
    KUBERNETES,
    "kubernetes",
    ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"),
    300,
)
OLDER_API_SERVER = _kubernetes(
    "kubernetes", KUBERNETES_WITHOUT_MUTATING_POLICIES, "kubernetes-1.34", ("kube-apiserver",), 120
)
KIND = Component("kind", "0.33.0", "kind", ("kind",), 20)

HOST_NODE = (CONTAINERD, RUNC, PAUSE, COREDNS, NODE)
"""In build order: the long one last, so that its cure is not needed when a short one fails."""
