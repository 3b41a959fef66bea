"""What the chart holds a copy of is the same as its original."""

from __future__ import annotations

from typing import Any

import yaml

from codex_client.model_server.script_file import read_script
from codex_cluster.layout import REPOSITORY


def test_the_definition_in_the_chart_is_the_one_in_crds(chart: Any, trial: list[dict[str, Any]]) -> None:
    original = (REPOSITORY / "crds" / "codexsessions.yaml").read_text()
    assert (chart.directory / "files" / "codexsessions.yaml").read_text() == original
    rendered = next(m for m in trial if m["kind"] == "CustomResourceDefinition")
    assert rendered["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert rendered == yaml.safe_load(original)


def test_the_definition_can_be_left_to_somebody_else(chart: Any) -> None:
    manifests = chart.render((*chart.trial, "crds.install=false"))
    assert not [m for m in manifests if m["kind"] == "CustomResourceDefinition"]


def test_the_trial_answers_the_examples(chart: Any, trial: list[dict[str, Any]]) -> None:
    examples = REPOSITORY / "examples"
    assert (chart.directory / "files" / "model-script.yaml").read_text() == (examples / "model-script.yaml").read_text()
    rendered = next(m for m in trial if m["kind"] == "ConfigMap" and m["metadata"]["name"] == "codex-model")
    assert rendered["data"]["script.yaml"].strip() == (examples / "model-script.yaml").read_text().strip()
    script = read_script(examples / "model-script.yaml")
    for file in sorted(examples.glob("*.yaml")):
        manifest = yaml.safe_load(file.read_text())
        if manifest.get("kind") == "CodexSession":
            prompt = manifest["spec"]["prompt"]
            assert [c for c in script.conversations if c.match.prompt and c.match.prompt in prompt], file.name


def test_another_script_can_be_given(chart: Any) -> None:
    manifests = chart.render((*chart.trial, "trial.model.script=conversations: []"))
    rendered = next(m for m in manifests if m["kind"] == "ConfigMap" and m["metadata"]["name"] == "codex-model")
    assert yaml.safe_load(rendered["data"]["script.yaml"]) == {"conversations": []}


def test_a_crd_number_survives_rendering(trial: list[dict[str, Any]]) -> None:
    rendered = next(m for m in trial if m["kind"] == "CustomResourceDefinition")
    schema = rendered["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    maximum = schema["properties"]["limits"]["properties"]["maxTokens"]["maximum"]
    assert maximum == 1_000_000_000
    assert isinstance(maximum, int)
