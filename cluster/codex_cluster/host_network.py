"""The node's place on this machine: a network namespace, a veth pair and one masquerade rule."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from codex_cluster import commands
from codex_cluster.errors import ClusterError
from codex_cluster.layout import Layout

LINK_NETWORK = ipaddress.IPv4Network("10.231.0.0/16")
LINK_PREFIX = 30


@dataclass(frozen=True)
class Link:
    """The two ends of the veth pair."""

    interface: str
    """On the machine's side; inside the node it is eth0."""
    outer: str
    inner: str


def link_of(layout: Layout) -> Link:
    """The /30 of a cluster, chosen by its identifier."""
    count = 2 ** (LINK_PREFIX - LINK_NETWORK.prefixlen)
    base = LINK_NETWORK.network_address + 4 * (int(layout.identifier, 16) % count)
    return Link(f"cdx{layout.identifier}", str(base + 1), str(base + 2))


def masquerade_ruleset(layout: Layout, link: Link) -> str:
    """The machine's only rule: what comes from the node leaves with the machine's address."""
    return f"""table ip {table(layout)} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {link.inner} oifname != "{link.interface}" masquerade
  }}
}}
"""


def table(layout: Layout) -> str:
    return layout.name.replace("-", "_")


def namespace_path(layout: Layout) -> Path:
    return Path("/run/netns") / layout.name


def create(layout: Layout) -> Link:
    """Make namespace, link, addresses, routes and rule. Raises ClusterError when another program has the addresses."""
    link = link_of(layout)
    _refuse_taken_addresses(link)
    inside = ["ip", "-n", layout.name]
    for argv in (
        ["ip", "netns", "add", layout.name],
        ["ip", "link", "add", link.interface, "type", "veth", "peer", "name", "eth0", "netns", layout.name],
        ["ip", "addr", "add", f"{link.outer}/{LINK_PREFIX}", "dev", link.interface],
        ["ip", "link", "set", link.interface, "up"],
        [*inside, "link", "set", "lo", "up"],
        [*inside, "addr", "add", f"{link.inner}/{LINK_PREFIX}", "dev", "eth0"],
        [*inside, "link", "set", "eth0", "up"],
        [*inside, "route", "add", "default", "via", link.outer],
    ):
        commands.output(argv)
    commands.output(["nft", "-f", "-"], stdin=masquerade_ruleset(layout, link))
    return link


def remove(layout: Layout) -> None:
    """Remove what `create` made, also when only half of it is there."""
    if namespace_path(layout).exists():
        commands.output(["ip", "netns", "del", layout.name])
    interface = link_of(layout).interface
    if Path("/sys/class/net", interface).exists():
        # Deleting the namespace already takes the pair with it, a moment later.
        subprocess.run(["ip", "link", "del", interface], check=False, capture_output=True)
    if commands.succeeds(["nft", "list", "table", "ip", table(layout)]):
        commands.output(["nft", "delete", "table", "ip", table(layout)])


def _refuse_taken_addresses(link: Link) -> None:
    for interface in json.loads(commands.output(["ip", "-j", "-4", "addr"])):
        for address in interface.get("addr_info", []):
            network = ipaddress.IPv4Interface(f"{address['local']}/{address['prefixlen']}").network
            if ipaddress.IPv4Address(link.inner) in network:
                raise ClusterError(
                    f"interface {interface['ifname']} already has {network}, which this node wants as {link.inner}: "
                    "remove it, or use a clone in another folder"
                )
