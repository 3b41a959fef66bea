"""Connections to sandboxes: found through the journal, checked by name, shared by a session's activities."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from codex_api.conditions import (
    REASON_NOT_PROBED,
    REASON_REACHED,
    REASON_SANDBOX_RUNNING,
    REASON_SANDBOX_STARTING,
    REASON_SANDBOX_UNREACHABLE,
)
from codex_api.events import SANDBOX_RESET
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
BORROW_SECONDS = 0.3  # what a model call may wait for something it can do without
MAX_SESSIONS = 256


class SandboxNotReady(Exception):
    """The session's sandbox cannot take commands yet; ``reason`` is a condition reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass
class Connection:
    client: SandboxClient
    dialled_at: float
    """Monotonic seconds just before the connection was made: its hello is younger."""
    users: int = 0


@dataclass
class SessionConnections:
    """The newest connection of a session; older ones live until nobody waits on them."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    current: Connection | None = None
    users: int = 0
    reported: object = None
    """Newest isolation that this worker told the journal."""


class Sandboxes:
    """One connection per session, leased by the activities of this worker."""

    def __init__(self, journal: Journal, tls: TlsFiles | None) -> None:
        self._journal = journal
        self._tls = tls
        self._sessions: OrderedDict[str, SessionConnections] = OrderedDict()

    async def exists(self, session: str) -> bool:
        """Tell whether the session has a sandbox that was not given up."""
        return await self._address(session) is not None

    @asynccontextmanager
    async def lease(
        self, session: str, settings: SessionSettings, *, fresh: bool, isolated: bool = True
    ) -> AsyncIterator[SandboxClient]:
        """Give a client whose hello may be believed; ``fresh`` asks for a hello made after this call began.

        ``isolated`` False is for what must work in any network, such as stopping processes.
        Raises SandboxNotReady after five seconds, or at once where commands have to wait for isolation.
        """
        began = time.monotonic()
        connections = self._sessions.setdefault(session, SessionConnections())
        self._sessions.move_to_end(session)
        connections.users += 1
        try:
            connection = await self._connection(session, connections, began if fresh else 0.0)
            try:
                if isolated:
                    await self._require_isolation(session, connections, connection.client, settings)
                yield connection.client
            finally:
                await self._release(connections, connection)
        finally:
            connections.users -= 1
            await self._forget_idle_sessions()

    @asynccontextmanager
    async def borrow(self, session: str) -> AsyncIterator[SandboxClient | None]:
        """Give a client for what can be done without: None where there is no sandbox, or none that answers at once."""
        standing = self._sessions.get(session, SessionConnections()).current
        if (standing is None or not standing.client.usable) and not await self.exists(session):
            yield None
            return
        connections = self._sessions.setdefault(session, SessionConnections())
        connections.users += 1
        connection = None
        try:
            with contextlib.suppress(TimeoutError, SandboxNotReady):
                async with asyncio.timeout(BORROW_SECONDS):
                    connection = await self._connection(session, connections, 0.0, BORROW_SECONDS)
            yield None if connection is None else connection.client
        finally:
            if connection is not None:
                await self._release(connections, connection)
            connections.users -= 1

    async def close(self) -> None:
        for connections in self._sessions.values():
            if connections.current is not None:
                await connections.current.client.close()
        self._sessions.clear()

    async def _connection(
        self,
        session: str,
        connections: SessionConnections,
        not_before: float,
        patience: float = WAIT_FOR_SANDBOX_SECONDS,
    ) -> Connection:
        async with connections.lock:
            current = connections.current
            if current is None or not current.client.usable or current.dialled_at < not_before:
                dialled_at = time.monotonic()
                client = await self._dial(session, dialled_at + patience)
                superseded, connections.current = current, Connection(client, dialled_at)
                # Others may still wait on the old one: who leaves it last closes it.
                if superseded is not None and not superseded.users:
                    await superseded.client.close()
                await self._report(session, connections, client.hello, client.hello.isolation)
                current = connections.current
            current.users += 1
            return current

    async def _release(self, connections: SessionConnections, connection: Connection) -> None:
        connection.users -= 1
        if not connection.users and connection is not connections.current:
            await connection.client.close()

    async def _forget_idle_sessions(self) -> None:
        for session in list(self._sessions)[: max(0, len(self._sessions) - MAX_SESSIONS)]:
            if not self._sessions[session].users:
                idle = self._sessions.pop(session)
                if idle.current is not None:
                    await idle.current.client.close()

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
            elif row.payload["type"] == SANDBOX_RESET:
                newest = None
        return newest

    async def _report(
        self, session: str, connections: SessionConnections, hello: Hello, isolation: IsolationReport
    ) -> None:
        """Tell people what the supervisor says of its isolation, whenever that changes."""
        said = (hello.boot_id, isolation.isolated, isolation.reached)
        if said == connections.reported:
            return
        report = SandboxReportPayload(
            generation=hello.generation,
            ready=True,
            reason=REASON_SANDBOX_RUNNING,
            isolated=isolation.isolated,
            reached=list(isolation.reached),
        )
        claim = f"sandbox/{hello.generation}/{hello.boot_id}/{isolation.checked_at}"
        try:
            await self._journal.append(session, claim, [NewRow(RowKind.SANDBOX_REPORT, report.model_dump())])
        except SessionClosed:
            return
        connections.reported = said

    async def report_isolation(self, session: str, client: SandboxClient) -> bool | None:
        """Ask the supervisor anew whether it is isolated, tell the journal, and return it."""
        isolation = (await client.health()).isolation
        await self._report(session, self._sessions[session], client.hello, isolation)
        return isolation.isolated

    async def _require_isolation(
        self, session: str, connections: SessionConnections, client: SandboxClient, settings: SessionSettings
    ) -> None:
        if not settings.isolation_required or settings.network_mode is not NetworkMode.NONE:
            return
        if client.hello.isolation.isolated is True:
            return
        isolation = (await client.health()).isolation
        await self._report(session, connections, client.hello, isolation)
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
