"""The operator with exactly the rights and policies that the chart gives it, and people with theirs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from codex_cluster import kubectl
from codex_cluster.layout import cache_directory
from codex_cluster.progress import Progress
from codex_cluster.testing import ApiServer, ApiServers
from codex_journal.journal import Journal
from codex_operator.settings import Settings
from codex_operator.testing import APPROVAL_ID, ClusterUser, RunningOperator, acknowledge, ask, cluster_user, eventually

pytestmark = [pytest.mark.apiserver, pytest.mark.temporal]

CHART = Path(__file__).parents[2] / "helm" / "codex-temporal"
SYSTEM_NAMESPACE = "codex-system"
VALUES = ("trial.enabled=true", "images.app=app:1", "images.sandbox=sandbox:1", "images.trial=trial:1")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server of its own with the chart on it: its policies would stand in other tests' way."""
    with ApiServers(tmp_path_factory.mktemp("installed")) as servers:
        server = servers.get()
        helm = kubectl.install(cache_directory(os.environ), Progress()) / "helm"
        sets = [argument for value in VALUES for argument in ("--set", value)]
        access = ["--kubeconfig", str(server.kubeconfig()), "--namespace", SYSTEM_NAMESPACE, "--create-namespace"]
        argv = [str(helm), "install", "codex", str(CHART), *access, *sets]
        subprocess.run(argv, check=True, capture_output=True, text=True, timeout=180)
        server.kubectl("wait", "--for=condition=Established", "crd/codexsessions.codex-temporal.dev")
        for role in ("codex-user", "codex-approver"):
            server.kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", "--user=alice")
        server.kubectl("create", "clusterrolebinding", "bob", "--clusterrole=codex-user", "--user=bob")
        yield server


@pytest.fixture
def operator_settings(installed: ApiServer, settings: Settings, tmp_path: Path) -> Settings:
    """Settings of an operator that logs in as its service account."""
    token = installed.kubectl("create", "token", "codex-operator", "-n", SYSTEM_NAMESPACE).strip()
    kubeconfig = yaml.safe_load(installed.kubeconfig().read_text())
    kubeconfig["users"][0]["user"] = {"token": token}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig))
    return settings.model_copy(update={"kubeconfig": path})


@pytest.fixture
async def admin(installed: ApiServer) -> AsyncIterator[ClusterUser]:
    user = await cluster_user(installed.kubeconfig(), "default")
    yield user
    await user.clean_up()
    await user.api.close()


async def approve(installed: ApiServer, user: str) -> subprocess.CompletedProcess[str]:
    """Approve by kubectl; for some seconds after the CRD is created the stamping policy answers 503."""

    async def annotate() -> subprocess.CompletedProcess[str]:
        return installed.run("annotate", "cxs/x", f"approval.codex-temporal.dev/{APPROVAL_ID}=approve", user=user)

    return await eventually(annotate, lambda done: "ServiceUnavailable" not in done.stderr)


async def test_a_session_is_served_approved_by_alice_and_deleted(
    installed: ApiServer, operator_settings: Settings, admin: ClusterUser, journal: Journal
) -> None:
    async with RunningOperator(operator_settings, full_pass_seconds=0.5):
        uid = await admin.create_session("x")
        await eventually(lambda: admin.pods(uid), bool)
        pod = (await admin.pods(uid))[0]["metadata"]["name"]
        await admin.run_pod(pod)
        await ask(journal, uid)
        await eventually(lambda: admin.status("x"), lambda s: s.get("pendingApprovals"))
        assert "may not approve" in (await approve(installed, "bob")).stderr
        assert (await approve(installed, "alice")).returncode == 0
        decided = await eventually(lambda: journal.decisions(uid), bool)
        events = await eventually(admin.events, lambda e: any(x["reason"] == "ApprovalRequested" for x in e))
        await acknowledge(journal, uid)
        await eventually(lambda: admin.session("x"), lambda x: APPROVAL_ID not in str(x["metadata"].get("annotations")))
        await eventually(lambda: admin.status("x"), lambda s: not s.get("pendingApprovals"))
        assert "no pending approval" in (await approve(installed, "alice")).stderr
        await admin.delete_session("x")
        await eventually(lambda: admin.exists("x"), lambda exists: not exists)
        assert await admin.pods(uid) == []
    assert decided[APPROVAL_ID][0].decided_by == "alice"
    assert all(event["involvedObject"]["name"] == "x" for event in events)
