"""The events of a streamed reply, in the order of the API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from codex_client.model_server.conversation import Item

Event = dict[str, Any]


def response_object(request: dict[str, Any], response_id: str, created_at: int) -> dict[str, Any]:
    """Return the response as it stands before its first item: the API echoes the request's settings."""
    reasoning = request.get("reasoning") or {}
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "metadata": request.get("metadata") or {},
        "model": request["model"],
        "output": [],
        "parallel_tool_calls": request.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "prompt_cache_key": request.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "service_tier": "default",
        "store": request.get("store", True),
        "temperature": request.get("temperature", 1.0),
        "text": request.get("text") or {"format": {"type": "text"}},
        "tool_choice": request.get("tool_choice", "auto"),
        "tools": request.get("tools") or [],
        "top_p": request.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": None,
        "user": None,
    }


def beginning(response: dict[str, Any]) -> list[Event]:
    return [
        {"type": "response.created", "response": response},
        {"type": "response.in_progress", "response": response},
    ]


def item_events(items: list[Item]) -> Iterator[Event]:
    """Yield what streams between response.in_progress and the end."""
    for index, item in enumerate(items):
        begun = {**item, "status": "in_progress"} if "status" in item else dict(item)
        begun.update({name: empty for name, empty in _EMPTY[item["type"]].items() if name in item})
        yield {"type": "response.output_item.added", "output_index": index, "item": begun}
        yield from _CONTENT_EVENTS[item["type"]](item, {"item_id": item["id"], "output_index": index})
        yield {"type": "response.output_item.done", "output_index": index, "item": item}


def with_unknown_events(events: Iterable[Event]) -> Iterator[Event]:
    """Yield the events with others among them, and fields in them, that no client knows."""
    for number, event in enumerate(events):
        yield {"type": f"response.novelty_{number}.done", "output_index": 0, "item": {"type": "novelty", "odd": [None]}}
        yield {"type": "keepalive"}
        yield {**event, "novelty": {"number": number}}


def encode(event: Event, sequence_number: int) -> bytes:
    """Return the event as it is sent; ASCII, so that no lone surrogate of a script breaks it."""
    numbered = {**event, "sequence_number": sequence_number}
    return f"event: {event['type']}\ndata: {json.dumps(numbered, separators=(',', ':'))}\n\n".encode()


_EMPTY: dict[str, dict[str, Any]] = {
    "message": {"content": []},
    "function_call": {"arguments": ""},
    "custom_tool_call": {"input": ""},
    "reasoning": {"summary": []},
}


def _message_events(item: Item, where: dict[str, Any]) -> Iterator[Event]:
    for content_index, part in enumerate(item["content"]):
        at = {**where, "content_index": content_index}
        yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
        for delta in deltas(part["text"]):
            yield {"type": "response.output_text.delta", **at, "delta": delta, "logprobs": []}
        yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **at, "part": part}


def _function_call_events(item: Item, where: dict[str, Any]) -> Iterator[Event]:
    for delta in deltas(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **where, "delta": delta}
    yield {"type": "response.function_call_arguments.done", **where, "arguments": item["arguments"]}


def _custom_call_events(item: Item, where: dict[str, Any]) -> Iterator[Event]:
    for delta in deltas(item["input"]):
        yield {"type": "response.custom_tool_call_input.delta", **where, "delta": delta}
    yield {"type": "response.custom_tool_call_input.done", **where, "input": item["input"]}


def _reasoning_events(item: Item, where: dict[str, Any]) -> Iterator[Event]:
    for summary_index, part in enumerate(item["summary"]):
        at = {**where, "summary_index": summary_index}
        yield {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}}
        for delta in deltas(part["text"]):
            yield {"type": "response.reasoning_summary_text.delta", **at, "delta": delta}
        yield {"type": "response.reasoning_summary_text.done", **at, "text": part["text"]}
        yield {"type": "response.reasoning_summary_part.done", **at, "part": part}


_CONTENT_EVENTS = {
    "message": _message_events,
    "function_call": _function_call_events,
    "custom_tool_call": _custom_call_events,
    "reasoning": _reasoning_events,
}


def deltas(text: str) -> list[str]:
    """Cut a text into deltas of about a token: a word with the space before it, at most 16 characters."""
    return re.findall(r"\s*\S{1,16}|\s+\Z", text)
