"""The output items of a reply, as the API shapes them."""

from __future__ import annotations

import base64
import json
from typing import Any

from codex_client.model_server.choice import Choice
from codex_client.model_server.conversation import Item
from codex_client.model_server.script import Call

ENCRYPTED_REASONING = "reasoning.encrypted_content"


def output_items(choice: Choice, request: dict[str, Any]) -> list[Item]:
    """Return the finished items of a reply in the order reasoning, text, calls."""
    reply = choice.reply
    items: list[Item] = []
    if reply.reasoning is not None:
        items.append(_reasoning(reply.reasoning, choice, ENCRYPTED_REASONING in (request.get("include") or [])))
    if reply.text is not None:
        items.append(_message(reply.text, _item_id("msg", choice, len(items))))
    for call in reply.calls:
        items.append((_function_call if call.input is None else _custom_call)(call, choice, len(items)))
    return items


def cut_short(items: list[Item]) -> list[Item]:
    """Return the items of a reply that hit a limit: the last one is incomplete and lacks its second half."""
    if not items:
        return []
    last = {**items[-1], "status": "incomplete"}
    if last["type"] == "message":
        text = last["content"][0]["text"]
        last["content"] = [{**last["content"][0], "text": text[: len(text) // 2]}]
    elif last["type"] == "function_call":
        last["arguments"] = last["arguments"][: len(last["arguments"]) // 2]
    elif last["type"] == "custom_tool_call":
        last["input"] = last["input"][: len(last["input"]) // 2]
    return [*items[:-1], last]


def _item_id(kind: str, choice: Choice, index: int) -> str:
    # The stem tells which items belong to one reply when they come back as input.
    return f"{kind}_{choice.stem}{index:04x}"


def _reasoning(text: str, choice: Choice, encrypted: bool) -> Item:
    item: Item = {
        "id": _item_id("rs", choice, 0),
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": text}] if text else [],
    }
    if encrypted:
        item["encrypted_content"] = base64.urlsafe_b64encode(f"scripted reasoning {choice.stem}".encode()).decode()
    return item


def _message(text: str, item_id: str) -> Item:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {"id": item_id, "type": "message", "status": "completed", "role": "assistant", "content": content}


def _function_call(call: Call, choice: Choice, index: int) -> Item:
    arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)
    return {
        "id": _item_id("fc", choice, index),
        "type": "function_call",
        "status": "completed",
        "call_id": call.call_id or f"call_{choice.stem}{index:04x}",
        "name": call.name,
        "arguments": arguments,
    }


def _custom_call(call: Call, choice: Choice, index: int) -> Item:
    return {
        "id": _item_id("ctc", choice, index),
        "type": "custom_tool_call",
        "status": "completed",
        "call_id": call.call_id or f"call_{choice.stem}{index:04x}",
        "name": call.name,
        "input": call.input,
    }
