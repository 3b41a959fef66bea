"""Which tools may run beside others, and which decision lets one run."""

from __future__ import annotations

from codex_api.approvals import DecisionKind
from codex_api.tools import EXEC_COMMAND, REQUEST_USER_INPUT, VIEW_IMAGE, WRITE_STDIN

PARALLEL = frozenset({EXEC_COMMAND, WRITE_STDIN, VIEW_IMAGE})


def lets_run(tool: str, decision: DecisionKind) -> bool:
    """Tell whether a person's decision makes an asked call run: a question wants an answer, the rest an approval."""
    return decision is (DecisionKind.ANSWER if tool == REQUEST_USER_INPUT else DecisionKind.APPROVE)
