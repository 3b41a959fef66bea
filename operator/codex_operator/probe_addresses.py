"""Turns the names of what a sandbox may not reach into addresses: inside a sandbox no name can be looked up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

import structlog

log = structlog.get_logger("codex_operator.probes")

LOOK_UP_SECONDS = 2.0
KEEP_SECONDS = 60.0


class ProbeAddresses:
    """Probes ``name=host:port`` with hosts as addresses; looked up again when a minute old."""

    def __init__(self, probes: Sequence[str]) -> None:
        self._probes = tuple(probes)
        self._found: tuple[str, ...] = ()
        self._found_at: float | None = None

    async def resolved(self) -> tuple[str, ...]:
        """Return the probes; one whose name cannot be looked up now is left out, for the supervisor takes no names."""
        now = asyncio.get_running_loop().time()
        if self._found_at is None or now - self._found_at > KEEP_SECONDS:
            found = await asyncio.gather(*(_resolve(probe) for probe in self._probes))
            self._found = tuple(probe for probe in found if probe is not None)
            self._found_at = now
        return self._found


async def _resolve(probe: str) -> str | None:
    name, _, address = probe.partition("=")
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname is None or parts.port is None:
        return probe
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        log.warning("a probe is left out: its host has no address", probe=probe, error=str(error))
        return None
    host = found[0][4][0]
    return f"{name}=[{host}]:{parts.port}" if ":" in str(host) else f"{name}={host}:{parts.port}"
