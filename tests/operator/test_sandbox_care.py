"""The operator's care for sandboxes: address, next generation, removal, refusals."""

from __future__ import annotations

import pytest

from codex_api import conditions
from codex_api.rows import RowKind, SessionClosedPayload
from codex_journal.journal import Journal
from codex_operator import resource_paths
from codex_operator.cluster_api import Manifest
from codex_operator.settings import Settings
from codex_operator.testing import ClusterUser, RunningOperator, eventually

pytestmark = [pytest.mark.apiserver, pytest.mark.temporal]


async def addresses(journal: Journal, uid: str) -> list[tuple[int, str]]:
    rows = await journal.read(uid, kinds=[RowKind.SANDBOX_ADDRESS])
    return [(row.payload["generation"], row.payload["host"]) for row in rows]


async def first_pod(user: ClusterUser, uid: str) -> Manifest:
    return (await eventually(lambda: user.pods(uid), bool))[0]


async def test_the_address_of_a_running_pod_is_journaled_once(
    user: ClusterUser, settings: Settings, journal: Journal
) -> None:
    async with RunningOperator(settings, full_pass_seconds=0.1):
        uid = await user.create_session("x")
        pod = await first_pod(user, uid)
        address = await user.run_pod(pod["metadata"]["name"])
        await eventually(lambda: addresses(journal, uid), bool)
        await eventually(lambda: user.condition("x", conditions.SANDBOX_READY), lambda c: c["status"] == "True")
        status = await user.status("x")
    assert await addresses(journal, uid) == [(1, address)]
    assert status["sandbox"] == {"podName": pod["metadata"]["name"], "generation": 1}


async def test_a_pod_is_protected_by_its_policy_and_has_its_own_certificate(
    user: ClusterUser, settings: Settings, journal: Journal
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        pod = await first_pod(user, uid)
        name = pod["metadata"]["name"]
        policy = await user.api.get(resource_paths.network_policy(user.namespace, name.removesuffix("-g1")))
        secret = await user.api.get(resource_paths.secret(user.namespace, f"{name}-tls"))
    assert policy["metadata"]["creationTimestamp"] <= pod["metadata"]["creationTimestamp"]
    assert set(secret["data"]) == {"tls.crt", "tls.key", "ca.crt"}


async def test_a_lost_pod_is_replaced_by_the_next_generation(
    user: ClusterUser, settings: Settings, journal: Journal
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        first = await first_pod(user, uid)
        await user.run_pod(first["metadata"]["name"])
        await eventually(lambda: addresses(journal, uid), bool)
        await user.api.delete(resource_paths.pod(user.namespace, first["metadata"]["name"]))
        second = (await eventually(lambda: user.pods(uid), lambda p: p and p[0]["metadata"]["name"].endswith("-g2")))[0]
        await user.run_pod(second["metadata"]["name"])
        await eventually(lambda: addresses(journal, uid), lambda found: len(found) == 2)
    assert [generation for generation, _ in await addresses(journal, uid)] == [1, 2]


async def test_a_failed_pod_is_removed_and_replaced(user: ClusterUser, settings: Settings, journal: Journal) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        name = (await first_pod(user, uid))["metadata"]["name"]
        await user.set_pod_status(name, {"phase": "Failed", "reason": "Evicted"})
        pods = await eventually(lambda: user.pods(uid), lambda p: len(p) == 1 and p[0]["metadata"]["name"] != name)
    assert pods[0]["metadata"]["name"].endswith("-g2")


async def test_a_restarted_operator_adopts_the_pod_it_finds(
    user: ClusterUser, settings: Settings, journal: Journal
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        pod = await first_pod(user, uid)
    other_default = settings.model_copy(update={"sandbox_image": "registry.test/sandbox:2"})
    async with RunningOperator(other_default, full_pass_seconds=0.1):
        await user.run_pod(pod["metadata"]["name"])
        await eventually(lambda: addresses(journal, uid), bool)
        pods = await user.pods(uid)
    assert [found["metadata"]["uid"] for found in pods] == [pod["metadata"]["uid"]]


async def test_a_foreign_pod_of_the_next_name_is_passed_over(
    user: ClusterUser, settings: Settings, journal: Journal
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        first = await first_pod(user, uid)
        name = first["metadata"]["name"].removesuffix("-g1")
        await user.run_pod(f"{name}-g1")
        await eventually(lambda: addresses(journal, uid), bool)
        metadata = {"name": f"{name}-g2", "labels": first["metadata"]["labels"]}
        foreign = {"metadata": metadata, "spec": first["spec"]}
        await user.api.create(resource_paths.pods(user.namespace), foreign)
        await user.api.delete(resource_paths.pod(user.namespace, f"{name}-g1"))
        pods = await eventually(lambda: user.pods(uid), lambda found: len(found) == 2)
    assert {pod["metadata"]["name"] for pod in pods} == {f"{name}-g2", f"{name}-g3"}


@pytest.mark.parametrize(
    ("reason", "phase"),
    [(conditions.REASON_SESSION_COMPLETED, "Completed"), (conditions.REASON_DEADLINE_EXCEEDED, "Failed")],
)
async def test_the_pod_is_removed_when_the_session_is_over(
    user: ClusterUser, settings: Settings, journal: Journal, reason: str, phase: str
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        await first_pod(user, uid)
        await journal.close_session(uid, SessionClosedPayload(reason=reason))
        await eventually(lambda: user.pods(uid), lambda pods: not pods)
        status = await eventually(lambda: user.status("x"), lambda s: s["phase"] == phase)
    (sandbox,) = (c for c in status["conditions"] if c["type"] == conditions.SANDBOX_READY)
    assert sandbox["reason"] in {conditions.REASON_SANDBOX_REMOVED, conditions.REASON_SANDBOX_STARTING}


async def test_a_pod_that_the_namespace_refuses_is_shown_with_the_cure_and_tried_again(
    user: ClusterUser, settings: Settings, journal: Journal
) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    path = f"/api/v1/namespaces/{user.namespace}/resourcequotas"
    await user.api.create(path, quota)
    await user.api.request(
        "PATCH", f"{path}/none/status", body={"status": quota["spec"]}, content_type="application/merge-patch+json"
    )
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        condition = await eventually(
            lambda: user.condition("x", conditions.SANDBOX_READY),
            lambda c: c.get("reason") == conditions.REASON_SANDBOX_REFUSED,
        )
        assert "ResourceQuota" in condition["message"]
        await user.api.delete(f"{path}/none")
        await first_pod(user, uid)


async def test_a_cancelled_session_loses_its_pod_and_is_closed(
    user: ClusterUser, settings: Settings, journal: Journal
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        await first_pod(user, uid)
        await user.patch_session("x", {"spec": {"operatingMode": "Cancelled"}})
        await eventually(lambda: user.status("x"), lambda s: s["phase"] == "Cancelled")
        await eventually(lambda: user.pods(uid), lambda pods: not pods)
    record = await journal.session(uid)
    assert record is not None
    assert record.closed
