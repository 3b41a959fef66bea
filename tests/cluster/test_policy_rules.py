from typing import Any

import pytest

from codex_cluster import policy_rules
from codex_cluster.policy_rules import Endpoint, Snapshot

NETWORK = "10.244.0.0/16"
WORKER = Endpoint("system", "worker", {"app": "worker"}, "10.244.0.3")
SANDBOX = Endpoint("team", "sandbox", {"app": "sandbox"}, "10.244.0.4")
OTHER_SANDBOX = Endpoint("team", "other", {"app": "sandbox"}, "10.244.0.5")
BYSTANDER = Endpoint("system", "bystander", {"app": "bystander"}, "10.244.0.6")
PODS = [WORKER, SANDBOX, OTHER_SANDBOX, BYSTANDER]
NAMESPACES = {"system": {"name": "system", "tier": "platform"}, "team": {"name": "team"}}


def policy(spec: dict[str, Any], namespace: str = "team") -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": "p"}, "spec": spec}


def rules(endpoint: Endpoint, direction: str, *policies: dict[str, Any]) -> list[str] | None:
    """The rules of a pod's chain, or None where nothing restricts it."""
    text = policy_rules.ruleset(Snapshot(PODS, NAMESPACES, list(policies)), NETWORK)
    elements = next(line for line in text.splitlines() if f"map {direction}_of" in line)
    jump = f"{endpoint.address} : jump "
    if jump not in elements:
        return None
    chain = elements.partition(jump)[2].replace("}", ",").split(",")[0].strip()
    body = text.partition(f"chain {chain} {{")[2].partition("}\n")[0].replace("\n  }", "")
    return [
        line.strip() for line in text.partition(f"chain {chain} {{\n")[2].partition("\n  }")[0].splitlines() if body
    ]


def test_a_pod_that_no_policy_selects_is_not_restricted() -> None:
    assert rules(WORKER, "egress", policy({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})) is None


def test_an_empty_policy_drops_everything_both_ways() -> None:
    deny = policy({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
    assert rules(SANDBOX, "ingress", deny) == ["drop"]
    assert rules(SANDBOX, "egress", deny) == ["drop"]


def test_a_policy_for_ingress_alone_leaves_egress_open() -> None:
    assert rules(SANDBOX, "egress", policy({"podSelector": {}, "policyTypes": ["Ingress"]})) is None


def test_without_policy_types_egress_counts_only_where_it_has_rules() -> None:
    assert policy_rules.policy_types(policy({"podSelector": {}})) == {"Ingress"}
    assert policy_rules.policy_types(policy({"podSelector": {}, "egress": [{}]})) == {"Ingress", "Egress"}


def test_two_selectors_in_one_peer_must_both_hold() -> None:
    peer = {
        "namespaceSelector": {"matchLabels": {"tier": "platform"}},
        "podSelector": {"matchLabels": {"app": "worker"}},
    }
    spec = {
        "podSelector": {"matchLabels": {"app": "sandbox"}},
        "ingress": [{"from": [peer], "ports": [{"port": 7443}]}],
    }
    assert rules(SANDBOX, "ingress", policy(spec)) == ["ip saddr { 10.244.0.3 } tcp dport { 7443 } return", "drop"]


def test_two_peers_are_alternatives() -> None:
    peers = [{"namespaceSelector": {"matchLabels": {"tier": "platform"}}}, {"podSelector": {}}]
    spec = {"podSelector": {"matchLabels": {"app": "sandbox"}}, "ingress": [{"from": peers}]}
    allowed = "ip saddr { 10.244.0.3, 10.244.0.4, 10.244.0.5, 10.244.0.6 } return"
    assert rules(SANDBOX, "ingress", policy(spec)) == [allowed, "drop"]


def test_a_pod_selector_alone_means_the_policys_own_namespace() -> None:
    spec = {"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "worker"}}}]}]}
    assert rules(SANDBOX, "ingress", policy(spec)) == ["drop"]


def test_several_policies_of_one_pod_add_up() -> None:
    deny = policy({"podSelector": {}, "policyTypes": ["Egress"]})
    allow = policy(
        {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"protocol": "UDP", "port": 53}]}]}
    )
    assert rules(SANDBOX, "egress", deny, allow) == ["udp dport { 53 } return", "drop"]


