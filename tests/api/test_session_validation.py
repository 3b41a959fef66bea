"""What the API server fills in and refuses, and that it names the field and the cure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from codex_api.session import ResourceAmounts, Resources, SessionSpec
from codex_cluster.layout import REPOSITORY

pytestmark = pytest.mark.apiserver


def test_defaults_are_filled_in_as_the_models_have_them(cluster: Any) -> None:
    spec = cluster.get(cluster.session())["spec"]
    assert SessionSpec.model_validate(spec) == SessionSpec(prompt=spec["prompt"])
    assert spec["approval"] == {"policy": "Untrusted", "timeoutSeconds": 3600, "onTimeout": "Deny"}
    assert spec["sandbox"] == {"network": {"mode": "None"}}


def test_a_session_that_nobody_has_looked_at_is_pending(cluster: Any) -> None:
    name = cluster.session()
    assert cluster.get(name)["status"] == {"phase": "Pending"}


def example_sessions() -> list[Path]:
    files = sorted((REPOSITORY / "examples").glob("*.yaml"))
    return [file for file in files if yaml.safe_load(file.read_text()).get("kind") == "CodexSession"]


@pytest.mark.parametrize("file", example_sessions(), ids=lambda file: file.stem)
def test_every_example_is_accepted(cluster: Any, file: Path) -> None:
    assert "created (server dry run)" in cluster.kubectl("create", "--dry-run=server", "-f", str(file), user="carol")


@pytest.mark.parametrize(
    ("spec", "field", "said"),
    [
        ({"prompt": None}, "spec.prompt", "Required value"),
        ({"prompt": ""}, "spec.prompt", "at least 1 chars long"),
        ({"prompt": "x" * 65_537}, "spec.prompt", "Too long"),
        ({"promt": "Fix it."}, "spec.promt", "unknown field"),
        ({"model": {"reasoningEffort": "Extreme"}}, "spec.model.reasoningEffort", 'supported values: "Low", "Medium"'),
        ({"model": {"providerRef": {"name": ""}}}, "spec.model.providerRef.name", "at least 1 chars long"),
        ({"approval": {"policy": "Sometimes"}}, "spec.approval.policy", '"Untrusted", "OnRequest", "Never"'),
        ({"approval": {"timeoutSeconds": 0}}, "spec.approval.timeoutSeconds", "greater than or equal to 1"),
        ({"approval": {"timeoutSeconds": 2_592_001}}, "spec.approval.timeoutSeconds", "less than or equal to 2592000"),
        (
            {"sandbox": {"network": {"mode": "All"}}},
            "spec.sandbox.network.mode",
            'supported values: "None", "Internet"',
        ),
        ({"sandbox": {"network": "None"}}, "spec.sandbox.network", "must be of type object"),
        ({"sandbox": {"resources": {"limits": {"cpu": "many"}}}}, "spec.sandbox.resources.limits.cpu", "should match"),
        ({"sandbox": {"resources": {"limits": {"gpu": 1}}}}, "spec.sandbox.resources.limits.gpu", "unknown field"),
        ({"limits": {"maxSteps": 10_001}}, "spec.limits.maxSteps", "less than or equal to 10000"),
        ({"limits": {"maxTokens": "many"}}, "spec.limits.maxTokens", "must be of type integer"),
        ({"limits": {"maxCost": 2.5}}, "spec.limits.maxCost", "must be of type string"),
        ({"limits": {"maxCost": "-1"}}, "spec.limits.maxCost", "should match"),
        ({"limits": {"maxCost": "0.0000001"}}, "spec.limits.maxCost", "should match"),
        ({"limits": {"maxCost": "0"}}, "spec.limits.maxCost", "maxCost must be more than 0"),
        ({"limits": {"maxCost": "00.000"}}, "spec.limits.maxCost", "leave it out for no limit of money"),
        ({"limits": {"activeDeadlineSeconds": 0}}, "spec.limits.activeDeadlineSeconds", "greater than or equal to 1"),
        ({"outputSchema": "object"}, "spec.outputSchema", "must be of type object"),
        ({"lifecycle": {"completeAfterIdleSeconds": -1}}, "spec.lifecycle.completeAfterIdleSeconds", "greater than"),
        ({"operatingMode": "Paused"}, "spec.operatingMode", 'supported values: "Running", "Completed", "Cancelled"'),
    ],
)
def test_an_invalid_session_is_refused_by_the_name_of_its_field(
    cluster: Any, session_manifest: Callable[..., str], spec: dict[str, Any], field: str, said: str
) -> None:
    message = cluster.refused("create", "-f", "-", user="bob", stdin=session_manifest("invalid", **spec))
    assert field in message
    assert said in message


def test_the_smallest_limit_of_money_is_accepted(cluster: Any) -> None:
    assert cluster.get(cluster.session(limits={"maxCost": "0.000001"}))["spec"]["limits"]["maxCost"] == "0.000001"


def test_a_quantity_may_be_written_as_a_number_or_as_text(cluster: Any) -> None:
    resources = {"requests": {"cpu": "250m"}, "limits": {"cpu": 2, "memory": "1Gi", "ephemeral-storage": "1e9"}}
    stored = cluster.get(cluster.session(sandbox={"resources": resources}))["spec"]
    assert SessionSpec.model_validate(stored).sandbox.resources == Resources(
        requests=ResourceAmounts(cpu="250m"),
        # kubectl reads an unquoted 1e9 as a number.
        limits=ResourceAmounts.model_validate({"cpu": "2", "memory": "1Gi", "ephemeral-storage": "1000000000"}),
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ('{"prompt": "Something else."}', "prompt"),
        ('{"model": {"name": "gpt-6"}}', "model"),
        ('{"model": {"providerRef": {"name": "other"}}}', "model"),
        ('{"approval": {"policy": "Never"}}', "approval"),
        ('{"approval": {"timeoutSeconds": 5}}', "approval"),
        ('{"sandbox": {"image": "other"}}', "sandbox"),
        ('{"sandbox": {"network": {"mode": "Internet"}}}', "sandbox"),
        ('{"limits": {"maxTokens": 1000000}}', "limits"),
        ('{"limits": {"maxCost": "1"}}', "limits"),
        ('{"limits": {"activeDeadlineSeconds": 5}}', "limits"),
        ('{"lifecycle": {"completeAfterIdleSeconds": 5}}', "lifecycle"),
        ('{"outputSchema": {"type": "object"}}', "outputSchema"),
    ],
)
def test_what_would_not_be_honoured_cannot_be_changed_and_the_cure_is_named(
    cluster: Any, change: str, field: str
) -> None:
    name = cluster.session()
    message = cluster.refused("patch", "cxs", name, "--type=merge", "-p", f'{{"spec": {change}}}', user="carol")
    assert f"spec.{field}: Invalid value" in message
    assert "immutable: create a new CodexSession" in message


SCHEMA = {"type": "object", "properties": {"lines": {"type": "integer"}}, "required": ["lines"]}


@pytest.mark.parametrize(
    "change", ['{"type": null}', '{"title": "Report"}', '{"properties": {"lines": {"type": "string"}}}', "null"]
)
def test_no_part_of_an_output_schema_can_be_changed(cluster: Any, change: str) -> None:
    name = cluster.session(outputSchema=SCHEMA)
    patch = f'{{"spec": {{"outputSchema": {change}}}}}'
    message = cluster.refused("patch", "cxs", name, "--type=merge", "-p", patch, user="carol")
    assert "spec.outputSchema: Invalid value" in message
    assert "outputSchema is immutable: create a new CodexSession with the other schema" in message
    assert cluster.get(name)["spec"]["outputSchema"] == SCHEMA
    cluster.kubectl("label", "cxs", name, "team=a", user="bob")


def test_an_output_schema_of_many_levels_is_kept_as_it_is(cluster: Any) -> None:
    schema = SCHEMA
    for level in range(30):
        schema = {"type": "object", "properties": {f"level{level}": schema}, "additionalProperties": False}
    stored = cluster.get(cluster.session(outputSchema=schema))["spec"]
    assert SessionSpec.model_validate(stored).output_schema == schema


def test_a_session_can_be_applied_again_unchanged(cluster: Any, session_manifest: Callable[..., str]) -> None:
    text = session_manifest(
        "applied",
        model={"name": "gpt-5.4"},
        sandbox={"resources": {"limits": {"cpu": 1}}},
        limits={"maxCost": "2.50", "activeDeadlineSeconds": 3600},
        outputSchema=SCHEMA,
    )
    cluster.kubectl("apply", "-f", "-", user="bob", stdin=text)
    assert "unchanged" in cluster.kubectl("apply", "-f", "-", user="bob", stdin=text)


@pytest.mark.parametrize("final", ["Completed", "Cancelled"])
def test_a_session_can_be_ended_but_not_begun_again(cluster: Any, final: str) -> None:
    name = cluster.session()

    def mode(value: str) -> tuple[str, ...]:
        return ("patch", "cxs", name, "--type=merge", "-p", f'{{"spec": {{"operatingMode": "{value}"}}}}')

    cluster.kubectl(*mode(final), user="bob")
    for other in {"Running", "Completed", "Cancelled"} - {final}:
        message = cluster.refused(*mode(other), user="bob")
        assert "spec.operatingMode: Invalid value" in message
        assert "are final: create a new CodexSession" in message


def test_a_status_beyond_its_bounds_is_refused_whole(cluster: Any, pending_approval: Callable[..., Any]) -> None:
    name = cluster.session()
    with pytest.raises(AssertionError, match=r"status\.pendingApprovals: Too many"):
        cluster.report(name, [pending_approval(f"t1-c{number}") for number in range(17)])
