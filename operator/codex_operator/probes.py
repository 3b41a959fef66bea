"""Probe targets as addresses: a sandbox has no DNS, so names are looked up before its pod is created."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import structlog

log = structlog.get_logger("codex_operator.probes")


async def resolve_probe(probe: str) -> list[str]:
    """Return ``name=address:port`` for each address of a probe's host; none where it has no address now."""
    name, _, target = probe.partition("=")
    host, _, port = target.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        pass
    else:
        return [probe]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        log.warning("probe left out: its host has no address", probe=probe, error=str(error))
        return []
    addresses = sorted({str(address[4][0]) for address in found})
    # The report names each probe once, so further addresses get a number.
    return [
        f"{name}{f'-{number}' if number > 1 else ''}={f'[{address}]' if ':' in address else address}:{port}"
        for number, address in enumerate(addresses, start=1)
    ]


async def resolve_probes(probes: tuple[str, ...]) -> tuple[str, ...]:
    """Return all probes with addresses in place of names, in the same order."""
    resolved = await asyncio.gather(*(resolve_probe(probe) for probe in probes))
    return tuple(address for addresses in resolved for address in addresses)
