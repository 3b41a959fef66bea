"""The provider `kind`: a node in a Docker container, for machines with a Docker engine."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

from codex_cluster import addons, binaries, certificates, commands, images
from codex_cluster.certificates import Leaf
from codex_cluster.components import KIND
from codex_cluster.errors import ClusterError
from codex_cluster.layout import Layout
from codex_cluster.progress import Progress

NODE_IMAGES = {
    "1.37": "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5",
    "1.36": "kindest/node:v1.36.4@sha256:099e049362a1526b2db71494e1947aae99bd16290d7c895f2b7ea312e3cbfaed",
    "1.34": "kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d",
}
"""Node images as the release notes of kind 0.33.0 list them; another kind needs others."""
DEFAULT_NODE_IMAGE = "1.36"
CREATE_SECONDS = 900.0
READY_SECONDS = 90.0
PUBLIC_BASE_IMAGE = "public"


class Kind:
    """Runs `kind`, `docker` and `kubectl`."""

    def __init__(self, layout: Layout, kind: Path, programs: Path, node_image: str, progress: Progress) -> None:
        self._layout = layout
        self._kind = str(kind)
        self._programs = programs
        self._node_image = NODE_IMAGES.get(node_image, node_image)
        self._progress = progress

    def up(self) -> None:
        """Create the cluster, or start its stopped container, or create it anew when neither helps."""
        if self._exists():
            if not self.problems() or self._restart():
                self._write_users()
                return
            self.down()
        with self._progress.step(f"creating kind cluster {self._layout.name}", estimate_seconds=120):
            self._layout.state.mkdir(parents=True, exist_ok=True)
            commands.output(self.create_command(), stdin=configuration(), timeout=CREATE_SECONDS)
        commands.output(self._kubectl("apply", "--server-side", "-f", "-"), stdin=json.dumps(addons.developer_rights()))
        self._write_users()

    def down(self) -> None:
        """Delete the cluster's container, network attachment and volumes."""
        if self._exists():
            kubeconfig = f"--kubeconfig={self._layout.kubeconfig()}"
            commands.output([self._kind, "delete", "cluster", f"--name={self._layout.name}", kubeconfig], timeout=300)

    def problems(self) -> list[str]:
        """Whether the API server answers and the node is Ready."""
        if not commands.succeeds(self._kubectl("get", "--raw=/readyz")):
            return ["the API server is not ready"]
        wait = self._kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=1s")
        return [] if commands.succeeds(wait) else ["the node is not Ready"]

    def load_images(self, context: Path) -> dict[str, str]:
        """`docker build` where the tag is new, then `kind load docker-image`."""
        names = images.tags(context, PUBLIC_BASE_IMAGE)
        for target, name in names.items():
            if not commands.succeeds(["docker", "image", "inspect", name]):
                log = self._layout.logs / f"image-{target}.log"
                with self._progress.step(f"building image {target}", estimate_seconds=60, log=log):
                    commands.run_logged(build_command(context, target, name), log)
            with self._progress.step(f"loading image {target} into the node", estimate_seconds=10):
                commands.output(self.load_command(name, images.development_name(target)), timeout=600)
        images.write(self._layout, names)
        return names

    def create_command(self) -> list[str]:
        """Nothing of the user's own kubeconfig is touched."""
        return [
            *(self._kind, "create", "cluster", f"--name={self._layout.name}", f"--image={self._node_image}"),
            *(f"--kubeconfig={self._layout.kubeconfig()}", "--wait=120s", "--config=-"),
        ]

    def load_command(self, *names: str) -> list[str]:
        """Copy images from Docker into the node."""
        return [self._kind, "load", "docker-image", *names, f"--name={self._layout.name}"]

    def _exists(self) -> bool:
        return self._layout.name in commands.output([self._kind, "get", "clusters"]).split()

    def _restart(self) -> bool:
        with self._progress.step("starting the stopped kind node", estimate_seconds=30):
            if not commands.succeeds(["docker", "start", f"{self._layout.name}-control-plane"]):
                return False
            # The published port may have changed, so the kubeconfig is written again.
            kubeconfig = f"--kubeconfig={self._layout.kubeconfig()}"
            commands.output([self._kind, "export", "kubeconfig", f"--name={self._layout.name}", kubeconfig])
            deadline = time.monotonic() + READY_SECONDS
            while self.problems():
                if time.monotonic() > deadline:
                    return False
                time.sleep(1)
            return True

    def _write_users(self) -> None:
        admin = json.loads(commands.output(self._kubectl("config", "view", "--raw", "--minify", "-o=json")))
        cluster = admin["clusters"][0]["cluster"]
        for user, groups in certificates.USERS.items():
            if user == "admin":
                continue
            key, request = certificates.signing_request(user, groups)
            certificate = self._sign(user, request)
            text = certificates.kubeconfig(cluster, Leaf(certificate, key), user)
            certificates.write_private(self._layout.kubeconfig(user), text.encode())

    def _sign(self, user: str, request: bytes) -> bytes:
        """Have the cluster's own authority sign a client certificate through the CSR API."""
        name = f"codex-{user}"
        delete = self._kubectl("delete", "certificatesigningrequest", name, "--ignore-not-found")
        commands.output(delete)
        commands.output(self._kubectl("create", "-f", "-"), stdin=signing_manifest(name, request))
        commands.output(self._kubectl("certificate", "approve", name))
        wait = ["wait", "certificatesigningrequest", name, "--for=jsonpath={.status.certificate}", "--timeout=60s"]
        commands.output(self._kubectl(*wait))
        issued = commands.output(self._kubectl("get", "certificatesigningrequest", name, "-o=json"))
        commands.output(delete)
        return certificates.decoded(json.loads(issued)["status"]["certificate"])

    def _kubectl(self, *arguments: str) -> list[str]:
        return [str(self._programs / "kubectl"), f"--kubeconfig={self._layout.kubeconfig()}", *arguments]


def configuration() -> str:
    """One node and nothing unusual; kind's own network plugin enforces NetworkPolicies."""
    return json.dumps({"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [{"role": "control-plane"}]})


def signing_manifest(name: str, request: bytes) -> str:
    """A CertificateSigningRequest for a client certificate that lives a year."""
    return json.dumps(
        {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": {
                "request": certificates.encoded(request),
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
            },
        }
    )


def build_command(context: Path, target: str, name: str) -> list[str]:
    """The Dockerfile's own public base image is used."""
    return [
        "docker",
        "build",
        f"--target={target}",
        f"--tag={name}",
        f"--tag={images.development_name(target)}",
        str(context),
    ]


def install(cache: Path, progress: Progress) -> Path:
    """The pinned kind, built once: another version might not know the pinned node images."""
    try:
        binaries.build([KIND], cache, progress)
    except ClusterError as error:
        raise ClusterError(f"kind {KIND.version} could not be built on {platform.system()}: {error}") from error
    return cache / KIND.folder / "kind"
