"""The approval policies never vanish silently, wherever the chart is rendered."""

from __future__ import annotations

from typing import Any

import pytest

Manifest = dict[str, Any]
ALL = {
    ("ValidatingAdmissionPolicy", "codex-approval"),
    ("ValidatingAdmissionPolicy", "codex-status"),
    ("ValidatingAdmissionPolicy", "codex-floor"),
    ("MutatingAdmissionPolicy", "codex-approval"),
}


def policies(manifests: list[Manifest]) -> set[tuple[str, str]]:
    return {(m["kind"], m["metadata"]["name"]) for m in manifests if m["kind"].endswith("AdmissionPolicy")}


def bound(manifests: list[Manifest]) -> set[tuple[str, str]]:
    bindings = [m for m in manifests if m["kind"].endswith("AdmissionPolicyBinding")]
    return {(m["kind"].removesuffix("Binding"), m["spec"]["policyName"]) for m in bindings}


@pytest.mark.parametrize("mode", ["required", "auto"])
@pytest.mark.parametrize(
    "options",
    [(), ("--kube-version", "1.34.4"), ("--api-versions", "v1"), ("--kube-version", "1.34.4", "--api-versions", "v1")],
)
def test_without_a_cluster_to_ask_all_policies_are_rendered(chart: Any, mode: str, options: tuple[str, ...]) -> None:
    manifests = chart.render((*chart.trial, f"approval.admission={mode}"), *options)
    assert policies(manifests) == bound(manifests) == ALL


def test_off_renders_none_and_says_what_that_means(chart: Any) -> None:
    values = (*chart.trial, "approval.admission=off")
    assert policies(chart.render(values)) == set()
    done = chart.helm("install", "codex", str(chart.directory), "--dry-run=client", values=values)
    assert done.returncode == 0, done.stderr
    assert "WHOEVER MAY PATCH A SESSION MAY APPROVE" in done.stdout


def test_a_policy_that_cannot_be_evaluated_refuses(trial: list[Manifest]) -> None:
    for manifest in trial:
        if manifest["kind"].endswith("AdmissionPolicy"):
            assert manifest["spec"]["failurePolicy"] == "Fail", manifest["metadata"]["name"]
        if manifest["kind"] == "ValidatingAdmissionPolicyBinding":
            assert "Deny" in manifest["spec"]["validationActions"]
            # No selector may take namespaces out.
            assert "matchResources" not in manifest["spec"]


def test_the_policies_know_the_operator_of_this_release(chart: Any) -> None:
    manifests = chart.render(chart.trial, "--namespace", "elsewhere")
    status = next(
        m for m in manifests if m["kind"] == "ValidatingAdmissionPolicy" and m["metadata"]["name"] == "codex-status"
    )
    assert "'system:serviceaccount:elsewhere:codex-operator'" in status["spec"]["validations"][0]["expression"]
    account = next(m for m in manifests if m["kind"] == "ClusterRoleBinding")["subjects"][0]
    assert (account["namespace"], account["name"]) == ("elsewhere", "codex-operator")


def test_the_notes_name_the_next_three_commands(chart: Any) -> None:
    done = chart.helm("install", "codex", str(chart.directory), "--dry-run=client", values=chart.trial)
    notes = done.stdout[done.stdout.index("NOTES:") :]
    commands = [line.split()[1] for line in notes.splitlines() if line.startswith("  kubectl ")]
    assert commands == ["create", "get", "annotate"]
