"""What the chart says to values that cannot work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml


def test_without_values_everything_that_is_missing_is_named_with_its_cure(chart: Any) -> None:
    done = chart.template()
    assert done.returncode != 0
    for missing in ("images.app", "images.sandbox", "temporal.address", "database.host", "providers"):
        assert f"- {missing} is empty:" in done.stderr
    assert "trial.enabled=true" in done.stderr


@pytest.mark.parametrize(
    ("base", "values", "missing"),
    [
        ("images", ["trial.enabled=true"], "images.trial"),
        ("images", ["trial.enabled=true", "temporal.address=t:7233", "database.host=db"], "database.secret"),
        ("own_services", ["database.sslMode=verify-full"], "database.caSecret"),
        ("images", ["temporal.address=t:7233", "database.host=db", "database.secret=passwords"], "providers"),
    ],
)
def test_one_missing_value_is_named(chart: Any, base: str, values: list[str], missing: str) -> None:
    done = chart.template(values=(*getattr(chart, base), *values))
    assert done.returncode != 0
    assert f"- {missing} is empty:" in done.stderr
    assert done.stderr.count(" is empty:") == 1


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("worker.replica=3", "'replica'"),
        ("operators.logLevel=INFO", "'operators'"),
        ("trial.enabled=perhaps", "'/trial/enabled'"),
        ("approval.admission=sometimes", "'/approval/admission'"),
        ("sandbox.isolation=required", "'/sandbox/isolation'"),
        ("providers.default.url=https://models.example", "'url'"),
        ("providers.default.models.m.contextWindow=12", "'/providers/default/models/m/contextWindow'"),
        ("providers.default.models.m.window=100000", "'window'"),
        ("providers.default.models.m.prices.input=1", "'/providers/default/models/m/prices"),
        ("temporal.address=temporal.example", "'/temporal/address'"),
        ("database.port=0", "'/database/port'"),
        ("images.pullPolicy=Sometimes", "'/images/pullPolicy'"),
        ("sandbox.resources.limits.gpu=1", "'gpu'"),
    ],
)
def test_a_value_that_the_schema_does_not_know_is_refused_by_name(chart: Any, value: str, named: str) -> None:
    done = chart.template(values=(*chart.trial, value))
    assert done.returncode != 0
    assert "don't meet the specifications of the schema" in done.stderr
    assert named in done.stderr


@pytest.mark.parametrize("price", ["1.25", "-1", '"1,25"', '"1e-3"', '".5"', '""'])
def test_a_price_is_a_decimal_number_in_quotes(chart: Any, tmp_path: Path, price: str) -> None:
    file = tmp_path / "values.yaml"
    prices = f'{{input: {price}, cachedInput: "0", output: "10"}}'
    file.write_text(f"providers: {{default: {{models: {{m: {{prices: {prices}}}}}}}}}\n")
    done = chart.template("--values", str(file), values=chart.own_services)
    assert done.returncode != 0
    assert "'/providers/default/models/m/prices/input'" in done.stderr


def test_every_object_of_the_schema_refuses_unknown_keys_or_says_what_any_key_holds(chart: Any) -> None:
    def check(node: Any, path: str) -> None:
        if isinstance(node, list):
            for index, child in enumerate(node):
                check(child, f"{path}/{index}")
        if not isinstance(node, dict):
            return
        # Tolerations are Kubernetes' own, `global` is Helm's.
        if node.get("type") == "object" and not path.endswith(("/global", "/tolerations/items")):
            assert node.get("additionalProperties", True) is not True, path
        for key, child in node.items():
            check(child, f"{path}/{key}")

    check(json.loads((chart.directory / "values.schema.json").read_text()), "")


def test_every_value_is_in_the_schema_and_has_a_default_and_a_comment(chart: Any) -> None:
    schema = json.loads((chart.directory / "values.schema.json").read_text())
    text = (chart.directory / "values.yaml").read_text()

    def check(node: dict[str, Any], given: dict[str, Any], path: str) -> None:
        assert set(given) == set(node["properties"]) - {"global"}, path
        assert set(node["required"]) == set(given), path
        for key, child in node["properties"].items():
            if "properties" in child:
                check(child, given[key], f"{path}.{key}")

    check(schema, yaml.safe_load(text), "values")
    for value in ("admission:", "isolation:", "probes:", "aggregate:", "install:", "address:", "caSecret:", "enabled:"):
        line = next(number for number, line in enumerate(text.splitlines()) if line.strip().startswith(value))
        assert text.splitlines()[line - 1].strip().startswith("#"), value


def test_lint_passes(chart: Any) -> None:
    done = chart.helm("lint", "--strict", str(chart.directory), values=chart.trial)
    assert done.returncode == 0, done.stdout + done.stderr


def test_off_may_be_written_without_quotes(chart: Any, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("approval: {admission: off}\n")
    kinds = {manifest["kind"] for manifest in chart.render(chart.trial, "--values", str(file))}
    assert not {kind for kind in kinds if "AdmissionPolicy" in kind}


def test_own_services_replace_every_part_of_the_trial(own_services: list[dict[str, Any]]) -> None:
    names = {manifest["metadata"]["name"] for manifest in own_services if manifest["kind"] == "Deployment"}
    assert names == {"codex-operator", "codex-worker"}
    assert not [manifest for manifest in own_services if manifest["kind"] == "Secret"]


@pytest.mark.parametrize(
    ("replaced", "values"),
    [
        ("codex-temporal", ["temporal.address=temporal.example:7233"]),
        ("codex-postgresql", ["database.host=postgres.example", "database.secret=passwords"]),
        ("codex-model", ["providers.default.baseUrl=https://m.example/v1", "providers.default.defaultModel=gpt-5.4"]),
    ],
)
def test_each_part_of_the_trial_is_replaced_alone(chart: Any, replaced: str, values: list[str]) -> None:
    manifests = chart.render((*chart.trial, *values))
    assert replaced not in {manifest["metadata"]["name"] for manifest in manifests}
    others = {"codex-temporal", "codex-postgresql", "codex-model"} - {replaced}
    assert others <= {manifest["metadata"]["name"] for manifest in manifests if manifest["kind"] == "Deployment"}


def test_a_scheme_before_the_address_of_temporal_is_dropped(chart: Any) -> None:
    manifests = chart.render((*chart.own_services, "temporal.address=http://temporal.example:7233"))
    text = yaml.safe_dump_all(manifests)
    assert "http://temporal" not in text
    assert "temporal=temporal.example:7233" in text
