"""Installing, upgrading and removing the chart on a real API server."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

pytestmark = pytest.mark.apiserver

ID = "t1-c1-mfrggzdfmztwq2lknnwg23tpoa"


@pytest.fixture(scope="session")
def installed(bare_cluster: Any) -> Any:
    """The first installation on a new cluster, left as it is right after helm has returned."""
    done = bare_cluster.install()
    assert done.returncode == 0, done.stderr
    bare_cluster.let_people_in()
    return bare_cluster


@pytest.fixture
def waiting_program(installed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The init container's program, as the operator's account."""
    (tmp_path / "token").write_text(installed.kubectl("create", "token", "codex-operator", "-n", installed.namespace))
    (tmp_path / "namespace").write_text(installed.namespace)
    kubeconfig = yaml.safe_load(installed.server.kubeconfig().read_text())
    authority = kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]
    (tmp_path / "ca.crt").write_bytes(base64.b64decode(authority))
    address = urlsplit(installed.server.server)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(address.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(address.port))
    return load_program(installed.chart, tmp_path)


def load_program(chart: Path, account: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("wait_for_policies", chart / "files" / "wait_for_policies.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.ACCOUNT = account  # type: ignore[attr-defined]
    return module


def test_once_the_init_container_has_ended_an_approval_is_stamped(
    installed: Any, waiting_program: ModuleType, pending_approval: Callable[..., Any]
) -> None:
    waiting_program.main()
    name = installed.session(ID)
    installed.kubectl("annotate", "cxs", name, f"approval.codex-temporal.dev/{ID}=approve", user="alice")
    assert installed.annotations(name)[f"approved-by.codex-temporal.dev/{ID}"] == "alice"
    assert not installed.run("get", "cxs", "codex-installing", "-n", installed.namespace).stdout


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("mutatingadmissionpolicybinding/codex-approval", "does not record approvers yet"),
        ("validatingadmissionpolicybinding/codex-approval", "are not in effect yet"),
    ],
)
def test_the_init_container_waits_for_each_half_of_the_policies(
    installed: Any, waiting_program: ModuleType, monkeypatch: pytest.MonkeyPatch, missing: str, said: str
) -> None:
    waiting_program.main()
    with removed(installed, missing):
        eventually(lambda: said in waiting_program.ask())
        monkeypatch.setattr(waiting_program, "TIMEOUT_SECONDS", 2.0)
        with pytest.raises(SystemExit, match=said):
            waiting_program.main()
    monkeypatch.setattr(waiting_program, "TIMEOUT_SECONDS", 60.0)
    waiting_program.main()


def test_without_recording_nobody_can_approve(installed: Any, waiting_program: ModuleType) -> None:
    waiting_program.main()
    name = installed.session(ID)
    command = ("annotate", "cxs", name, f"approval.codex-temporal.dev/{ID}=approve", "--dry-run=server")
    with removed(installed, "mutatingadmissionpolicybinding/codex-approval"):
        eventually(lambda: "does not record approvers yet" in installed.run(*command, user="alice").stderr)
    waiting_program.main()


@contextmanager
def removed(cluster: Any, thing: str) -> Iterator[None]:
    """Take an object away for a while."""
    kept = json.loads(cluster.kubectl("get", thing, "-o", "json"))
    kept["metadata"] = {key: kept["metadata"][key] for key in ("name", "labels", "annotations")}
    cluster.kubectl("delete", thing)
    try:
        yield
    finally:
        cluster.kubectl("create", "-f", "-", stdin=json.dumps(kept))


def eventually(true: Callable[[], bool]) -> None:
    """The API server notices a changed policy within a few seconds."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_upgrade_keeps_the_generated_passwords(installed: Any) -> None:
    def secrets() -> dict[str, Any]:
        found = json.loads(installed.kubectl("get", "secrets", "-n", installed.namespace, "-o", "json"))
        return {item["metadata"]["name"]: item["data"] for item in found["items"] if item["type"] == "Opaque"}

    before = secrets()
    assert set(before) == {"codex-postgresql", "codex-model"}
    assert len(set(before["codex-postgresql"].values())) == 3
    assert installed.install("worker.replicas=3").returncode == 0
    assert secrets() == before


def test_a_new_field_of_the_definition_arrives_with_an_upgrade(installed: Any, tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(installed.chart, chart)
    file = chart / "files" / "codexsessions.yaml"
    definition = yaml.safe_load(file.read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["nickname"] = {"type": "string", "description": "A name for friends."}
    file.write_text(yaml.safe_dump(definition))
    done = installed.install(chart=chart)
    assert done.returncode == 0, done.stderr
    stored = json.loads(installed.kubectl("get", "crd", "codexsessions.codex-temporal.dev", "-o", "json"))
    properties = stored["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert properties["nickname"]["type"] == "string"
    assert installed.install().returncode == 0


def test_a_second_release_is_refused(installed: Any) -> None:
    done = installed.helm("install", "second", str(installed.chart))
    assert done.returncode != 0
    assert "codex" in done.stderr
    assert "cannot be imported into the current release" in done.stderr


@pytest.mark.parametrize(
    ("allowed", "arguments"),
    [
        (True, ("patch", "codexsessions")),
        (True, ("patch", "codexsessions/status")),
        (True, ("create", "pods")),
        (True, ("delete", "pods")),
        (True, ("create", "secrets")),
        (True, ("patch", "networkpolicies.networking.k8s.io")),
        (True, ("list", "namespaces")),
        (False, ("get", "secrets")),
        (False, ("list", "secrets")),
        (False, ("create", "pods/exec")),
        (False, ("create", "codexsessions")),
        (False, ("delete", "codexsessions")),
        (False, ("create", "clusterrolebindings")),
        (False, ("get", "nodes")),
    ],
)
def test_the_operators_rights_end_where_they_should(installed: Any, allowed: bool, arguments: tuple[str, ...]) -> None:
    verb, resource = arguments
    group = ".codex-temporal.dev" if resource.startswith("codexsessions") else ""
    kind, _, subresource = resource.partition("/")
    options = (f"--subresource={subresource}",) if subresource else ()
    done = installed.run("auth", "can-i", verb, kind + group, *options, "-n", "default", user=installed.operator)
    assert done.stdout.strip() == ("yes" if allowed else "no"), done.stderr


def test_sessions_outlive_the_release(installed: Any) -> None:
    name = installed.session()
    installed.uninstall()
    assert installed.get(name)["metadata"]["name"] == name
    assert installed.install().returncode == 0
    assert installed.get(name)["metadata"]["name"] == name
