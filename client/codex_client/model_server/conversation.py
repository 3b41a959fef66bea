"""Reading a conversation back from a request's input: which reply comes next, what was asked, what tools said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

Item = dict[str, Any]

MODEL_ITEMS = frozenset({"reasoning", "function_call", "custom_tool_call"})
NUMBER_LENGTH = 4
STEM_LENGTH = 24
"""Hexadecimal digits of an id of ours: the last four of them are the number of the reply."""
_RUNNING = re.compile(r"^Process running with session ID (\d+)$", re.MULTILINE)
_SUMMARY = re.compile(r"^\(summary of (\d+) replies\)$", re.MULTILINE)
# Codex sends these as user messages before the one a person wrote.
CONTEXT_PREFIXES = ("<environment_context>", "<user_instructions>", "# AGENTS.md instructions")


def made_by_model(item: Item) -> bool:
    return item.get("type") in MODEL_ITEMS or item.get("role") == "assistant"


def count_replies(items: Sequence[Item]) -> int:
    """Return how many replies the model has given in this conversation.

    A reply of this server carries its number in its ids, and a summary says how many it stands for, so that replies
    which are no longer in the input count too. Items without ids of ours belong to one reply while they stand together.
    """
    replies = 0
    previous: str | None = None  # stem of the model's item just before, "" where it has no id of ours
    for item in items:
        if not made_by_model(item):
            replies = max(replies, _summarised(item))
            previous = None
            continue
        stem = id_stem(item.get("id")) or id_stem(item.get("call_id"))
        if previous is None or (stem and previous and stem != previous):
            replies = int(stem[-NUMBER_LENGTH:], 16) + 1 if stem else replies + 1
        previous = stem or previous or ""
    return replies


def summary_note(replies: int) -> str:
    """Return the line by which a summary says how many replies it stands for."""
    return f"(summary of {replies} replies)"


def _summarised(item: Item) -> int:
    return max((int(number) for number in _SUMMARY.findall(content_text(item.get("content")))), default=0)


def id_stem(item_id: Any) -> str:
    """Return the part of an item id that all items of one reply share; "" for ids this server did not make."""
    _, separator, rest = str(item_id or "").partition("_")
    ours = separator and len(rest) == STEM_LENGTH + 4 and all(digit in "0123456789abcdef" for digit in rest)
    return rest[:STEM_LENGTH] if ours else ""


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


def last_process(items: Sequence[Item]) -> str:
    """Return the session id of the newest command that was left running; "" where none was."""
    for item in reversed(items):
        if item.get("type") == "function_call_output":
            found = _RUNNING.search(content_text(item.get("output")))
            if found:
                return found[1]
    return ""


def content_text(content: Any) -> str:
    """Return the text of a message's content or a call's output, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))