def test_an_address_block_excludes_its_exceptions() -> None:
    block = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "169.254.169.254/32"]}}
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [block]}]}
    allowed = "ip daddr 0.0.0.0/0 ip daddr != { 10.0.0.0/8, 169.254.169.254/32 } return"
    assert rules(SANDBOX, "egress", policy(spec)) == [allowed, "drop"]


def test_ports_have_protocols_and_ranges() -> None:
    ports = [{"port": 80}, {"port": 8000, "endPort": 8010}, {"protocol": "UDP", "port": 53}, {"protocol": "SCTP"}]
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": ports}]}
    assert rules(SANDBOX, "egress", policy(spec)) == [
        "meta l4proto sctp return",
        "tcp dport { 80, 8000-8010 } return",
        "udp dport { 53 } return",
        "drop",
    ]


@pytest.mark.parametrize(
    "egress",
    [
        {"ports": [{"port": "https"}]},
        {"to": [{"podSelector": {"matchLabels": {"app": "nobody"}}}]},
        {"to": [{"ipBlock": {"cidr": "fd00::/8"}}]},
    ],
    ids=["named port", "nobody matches", "IPv6"],
)
def test_what_cannot_be_matched_allows_nothing(egress: dict[str, Any]) -> None:
    assert rules(SANDBOX, "egress", policy({"podSelector": {}, "policyTypes": ["Egress"], "egress": [egress]})) == [
        "drop"
    ]


@pytest.mark.parametrize(
    ("operator", "values", "matches"),
    [
        ("In", ["sandbox"], True),
        ("In", ["worker"], False),
        ("NotIn", ["worker"], True),
        ("NotIn", ["sandbox"], False),
        ("Exists", None, True),
        ("DoesNotExist", None, False),
        ("Unheard", None, False),
    ],
)
def test_expressions_select_by_operator(operator: str, values: list[str] | None, matches: bool) -> None:
    selector = {"matchExpressions": [{"key": "app", "operator": operator, "values": values}]}
    assert policy_rules.selects(selector, SANDBOX.labels) is matches


def test_an_expression_on_a_missing_key_holds_only_for_the_negative_operators() -> None:
    held = {
        operator: policy_rules.selects({"matchExpressions": [{"key": "x", "operator": operator, "values": ["a"]}]}, {})
        for operator in ("In", "NotIn", "Exists", "DoesNotExist")
    }
    assert held == {"In": False, "NotIn": True, "Exists": False, "DoesNotExist": True}


def test_an_empty_selector_matches_everything_and_a_missing_one_nothing() -> None:
    assert policy_rules.selects({}, {"a": "b"})
    assert not policy_rules.selects(None, {"a": "b"})


def test_pods_with_equal_rules_share_one_chain() -> None:
    many = [Endpoint("team", f"pod-{n}", {}, f"10.244.1.{n}") for n in range(1, 51)]
    deny = policy({"podSelector": {}, "policyTypes": ["Egress"]})
    text = policy_rules.ruleset(Snapshot(many, NAMESPACES, [deny]), NETWORK)
    assert text.count("chain egress_") == 1


def test_the_table_is_replaced_in_one_transaction() -> None:
    lines = policy_rules.ruleset(Snapshot([], {}, []), NETWORK).splitlines()
    assert lines[:3] == [
        "table inet codex_policy {}",
        "delete table inet codex_policy",
        "table inet codex_policy {",
    ]


def test_unknown_pod_addresses_are_dropped_before_any_policy() -> None:
    text = policy_rules.ruleset(Snapshot(PODS, NAMESPACES, []), NETWORK)
    forward = text.partition("chain forward")[2].partition("chain input")[0]
    assert forward.index("ip saddr 10.244.0.0/16 ip saddr != @pods drop") < forward.index("@egress_of")
    assert forward.index("ct state established,related accept") < forward.index("@pods")
