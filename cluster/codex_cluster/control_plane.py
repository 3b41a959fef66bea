"""Command lines of etcd, kube-apiserver, kube-controller-manager and kube-scheduler; no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SERVICE_NETWORK = "10.96.0.0/16"
SERVICE_HOSTS = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
    "127.0.0.1",
    "10.96.0.1",
)
"""Names under which pods and people reach the API server; 10.96.0.1 is the first address of SERVICE_NETWORK."""


@dataclass(frozen=True)
class ControlPlane:
    """Where a control plane keeps its files and listens."""

    programs: Path
    """Folder of the Kubernetes programs."""
    etcd: Path
    """The etcd program."""
    certificates: Path
    """Folder written by `certificates.write_control_plane`."""
    data: Path
    """Folder of etcd's data."""
    address: str
    port: int
    etcd_port: int
    etcd_peer_port: int

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.port}"


def etcd_command(plane: ControlPlane) -> list[str]:
    """etcd on loopback only; without fsync, because a test cluster's data need not survive a power cut."""
    client, peer = f"http://127.0.0.1:{plane.etcd_port}", f"http://127.0.0.1:{plane.etcd_peer_port}"
    return [
        str(plane.etcd),
        f"--data-dir={plane.data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server_command(plane: ControlPlane, extra: Sequence[str] = ()) -> list[str]:
    """kube-apiserver with client certificates, RBAC and signed service-account tokens."""
    certificates = plane.certificates
    return [
        str(plane.programs / "kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{plane.etcd_port}",
        f"--bind-address={plane.address}",
        f"--advertise-address={plane.address}",
        f"--secure-port={plane.port}",
        f"--client-ca-file={certificates / 'ca.crt'}",
        f"--tls-cert-file={certificates / 'api-server.crt'}",
        f"--tls-private-key-file={certificates / 'api-server.key'}",
        f"--service-account-key-file={certificates / 'service-account.key'}",
        f"--service-account-signing-key-file={certificates / 'service-account.key'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        "--profiling=false",
        *extra,
    ]


def controller_manager_command(plane: ControlPlane, kubeconfig: Path, pod_network: str) -> list[str]:
    """kube-controller-manager: signs certificates and service-account tokens, one identity per controller."""
    certificates = plane.certificates
    return [
        str(plane.programs / "kube-controller-manager"),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--root-ca-file={certificates / 'ca.crt'}",
        f"--cluster-signing-cert-file={certificates / 'ca.crt'}",
        f"--cluster-signing-key-file={certificates / 'ca.key'}",
        f"--service-account-private-key-file={certificates / 'service-account.key'}",
        "--use-service-account-credentials=true",
        "--allocate-node-cidrs=true",
        f"--cluster-cidr={pod_network}",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    ]


def scheduler_command(plane: ControlPlane, kubeconfig: Path) -> list[str]:
    """kube-scheduler, alone and therefore without an election."""
    return [
        str(plane.programs / "kube-scheduler"),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    ]
