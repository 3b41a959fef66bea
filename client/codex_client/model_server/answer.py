"""A chosen reply as the API answers it: the response object, its items and how it ends."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from codex_client.model_server.choice import Choice
from codex_client.model_server.faults import failure
from codex_client.model_server.items import cut_short, output_items
from codex_client.model_server.script import Fault, Garbage
from codex_client.model_server.stream_events import Event, item_events, response_object, with_unknown_events
from codex_client.model_server.token_usage import InputSize, token_usage

SENSELESS_CALL = {"type": "function_call", "id": "fc_garbage", "status": "completed", "arguments": "{}"}


class Answer:
    """A reply on its way: the response object, its items and how it ends."""

    def __init__(self, body: dict[str, Any], choice: Choice, fault: Fault | None, size: InputSize) -> None:
        self.body = body
        self.choice = choice
        self.fault = fault
        self.response = response_object(body, f"resp_{choice.stem}", int(time.time()))
        self.output = output_items(choice, body)
        if fault and fault.incomplete:
            self.output = cut_short(self.output)
        self._usage = token_usage(choice.reply.usage, size, self.output)
        if fault and fault.garbage is Garbage.CALL:
            self.output = [SENSELESS_CALL]
        if fault and fault.garbage is Garbage.EMPTY:
            self.output = []

    def events(self) -> Iterable[Event]:
        if self.fault and self.fault.garbage is Garbage.CALL:
            return [{"type": "response.output_item.done", "output_index": 0, "item": SENSELESS_CALL}]
        if self.fault and self.fault.failed_code:
            return []
        events = item_events(self.output)
        return with_unknown_events(events) if self.fault and self.fault.garbage is Garbage.UNKNOWN else events

    def breaks_off_at(self, kinds: Sequence[str]) -> int | None:
        """Return the index of the first event that is not sent, None where all are; ``kinds`` are their types."""
        if self.fault is None:
            return None
        if self.fault.after_items is None:
            return self.fault.after_events
        ends = [index for index, kind in enumerate(kinds) if kind == "response.output_item.done"]
        return [*ends, len(kinds) - 1][min(self.fault.after_items, len(ends))]

    def end(self) -> Event:
        response = {**self.response, "status": "completed", "output": self.output, "usage": self._usage}
        if self.fault and self.fault.failed_code:
            response.update(status="failed", output=[], usage=None, error=failure(self.fault))
        elif self.fault and self.fault.incomplete:
            response.update(status="incomplete", incomplete_details={"reason": self.fault.incomplete})
        return {"type": f"response.{response['status']}", "response": response}
