"""Testing from the inside what the network lets through.

A refused connection counts as reached: a packet went there and one came back. A network that rejects actively instead
of dropping is therefore reported as open, which is the safe side.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codex_sandbox.protocol import IsolationReport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The one probe whose target is known to answer: only its silence proves anything.
CONTROL_PROBE = "api-server"
TIMEOUT_SECONDS = 1.0
INTERVAL_SECONDS = 30.0
# Network policies take effect a moment after the pod starts; until then, look more often.
OPEN_INTERVAL_SECONDS = 2.0


@dataclass(frozen=True)
class Probe:
    """One address that must not be reachable."""

    name: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Probe:
        """Read `name=address:port`; raises ValueError. Addresses only: resolving a name is itself traffic."""
        name, separator, target = text.partition("=")
        host, colon, port = target.rpartition(":")
        if not name or not separator or not colon or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r} is not name=address:port")
        address = ipaddress.ip_address(host[1:-1] if host.startswith("[") else host)
        return cls(name, str(address), int(port))


def judge(outcomes: Mapping[str, str], checked_at: float) -> IsolationReport:
    """Return the report on a round of probes (name → connected, refused, timeout or unreachable)."""
    reached = tuple(sorted(name for name, outcome in outcomes.items() if outcome in ("connected", "refused")))
    isolated: bool | None = False
    if not reached:
        isolated = True if CONTROL_PROBE in outcomes else None
    return IsolationReport(isolated, checked_at, reached, dict(outcomes))


async def try_to_connect(probe: Probe, timeout: float = TIMEOUT_SECONDS) -> str:
    """Return connected, refused, timeout or unreachable."""
    family = socket.AF_INET6 if ":" in probe.host else socket.AF_INET
    try:
        connection = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return "unreachable"
    connection.setblocking(False)
    attempt = asyncio.ensure_future(asyncio.get_running_loop().sock_connect(connection, (probe.host, probe.port)))
    try:
        await asyncio.wait({attempt}, timeout=timeout)
        if not attempt.done():
            return "timeout"
        error = attempt.exception()
        if error is None:
            return "connected"
        return "refused" if isinstance(error, (ConnectionRefusedError, ConnectionResetError)) else "unreachable"
    finally:
        attempt.cancel()
        await asyncio.wait({attempt})
        connection.close()


class IsolationWatch:
    """Probes again and again; `report` is the last round's."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self._probes = tuple(probes)
        self._first_round = asyncio.Event()
        self.report = IsolationReport(None, None, (), {})

    async def first_report(self) -> IsolationReport:
        """Return the report, not before the first round is over."""
        await self._first_round.wait()
        return self.report

    async def run(self) -> None:
        """Probe until cancelled."""
        if not self._probes:
            self._first_round.set()
            await asyncio.Event().wait()
        while True:
            outcomes = await asyncio.gather(*(try_to_connect(probe) for probe in self._probes))
            names = [probe.name for probe in self._probes]
            self.report = judge(dict(zip(names, outcomes)), time.time())  # noqa: B905 - Python 3.9 has no strict
            self._first_round.set()
            await asyncio.sleep(INTERVAL_SECONDS if self.report.isolated else OPEN_INTERVAL_SECONDS)
