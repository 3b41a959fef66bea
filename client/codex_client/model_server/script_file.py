"""Reading a script from YAML: every mistake is reported with its line and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from codex_client.model_server.script import Script


class ScriptError(ValueError):
    """The script cannot be used; the text names file, line and field of every mistake."""


def read_script(path: Path) -> Script:
    """Return the script of a file; raises ScriptError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"{path}: cannot be read: {error}") from error
    return parse_script(text, str(path))


def parse_script(text: str, name: str = "script") -> Script:
    """Return the script a YAML text holds; raises ScriptError. ``name`` stands before each line number."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScriptError(f"{name}: {error}") from error
    repeated = _repeated_key(node)
    if repeated:
        raise ScriptError(f"{name}:{repeated[0]}: {repeated[1]}: is given twice")
    if not isinstance(content, dict):
        raise ScriptError(f"{name}:1: the script must be a mapping with the key conversations")
    try:
        return Script.model_validate(content)
    except ValidationError as error:
        mistakes = [_describe(node, name, mistake["loc"], mistake["msg"]) for mistake in error.errors()]
        raise ScriptError("\n".join(mistakes)) from error


def _describe(node: yaml.Node | None, name: str, location: tuple[Any, ...], message: str) -> str:
    line, field = _locate(node, location)
    return f"{name}:{line}: {field}: {message.removeprefix('Value error, ')}"


def _locate(node: yaml.Node | None, location: tuple[Any, ...]) -> tuple[int, str]:
    """Follow pydantic's location as far as the document goes; a missing field is at its parent's line."""
    line = 1 if node is None else node.start_mark.line + 1
    field = ""
    for part in location:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
            field += f"[{part}]"
            continue
        # A single fault is written without the list that it is in.
        if not isinstance(node, yaml.MappingNode) or isinstance(part, int):
            continue
        found = [(key, value) for key, value in node.value if key.value == str(part)]
        if found:
            line = found[0][0].start_mark.line + 1
        node = found[0][1] if found else None
        field += f".{part}"
    return line, field.removeprefix(".") or "script"


def _repeated_key(node: yaml.Node | None) -> tuple[int, str] | None:
    """Return (line, key) of the first key a mapping holds twice: YAML readers silently keep the last one."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen and key.value != "<<":
                return key.start_mark.line + 1, str(key.value)
            seen.add(key.value)
            deeper = _repeated_key(value)
            if deeper:
                return deeper
    if isinstance(node, yaml.SequenceNode):
        for value in node.value:
            deeper = _repeated_key(value)
            if deeper:
                return deeper
    return None
