"""Reading a JSON schema for the model's final message, with the mistakes a person makes found at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codex_client.local.errors import UsageError

TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_SCHEMA_MAPS = ("properties", "$defs", "definitions")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf")
_SAYS_WHAT = ("type", "$ref", "enum", "const", *_SCHEMA_LISTS)


def read_output_schema(path: Path) -> dict[str, Any]:
    """Return the schema in a file; raises UsageError."""
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--output-schema: cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--output-schema: {path} is no JSON: {error}") from error
    problem = problem_of(schema)
    if problem is not None:
        raise UsageError(f"--output-schema: {path} is no JSON schema of an object: {problem}")
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise UsageError(f'--output-schema: {path}: the outermost schema must have "type": "object"')
    return schema


def problem_of(schema: object, where: str = "the schema") -> str | None:
    """Return the first mistake, or None; a schema too deep to look through is one."""
    if not isinstance(schema, dict):
        return f"{where} is {_kind(schema)}, not an object"
    if not any(key in schema for key in _SAYS_WHAT):
        return f"{where} says nothing about what it allows (type, enum, $ref, anyOf …)"
    types = schema.get("type", [])
    for name in types if isinstance(types, list) else [types]:
        if not isinstance(name, str) or name not in TYPES:
            return f"{where} has the type {name!r}"
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        return f"{where}: required is no list of names"
    return _problem_within(schema, where)


def _problem_within(schema: dict[str, Any], where: str) -> str | None:
    parts: list[tuple[str, object]] = []
    for key in _SCHEMA_MAPS:
        inner = schema.get(key, {})
        if not isinstance(inner, dict):
            return f"{where}: {key} is {_kind(inner)}, not an object"
        parts += [(f"{key}.{name}", value) for name, value in inner.items()]
    for key in _SCHEMA_LISTS:
        inner = schema.get(key, [])
        if not isinstance(inner, list):
            return f"{where}: {key} is {_kind(inner)}, not a list"
        parts += [(f"{key}[{index}]", value) for index, value in enumerate(inner)]
    if "items" in schema:
        parts.append(("items", schema["items"]))
    try:
        problems = (problem_of(value, name) for name, value in parts)
        return next((problem for problem in problems if problem is not None), None)
    except RecursionError:
        return f"{where} is nested too deeply"


def _kind(value: object) -> str:
    return {list: "a list", str: "a text", type(None): "null", bool: "a boolean"}.get(type(value), "a number")
