"""Whether this machine can hold a cluster; decisions are pure, `gather` reads the machine."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from codex_cluster import commands
from codex_cluster.errors import ClusterError

GIB = 2**30
MEMORY_BYTES = 3 * GIB
CACHED_DISK_BYTES = 5 * GIB
COLD_DISK_BYTES = 14 * GIB
GO_VERSION = (1, 26)
PYTHON_VERSION = (3, 11)
CAP_SYS_RESOURCE = 24

DEBIAN_PACKAGES: Mapping[str, str] = {
    "ip": "iproute2",
    "nft": "nftables",
    "conntrack": "conntrack",
    "nsenter": "util-linux",
    "mount": "mount",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "gcc": "gcc",
    "pkg-config": "pkg-config",
    "/usr/include/seccomp.h": "libseccomp-dev",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
}
"""Program or file that the host provider needs, and the Debian package that brings it."""


@dataclass(frozen=True)
class Machine:
    """What the checks look at."""

    system: str
    processor: str
    is_root: bool
    docker_client: bool
    docker_engine: bool
    memory_bytes: int
    disk_bytes: int
    """Free where the builds go."""
    go_version: tuple[int, int] | None
    missing: tuple[str, ...]
    """Keys of DEBIAN_PACKAGES that were not found."""
    has_apt: bool
    kernel: Mapping[str, bool] = field(default_factory=dict)
    """Kernel feature to whether it is there."""
    built: bool = False
    """Whether the cache already holds all programs of the node."""


@dataclass(frozen=True)
class Choice:
    """The provider and the sentence that says why."""

    provider: str
    reason: str


def choose_provider(wanted: str, before: str | None, machine: Machine) -> Choice:
    """kind where a Docker engine answers, else the host node for root on Linux; raises ClusterError where neither can.

    `before` is the provider of this clone's present cluster: it is kept, so that a Docker that was stopped in between
    never turns a kind cluster into a second, different one.
    """
    if before and wanted in {"auto", before}:
        if before == "kind" and not machine.docker_engine:
            raise ClusterError("this clone's cluster runs on kind, but `docker info` fails: start Docker again")
        return Choice(before, "this clone's cluster already runs on it")
    if before:
        raise ClusterError(f"this clone's cluster runs on {before}, not {wanted}: run `make down` first")
    if wanted != "auto":
        return Choice(wanted, "as asked with --provider")
    if machine.docker_engine:
        return Choice("kind", "a Docker engine answers `docker info`")
    if machine.system == "linux" and machine.is_root:
        client = "; a Docker client is installed: if it should be used, start Docker and pass --provider kind"
        return Choice("host", f"no Docker engine answers `docker info`{client if machine.docker_client else ''}")
    where = "on this system" if machine.system != "linux" else "without root rights"
    raise ClusterError(f"no Docker engine answers `docker info`, and the host node cannot run {where}: start Docker")


def host_problems(machine: Machine) -> list[str]:
    """Why the host node cannot run here, each with its cure; empty when it can. Missing packages are no problem yet."""
    problems = []
    if machine.system != "linux" or machine.processor != "x86_64":
        problems.append(
            f"the host node needs Linux on x86_64, this is {machine.system} on {machine.processor}: use kind"
        )
        return problems
    if not machine.is_root:
        problems.append("namespaces, mounts and nftables need root: run this as root, or install Docker for kind")
    if machine.memory_bytes < MEMORY_BYTES:
        problems.append(f"{_gib(machine.memory_bytes)} of memory available, {_gib(MEMORY_BYTES)} needed: free some")
    needed = CACHED_DISK_BYTES if machine.built else COLD_DISK_BYTES
    if machine.disk_bytes < needed:
        problems.append(
            f"{_gib(machine.disk_bytes)} of disk free, {_gib(needed)} needed: free some or set XDG_CACHE_HOME"
        )
    if not machine.built and (machine.go_version is None or machine.go_version < GO_VERSION):
        found = "none" if machine.go_version is None else ".".join(map(str, machine.go_version))
        problems.append(f"Go 1.26 or newer is needed to build Kubernetes, found {found}: https://go.dev/dl/")
    if machine.missing and not machine.has_apt:
        problems.append(
            f"not found: {', '.join(machine.missing)}, and no apt-get to install them: install them by hand"
        )
    problems += [f"the kernel lacks {name}: load or enable it" for name, there in machine.kernel.items() if not there]
    return problems


def packages_for(missing: tuple[str, ...]) -> list[str]:
    """Debian packages that bring what is missing."""
    return sorted({DEBIAN_PACKAGES[name] for name in missing})


def gather(cache: Path, *, built: bool) -> Machine:
    """Look at this machine; changes nothing except that kernel modules may be loaded on demand."""
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    docker = shutil.which("docker") is not None
    linux = sys.platform == "linux"
    return Machine(
        system=sys.platform,
        processor=platform.machine(),
        is_root=os.geteuid() == 0,
        docker_client=docker,
        docker_engine=docker and commands.succeeds(["docker", "info"]),
        memory_bytes=_available_memory() if linux else MEMORY_BYTES,
        disk_bytes=shutil.disk_usage(existing).free,
        go_version=_go_version(),
        missing=tuple(name for name in DEBIAN_PACKAGES if shutil.which(name) is None and not Path(name).exists()),
        has_apt=shutil.which("apt-get") is not None,
        kernel=_kernel_features() if linux else {},
        built=built,
    )


def may_lower_oom_score(status: str) -> bool:
    """Whether the text of /proc/self/status shows CAP_SYS_RESOURCE."""
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> CAP_SYS_RESOURCE & 1)


def _available_memory() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def _go_version() -> tuple[int, int] | None:
    if shutil.which("go") is None:
        return None
    major, minor = commands.output(["go", "env", "GOVERSION"]).strip().removeprefix("go").split(".")[:2]
    return int(major), int(minor.split("rc")[0])


def _kernel_features() -> dict[str, bool]:
    needed = {"overlay": "overlay file system", "br_netfilter": "br_netfilter"}
    found = {
        "overlay": lambda: "\toverlay\n" in Path("/proc/filesystems").read_text(),
        "br_netfilter": lambda: Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists(),
    }
    result = {}
    for module, name in needed.items():
        if not found[module]():
            commands.succeeds(["modprobe", module])
        result[name] = found[module]()
    namespaces = {"net", "mnt", "pid", "user"}
    result["namespaces"] = all(Path("/proc/self/ns", name).exists() for name in namespaces)
    return result


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
