"""The digest of what a call would do, made of its journaled arguments; the sandbox recomputes those it executes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from codex_api.rows import ToolCallPayload
from codex_api.tools import WRITE_STDIN
from codex_sandbox.digest import canonical_json, command_digest, write_digest


def digest_of(call: ToolCallPayload) -> str:
    """Return the digest of what the call would execute, computed anew from its arguments."""
    if call.argv:
        return command_digest(call.argv, call.directory, call.stdin, call.environment, call.tty)
    if call.tool == WRITE_STDIN:
        process = call.arguments.get("session_id")
        return write_digest(process if isinstance(process, int) else -1, str(call.arguments.get("chars", "")))
    return arguments_digest(call.tool, call.arguments)


def arguments_digest(tool: str, arguments: Mapping[str, Any]) -> str:
    """Return the digest of a call that executes nothing."""
    value = {"version": 1, "kind": "arguments", "tool": tool, "arguments": dict(arguments)}
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()
