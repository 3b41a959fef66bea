"""Reading a conversation back from a request's input: which reply comes next, what was asked, what tools said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Item = dict[str, Any]

MODEL_ITEMS = frozenset({"reasoning", "function_call", "custom_tool_call"})
STEM_LENGTH = 24
# Codex sends these as user messages before the one a person wrote.
CONTEXT_PREFIXES = ("<environment_context>", "<user_instructions>", "# AGENTS.md instructions")


def made_by_model(item: Item) -> bool:
    return item.get("type") in MODEL_ITEMS or item.get("role") == "assistant"


def count_replies(items: Sequence[Item]) -> int:
    """Return how many replies of the model the input holds.

    Items of one reply stand together and their ids share a stem; an item made by the model after anything else,
    or with another stem, begins the next reply.
    """
    replies = 0
    previous: str | None = None  # stem of the model's item just before, "" where it has no id of ours
    for item in items:
        if not made_by_model(item):
            previous = None
            continue
        stem = id_stem(item.get("id"))
        if previous is None or (stem and previous and stem != previous):
            replies += 1
        previous = stem or previous or ""
    return replies


def id_stem(item_id: Any) -> str:
    """Return the part of an item id that all items of one reply share; "" for ids this server did not make."""
    _, separator, rest = str(item_id or "").partition("_")
    return rest[:STEM_LENGTH] if separator and len(rest) == STEM_LENGTH + 4 else ""


def first_prompt(items: Sequence[Item]) -> str:
    """Return the text of the first user message that is no context of Codex's own."""
    for item in items:
        if item.get("role") == "user":
            text = content_text(item.get("content"))
            if not text.startswith(CONTEXT_PREFIXES):
                return text
    return ""


def last_output(items: Sequence[Item]) -> str:
    """Return what the newest tool call printed: the text after the line ``Output:`` where there is one."""
    for item in reversed(items):
        if item.get("type") in ("function_call_output", "custom_tool_call_output"):
            text = content_text(item.get("output"))
            header, separator, rest = text.partition("Output:\n")
            return rest.rstrip("\n") if separator and (not header or header.endswith("\n")) else text.rstrip("\n")
    return ""


def content_text(content: Any) -> str:
    """Return the text of a message's content or a call's output, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))
