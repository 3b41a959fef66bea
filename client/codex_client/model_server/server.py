"""The HTTP side: routes, authorization, and a record of the requests."""

from __future__ import annotations

import hmac
import json
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from codex_client.model_server.answer import Answer
from codex_client.model_server.choice import choose
from codex_client.model_server.delivery import deliver
from codex_client.model_server.faults import FaultCounter
from codex_client.model_server.refusals import RequestRefused
from codex_client.model_server.script import Script
from codex_client.model_server.token_usage import PromptCache
from codex_client.model_server.validation import check_request

MAX_REQUEST_BYTES = 64 * 1024 * 1024
MAX_RECORDED_REQUESTS = 200
MAX_RECORDED_BYTES = 16 * 1024 * 1024


@dataclass
class RecordedRequest:
    """A request as it arrived and what became of it; the key is never kept."""

    number: int
    """Counts all requests of this process, from 1."""
    time: float
    """Seconds since the epoch."""
    body: Any
    """Parsed JSON; None where it was none."""
    size: int
    """Bytes."""
    peer: str = ""
    """Address and port of the client; the same for requests on one connection."""
    conversation: int | None = None
    """Index in the script; None: refused before it was chosen; -1: none matched."""
    reply: int | None = None
    """Number of the reply; of a summary, how many replies it stands for."""
    compaction: bool = False
    fault: str | None = None
    """Kind of the scripted fault, None where the reply was given."""
    status: int = 0


class ModelServer:
    """Answers requests from a script, which may be exchanged while it runs."""

    def __init__(self, script: Script, *, require_key: str | None = None) -> None:
        self.script = script
        self.requests: deque[RecordedRequest] = deque()
        self._require_key = require_key
        self._cache = PromptCache()
        self.faults = FaultCounter()
        self._received = 0

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[self._authorize])
        application.router.add_post("/v1/responses", self._responses)
        application.router.add_get("/v1/models", self._models)
        application.router.add_get("/healthz", self._health)
        application.router.add_get("/requests", self._recorded)
        return application

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Any) -> web.StreamResponse:
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._require_key is not None and request.path.startswith("/v1/"):
            if not sent:
                refused = RequestRefused("Missing bearer authentication in header", status=401)
                return web.json_response(refused.body(), status=refused.status)
            if not hmac.compare_digest(sent.encode(errors="replace"), self._require_key.encode()):
                refused = RequestRefused("Incorrect API key provided.", status=401, code="invalid_api_key")
                return web.json_response(refused.body(), status=refused.status)
        response: web.StreamResponse = await handler(request)
        return response

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "requests": self._received})

    async def _recorded(self, request: web.Request) -> web.Response:
        return web.json_response({"requests": [asdict(recorded) for recorded in self.requests]})

    async def _models(self, request: web.Request) -> web.Response:
        names = self.script.models or ["scripted"]
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "script"} for name in names]
        return web.json_response({"object": "list", "data": data})

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        recorded = self._record(raw, request)
        try:
            if recorded.body is None:
                raise RequestRefused("We could not parse the JSON body of your request.")
            items = check_request(recorded.body, self.script.models)
        except RequestRefused as refused:
            recorded.status = refused.status
            return web.json_response(refused.body(), status=refused.status)
        body: dict[str, Any] = recorded.body
        choice = choose(self.script, body, items)
        fault = self.faults.due(choice, body.get("prompt_cache_key"))
        recorded.conversation, recorded.reply = choice.conversation, choice.number
        recorded.compaction = choice.compaction
        recorded.fault = fault.kind if fault else None
        recorded.status = (fault and fault.status) or 200
        size = self._cache.measure(body, items, recorded.size)
        return await deliver(request, Answer(body, choice, fault, size))

    def _record(self, raw: bytes, request: web.Request) -> RecordedRequest:
        self._received += 1
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        peer = request.transport.get_extra_info("peername") if request.transport else None
        recorded = RecordedRequest(self._received, time.time(), body, len(raw), str(peer))
        self.requests.append(recorded)
        kept = sum(one.size for one in self.requests)
        while len(self.requests) > MAX_RECORDED_REQUESTS or (kept > MAX_RECORDED_BYTES and len(self.requests) > 1):
            kept -= self.requests.popleft().size
        return recorded
