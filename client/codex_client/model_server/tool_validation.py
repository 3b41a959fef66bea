"""Checking what a request declares: its tools, and the form the answer must have."""

from __future__ import annotations

import re
from typing import Any

from codex_client.model_server.refusals import (
    RequestRefused,
    invalid_type,
    invalid_value,
    missing_parameter,
    unknown_parameter,
)

FUNCTION_TOOL_FIELDS = frozenset(
    ["type", "name", "description", "parameters", "strict", "allowed_callers", "defer_loading", "output_schema"]
)
CUSTOM_TOOL_FIELDS = frozenset(["type", "name", "description", "format", "allowed_callers", "defer_loading"])
GRAMMAR_SYNTAXES = frozenset({"lark", "regex"})
TEXT_FORMATS = frozenset({"text", "json_object", "json_schema"})


def check_tools(tools: Any) -> None:
    if tools is None:
        return
    if not isinstance(tools, list):
        raise invalid_type("tools", "an array")
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise invalid_type(where, "an object")
        if tool.get("type") is None:
            raise missing_parameter(f"{where}.type")
        if tool["type"] == "function":
            _check_function_tool(tool, where)
        elif tool["type"] == "custom":
            _check_custom_tool(tool, where)


def _check_function_tool(tool: dict[str, Any], where: str) -> None:
    for name in tool:
        if name not in FUNCTION_TOOL_FIELDS:
            raise unknown_parameter(f"{where}.{name}")
    if not isinstance(tool.get("name"), str):
        raise missing_parameter(f"{where}.name")
    parameters = tool.get("parameters")
    if parameters is not None and (not isinstance(parameters, dict) or parameters.get("type") != "object"):
        message = f"Invalid schema for function '{tool['name']}': schema must be a JSON Schema of 'type: \"object\"'."
        raise RequestRefused(message, code="invalid_function_parameters", param=f"{where}.parameters")
    if tool.get("strict") and isinstance(parameters, dict):
        said = f"Invalid schema for function '{tool['name']}'"
        check_strict_schema(parameters, said, "invalid_function_parameters", f"{where}.parameters")


def _check_custom_tool(tool: dict[str, Any], where: str) -> None:
    for name in tool:
        if name not in CUSTOM_TOOL_FIELDS:
            raise unknown_parameter(f"{where}.{name}")
    if not isinstance(tool.get("name"), str):
        raise missing_parameter(f"{where}.name")
    form = tool.get("format", {"type": "text"})
    if not isinstance(form, dict):
        raise invalid_type(f"{where}.format", "an object")
    if form.get("type") not in ("text", "grammar"):
        raise invalid_value(f"{where}.format.type", form.get("type"), frozenset({"text", "grammar"}))
    if form["type"] == "grammar":
        if form.get("syntax") not in GRAMMAR_SYNTAXES:
            raise invalid_value(f"{where}.format.syntax", form.get("syntax"), GRAMMAR_SYNTAXES)
        if not isinstance(form.get("definition"), str):
            raise missing_parameter(f"{where}.format.definition")


def check_text_format(text: Any) -> None:
    """Check the form that the model's message must have; raises RequestRefused."""
    if text is None:
        return
    if not isinstance(text, dict):
        raise invalid_type("text", "an object")
    form = text.get("format")
    if form is None:
        return
    if not isinstance(form, dict) or form.get("type") not in TEXT_FORMATS:
        raise invalid_value("text.format.type", form and form.get("type"), TEXT_FORMATS)
    if form["type"] != "json_schema":
        return
    name = form.get("name")
    if not isinstance(name, str):
        raise missing_parameter("text.format.name")
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name):
        message = "Invalid 'text.format.name': string does not match pattern. Expected '^[a-zA-Z0-9_-]+$'."
        raise RequestRefused(message, code="invalid_value", param="text.format.name")
    if not isinstance(form.get("schema"), dict):
        raise missing_parameter("text.format.schema")
    if form.get("strict"):
        said = f"Invalid schema for response_format '{name}'"
        check_strict_schema(form["schema"], said, "invalid_json_schema", "text.format.schema")


def check_strict_schema(schema: Any, said: str, code: str, param: str) -> None:
    """Refuse a schema in which an object leaves a property out of ``required`` or admits unknown ones."""
    if isinstance(schema, list):
        for part in schema:
            check_strict_schema(part, said, code, param)
    if not isinstance(schema, dict):
        return
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, dict):
        complete = set(properties or {}) == set(schema.get("required", []))
        if schema.get("additionalProperties") is not False or not complete:
            message = f"{said}: strict needs 'additionalProperties' to be false and every property in 'required'."
            raise RequestRefused(message, code=code, param=param)
    for name, part in schema.items():
        if name in ("enum", "const", "default", "examples", "required"):
            continue
        # The names below these keys are the schema's own, not keywords.
        named = name in ("properties", "$defs", "definitions") and isinstance(part, dict)
        check_strict_schema(list(part.values()) if named else part, said, code, param)
