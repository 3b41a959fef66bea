"""Tests of the host node: the tool on a state folder of its own, and what a machine looks like before and after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codex_cluster import base_image
from codex_cluster.buildah import Buildah
from codex_cluster.components import CONTAINERD
from codex_cluster.layout import REPOSITORY, Layout
from codex_cluster.progress import Progress

TOOL_SECONDS = 900
KUBECTL_SECONDS = 120
PYTHON_IMAGE = "localhost/codex-cluster/python:test"


class NodeUnderTest:
    """The command-line tool on a state folder of the tests, and kubectl on its node."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def tool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "codex_cluster", f"--state={self.layout.state}", *arguments]
        path = {**os.environ, "PYTHONPATH": str(REPOSITORY / "cluster")}
        return subprocess.run(argv, env=path, capture_output=True, text=True, check=False, timeout=TOOL_SECONDS)

    def up(self) -> str:
        done = self.tool("up", "--provider=host")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, *arguments: str, user: str = "admin", stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        argv = [str(self.layout.binaries / "kubectl"), f"--kubeconfig={self.layout.kubeconfig(user)}", *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=KUBECTL_SECONDS)

    def kubectl(self, *arguments: str, user: str = "admin", stdin: str | None = None) -> str:
        done = self.run(*arguments, user=user, stdin=stdin)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def apply(self, *manifests: dict[str, Any]) -> None:
        self.kubectl("apply", "-f=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))

    def processes(self, program: str) -> list[int]:
        """Processes of the node by the name of their program."""
        pids = subprocess.run(["ip", "netns", "pids", self.layout.name], capture_output=True, text=True, check=True)
        return [int(pid) for pid in pids.stdout.split() if _program(pid) == program]


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that another process brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(0.05)


def inventory() -> dict[str, list[str]]:
    """Everything that a node could leave behind. What other running nodes change inside their own is not looked at."""
    return {
        "namespaces": _lines("ip", "netns", "list"),
        "interfaces": [line.split()[0] for line in _lines("ip", "-brief", "link")],
        # A node mounts nothing below /tmp; image builds of others do.
        "mounts": sorted(mount for mount in _mounts() if not mount.startswith("/tmp/")),
        "nftables": _lines("nft", "list", "ruleset"),
        "iptables": [line for line in _lines("iptables-save") if not line.startswith("#")],
        "settings": [Path("/proc/sys", name).read_text() for name in _SETTINGS],
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob("**/codex-*") if "pod" not in str(path)),
        "folders": sorted(str(path) for folder in _FOLDERS for path in Path(folder).glob("*")),
    }


_SETTINGS = ("net/ipv4/ip_forward", "vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
_FOLDERS = (
    *("/run", "/run/netns", "/run/containerd", "/run/codex-temporal", "/opt", "/etc", "/etc/cni"),
    *("/var/lib", "/var/lib/codex-temporal", "/var/lib/cni", "/var/lib/kubelet", "/var/log", "/var/log/containers"),
)


def _mounts() -> list[str]:
    return [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]


def _lines(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def _program(pid: str) -> str:
    try:
        return Path("/proc", pid, "exe").readlink().name
    except (FileNotFoundError, ProcessLookupError):
        return ""


def load_python(under_test: NodeUnderTest) -> None:
    """The base image, without the product on it."""
    layout, progress = under_test.layout, Progress()
    buildah = Buildah(layout.cache, layout.run / "buildah")
    name = base_image.ensure(layout.cache, buildah, progress)
    archive = layout.data / "python.tar"
    buildah.export(name, archive)
    ctr = [str(layout.cache / CONTAINERD.folder / "ctr"), f"--address={layout.run / 'containerd.sock'}", "-n=k8s.io"]
    subprocess.run([*ctr, "images", "import", str(archive)], check=True, capture_output=True)
    subprocess.run([*ctr, "images", "tag", name, PYTHON_IMAGE], check=True, capture_output=True)
    archive.unlink()
