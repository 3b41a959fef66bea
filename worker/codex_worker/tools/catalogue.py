"""What the tools are called, which may run beside others, and which decision lets one run."""

from __future__ import annotations

from codex_api.approvals import DecisionKind

EXEC_COMMAND = "exec_command"
WRITE_STDIN = "write_stdin"
APPLY_PATCH = "apply_patch"
UPDATE_PLAN = "update_plan"
VIEW_IMAGE = "view_image"
REQUEST_USER_INPUT = "request_user_input"

PARALLEL = frozenset({EXEC_COMMAND, WRITE_STDIN, VIEW_IMAGE})


def lets_run(tool: str, decision: DecisionKind) -> bool:
    """Tell whether a person's decision makes an asked call run: a question wants an answer, the rest an approval."""
    return decision is (DecisionKind.ANSWER if tool == REQUEST_USER_INPUT else DecisionKind.APPROVE)
