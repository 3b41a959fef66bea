"""What the chart's accounts and people may do, and who may connect to its pods."""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]
READING = {"get", "list", "watch"}


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    return next(m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)


def verbs(role: Manifest, group: str, resource: str) -> set[str]:
    rules = [r for r in role["rules"] if group in r["apiGroups"] and resource in r["resources"]]
    return {verb for rule in rules for verb in rule["verbs"]}


def test_no_role_has_a_wildcard_and_nobody_becomes_cluster_admin(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        for rule in manifest.get("rules") or []:
            for part in ("apiGroups", "resources", "verbs"):
                assert "*" not in rule[part], manifest["metadata"]["name"]
            assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"]), manifest["metadata"]["name"]
        if manifest["kind"].endswith("RoleBinding"):
            assert manifest["roleRef"]["name"] == "codex-operator"


def test_the_operator_cannot_read_secrets_outside_its_namespace_nor_enter_pods(manifests: list[Manifest]) -> None:
    role = named(manifests, "ClusterRole", "codex-operator")
    assert verbs(role, "", "secrets") == {"create"}
    for forbidden in ("pods/exec", "pods/log", "pods/attach", "pods/ephemeralcontainers", "serviceaccounts/token"):
        assert not verbs(role, "", forbidden)
    assert "approve" not in verbs(role, "codex-temporal.dev", "codexsessions/approval")


def test_in_its_namespace_the_operator_reads_two_secrets_by_name(manifests: list[Manifest]) -> None:
    role = named(manifests, "Role", "codex-operator")
    rules = [rule for rule in role["rules"] if "secrets" in rule["resources"]]
    assert [(rule["resourceNames"], set(rule["verbs"])) for rule in rules] == [
        (["codex-ca", "codex-worker-tls"], {"get", "update"})
    ]


def test_only_the_operator_is_bound_to_anything(manifests: list[Manifest]) -> None:
    subjects = [s for m in manifests if m["kind"].endswith("RoleBinding") for s in m["subjects"]]
    assert {(s["kind"], s["namespace"], s["name"]) for s in subjects} == {
        ("ServiceAccount", "codex-system", "codex-operator")
    }


def test_approving_is_no_part_of_the_built_in_roles(manifests: list[Manifest]) -> None:
    for name in ("codex-approver", "codex-approval-bypass"):
        labels = named(manifests, "ClusterRole", name)["metadata"]["labels"]
        assert not [label for label in labels if "aggregate-to" in label]
    for name in ("codex-user", "codex-viewer"):
        role = named(manifests, "ClusterRole", name)
        assert not verbs(role, "codex-temporal.dev", "codexsessions/approval")
        assert not verbs(role, "codex-temporal.dev", "codexsessions/status")
    assert verbs(named(manifests, "ClusterRole", "codex-viewer"), "codex-temporal.dev", "codexsessions") == READING


def test_the_roles_of_people_can_be_left_out_or_kept_apart(chart: Any) -> None:
    without = chart.render((*chart.trial, "users.create=false"))
    assert {m["metadata"]["name"] for m in without if m["kind"] == "ClusterRole"} == {"codex-operator"}
    apart = chart.render((*chart.trial, "users.aggregate=false"))
    for role in (m for m in apart if m["kind"] == "ClusterRole"):
        assert not [label for label in role["metadata"]["labels"] if "aggregate-to" in label]


def test_trial_services_admit_only_the_platform_and_reach_nobody(trial: list[Manifest]) -> None:
    admitted = {"codex-temporal": {"operator", "worker"}, "codex-postgresql": {"operator", "worker"}}
    admitted["codex-model"] = {"worker"}
    for name, components in admitted.items():
        spec = named(trial, "NetworkPolicy", name)["spec"]
        assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
        assert "egress" not in spec
        peers = [peer for rule in spec["ingress"] for peer in rule["from"]]
        # No namespace selector: pods of this namespace only.
        assert all(set(peer) == {"podSelector"} for peer in peers)
        found = {peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in peers}
        assert found == components


def test_each_network_policy_selects_the_pods_of_one_deployment(manifests: list[Manifest]) -> None:
    deployments = [m for m in manifests if m["kind"] == "Deployment"]
    for policy in (m for m in manifests if m["kind"] == "NetworkPolicy"):
        selector = policy["spec"]["podSelector"]["matchLabels"]
        selected = [
            d["metadata"]["name"]
            for d in deployments
            if selector.items() <= d["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert selected == [policy["metadata"]["name"]]


def test_sandboxes_reach_no_pod_of_the_platform(manifests: list[Manifest]) -> None:
    for policy in (m for m in manifests if m["kind"] == "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            assert rule["from"], "an ingress rule without `from` admits everybody"
            for peer in rule["from"]:
                selector = peer["podSelector"]
                excluded = {"key": "app.kubernetes.io/name", "operator": "NotIn", "values": ["codex-sandbox"]}
                assert "matchLabels" in selector or excluded in selector["matchExpressions"]
