"""The tools as a model is told of them."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from codex_api.tools import APPLY_PATCH, EXEC_COMMAND, REQUEST_USER_INPUT, UPDATE_PLAN, VIEW_IMAGE, WRITE_STDIN


def tool_definitions(freeform_patch: bool = False) -> list[dict[str, Any]]:
    """Return the ``tools`` of a Responses request, always the same, or the provider's prompt cache is lost.

    ``freeform_patch`` gives apply_patch as a custom tool with a grammar, for models that were trained with it.
    """
    patch = _custom_apply_patch() if freeform_patch else _function_apply_patch()
    return [_exec_command(), _write_stdin(), _update_plan(), _request_user_input(), patch, _view_image()]


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
            "sandbox_permissions": _choice(
                "Set to require_escalated to have a person look at the command before it runs. It runs in the sandbox "
                "all the same: an approval gives it no further rights. Defaults to use_default.",
                ["use_default", "require_escalated"],
            ),
            "justification": _argument(
                "string", "Only with require_escalated: a short question to the person that says what for."
            ),
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


def _update_plan() -> dict[str, Any]:
    step = _object(
        {
            "step": _argument("string", "What is to be done, in a few words."),
            "status": _choice("How far it is.", ["pending", "in_progress", "completed"]),
        },
        ["step", "status"],
    )
    return _function(
        UPDATE_PLAN,
        "Replaces the plan of this task, which people watch. At most one step should be in_progress at a time.",
        {
            "plan": {"type": "array", "description": "All steps, in order.", "items": step},
            "explanation": _argument("string", "Why the plan changed."),
        },
        ["plan"],
    )


def _request_user_input() -> dict[str, Any]:
    option = _object(
        {
            "label": _argument("string", "The answer in one to five words."),
            "description": _argument("string", "What choosing it means, in one sentence."),
        },
        ["label", "description"],
    )
    question = _object(
        {
            "id": _argument("string", "Short name by which the answer is returned, in snake_case."),
            "header": _argument("string", "Title of at most 12 characters."),
            "question": _argument("string", "The question, in one sentence."),
            "options": {
                "type": "array",
                "description": "Two or three answers to choose from, the best one first; a person may answer freely.",
                "items": option,
            },
        },
        ["id", "header", "question", "options"],
    )
    return _function(
        REQUEST_USER_INPUT,
        "Asks a person one to three short questions and waits for the answers. Only for what the task cannot do "
        "without: often nobody is there.",
        {"questions": {"type": "array", "description": "One to three questions.", "items": question}},
        ["questions"],
    )


def _view_image() -> dict[str, Any]:
    return _function(
        VIEW_IMAGE,
        "Shows you an image file (PNG, JPEG, GIF or WebP) of the sandbox.",
        {
            "path": _argument("string", "The file; relative to the workspace."),
            "detail": _choice("How closely to look. Defaults to high.", ["high", "original"]),
        },
        ["path"],
    )


def _function_apply_patch() -> dict[str, Any]:
    return _function(
        APPLY_PATCH,
        f"Edits files by a patch of this form:\n\n{_text('apply_patch.md')}",
        {"input": _argument("string", "The whole patch, from *** Begin Patch to *** End Patch.")},
        ["input"],
    )


def _custom_apply_patch() -> dict[str, Any]:
    return {
        "type": "custom",
        "name": APPLY_PATCH,
        "description": "Edits files by a patch. This is a freeform tool: write the patch as it is, not as JSON.",
        "format": {"type": "grammar", "syntax": "lark", "definition": _text("apply_patch.lark")},
    }


@cache
def _text(name: str) -> str:
    return resources.files("codex_worker.tools").joinpath(name).read_text()


def _waiting(yield_time: str) -> dict[str, Any]:
    return {
        "yield_time_ms": _argument("number", yield_time),
        "max_output_tokens": _argument("number", "Most tokens of output to return; longer output loses its middle."),
    }


def _argument(kind: str, description: str) -> dict[str, Any]:
    return {"type": kind, "description": description}


def _choice(description: str, values: list[str]) -> dict[str, Any]:
    return {"type": "string", "description": description, "enum": values}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _function(name: str, description: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "function",
        "name": name,
        "description": description,
        "strict": False,
        "parameters": _object(properties, required),
    }
