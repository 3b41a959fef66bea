"""Checking requests as the real API does, so that a request it would refuse does not pass a test here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codex_client.model_server.conversation import Item

MIN_OUTPUT_TOKENS = 16


class RequestRefused(Exception):
    """The request is answered with an error of the API."""

    def __init__(self, message: str, *, status: int = 400, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param

    def body(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


REQUEST_FIELDS = frozenset(
    {
        "background",
        "client_metadata",
        "context_management",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "moderation",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)
ITEM_FIELDS = {
    "message": frozenset(["id", "type", "role", "content", "status", "phase"]),
    "function_call": frozenset(["id", "type", "call_id", "name", "arguments", "status", "namespace", "caller"]),
    "function_call_output": frozenset(["id", "type", "call_id", "output", "status", "name", "namespace", "caller"]),
    "reasoning": frozenset(["id", "type", "summary", "content", "encrypted_content", "status"]),
}
FUNCTION_TOOL_FIELDS = frozenset(
    ["type", "name", "description", "parameters", "strict", "allowed_callers", "defer_loading", "output_schema"]
)
CONTENT_TYPES = {
    "assistant": frozenset({"output_text", "refusal"}),
    "user": frozenset({"input_text", "input_image", "input_file"}),
    "developer": frozenset({"input_text", "input_image", "input_file"}),
    "system": frozenset({"input_text", "input_image", "input_file"}),
}


def check_request(request: Any, models: list[str]) -> list[Item]:
    """Return the request's input as a list of items; raises RequestRefused."""
    if not isinstance(request, dict):
        raise RequestRefused("Invalid body: expected a JSON object.")
    for name in request:
        if name not in REQUEST_FIELDS:
            raise _unknown_parameter(name)
    model = request.get("model")
    if not isinstance(model, str) or not model:
        raise _missing_parameter("model")
    if models and model not in models:
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise RequestRefused(message, status=404, code="model_not_found", param="model")
    limit = request.get("max_output_tokens")
    if limit is not None and (not isinstance(limit, int) or limit < MIN_OUTPUT_TOKENS):
        message = f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {MIN_OUTPUT_TOKENS}."
        raise RequestRefused(message, code="integer_below_min_value", param="max_output_tokens")
    if request.get("previous_response_id") is not None:
        message = "Previous response not found: this server keeps no responses."
        raise RequestRefused(message, code="previous_response_not_found", param="previous_response_id")
    _check_tools(request.get("tools"))
    items = _items(request.get("input"))
    for index, item in enumerate(items):
        _check_item(item, f"input[{index}]")
    _check_calls_have_outputs(items)
    return items


def _items(value: Any) -> list[Item]:
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    if value is None:
        raise _missing_parameter("input")
    if not isinstance(value, list):
        raise _invalid_type("input", "a string or an array of input items")
    return value


def _check_tools(tools: Any) -> None:
    if tools is None:
        return
    if not isinstance(tools, list):
        raise _invalid_type("tools", "an array")
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise _invalid_type(where, "an object")
        if tool.get("type") is None:
            raise _missing_parameter(f"{where}.type")
        if tool["type"] == "function":
            _check_function_tool(tool, where)


def _check_function_tool(tool: dict[str, Any], where: str) -> None:
    for name in tool:
        if name not in FUNCTION_TOOL_FIELDS:
            raise _unknown_parameter(f"{where}.{name}")
    if not isinstance(tool.get("name"), str):
        raise _missing_parameter(f"{where}.name")
    parameters = tool.get("parameters")
    if parameters is not None and (not isinstance(parameters, dict) or parameters.get("type") != "object"):
        message = f"Invalid schema for function '{tool['name']}': schema must be a JSON Schema of 'type: \"object\"'."
        raise RequestRefused(message, code="invalid_function_parameters", param=f"{where}.parameters")
    if tool.get("strict") and isinstance(parameters, dict):
        complete = set(parameters.get("properties", {})) == set(parameters.get("required", []))
        if parameters.get("additionalProperties") is not False or not complete:
            message = (
                f"Invalid schema for function '{tool['name']}': strict needs 'additionalProperties' to be false and "
                "every property in 'required'."
            )
            raise RequestRefused(message, code="invalid_function_parameters", param=f"{where}.parameters")


def _check_item(item: Any, where: str) -> None:
    if not isinstance(item, dict):
        raise _invalid_type(where, "an input item")
    kind = item.get("type", "message" if "role" in item else None)
    if not isinstance(kind, str):
        raise _missing_parameter(f"{where}.type")
    for name in item:
        if name not in ITEM_FIELDS.get(kind, item):
            raise _unknown_parameter(f"{where}.{name}")
    check = _ITEM_CHECKS.get(kind)
    if check:
        check(item, where)


def _check_message(item: Item, where: str) -> None:
    supported = CONTENT_TYPES.get(str(item.get("role")))
    if supported is None:
        raise _invalid_value(f"{where}.role", item.get("role"), frozenset(CONTENT_TYPES))
    content = item.get("content")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise _invalid_type(f"{where}.content", "a string or an array of content parts")
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in supported:
            raise _invalid_value(f"{where}.content[{index}].type", kind, supported)


def _check_function_call(item: Item, where: str) -> None:
    for name in ("call_id", "name", "arguments"):
        if not isinstance(item.get(name), str):
            raise _missing_parameter(f"{where}.{name}")


def _check_function_call_output(item: Item, where: str) -> None:
    if not isinstance(item.get("call_id"), str):
        raise _missing_parameter(f"{where}.call_id")
    if not isinstance(item.get("output"), str | list):
        raise _invalid_type(f"{where}.output", "a string or an array of content parts")


def _check_reasoning(item: Item, where: str) -> None:
    if not isinstance(item.get("summary"), list):
        raise _missing_parameter(f"{where}.summary")
    if not item.get("encrypted_content"):
        message = (
            f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set to false. "
            "Try again with `store` set to true, or remove this item from your input."
        )
        raise RequestRefused(message, status=404, param="input")


_ITEM_CHECKS: dict[str, Callable[[Item, str], None]] = {
    "message": _check_message,
    "function_call": _check_function_call,
    "function_call_output": _check_function_call_output,
    "reasoning": _check_reasoning,
}


def _check_calls_have_outputs(items: list[Item]) -> None:
    """Every call needs an output behind it and every output a call before it; ids may come back in later replies."""
    open_calls: list[str] = []
    for item in items:
        kind = item.get("type")
        if kind in ("function_call", "custom_tool_call"):
            open_calls.append(str(item.get("call_id")))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            call_id = str(item.get("call_id"))
            if call_id not in open_calls:
                message = f"No tool call found for function call output with call_id {call_id}."
                raise RequestRefused(message, param="input")
            open_calls.remove(call_id)
    if open_calls:
        raise RequestRefused(f"No tool output found for function call {open_calls[0]}.", param="input")


def _unknown_parameter(name: str) -> RequestRefused:
    return RequestRefused(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)


def _missing_parameter(name: str) -> RequestRefused:
    message = f"Missing required parameter: '{name}'."
    return RequestRefused(message, code="missing_required_parameter", param=name)


def _invalid_type(name: str, expected: str) -> RequestRefused:
    return RequestRefused(f"Invalid type for '{name}': expected {expected}.", code="invalid_type", param=name)


def _invalid_value(name: str, value: Any, supported: frozenset[str]) -> RequestRefused:
    expected = ", ".join(repr(one) for one in sorted(supported))
    message = f"Invalid value: {value!r}. Supported values are: {expected}."
    return RequestRefused(message, code="invalid_value", param=name)
