"""Gathers what a model streams into pieces of some milliseconds: a call for every token would cost too much."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import structlog

from codex_worker.deltas import Delta, OnDelta

log = structlog.get_logger("codex_worker.deltas")

BATCH_SECONDS = 0.02

Kind = Literal["text", "reasoning"]
_KINDS: dict[str, Kind] = {
    "response.output_text.delta": "text",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_text.delta": "reasoning",
}
PARAGRAPH_EVENT = "response.reasoning_summary_part.added"


class DeltaBatches:
    """Belongs to one attempt; ``take`` is called with each event of its stream, ``close`` at its end."""

    def __init__(self, on_delta: OnDelta, *, session: str, turn: int, step: int, attempt: str) -> None:
        self._on_delta = on_delta
        self._session, self._turn, self._step, self._attempt = session, turn, step, attempt
        self._kind: Kind = "text"
        self._pieces: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._reasoned = False

    def take(self, event: dict[str, Any]) -> None:
        kind = _KINDS.get(str(event.get("type")))
        text = event.get("delta")
        if event.get("type") == PARAGRAPH_EVENT and self._reasoned:
            kind, text = "reasoning", "\n\n"
        if kind is None or not isinstance(text, str) or not text:
            return
        if kind != self._kind:
            self._flush()
        self._kind = kind
        self._reasoned = self._reasoned or kind == "reasoning"
        self._pieces.append(text)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BATCH_SECONDS, self._flush)

    def close(self) -> None:
        self._flush()

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._pieces:
            return
        text, self._pieces = "".join(self._pieces), []
        try:
            self._on_delta(Delta(self._session, self._turn, self._step, self._attempt, self._kind, text))
        except Exception:
            # Who only watches must not cost the turn.
            log.exception("a watcher of the stream failed", session=self._session)
