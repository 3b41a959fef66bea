"""Putting a reply together from the events of its stream; pure, so that every odd stream can be tested."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codex_api.rows import UsagePayload
from codex_worker.responses.errors import SenselessEvent
from codex_worker.responses.request import ModelRequest
from codex_worker.token_estimates import BYTES_PER_TOKEN, item_tokens

Item = dict[str, Any]


@dataclass(frozen=True)
class ModelReply:
    items: list[Item]
    """Finished items exactly as they came, in the order of the reply."""
    usage: UsagePayload
    response_id: str
    incomplete_reason: str | None
    """max_output_tokens or content_filter where the provider cut the reply short, None where it is whole."""
    first_event_seconds: float
    """From the request to the first event."""

    @property
    def completed(self) -> bool:
        return self.incomplete_reason is None


class ReplyInProgress:
    """What has arrived so far; the caller may hold it, to know what a cancelled call cost."""

    def __init__(self) -> None:
        self.response_id = ""
        self.began = False
        """Whether any event of a response arrived."""
        self.ended = False
        self.incomplete_reason: str | None = None
        self.failure: tuple[str | None, str] | None = None
        """Code and message of a response that failed."""
        self.content_bytes = 0
        """Of the deltas of text, reasoning and arguments."""
        self.started_at = time.monotonic()
        self.first_event_seconds = 0.0
        self._usage: Mapping[str, Any] | None = None
        self._items: list[tuple[int, Item]] = []

    def feed(self, event: Any) -> None:
        """Take one parsed event; unknown ones are ignored; raises SenselessEvent."""
        if not isinstance(event, dict):
            raise SenselessEvent(f"an event is no object: {event!r:.80}")
        kind = event.get("type")
        if kind == "error" or (kind is None and event.get("error")):
            self._fail(event.get("error") or event)
        if not isinstance(kind, str) or not kind.startswith("response."):
            return
        if not self.began:
            self.began = True
            self.first_event_seconds = time.monotonic() - self.started_at
        if kind.endswith(".delta"):
            self.content_bytes += len(str(event.get("delta", "")).encode(errors="replace"))
        elif kind == "response.output_item.done":
            self._finish_item(event)
        elif kind in _RESPONSE_EVENTS:
            self._take_response(kind, event.get("response"))

    def _finish_item(self, event: dict[str, Any]) -> None:
        item = event.get("item")
        check_item(item)
        index = event.get("output_index")
        self._items.append((index if isinstance(index, int) else len(self._items), item))  # type: ignore[arg-type]

    def _take_response(self, kind: str, response: Any) -> None:
        if not isinstance(response, dict):
            raise SenselessEvent(f"{kind} holds no response: {response!r:.80}")
        self.response_id = str(response.get("id") or self.response_id)
        if isinstance(response.get("usage"), dict):
            self._usage = response["usage"]
        if kind == "response.failed":
            self._fail(response.get("error"))
        if kind == "response.incomplete":
            details = response.get("incomplete_details")
            self.incomplete_reason = str((details if isinstance(details, dict) else {}).get("reason") or "unknown")
        if kind != "response.created":
            self.ended = True

    def _fail(self, error: Any) -> None:
        found = error if isinstance(error, dict) else {}
        code = found.get("code")
        self.failure = (None if code is None else str(code), str(found.get("message") or error or "no reason given"))
        self.ended = True

    def reply(self, request: ModelRequest) -> ModelReply:
        """Return the reply of a stream that ended well; usage is estimated where the provider gave none."""
        items = [item for _, item in sorted(self._items, key=lambda numbered: numbered[0])]
        if self.incomplete_reason is not None:
            items = finished_items(items)
        return ModelReply(
            items, self.usage(request), self.response_id, self.incomplete_reason, self.first_event_seconds
        )

    def usage(self, request: ModelRequest) -> UsagePayload:
        """Return what the provider said the call cost, else an estimate of a token for each four bytes."""
        duration = time.monotonic() - self.started_at
        if self._usage is None:
            return UsagePayload(
                model=request.model,
                input_tokens=_estimated_tokens(request),
                output_tokens=self.content_bytes // BYTES_PER_TOKEN,
                duration_seconds=duration,
                estimated=True,
                max_output_tokens=request.output_cap,
            )
        return UsagePayload(
            model=request.model,
            input_tokens=_count(self._usage, "input_tokens"),
            cached_input_tokens=_count(self._usage.get("input_tokens_details"), "cached_tokens"),
            output_tokens=_count(self._usage, "output_tokens"),
            reasoning_tokens=_count(self._usage.get("output_tokens_details"), "reasoning_tokens"),
            duration_seconds=duration,
            max_output_tokens=request.output_cap,
        )


_RESPONSE_EVENTS = frozenset({"response.created", "response.completed", "response.incomplete", "response.failed"})

# Kind of call → the field that holds what is asked of the tool.
_CALL_CONTENT = {"function_call": "arguments", "custom_tool_call": "input"}


def check_item(item: Any) -> None:
    """Raise SenselessEvent for an item that could not be sent back as part of the conversation."""
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        raise SenselessEvent(f"an output item has no type: {item!r:.80}")
    if content := _CALL_CONTENT.get(item["type"]):
        missing = [name for name in ("call_id", "name", content) if not isinstance(item.get(name), str)]
        missing += [name for name in ("call_id", "name") if item.get(name) == ""]
        if missing:
            raise SenselessEvent(f"a {item['type']} lacks {', '.join(missing)}")


def finished_items(items: list[Item]) -> list[Item]:
    """Return what of a reply that was cut short may stay in the conversation.

    A call that was cut off must not run, and the API refuses reasoning that nothing follows.
    """
    kept = [item for item in items if item["type"] == "message" or item.get("status") != "incomplete"]
    while kept and kept[-1]["type"] == "reasoning":
        kept.pop()
    return kept


def _estimated_tokens(request: ModelRequest) -> int:
    fixed = len(request.instructions) + len(json.dumps(list(request.tools)))
    return fixed // BYTES_PER_TOKEN + sum(map(item_tokens, request.input))


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return max(0, value) if isinstance(value, int) else 0
