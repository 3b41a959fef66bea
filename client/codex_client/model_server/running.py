"""Starting and stopping the server, in this process or as a process of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from codex_client.model_server.server import ModelServer

SHUTDOWN_SECONDS = 1.0  # for answers on their way; a scripted delay may be longer than anyone wants to wait


@asynccontextmanager
async def listening(server: ModelServer, host: str, port: int) -> AsyncIterator[int]:
    """Serve while the context is open; gives the port, which differs from ``port`` where that is 0."""
    # Cancelled with the connection: a client that left does not keep a scripted delay running.
    runner = web.AppRunner(
        server.application(), access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def serve(server: ModelServer, host: str, port: int, announce: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT; calls ``announce`` with the port once requests are answered."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # As process 1 of a container a signal without a handler would be ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with listening(server, host, port) as actual:
        announce(actual)
        await stop.wait()
