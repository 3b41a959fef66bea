"""Real API servers with the chart installed: one that can record approvers (1.36), one that cannot (1.34)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from codex_cluster import kubectl
from codex_cluster.layout import REPOSITORY, cache_directory
from codex_cluster.progress import Progress
from codex_cluster.testing import CURRENT, WITHOUT_MUTATING_POLICIES, ApiServer, ApiServers

CHART = REPOSITORY / "helm" / "codex-temporal"
NAMESPACE = "codex-system"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:codex-operator"
VALUES = ("images.app=app:1", "images.sandbox=sandbox:1", "images.trial=trial:1", "trial.enabled=true")
# bob may use sessions; alice and carol may approve too, carol may also bypass; dora administers namespaces.
BINDINGS = (
    ("codex-user", "Group", "dev"),
    ("codex-approver", "User", "alice"),
    ("codex-approver", "User", "carol"),
    ("codex-approval-bypass", "User", "carol"),
    ("codex-user", "User", "carol"),
)


class Cluster:
    """An API server on which the chart can be installed, and the people who use it."""

    operator = OPERATOR
    chart = CHART
    namespace = NAMESPACE

    def __init__(self, server: ApiServer, helm: Path) -> None:
        self.server = server
        self._helm = helm
        self._sessions = 0

    def helm(self, *arguments: str, values: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        sets = [argument for value in (*VALUES, *values) for argument in ("--set", value)]
        access = ("--kubeconfig", str(self.server.kubeconfig()), "--namespace", NAMESPACE)
        argv = [str(self._helm), *arguments, *access, *sets]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=180)

    def uninstall(self) -> None:
        argv = [str(self._helm), "uninstall", "codex", "--kubeconfig", str(self.server.kubeconfig()), "-n", NAMESPACE]
        subprocess.run(argv, capture_output=True, text=True, check=True, timeout=180)

    def install(self, *values: str, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
        return self.helm("upgrade", "--install", "codex", str(chart), "--create-namespace", values=values)

    def run(self, *arguments: str, user: str = "admin", stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """kubectl as one of the people, or as anybody else whom admin may impersonate."""
        if user in self.server.kubeconfigs:
            return self.server.run(*arguments, user=user, stdin=stdin)
        return self.server.run(*arguments, f"--as={user}", stdin=stdin)

    def kubectl(self, *arguments: str, user: str = "admin", stdin: str | None = None) -> str:
        done = self.run(*arguments, user=user, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)} as {user}: {done.stderr}"
        return done.stdout

    def refused(self, *arguments: str, user: str = "admin", stdin: str | None = None) -> str:
        """What kubectl says to something that the API server must refuse."""
        done = self.run(*arguments, user=user, stdin=stdin)
        assert done.returncode != 0, f"kubectl {' '.join(arguments)} as {user} was not refused: {done.stdout}"
        return done.stderr

    def let_people_in(self) -> None:
        for role, kind, name in BINDINGS:
            self.kubectl("create", "rolebinding", f"{role}-{name}", f"--clusterrole={role}", f"--{kind.lower()}={name}")
        # kubectl reads a status before it patches it; the operator does not, and has no right to.
        self.kubectl("create", "clusterrole", "status-reader", "--verb=get", "--resource=codexsessions/status")
        self.kubectl(
            "create", "clusterrolebinding", "status-reader", "--clusterrole=status-reader", f"--user={OPERATOR}"
        )

    def session(
        self, *pending: str, truncated: Sequence[str] = (), kind: str = "Exec", user: str = "bob", **spec: Any
    ) -> str:
        """Create a session and report pending approvals as the operator does; return its name."""
        self._sessions += 1
        name = f"session-{self._sessions}"
        self.kubectl("create", "-f", "-", user=user, stdin=manifest(name, **spec))
        waiting = (*pending, *truncated)
        if waiting:
            self.report(name, [approval(id_, truncated=id_ in truncated, kind=kind) for id_ in waiting])
        return name

    def report(self, name: str, pending: list[dict[str, Any]]) -> None:
        patch = json.dumps({"status": {"phase": "AwaitingApproval", "pendingApprovals": pending}})
        self.kubectl("patch", "cxs", name, "--subresource=status", "--type=merge", "-p", patch, user=OPERATOR)

    def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "cxs", name, "-o", "json"))
        return found

    def annotations(self, name: str) -> dict[str, str]:
        found: dict[str, str] = self.get(name)["metadata"].get("annotations", {})
        return found


def manifest(name: str, *, annotations: dict[str, str] | None = None, **spec: Any) -> str:
    """A session as YAML; a field of the spec given as None is left out."""
    whole = {"prompt": "Fix the tests.", **spec}
    metadata = {"name": name, **({"annotations": annotations} if annotations else {})}
    body = {"apiVersion": "codex-temporal.dev/v1alpha1", "kind": "CodexSession", "metadata": metadata}
    return yaml.safe_dump({**body, "spec": {key: value for key, value in whole.items() if value is not None}})


def approval(id_: str, *, truncated: bool = False, kind: str = "Exec") -> dict[str, Any]:
    return {
        "id": id_,
        "kind": kind,
        "command": "pip install -r requirements.txt",
        "directory": "/workspace",
        "digest": "sha256:" + "0" * 64,
        "truncated": truncated,
        "requestTime": "2026-01-01T00:00:00Z",
        "expirationTime": "2026-01-01T01:00:00Z",
    }


@pytest.fixture(scope="session")
def session_manifest() -> Callable[..., str]:
    return manifest


@pytest.fixture(scope="session")
def pending_approval() -> Callable[..., dict[str, Any]]:
    return approval


@pytest.fixture(scope="session")
def api_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServers]:
    with ApiServers(tmp_path_factory.mktemp("api-servers")) as servers:
        yield servers


@pytest.fixture(scope="session")
def helm_program() -> Path:
    return kubectl.install(cache_directory(os.environ), Progress()) / "helm"


@pytest.fixture(scope="session")
def bare_cluster(tmp_path_factory: pytest.TempPathFactory, helm_program: Path) -> Iterator[Cluster]:
    """A current API server of its own, for tests of installing."""
    with ApiServers(tmp_path_factory.mktemp("bare-api-server")) as servers:
        yield Cluster(servers.get(CURRENT), helm_program)


@pytest.fixture(scope="session")
def cluster(api_servers: ApiServers, helm_program: Path) -> Cluster:
    return _installed(Cluster(api_servers.get(CURRENT), helm_program), "required")


@pytest.fixture(scope="session")
def older_cluster(api_servers: ApiServers, helm_program: Path) -> Cluster:
    return Cluster(api_servers.get(WITHOUT_MUTATING_POLICIES), helm_program)


@pytest.fixture(scope="session")
def older_installed(older_cluster: Cluster) -> Cluster:
    return _installed(older_cluster, "auto")


def _installed(cluster: Cluster, admission: str) -> Cluster:
    done = cluster.install(f"approval.admission={admission}")
    assert done.returncode == 0, done.stderr
    cluster.let_people_in()
    _wait_for_policies(cluster)
    return cluster


def _wait_for_policies(cluster: Cluster) -> None:
    """As the operator's init container does, but by kubectl."""
    probe = manifest("probe", annotations={"approval.codex-temporal.dev/probe": "approve"})
    for _ in range(100):
        done = cluster.run("create", "-f", "-", "--dry-run=server", stdin=probe)
        if "a new session cannot carry decisions" in done.stderr:
            return
    raise AssertionError(f"the policies are not in effect: {done.stdout}{done.stderr}")
