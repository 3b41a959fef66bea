"""When a conversation has to be compacted, and what takes its place. Pure; tokens are bytes/4 where nobody counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from codex_worker.items import user_message_item
from codex_worker.model_families import prompt_text
from codex_worker.token_estimates import BYTES_PER_TOKEN, item_parts, item_tokens

Item = dict[str, Any]

REASON_LIMIT = "limit"
REASON_OVERFLOW = "overflow"
REASON_REQUESTED = "requested"

FULL_SHARE = 0.9
"""Of the model's window."""
MAX_RETAINED_TOKENS = 20_000
RETAINED_SHARE = 0.25
"""Of the model's window: what is kept of a person's messages must leave room for the work."""
DROPPED_SHARE = 0.125
"""Of a conversation too long to be summarised, per attempt."""
USABLE_ANSWER_TOKENS = 1_500
"""What has to be left for a summary, and as much for the step after it, before anything is spent on them."""
CUT_NOTICE = "\n[… cut …]\n"
IMAGE_NOTICE = "[image left out]"
MIN_CUT_BYTES = 1_000
"""Shorter texts stay whole."""


def is_full(tokens: int, window: int) -> bool:
    return tokens >= window * FULL_SHARE


def compaction_prompt() -> Item:
    """Return the message that asks for the summary; it never enters the conversation."""
    return user_message_item(prompt_text("compaction_request.md"))


def compacted_items(messages: Sequence[Item], summary: str, window: int) -> list[Item]:
    """Return what takes the conversation's place: the newest of a person's ``messages``, and the summary, last."""
    prefix = prompt_text("compaction_summary.md")
    return [*retained_messages(messages, window), user_message_item(f"{prefix}\n\n{summary.strip()}")]


def retained_messages(messages: Sequence[Item], window: int) -> list[Item]:
    """Return the newest messages that fit; the first that does not loses its middle."""
    left = min(MAX_RETAINED_TOKENS, int(window * RETAINED_SHARE)) * BYTES_PER_TOKEN
    kept: list[Item] = []
    for message in reversed(messages):
        text = _text(message)
        size = len(text.encode(errors="replace"))
        if size > left:
            kept.append(user_message_item(_without_middle(text, left)))
            break
        kept.append(message)
        left -= size
    return kept[::-1]


def shortened(items: Sequence[Item]) -> list[Item]:
    """Return less of a conversation: without its oldest items, or with less of each where it cannot lose any.

    Calls stay paired with their outputs. Returns nothing where too little is left.
    """
    if shorter := without_oldest(items):
        return shorter
    halved = [_halved(item) for item in items]
    return halved if halved != list(items) else []


def without_oldest(items: Sequence[Item]) -> list[Item]:
    """Drop some of the oldest items, calls together with their outputs; returns nothing where none would be left."""
    units = _units(items)
    sizes = [sum(item_tokens(item) for item in unit) for unit in units]
    wanted, dropped = sum(sizes) * DROPPED_SHARE, 0
    for number, size in enumerate(sizes):
        dropped += size
        if dropped >= wanted:
            return [item for unit in units[number + 1 :] for item in unit]
    return []


def _units(items: Sequence[Item]) -> list[list[Item]]:
    """Split into what can only go together: reasoning with what follows it, calls with all their outputs."""
    units: list[list[Item]] = []
    open_calls: list[str] = []
    for item in items:
        kind = str(item.get("type"))
        follows = bool(open_calls) or (bool(units) and units[-1][-1].get("type") == "reasoning")
        if kind.endswith("_call"):
            open_calls.append(str(item.get("call_id")))
        elif kind.endswith("_call_output") and item.get("call_id") in open_calls:
            open_calls.remove(item["call_id"])
        if follows:
            units[-1].append(item)
        else:
            units.append([item])
    return units


def _halved(item: Item) -> Item:
    """Return an item with half of each long text, and notes for its images."""
    shorter = dict(item)
    for field in ("content", "output"):
        if isinstance(item.get(field), str):
            shorter[field] = _half(item[field])
        elif isinstance(item.get(field), list):
            shorter[field] = [_halved_part(part) for part in item[field]]
    if item.get("type") == "custom_tool_call":
        shorter["input"] = _half(str(item.get("input")))
    arguments = str(item.get("arguments"))
    if item.get("type") == "function_call" and _is_long(arguments):
        # Still JSON, which providers may insist on, and short at once: what is cut again would be quoted again.
        shorter["arguments"] = json.dumps({"cut": _without_middle(arguments, MIN_CUT_BYTES // 4)}, ensure_ascii=False)
    return shorter


def _halved_part(part: Item) -> Item:
    if "image_url" in part:
        return {"type": "input_text", "text": IMAGE_NOTICE}
    return {**part, "text": _half(part["text"])} if isinstance(part.get("text"), str) else part


def _half(text: str) -> str:
    return _without_middle(text, len(text.encode(errors="replace")) // 2) if _is_long(text) else text


def _is_long(text: str) -> bool:
    return len(text.encode(errors="replace")) > MIN_CUT_BYTES


def _text(message: Item) -> str:
    return "".join(str(part.get("text", "")) for part in item_parts(message))


def _without_middle(text: str, size: int) -> str:
    encoded = text.encode(errors="replace")
    half = max(0, (size - len(CUT_NOTICE.encode())) // 2)
    return encoded[:half].decode(errors="ignore") + CUT_NOTICE + encoded[len(encoded) - half :].decode(errors="ignore")
