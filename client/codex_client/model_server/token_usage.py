"""Token counts of a request: what the script says, else bytes/4, with the unchanged beginning counted as cached."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from codex_client.model_server.conversation import Item
from codex_client.model_server.script import ScriptedUsage

BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class InputSize:
    total: int
    """Bytes of the request."""
    cached: int
    """Of these, the bytes the same conversation already sent in its previous request."""


@dataclass(frozen=True)
class _Sent:
    head: tuple[Any, ...]
    items: list[Item]
    size: int


class PromptCache:
    """Remembers the last request of each prompt cache key; forgets the one used longest ago."""

    def __init__(self, capacity_bytes: int = 64 * 1024 * 1024) -> None:
        self._capacity_bytes = capacity_bytes
        self._held_bytes = 0
        self._sent: OrderedDict[str, _Sent] = OrderedDict()

    def measure(self, request: dict[str, Any], items: list[Item], size: int) -> InputSize:
        """Return how much of a request of ``size`` bytes is cached, and remember the request."""
        key = str(request.get("prompt_cache_key"))
        # What stands before the items: a change there leaves nothing cached.
        new = _Sent((request["model"], request.get("tools"), request.get("instructions")), items, size)
        before = self._sent.pop(key, None)
        self._sent[key] = new
        self._held_bytes += size - (before.size if before else 0)
        while self._held_bytes > self._capacity_bytes and len(self._sent) > 1:
            self._held_bytes -= self._sent.popitem(last=False)[1].size
        if before is None or before.head != new.head:
            return InputSize(size, 0)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before.items, items, strict=False)))
        return InputSize(size, max(0, size - len(json.dumps(items[common:]))))


def token_usage(scripted: ScriptedUsage, size: InputSize, output: list[Item]) -> dict[str, Any]:
    """Return the API's usage object."""
    input_tokens = size.total // BYTES_PER_TOKEN if scripted.input is None else scripted.input
    cached = size.cached // BYTES_PER_TOKEN if scripted.cached is None else scripted.cached
    output_tokens = _output_bytes(output) // BYTES_PER_TOKEN if scripted.output is None else scripted.output
    reasoning = _reasoning_bytes(output) // BYTES_PER_TOKEN if scripted.reasoning is None else scripted.reasoning
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": min(cached, input_tokens), "cache_write_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": min(reasoning, output_tokens)},
        "total_tokens": input_tokens + output_tokens,
    }


def _reasoning_bytes(output: list[Item]) -> int:
    return sum(len(part["text"].encode(errors="replace")) for item in output for part in item.get("summary", []))


def _output_bytes(output: list[Item]) -> int:
    texts = [part["text"] for item in output for part in item.get("content", [])]
    texts += [item["name"] + item["arguments"] for item in output if item["type"] == "function_call"]
    texts += [item["name"] + item["input"] for item in output if item["type"] == "custom_tool_call"]
    # Even the shortest answer costs a token.
    return max(BYTES_PER_TOKEN, sum(len(text.encode(errors="replace")) for text in texts) + _reasoning_bytes(output))
