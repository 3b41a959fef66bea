"""The tools as a model is told of them."""

from __future__ import annotations

from typing import Any

from codex_worker.tools.exec_command import EXEC_COMMAND, WRITE_STDIN


def tool_definitions() -> list[dict[str, Any]]:
    """Return the ``tools`` of a Responses request, always the same, or the provider's prompt cache is lost."""
    return [_exec_command(), _write_stdin()]


def _exec_command() -> dict[str, Any]:
    return _function(
        EXEC_COMMAND,
        "Runs a command in the session's sandbox. Returns its output, or a session ID if it is still running.",
        {
            "cmd": _argument("string", "Shell command to run."),
            "workdir": _argument("string", "Directory to run it in; relative to the workspace, which is the default."),
            "shell": _argument("string", "Shell binary to run it with. Defaults to bash."),
            "login": _argument("boolean", "Whether the shell is a login shell. Defaults to true."),
            "tty": _argument(
                "boolean", "Whether to give the command a terminal, for interactive programs. Defaults to false."
            ),
            **_waiting("Milliseconds to wait for the command to end before returning the output so far."),
        },
        ["cmd"],
    )


def _write_stdin() -> dict[str, Any]:
    return _function(
        WRITE_STDIN,
        "Writes to a command that is still running, or only waits for it, and returns its recent output.",
        {
            "session_id": _argument("number", "Session ID of the running command."),
            "chars": _argument("string", "Characters to write to its standard input; empty to only wait."),
            **_waiting("Milliseconds to wait for output before returning."),
        },
        ["session_id"],
    )


def _waiting(yield_time: str) -> dict[str, Any]:
    return {
        "yield_time_ms": _argument("number", yield_time),
        "max_output_tokens": _argument("number", "Most tokens of output to return; longer output loses its middle."),
    }


def _argument(kind: str, description: str) -> dict[str, Any]:
    return {"type": kind, "description": description}


def _function(name: str, description: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "function",
        "name": name,
        "description": description,
        "strict": False,
        "parameters": {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        },
    }
