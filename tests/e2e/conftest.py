"""The product on a whole cluster, used through kubectl only, as the users alice (may approve) and bob (may not)."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from codex_cluster.deploy import NAMESPACE, deploy, example, kubectl
from codex_cluster.layout import REPOSITORY, Layout, cache_directory
from codex_cluster.progress import Progress

SCRIPT = Path(__file__).parent / "model-script.yaml"
LATE_SECRET = "model-key"
PATIENCE_SECONDS = 120
GROUP = "rbac.authorization.k8s.io"


@pytest.fixture(scope="session")
def layout() -> Layout:
    return Layout(state=REPOSITORY / ".cluster", cache=cache_directory(os.environ))


@pytest.fixture(scope="session")
def release(layout: Layout) -> None:
    """The chart as a trial, its model scripted for the examples and for these tests."""
    script = yaml.safe_load(example("model-script.yaml").read_text())
    script["conversations"] = yaml.safe_load(SCRIPT.read_text())["conversations"] + script["conversations"]
    keyed = {
        "baseUrl": f"http://codex-model.{NAMESPACE}.svc:8089/v1",
        "secretName": LATE_SECRET,
        "defaultModel": "scripted",
    }
    admin(layout, "delete", "secret", "-n", NAMESPACE, LATE_SECRET, "--ignore-not-found")
    trial = {"enabled": True, "model": {"script": yaml.safe_dump(script, sort_keys=False)}}
    deploy(layout, Progress(), {"trial": trial, "providers": {"keyed": keyed}})


def admin(layout: Layout, *arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(kubectl(layout, *arguments), input=stdin, text=True, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Kubectl:
    """kubectl in one namespace."""

    layout: Layout
    namespace: str

    def run(self, *arguments: str, user: str = "bob", stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        argv = kubectl(self.layout, "--namespace", self.namespace, *arguments, user=user)
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)

    def __call__(self, *arguments: str, user: str = "bob", stdin: str | None = None) -> str:
        """Return what it prints; fails the test where kubectl fails."""
        done = self.run(*arguments, user=user, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)} as {user}: {done.stderr}"
        return done.stdout

    def refused(self, *arguments: str, user: str = "bob", stdin: str | None = None) -> str:
        """Return the message by which the API server refuses."""
        done = self.run(*arguments, user=user, stdin=stdin)
        assert done.returncode != 0, f"kubectl {' '.join(arguments)} as {user} was not refused: {done.stdout}"
        return done.stderr

    def create(self, name: str, prompt: str, user: str = "bob", **spec: Any) -> None:
        manifest = {
            "apiVersion": "codex-temporal.dev/v1alpha1",
            "kind": "CodexSession",
            "metadata": {"name": name},
            "spec": {"prompt": prompt, **spec},
        }
        self("apply", "-f", "-", user=user, stdin=json.dumps(manifest))

    def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("get", "cxs", name, "-o", "json"))
        return found

    def status(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = self.get(name).get("status", {})
        return status

    def wait(self, name: str, condition: str) -> None:
        """`kubectl wait` for a condition; a failure shows the status."""
        done = self.run("wait", f"cxs/{name}", f"--for=condition={condition}", f"--timeout={PATIENCE_SECONDS - 20}s")
        assert done.returncode == 0, f"{done.stderr}\n{json.dumps(self.status(name), indent=1)}\n{self.platform_logs()}"

    def wait_for_approvals(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        return self.until(name, lambda status: len(status.get("pendingApprovals", [])) >= count)["pendingApprovals"]

    def until(self, name: str, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Poll the status until a condition holds, and return it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reached(status := self.status(name)):
            assert time.monotonic() < deadline, f"{json.dumps(status, indent=1)}\n{self.platform_logs()}"
            time.sleep(0.2)
        return status

    def annotate(self, name: str, approval: str, value: str, user: str = "alice") -> None:
        self("annotate", "cxs", name, f"approval.codex-temporal.dev/{approval}={value}", user=user)

    def pods(self, name: str) -> list[dict[str, Any]]:
        uid = self.get(name)["metadata"]["uid"]
        return self.pods_of(uid)

    def pods_of(self, uid: str) -> list[dict[str, Any]]:
        label = f"codex-temporal.dev/session-uid={uid}"
        found: list[dict[str, Any]] = json.loads(self("get", "pods", "-l", label, "-o", "json", user="admin"))["items"]
        return found

    def platform_logs(self) -> str:
        argv = kubectl(self.layout, "logs", "-n", NAMESPACE, "--prefix", "--tail=20", "--all-containers",
                       "-l", "app.kubernetes.io/instance=codex")  # fmt: skip
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout[-6000:]


@pytest.fixture
def add_key(layout: Layout, release: None) -> Callable[[], None]:
    """Create the Secret that the provider `keyed` waits for, with the scripted model's key."""

    def add() -> None:
        found = json.loads(admin(layout, "get", "secret", "codex-model", "-n", NAMESPACE, "-o", "json"))
        data = {"api-key": found["data"]["api-key"]}
        metadata = {"name": LATE_SECRET, "namespace": NAMESPACE}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
        admin(layout, "apply", "-f", "-", stdin=json.dumps(secret))

    return add


@dataclass
class System(Kubectl):
    """The platform's own namespace, as its administrator."""

    def __call__(self, *arguments: str, user: str = "admin", stdin: str | None = None) -> str:
        return super().__call__(*arguments, user=user, stdin=stdin)

    def workers(self) -> list[str]:
        found = json.loads(self("get", "pods", "-l", "app.kubernetes.io/component=worker", "-o", "json"))
        return [
            pod["metadata"]["name"]
            for pod in found["items"]
            if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
        ]

    def metrics(self, pod: str) -> str:
        return self("get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:9090/proxy/metrics")


@pytest.fixture
def system(layout: Layout, release: None) -> System:
    return System(layout, NAMESPACE)


@pytest.fixture
def kube(layout: Layout, release: None) -> Iterator[Kubectl]:
    """A fresh namespace under PodSecurity restricted: bob may start sessions, alice may also approve and bypass."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    kube = Kubectl(layout, name)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    admin(layout, "apply", "-f", "-", stdin=json.dumps(namespace))
    developers = {"kind": "Group", "name": "dev", "apiGroup": GROUP}
    alice = {"kind": "User", "name": "alice", "apiGroup": GROUP}
    for role, subject in (
        ("codex-user", developers),
        ("codex-approver", alice),
        ("codex-approval-bypass", alice),
    ):
        binding = {
            "apiVersion": f"{GROUP}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": role},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
            "subjects": [subject],
        }
        kube("apply", "-f", "-", user="admin", stdin=json.dumps(binding))
    yield kube
    admin(layout, "delete", "namespace", name, "--wait=false")
