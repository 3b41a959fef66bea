"""What every pod of the chart keeps to, and what the worker in particular never gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from codex_operator.settings import PreparingSettings, Settings
from codex_worker.providers import Providers
from codex_worker.settings import WorkerSettings

Manifest = dict[str, Any]
RESTRICTED_VOLUMES = {"configMap", "downwardAPI", "emptyDir", "projected", "secret"}


def deployments(manifests: list[Manifest]) -> dict[str, Manifest]:
    return {m["metadata"]["name"]: m for m in manifests if m["kind"] == "Deployment"}


def pod_spec(manifests: list[Manifest], name: str) -> Manifest:
    spec: Manifest = deployments(manifests)[name]["spec"]["template"]["spec"]
    return spec


def containers(spec: Manifest) -> Iterator[Manifest]:
    yield from spec.get("initContainers", [])
    yield from spec["containers"]


def environment(container: Manifest) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container["env"] if "value" in item}


def test_only_deployments_make_pods(manifests: list[Manifest]) -> None:
    assert not {m["kind"] for m in manifests} & {"Pod", "Job", "CronJob", "DaemonSet", "StatefulSet", "ReplicaSet"}


def test_every_pod_is_restricted(manifests: list[Manifest]) -> None:
    for name, deployment in deployments(manifests).items():
        spec = deployment["spec"]["template"]["spec"]
        for host in ("hostNetwork", "hostPID", "hostIPC"):
            assert not spec.get(host), name
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["enableServiceLinks"] is False, name
        for volume in spec.get("volumes", []):
            assert set(volume) - {"name"} <= RESTRICTED_VOLUMES, (name, volume["name"])
        for container in containers(spec):
            where = (name, container["name"])
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, where
            assert own["capabilities"] == {"drop": ["ALL"]}, where
            assert own["readOnlyRootFilesystem"] is True, where
            assert "privileged" not in own, where
            assert not [port for port in container.get("ports", []) if "hostPort" in port], where
            assert container["resources"]["limits"]["memory"], where
            assert container["resources"]["requests"]["cpu"], where


def test_every_volume_is_mounted_and_every_mount_has_a_volume(manifests: list[Manifest]) -> None:
    for name, deployment in deployments(manifests).items():
        spec = deployment["spec"]["template"]["spec"]
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        mounts = {m["name"] for container in containers(spec) for m in container.get("volumeMounts", [])}
        assert volumes == mounts, name


def test_only_the_operator_has_a_service_account_token(manifests: list[Manifest]) -> None:
    with_token = {
        name
        for name, deployment in deployments(manifests).items()
        if deployment["spec"]["template"]["spec"]["automountServiceAccountToken"] is not False
    }
    assert with_token == {"codex-operator"}
    for manifest in manifests:
        if manifest["kind"] == "ServiceAccount":
            assert manifest["automountServiceAccountToken"] is False, manifest["metadata"]["name"]


def test_each_process_sees_only_its_own_database_password(manifests: list[Manifest]) -> None:
    seen = {}
    for name in ("codex-operator", "codex-worker"):
        for container in containers(pod_spec(manifests, name)):
            mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
            seen[container["name"]] = {mount for mount in mounts if mount.startswith("database-")}
    assert seen.pop("migrate") == {"database-owner", "database-operator", "database-worker"}
    assert seen.pop("operator") == {"database-operator"}
    assert seen.pop("worker") == {"database-worker"}
    assert not any(seen.values())
    for name in ("codex-operator", "codex-worker"):
        for volume in pod_spec(manifests, name)["volumes"]:
            if volume["name"].startswith("database-"):
                assert [item["path"] for item in volume["secret"]["items"]] == ["password"]


def test_the_model_key_reaches_the_worker_only(manifests: list[Manifest]) -> None:
    key = {"trial": "codex-model", "own": "model-key"}
    for name, deployment in deployments(manifests).items():
        text = yaml.safe_dump(deployment["spec"]["template"]["spec"].get("volumes", []))
        holds_key = any(f"secretName: {secret}" in text for secret in key.values())
        assert holds_key == (name == "codex-worker"), name


def test_a_missing_provider_secret_does_not_stop_the_worker(manifests: list[Manifest]) -> None:
    volumes = {volume["name"]: volume for volume in pod_spec(manifests, "codex-worker")["volumes"]}
    assert volumes["provider-default"]["secret"]["optional"] is True


def test_no_secret_stands_in_the_environment_of_operator_or_worker(manifests: list[Manifest]) -> None:
    for name in ("codex-operator", "codex-worker"):
        for container in containers(pod_spec(manifests, name)):
            for item in container.get("env", []):
                assert "secretKeyRef" not in item.get("valueFrom", {}), item["name"]
                assert not item["name"].endswith(("PASSWORD", "_KEY")), item["name"]


def test_the_operator_understands_its_settings(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    operator = pod_spec(manifests, "codex-operator")["containers"][0]
    for name, value in environment(operator).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    assert set(environment(operator)) - known == set()
    assert settings.worker_selector.items() <= worker_labels(manifests).items()
    assert settings.sandbox_resources["limits"]["memory"] == "2Gi"
    assert {probe.split("=")[0] for probe in settings.sandbox_probes} == {"temporal", "database"}
    assert settings.sandbox_isolation == "Required"


def test_workers_get_their_certificate_before_anything_is_waited_for(manifests: list[Manifest]) -> None:
    spec = pod_spec(manifests, "codex-operator")
    first, operator = spec["initContainers"][0], spec["containers"][0]
    assert first["command"] == [*operator["command"], "prepare"]
    assert not first.get("volumeMounts")
    known = {str(field.validation_alias) for field in PreparingSettings.model_fields.values()}
    given = {item["name"] for item in first["env"]}
    assert given <= known
    assert {"CODEX_CA_SECRET", "CODEX_WORKER_TLS_SECRET", "CODEX_SYSTEM_NAMESPACE"} <= given
    # Both make, or find, the same Secrets.
    assert [item for item in operator["env"] if item["name"] in known] == first["env"]
    volumes = {volume["name"]: volume for volume in pod_spec(manifests, "codex-worker")["volumes"]}
    assert volumes["tls"]["secret"]["secretName"] == environment(first)["CODEX_WORKER_TLS_SECRET"]


def worker_labels(manifests: list[Manifest]) -> dict[str, str]:
    labels: dict[str, str] = deployments(manifests)["codex-worker"]["spec"]["template"]["metadata"]["labels"]
    return labels


def test_the_worker_understands_its_settings(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    worker = pod_spec(manifests, "codex-worker")["containers"][0]
    for name, value in environment(worker).items():
        monkeypatch.setenv(name, value)
    settings = WorkerSettings()
    assert {name.lower() for name in environment(worker)} <= set(WorkerSettings.model_fields)
    mounts = {mount["mountPath"] for mount in worker["volumeMounts"]}
    assert str(settings.codex_tls_directory) in mounts
    assert settings.codex_providers_file is not None
    assert str(settings.codex_providers_file.parent) in mounts


def test_the_worker_reads_the_providers_as_rendered(manifests: list[Manifest]) -> None:
    config = next(m for m in manifests if m["kind"] == "ConfigMap" and m["metadata"]["name"] == "codex-providers")
    providers = Providers.model_validate(yaml.safe_load(config["data"]["providers.yaml"]))
    default = providers.select("default", "any-namespace")
    worker = pod_spec(manifests, "codex-worker")["containers"][0]
    assert str(default.api_key_file) == "/etc/codex/providers/default/api-key"
    assert "/etc/codex/providers/default" in {mount["mountPath"] for mount in worker["volumeMounts"]}


MODELS = """
providers:
  default:
    models:
      gpt-5.4:
        contextWindow: 1000000
        prices: {input: "1.25", cachedInput: "0.125", output: "10"}
      "4": {contextWindow: 8192}
      other/model:v1: {}
