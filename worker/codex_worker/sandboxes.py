"""Connections to sandboxes: found through the journal, checked by name, kept while they are used."""

from __future__ import annotations

import asyncio
import time

from codex_api.conditions import (
    REASON_NOT_PROBED,
    REASON_REACHED,
    REASON_SANDBOX_RUNNING,
    REASON_SANDBOX_STARTING,
    REASON_SANDBOX_UNREACHABLE,
)
from codex_api.rows import RowKind, SandboxAddressPayload, SandboxReportPayload, SessionSettings
from codex_api.session import NetworkMode
from codex_journal.errors import SessionClosed
from codex_journal.journal import Journal
from codex_journal.rows import NewRow
from codex_sandbox.client import SandboxAddress, SandboxClient
from codex_sandbox.errors import SandboxError
from codex_sandbox.protocol import Hello, IsolationReport
from codex_sandbox.tls import TlsFiles

WAIT_FOR_SANDBOX_SECONDS = 5.0  # longer would hold an activity slot that others could use
POLL_SECONDS = 0.1
RESET_EVENT = "SandboxReset"


class SandboxNotReady(Exception):
    """The session's sandbox cannot take commands yet; ``reason`` is a condition reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Sandboxes:
    """One connection per session, shared by the activities of this worker."""

    def __init__(self, journal: Journal, tls: TlsFiles | None) -> None:
        self._journal = journal
        self._tls = tls
        self._clients: dict[str, SandboxClient] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def exists(self, session: str) -> bool:
        """Tell whether the session ever had a sandbox."""
        return await self._address(session) is not None

    async def connect(
        self, session: str, settings: SessionSettings, *, fresh: bool, isolated: bool = True
    ) -> SandboxClient:
        """Return a client whose hello may be believed; ``fresh`` asks for a hello made after this call began.

        ``isolated`` False is for what must work in any network, such as stopping processes.
        Raises SandboxNotReady after five seconds, or at once where commands have to wait for isolation.
        """
        deadline = time.monotonic() + WAIT_FOR_SANDBOX_SECONDS
        async with self._locks.setdefault(session, asyncio.Lock()):
            client = self._clients.get(session)
            if fresh and client is not None:
                await self._drop(session)
                client = None
            if client is None or not client.usable:
                client = await self._dial(session, deadline)
                self._clients[session] = client
                await self._report(session, client.hello, client.hello.isolation)
        if isolated:
            await self._require_isolation(session, client, settings)
        return client

    async def drop(self, session: str) -> None:
        """Forget a connection that turned out to be dead, or whose session is over."""
        async with self._locks.setdefault(session, asyncio.Lock()):
            await self._drop(session)
        self._locks.pop(session, None)

    async def close(self) -> None:
        for session in list(self._clients):
            await self._drop(session)

    async def _drop(self, session: str) -> None:
        client = self._clients.pop(session, None)
        if client is not None:
            await client.close()

    async def _dial(self, session: str, deadline: float) -> SandboxClient:
        problem = "no sandbox has been created yet"
        while True:
            address = await self._address(session)
            if address is not None:
                try:
                    remaining = max(0.5, deadline - time.monotonic())
                    return await SandboxClient.connect(_dialable(session, address), self._tls, timeout=remaining)
                except SandboxError as error:
                    problem = str(error)
            if time.monotonic() + POLL_SECONDS > deadline:
                raise SandboxNotReady(REASON_SANDBOX_UNREACHABLE if address else REASON_SANDBOX_STARTING, problem)
            await asyncio.sleep(POLL_SECONDS)

    async def _address(self, session: str) -> SandboxAddressPayload | None:
        """Return the newest address, unless its sandbox was given up since."""
        newest = None
        for row in await self._journal.read(session, kinds=[RowKind.SANDBOX_ADDRESS, RowKind.EVENT]):
            if row.kind is RowKind.SANDBOX_ADDRESS:
                newest = SandboxAddressPayload.model_validate(row.payload)
            elif row.payload["type"] == RESET_EVENT:
                newest = None
        return newest

    async def _report(self, session: str, hello: Hello, isolation: IsolationReport) -> None:
        """Tell people what the supervisor says of its isolation, once per answer and life."""
        report = SandboxReportPayload(
            generation=hello.generation,
            ready=True,
            reason=REASON_SANDBOX_RUNNING,
            isolated=isolation.isolated,
            reached=list(isolation.reached),
        )
        claim = f"sandbox/{hello.generation}/{hello.boot_id}/{isolation.isolated}"
        try:
            await self._journal.append(session, claim, [NewRow(RowKind.SANDBOX_REPORT, report.model_dump())])
        except SessionClosed:
            return

    async def _require_isolation(self, session: str, client: SandboxClient, settings: SessionSettings) -> None:
        if not settings.isolation_required or settings.network_mode is not NetworkMode.NONE:
            return
        if client.hello.isolation.isolated is True:
            return
        isolation = (await client.health()).isolation
        await self._report(session, client.hello, isolation)
        if isolation.isolated is not True:
            reached = ", ".join(isolation.reached)
            raise SandboxNotReady(
                REASON_REACHED if reached else REASON_NOT_PROBED,
                f"commands wait: the sandbox is not isolated ({f'it reached {reached}' if reached else 'not probed'}); "
                "use a cluster that enforces NetworkPolicies, or install with sandbox.isolation=Reported",
            )


def _dialable(session: str, address: SandboxAddressPayload) -> SandboxAddress:
    if address.unix_path:
        return SandboxAddress(session=session, generation=address.generation, path=address.unix_path)
    return SandboxAddress(session=session, generation=address.generation, host=address.host, port=address.port)
