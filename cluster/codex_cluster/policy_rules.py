"""From Kubernetes objects to one nftables table that enforces their NetworkPolicies; pure.

Enforced: ingress and egress, default deny, podSelector, namespaceSelector (matchLabels and matchExpressions), ipBlock
with except, ports and port ranges of TCP, UDP and SCTP. Connections that are already open stay open.

Limits: IPv4 only, and IPv6 of pods is dropped altogether; named ports allow nothing; pods on the node's own network are
neither selected nor matched as peers; a pod that reaches itself through a Service is judged like any other peer;
traffic that starts on the node (kubelet's probes, API server) is never filtered; a pod with CAP_NET_RAW could forge
another pod's address. Addresses of pods that are not known yet are dropped both ways.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

TABLE = "codex_policy"
BRIDGE = "cni0"
Direction = Literal["ingress", "egress"]
Labels = Mapping[str, str]
Object = Mapping[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """A pod with an address of its own."""

    namespace: str
    name: str
    labels: Labels
    address: str


@dataclass(frozen=True)
class Snapshot:
    """Everything that decides who may reach whom."""

    endpoints: Sequence[Endpoint]
    namespaces: Mapping[str, Labels]
    policies: Sequence[Object]


def ruleset(snapshot: Snapshot, pod_network: str) -> str:
    """A transaction that replaces the whole table, so there is no moment without rules."""
    chains: dict[tuple[str, ...], str] = {}
    verdicts: dict[Direction, list[str]] = {"egress": [], "ingress": []}
    for endpoint in snapshot.endpoints:
        for direction, elements in verdicts.items():
            rules = _rules_for(endpoint, direction, snapshot)
            if rules is None:
                continue
            # Pods with equal rules share a chain: fifty sandboxes of one kind cost one.
            chain = chains.setdefault((direction, *rules), f"{direction}_{len(chains)}")
            elements.append(f"{endpoint.address} : jump {chain}")
    bodies = [f"  chain {chain} {{\n    {_lines(rules[1:])}drop\n  }}" for rules, chain in chains.items()]
    known = sorted({endpoint.address for endpoint in snapshot.endpoints}, key=ipaddress.IPv4Address)
    parts = [
        f"table inet {TABLE} {{}}",
        f"delete table inet {TABLE}",
        f"table inet {TABLE} {{",
        _named("set pods", "ipv4_addr", known),
        *bodies,
        _named("map egress_of", "ipv4_addr : verdict", verdicts["egress"]),
        _named("map ingress_of", "ipv4_addr : verdict", verdicts["ingress"]),
        _base_chains(pod_network),
        "}",
    ]
    return "\n".join(parts) + "\n"


def selects(selector: Object | None, labels: Labels) -> bool:
    """Whether a label selector matches; an empty one matches everything, a missing one nothing."""
    if selector is None:
        return False
    wanted: Labels = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_expression_holds(expression, labels) for expression in selector.get("matchExpressions") or ())


def policy_types(policy: Object) -> set[str]:
    """Which directions a policy isolates, with the API's default."""
    spec = policy["spec"]
    stated = spec.get("policyTypes")
    return set(stated) if stated else {"Ingress", *(["Egress"] if spec.get("egress") else [])}


def _rules_for(endpoint: Endpoint, direction: Direction, snapshot: Snapshot) -> tuple[str, ...] | None:
    """The allowing rules of a pod in one direction, or None where no policy isolates it."""
    kind = direction.capitalize()
    applying = [
        policy
        for policy in snapshot.policies
        if policy["metadata"]["namespace"] == endpoint.namespace
        and kind in policy_types(policy)
        and selects(policy["spec"].get("podSelector") or {}, endpoint.labels)
    ]
    if not applying:
        return None
    rules: dict[str, None] = {}
    for policy in applying:
        for rule in policy["spec"].get(direction) or ():
            rules.update(dict.fromkeys(_allow(rule, direction, endpoint.namespace, snapshot)))
    return tuple(rules)


def _allow(rule: Object, direction: Direction, namespace: str, snapshot: Snapshot) -> list[str]:
    peers = rule.get("from" if direction == "ingress" else "to")
    field = "ip saddr" if direction == "ingress" else "ip daddr"
    addresses = [""] if not peers else _peer_matches(peers, field, namespace, snapshot)
    ports = [""] if not rule.get("ports") else _port_matches(rule["ports"])
    return [" ".join(part for part in (address, port, "return") if part) for address in addresses for port in ports]


def _peer_matches(peers: Iterable[Object], field: str, namespace: str, snapshot: Snapshot) -> list[str]:
    matches: list[str] = []
    addresses: set[str] = set()
    for peer in peers:
        block = peer.get("ipBlock")
        if block is None:
            addresses.update(e.address for e in snapshot.endpoints if _is_peer(peer, e, namespace, snapshot))
        elif ipaddress.ip_network(block["cidr"], strict=False).version == 4:
            excepted = ", ".join(block.get("except") or ())
            matches.append(f"{field} {block['cidr']}" + (f" {field} != {{ {excepted} }}" if excepted else ""))
    if addresses:
        listed = ", ".join(sorted(addresses, key=ipaddress.IPv4Address))
        matches.append(f"{field} {{ {listed} }}")
    return matches


def _is_peer(peer: Object, endpoint: Endpoint, namespace: str, snapshot: Snapshot) -> bool:
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], snapshot.namespaces.get(endpoint.namespace, {})):
            return False
    elif endpoint.namespace != namespace:
        return False
    return "podSelector" not in peer or selects(peer["podSelector"], endpoint.labels)


def _port_matches(ports: Iterable[Object]) -> list[str]:
    by_protocol: dict[str, list[str]] = {}
    whole: dict[str, None] = {}
    for entry in ports:
        protocol = str(entry.get("protocol", "TCP")).lower()
        port = entry.get("port")
        if port is None:
            whole[protocol] = None
        elif isinstance(port, int):
            last = entry.get("endPort")
            by_protocol.setdefault(protocol, []).append(f"{port}-{last}" if last else str(port))
    listed = [f"{name} dport {{ {', '.join(found)} }}" for name, found in by_protocol.items() if name not in whole]
    return [f"meta l4proto {name}" for name in whole] + listed


def _expression_holds(expression: Object, labels: Labels) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def _base_chains(pod_network: str) -> str:
    # Bridged packets of pods pass the forward hook because bridge-nf-call-iptables is on in the node's namespace.
    return f"""  chain forward {{
    type filter hook forward priority filter - 5; policy accept;
    ct state established,related accept
    meta nfproto ipv6 drop
    ip saddr {pod_network} meta pkttype {{ broadcast, multicast }} drop
    ip saddr {pod_network} ip saddr != @pods drop
    ip daddr {pod_network} ip daddr != @pods drop
    ip saddr vmap @egress_of
    ip daddr vmap @ingress_of
  }}
  chain input {{
    type filter hook input priority filter - 5; policy accept;
    ct state established,related accept
    iifname "{BRIDGE}" meta nfproto ipv6 drop
    ip saddr {pod_network} ip saddr != @pods drop
    ip saddr vmap @egress_of
  }}"""


def _named(declaration: str, kind: str, elements: Sequence[str]) -> str:
    listed = f" elements = {{ {', '.join(elements)} }};" if elements else ""
    return f"  {declaration} {{ type {kind};{listed} }}"


def _lines(rules: Iterable[str]) -> str:
    return "".join(f"{rule}\n    " for rule in rules)
