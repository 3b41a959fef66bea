"""The sandbox's manifests: PodSecurity restricted, no credentials, one tight policy, names that always fit."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_operator.sandbox_objects import (
    SandboxSettings,
    merged_resources,
    network_policy,
    pod_name,
    sandbox_pod,
    secret_name,
    tls_secret,
)
from codex_operator.session_object import SessionObject, parse_session

SETTINGS = SandboxSettings(
    image="registry.test/sandbox:1",
    supervisor_image="registry.test/sandbox:1",
    port=7443,
    system_namespace="codex-system",
    worker_selector={"app.kubernetes.io/component": "worker"},
    probes=("api-server=10.96.0.1:443", "temporal=10.96.0.7:7233"),
    resources={"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
)
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"}


def make_session(name: str = "fix-tests", **sandbox: Any) -> SessionObject:
    metadata = {"uid": "0b5d2c5e-6f2a-4a53-9e0c-7f3ad3f1c001", "namespace": "team-a", "name": name, "generation": 1}
    return parse_session({"metadata": metadata, "spec": {"prompt": "Do it.", "sandbox": sandbox}})


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]


PODS = {
    "default image": {},
    "own image": {"image": "python:3.12-slim"},
    "internet": {"network": {"mode": "Internet"}},
    "runtime class": {"runtimeClassName": "gvisor"},
}


@pytest.fixture(params=PODS.values(), ids=PODS)
def pod(request: pytest.FixtureRequest) -> dict[str, Any]:
    return sandbox_pod(make_session(**request.param), 1, SETTINGS)


def test_every_container_passes_pod_security_restricted(pod: dict[str, Any]) -> None:
    for container in containers(pod):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["runAsNonRoot"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not security.get("privileged", False)
        assert all("hostPort" not in port for port in container.get("ports", ()))


def test_the_pod_passes_pod_security_restricted(pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    for volume in spec["volumes"]:
        assert set(volume) - {"name"} <= RESTRICTED_VOLUMES | {"secret"}


def test_the_pod_holds_no_cluster_credential_and_no_service_address(pod: dict[str, Any]) -> None:
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["enableServiceLinks"] is False
    assert {entry["name"] for c in containers(pod) for entry in c.get("env", ())} == {"HOME", "LANG"}
    secrets = [volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume]
    assert secrets == [f"{pod['metadata']['name']}-tls"]


def test_only_the_named_volumes_can_be_written_by_commands(pod: dict[str, Any]) -> None:
    main = pod["spec"]["containers"][0]
    writable = {mount["mountPath"] for mount in main["volumeMounts"] if not mount.get("readOnly")}
    assert main["securityContext"]["readOnlyRootFilesystem"] is True
    assert writable == {"/workspace", "/home/codex", "/tmp"}


def test_an_image_of_the_users_gets_the_supervisor_copied_in_read_only() -> None:
    pod = sandbox_pod(make_session(image="python:3.12-slim"), 1, SETTINGS)
    (copy,), (main,) = pod["spec"]["initContainers"], pod["spec"]["containers"]
    assert copy["image"] == SETTINGS.supervisor_image
    assert main["image"] == "python:3.12-slim"
    (mount,) = (mount for mount in main["volumeMounts"] if mount["name"] == "supervisor")
    assert mount["readOnly"] is True
    assert main["command"][1].startswith(mount["mountPath"])


def test_the_default_image_needs_no_copy() -> None:
    assert sandbox_pod(make_session(), 1, SETTINGS)["spec"]["initContainers"] == []


def test_the_supervisor_is_told_who_it_is_and_what_it_may_not_reach() -> None:
    session = make_session()
    command = sandbox_pod(session, 3, SETTINGS)["spec"]["containers"][0]["command"]
    options = list(itertools.pairwise(command))
    assert ("--session", session.uid) in options
    assert ("--generation", "3") in options
    assert [value for option, value in options if option == "--probe"] == list(SETTINGS.probes)


def test_the_policy_lets_only_workers_of_the_system_namespace_in_and_nothing_out() -> None:
    spec = network_policy(make_session(), SETTINGS)["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"] == []
    (rule,) = spec["ingress"]
    (peer,) = rule["from"]  # two elements would mean "or"
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "codex-system"}
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/component": "worker"}
    assert rule["ports"] == [{"protocol": "TCP", "port": 7443}]


def test_the_policy_selects_the_pod_of_every_generation() -> None:
    session = make_session()
    selector = network_policy(session, SETTINGS)["spec"]["podSelector"]["matchLabels"]
    for generation in (1, 2):
        labels = sandbox_pod(session, generation, SETTINGS)["metadata"]["labels"]
        assert selector.items() <= labels.items()


def test_internet_means_public_addresses_and_cluster_dns_only() -> None:
    egress = network_policy(make_session(network={"mode": "Internet"}), SETTINGS)["spec"]["egress"]
    blocks = [peer["ipBlock"] for rule in egress for peer in rule["to"] if "ipBlock" in peer]
    assert {block["cidr"] for block in blocks} == {"0.0.0.0/0", "::/0"}
    excluded = {network for block in blocks for network in block["except"]}
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"} <= excluded
    (dns,) = (rule for rule in egress if "ports" in rule)
    assert {port["port"] for port in dns["ports"]} == {53}


def test_without_a_network_name_look_ups_fail_at_once() -> None:
    assert sandbox_pod(make_session(), 1, SETTINGS)["spec"]["dnsPolicy"] == "None"
    assert "dnsPolicy" not in sandbox_pod(make_session(network={"mode": "Internet"}), 1, SETTINGS)["spec"]


def test_everything_goes_with_the_session_object() -> None:
    session = make_session()
    for manifest in (
        sandbox_pod(session, 1, SETTINGS),
        network_policy(session, SETTINGS),
        tls_secret(session, 1, {"tls.crt": b"", "tls.key": b"", "ca.crt": b""}),
    ):
        (owner,) = manifest["metadata"]["ownerReferences"]
        assert owner["uid"] == session.uid
        assert owner["controller"] is True


def test_a_limit_of_the_sessions_own_is_never_below_its_request() -> None:
    wanted = make_session(resources={"limits": {"memory": "64Mi", "cpu": 2}}).spec.sandbox.resources
    merged = merged_resources(SETTINGS.resources, wanted)
    assert merged["limits"] == {"memory": "64Mi", "cpu": "2"}
    assert merged["requests"] == {"memory": "64Mi", "cpu": "2"}


@given(name=st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]{1,60}){0,3}", fullmatch=True))
def test_names_are_dns_labels_that_fit_and_differ_by_generation(name: str) -> None:
    session = make_session(name)
    first, second = pod_name(session, 1), pod_name(session, 1000)
    assert first != second
    for label in (first, second, network_policy(session, SETTINGS)["metadata"]["name"]):
        assert len(label) <= 63
        assert DNS_LABEL.fullmatch(label)
    assert secret_name(session, 1) == f"{first}-tls"
