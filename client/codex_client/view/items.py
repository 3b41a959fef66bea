"""What a person reads in the items exchanged with a model. Pure; tolerant of items a provider shaped otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from codex_api.rows import ToolCallPayload
from codex_api.tools import APPLY_PATCH, PATCH_PROGRAM

_PATCHED_FILE = re.compile(r"^\*\*\* (Add|Delete|Update) File: (.+)$", re.MULTILINE)
# The lines told about a command end with this one; they are few, and a command may print it too.
_OUTPUT_HEADING = "Output:\n"
_HEADINGS_WITHIN = 512
_TRUNCATION_WARNING = "Warning: truncated output"


def agent_text(item: Mapping[str, Any]) -> str:
    """Return what the model said in a message item, empty for any other item."""
    if item.get("type") != "message" or item.get("role") != "assistant":
        return ""
    return _joined(item.get("content"), "output_text", "")


def user_text(item: Mapping[str, Any]) -> str:
    """Return what a person said in a message item, empty for any other item."""
    if item.get("type") != "message" or item.get("role") != "user":
        return ""
    return _joined(item.get("content"), "input_text", "")


def reasoning_text(item: Mapping[str, Any]) -> str:
    """Return the readable summary of a reasoning item, empty for any other item."""
    return _joined(item.get("summary"), "summary_text", "\n\n") if item.get("type") == "reasoning" else ""


def output_text(item: Mapping[str, Any]) -> str:
    """Return what a call printed, without the lines told about it; an image is only named."""
    output = item.get("output")
    if isinstance(output, list):
        return "\n".join(_part_text(part) for part in output)
    if not isinstance(output, str):
        return ""
    heading = output.find(_OUTPUT_HEADING, 0, _HEADINGS_WITHIN)
    if heading < 0 or not output.startswith(("Chunk ID:", "Wall time:", "Exit code:")):
        return output
    text = output[heading + len(_OUTPUT_HEADING) :]
    # The warning and its counts stand before an empty line; the marker in the text says the same.
    return text.partition("\n\n")[2] if text.startswith(_TRUNCATION_WARNING) else text


def answers_text(output: str) -> str:
    """Return what a person answered to request_user_input, an answer a line; else the output itself."""
    try:
        answers = json.loads(output)["answers"]
        return "\n".join(str(text) for answer in answers.values() for text in answer["answers"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return output


def is_patch(call: ToolCallPayload) -> bool:
    """Tell whether the call changes files by a patch, in whichever form the model sent it."""
    return call.tool == APPLY_PATCH or call.argv[:1] == [PATCH_PROGRAM]


def patch_text(call: ToolCallPayload) -> str:
    """Return the patch as the model wrote it, empty where the call is none."""
    if not is_patch(call):
        return ""
    text = call.stdin or call.arguments.get("input") or call.arguments.get("patch")
    return text if isinstance(text, str) else ""


def patched_files(call: ToolCallPayload) -> list[tuple[str, str]]:
    """Return (Add, Delete or Update; path) of what a patch says it will change; what it did stands in its result."""
    return _PATCHED_FILE.findall(patch_text(call))


def _joined(parts: object, kind: str, separator: str) -> str:
    if not isinstance(parts, list):
        return ""
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == kind]
    return separator.join(text for text in texts if isinstance(text, str))


def _part_text(part: object) -> str:
    if not isinstance(part, dict):
        return ""
    return "[image]" if part.get("type") == "input_image" else str(part.get("text", ""))
