"""Items of our own making, as the Responses API takes them. Pure."""

from __future__ import annotations

from typing import Any


def message_item(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def user_message_item(text: str) -> dict[str, Any]:
    return message_item("user", text)
