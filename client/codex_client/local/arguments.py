"""From what was typed to what it means; raises UsageError."""

from __future__ import annotations

import os
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from codex_api.rows import SandboxMode
from codex_api.session import ApprovalPolicy, ReasoningEffort
from codex_client.local.bubblewrap import KERNEL_FOLDERS
from codex_client.local.errors import UsageError

SANDBOXES = {
    "workspace-write": SandboxMode.WORKSPACE_WRITE,
    "read-only": SandboxMode.READ_ONLY,
    "none": SandboxMode.NONE,
    "danger-full-access": SandboxMode.NONE,
}
POLICIES = {
    "untrusted": ApprovalPolicy.UNTRUSTED,
    "on-request": ApprovalPolicy.ON_REQUEST,
    "never": ApprovalPolicy.NEVER,
}
# No place for a sandbox: mounted anew in each, or controls of the whole machine.
NO_WORKSPACE = (*KERNEL_FOLDERS, "/sys")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - folders of users lie there
EFFORTS = {effort.value.lower(): effort for effort in ReasoningEffort}


def working_directory(given: Path, sandbox: SandboxMode) -> Path:
    """Return the absolute folder, links resolved."""
    try:
        directory = given.expanduser().resolve(strict=True)
    except OSError as error:
        raise UsageError(f"cannot work in {given}: {error.strerror}") from error
    if not directory.is_dir():
        raise UsageError(f"cannot work in {directory}: it is no folder")
    within = any(directory.is_relative_to(folder) for folder in NO_WORKSPACE) and SHARED_MEMORY not in directory.parents
    if sandbox is not SandboxMode.NONE and within:
        raise UsageError(f"cannot work in {directory}: no sandbox can be made in {', '.join(NO_WORKSPACE)}")
    if not os.access(directory, os.R_OK | os.X_OK):
        raise UsageError(f"cannot work in {directory}: it is not readable for you")
    if sandbox is SandboxMode.WORKSPACE_WRITE and not os.access(directory, os.W_OK):
        raise UsageError(f"cannot work in {directory}: it is not writable for you; use --sandbox read-only")
    return directory


def writable_file(path: Path) -> None:
    """Raise UsageError where no file could be written, before anything is paid for."""
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"cannot write {path}: it is not writable for you")


def money(text: str | None) -> Decimal | None:
    """Return an amount, at most six digits after the point."""
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise UsageError(f"--max-cost: {text!r} is no amount of money, like 2.50") from None
    if not amount.is_finite() or amount <= 0 or amount > 10**9:
        raise UsageError(f"--max-cost: {text} must be above 0 and below a milliard")
    return amount


def given(**values: Any) -> dict[str, Any]:
    """Return what was given on the command line; what was not keeps its default."""
    return {name: value for name, value in values.items() if value is not None}
