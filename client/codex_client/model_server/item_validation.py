"""Checking the items of a request's input, one by one and against each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codex_client.model_server.conversation import Item
from codex_client.model_server.refusals import (
    RequestRefused,
    invalid_type,
    invalid_value,
    missing_parameter,
    unknown_parameter,
)

CALL_FIELDS = ["id", "type", "call_id", "status", "namespace", "caller"]
ITEM_FIELDS = {
    "message": frozenset(["id", "type", "role", "content", "status", "phase"]),
    "function_call": frozenset([*CALL_FIELDS, "name", "arguments"]),
    "function_call_output": frozenset([*CALL_FIELDS, "name", "output"]),
    "custom_tool_call": frozenset([*CALL_FIELDS, "name", "input"]),
    "custom_tool_call_output": frozenset([*CALL_FIELDS, "name", "output"]),
    "reasoning": frozenset(["id", "type", "summary", "content", "encrypted_content", "status"]),
}
INPUT_PARTS = frozenset({"input_text", "input_image", "input_file"})
CONTENT_TYPES = {
    "assistant": frozenset({"output_text", "refusal"}),
    "user": INPUT_PARTS,
    "developer": INPUT_PARTS,
    "system": INPUT_PARTS,
}
IMAGE_DETAILS = frozenset({"low", "high", "auto", "original"})


def check_item(item: Any, where: str) -> None:
    if not isinstance(item, dict):
        raise invalid_type(where, "an input item")
    kind = item.get("type", "message" if "role" in item else None)
    if not isinstance(kind, str):
        raise missing_parameter(f"{where}.type")
    for name in item:
        if name not in ITEM_FIELDS.get(kind, item):
            raise unknown_parameter(f"{where}.{name}")
    check = _ITEM_CHECKS.get(kind)
    if check:
        check(item, where)


def _check_message(item: Item, where: str) -> None:
    supported = CONTENT_TYPES.get(str(item.get("role")))
    if supported is None:
        raise invalid_value(f"{where}.role", item.get("role"), frozenset(CONTENT_TYPES))
    _check_content(item.get("content"), supported, f"{where}.content")


def _check_content(content: Any, supported: frozenset[str], where: str) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise invalid_type(where, "a string or an array of content parts")
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in supported:
            raise invalid_value(f"{where}[{index}].type", kind, supported)
        if kind == "input_image":
            _check_image(part, f"{where}[{index}]")
        elif kind in ("input_text", "output_text") and not isinstance(part.get("text"), str):
            raise missing_parameter(f"{where}[{index}].text")


def _check_image(part: Item, where: str) -> None:
    url = part.get("image_url")
    if url is None and part.get("file_id") is None:
        raise missing_parameter(f"{where}.image_url")
    if url is not None and not str(url).startswith(("data:image/", "https://", "http://")):
        message = f"Invalid '{where}.image_url'. Expected a valid URL, but got a value with an invalid format."
        raise RequestRefused(message, code="invalid_value", param=f"{where}.image_url")
    if part.get("detail", "auto") not in IMAGE_DETAILS:
        raise invalid_value(f"{where}.detail", part["detail"], IMAGE_DETAILS)


def _check_function_call(item: Item, where: str) -> None:
    for name in ("call_id", "name", "arguments"):
        if not isinstance(item.get(name), str):
            raise missing_parameter(f"{where}.{name}")


def _check_custom_call(item: Item, where: str) -> None:
    for name in ("call_id", "name", "input"):
        if not isinstance(item.get(name), str):
            raise missing_parameter(f"{where}.{name}")


def _check_output(item: Item, where: str) -> None:
    if not isinstance(item.get("call_id"), str):
        raise missing_parameter(f"{where}.call_id")
    _check_content(item.get("output"), INPUT_PARTS, f"{where}.output")


def _check_reasoning(item: Item, where: str) -> None:
    if not isinstance(item.get("summary"), list):
        raise missing_parameter(f"{where}.summary")
    if not item.get("encrypted_content"):
        message = (
            f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set to false. "
            "Try again with `store` set to true, or remove this item from your input."
        )
        raise RequestRefused(message, status=404, param="input")


_ITEM_CHECKS: dict[str, Callable[[Item, str], None]] = {
    "message": _check_message,
    "function_call": _check_function_call,
    "function_call_output": _check_output,
    "custom_tool_call": _check_custom_call,
    "custom_tool_call_output": _check_output,
    "reasoning": _check_reasoning,
}


CALLS = {"function_call": "function call", "custom_tool_call": "custom tool call"}


def check_calls_have_outputs(items: list[Item]) -> None:
    """Every call needs an output of its kind behind it, every output a call; ids may come back in later replies."""
    open_calls: list[tuple[str, str]] = []
    for item in items:
        kind = str(item.get("type"))
        call = (kind.removesuffix("_output"), str(item.get("call_id")))
        if kind in CALLS:
            open_calls.append(call)
        elif kind.endswith("_output") and call[0] in CALLS:
            if call not in open_calls:
                message = f"No tool call found for {CALLS[call[0]]} output with call_id {call[1]}."
                raise RequestRefused(message, param="input")
            open_calls.remove(call)
    if open_calls:
        kind, call_id = open_calls[0]
        raise RequestRefused(f"No tool output found for {CALLS[kind]} {call_id}.", param="input")