"""


def test_the_worker_reads_what_is_known_of_models(chart: Any, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(MODELS)
    rendered = chart.render(chart.own_services, "--values", str(file))
    config = next(m for m in rendered if m["kind"] == "ConfigMap" and m["metadata"]["name"] == "codex-providers")
    provider = Providers.model_validate(yaml.safe_load(config["data"]["providers.yaml"])).select("default", "team-a")
    model = provider.model("gpt-5.4")
    assert model.context_window == 1_000_000
    assert model.prices is not None
    assert [str(price) for price in (model.prices.input, model.prices.cached_input, model.prices.output)] == [
        "1.25",
        "0.125",
        "10",
    ]
    assert provider.model("4").context_window == 8192
    assert provider.model("other/model:v1").prices is None


def test_the_scripted_model_of_a_trial_has_a_price(trial: list[Manifest]) -> None:
    config = next(m for m in trial if m["kind"] == "ConfigMap" and m["metadata"]["name"] == "codex-providers")
    provider = Providers.model_validate(yaml.safe_load(config["data"]["providers.yaml"])).select("default", "default")
    assert provider.model(provider.default_model).prices is not None


def test_a_changed_provider_rolls_the_workers(chart: Any, own_services: list[Manifest]) -> None:
    changed = chart.render((*chart.own_services, "providers.default.defaultModel=gpt-6"))
    before, after = (deployments(m)["codex-worker"]["spec"]["template"] for m in (own_services, changed))
    assert before["metadata"]["annotations"] != after["metadata"]["annotations"]


def test_a_worker_is_replaced_without_a_gap_and_drained_one_at_a_time(manifests: list[Manifest]) -> None:
    spec = deployments(manifests)["codex-worker"]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == 30
    budget = next(m for m in manifests if m["kind"] == "PodDisruptionBudget")
    assert budget["spec"]["selector"]["matchLabels"].items() <= worker_labels(manifests).items()
    assert budget["spec"]["maxUnavailable"] == 1


def test_there_are_never_two_operators(manifests: list[Manifest]) -> None:
    spec = deployments(manifests)["codex-operator"]["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")
