"""The worker's HTTP side: /metrics for Prometheus, /readyz and /livez for the kubelet."""

from __future__ import annotations

import asyncio
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

TICK_SECONDS = 1.0
STUCK_SECONDS = 30.0


class HealthServer:
    """Answers in a thread of its own, so that a busy event loop is still measured."""

    def __init__(self, port: int, registry: CollectorRegistry) -> None:
        self._ready = False
        self._ticked_at = time.monotonic()
        self._server = ThreadingHTTPServer(("0.0.0.0", port), self._handler(registry))  # noqa: S104 - scraped from outside
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def set_ready(self, ready: bool) -> None:
        """Say whether this worker polls for work; /readyz answers 503 while it does not."""
        self._ready = ready

    async def tick(self) -> None:
        """Prove from within the event loop that it turns; /livez answers 503 when that was too long ago."""
        while True:
            self._ticked_at = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)

    def _state(self, path: str) -> bool | None:
        """Return whether a probe's question is answered well; None for a path that is no probe."""
        if path == "/readyz":
            return self._ready
        if path == "/livez":
            return time.monotonic() - self._ticked_at < STUCK_SECONDS
        return None

    def _handler(self, registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
        health = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/metrics"):
                    self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))
                    return
                state = health._state(self.path)
                if state is None:
                    self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there are /metrics, /readyz and /livez\n")
                elif state:
                    self._answer(HTTPStatus.OK, "text/plain", b"yes\n")
                else:
                    self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"no\n")

            def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
                """Say nothing: probes and scrapes come every few seconds."""

        return Handler
