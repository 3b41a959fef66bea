"""Temporal's dev server as our own child: in memory, because all that matters stands in the journal."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from codex_client.local.child_process import end, ending_with_us, spawn, tail
from codex_client.local.errors import LocalError
from codex_worker.dev_server import DEV_SERVER_OPTIONS

if TYPE_CHECKING:
    from temporalio.client import Client

READY_SECONDS = 30.0
POLL_SECONDS = 0.01
PORT_ATTEMPTS = 3
CURE = "install it with `pip install 'codex-temporal[local]'`, or set TEMPORAL_ADDRESS"


class TemporalServer:
    """``start`` returns at once; ``wait_until_ready`` when it can be connected to."""

    def __init__(self, program: str, log: Path, environment: Mapping[str, str]) -> None:
        self._program = program
        self._log = log
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._offset = 0
        self._port = 0

    @classmethod
    async def start(cls, *, program_path: str, home: Path, downloads: Path, log: Path) -> Self:
        """Start the server on a free port; raises LocalError."""
        program = find_program(program_path, downloads) or await _download(downloads)
        server = cls(program, log, {"PATH": program_path, "HOME": str(home)})
        await server._spawn()
        return server

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def wait_until_ready(self) -> None:
        """Return once it accepts connections; raises LocalError."""
        for _ in range(PORT_ATTEMPTS):
            if await self._listens():
                return
            # Somebody else took the port between our choice and its start.
            await self._spawn()
        raise LocalError(f"Temporal's dev server ended at once: {tail(self._log, self._offset)} (log: {self._log})")

    async def stop(self) -> None:
        """End it; nothing in its memory is needed any more."""
        if self._process is not None:
            await end(self._process, signal.SIGKILL)

    async def _spawn(self) -> None:
        self._port = _free_port()
        argv = [self._program, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self._port)]
        argv += ["--log-level", "error", *DEV_SERVER_OPTIONS]
        try:
            self._offset = self._log.stat().st_size if self._log.exists() else 0
            self._process = await spawn(ending_with_us(argv), log=self._log, environment=self._environment)
        except OSError as error:
            raise LocalError(f"cannot start Temporal's dev server {self._program}: {error}") from error

    async def _listens(self) -> bool:
        """Wait for its port; False when it ended."""
        assert self._process is not None
        try:
            async with asyncio.timeout(READY_SECONDS):
                while self._process.returncode is None:
                    try:
                        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                    except OSError:
                        await asyncio.sleep(POLL_SECONDS)
                        continue
                    writer.close()
                    return True
        except TimeoutError:
            raise LocalError(
                f"Temporal's dev server is not up after {READY_SECONDS:.0f} s (log: {self._log})"
            ) from None
        return False


async def connect(address: str, namespace: str) -> Client:
    """Return a client once the namespace answers; a dev server opens its port a moment earlier. Raises LocalError."""
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
    from temporalio.client import Client
    from temporalio.contrib.pydantic import pydantic_data_converter
    from temporalio.service import RPCError

    problem: Exception | None = None
    for _ in range(50):
        try:
            client = await Client.connect(address, namespace=namespace, data_converter=pydantic_data_converter)
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
        except (RPCError, RuntimeError, OSError) as error:
            problem = error
            await asyncio.sleep(0.02)
        else:
            return client
    raise LocalError(f"Temporal at {address} (namespace {namespace}) does not answer: {str(problem)[:300]}")


def find_program(program_path: str, downloads: Path) -> str | None:
    """Return the server's program: beside this Python, on PATH, or downloaded earlier."""
    found = shutil.which("temporal", path=f"{sysconfig.get_path('scripts')}{os.pathsep}{program_path}")
    if found is not None:
        return os.path.abspath(found)
    fetched = sorted(path for path in downloads.glob("temporal*") if os.access(path, os.X_OK) and path.is_file())
    return str(fetched[-1]) if fetched else None


async def _download(downloads: Path) -> str:
    """Let Temporal's SDK fetch its dev server, which it does by starting it; raises LocalError."""
    from temporalio.testing import WorkflowEnvironment

    try:
        environment = await WorkflowEnvironment.start_local(download_dest_dir=str(downloads))
        await environment.shutdown()
    except (RuntimeError, OSError) as error:
        raise LocalError(f"no `temporal` program is here and none could be downloaded; {CURE}") from error
    program = find_program("", downloads)
    if program is None:
        raise LocalError(f"no `temporal` program came with the download; {CURE}")
    return program


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
