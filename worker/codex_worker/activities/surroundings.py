"""Reads what the workspace says of itself, where that costs a model call no wait."""

from __future__ import annotations

import asyncio

import structlog

from codex_api.workflow_payloads import ModelCallInput
from codex_sandbox.errors import SandboxError
from codex_worker.context import Documents
from codex_worker.sandboxes import Sandboxes
from codex_worker.transcript import Transcript

log = structlog.get_logger("codex_worker.model")

READ_SECONDS = 1.0


async def project_documents(
    sandboxes: Sandboxes, session: str, transcript: Transcript, step: ModelCallInput
) -> Documents | None:
    """Return the workspace's AGENTS.md chain at a turn's first step and after commands; None: as it was."""
    ran = any(call.call_id in transcript.intents for call in transcript.calls_of(step.turn, step.step - 1))
    if step.step > 1 and not ran:
        return None
    async with sandboxes.borrow(session) as sandbox:
        if sandbox is None:
            return None
        try:
            async with asyncio.timeout(READ_SECONDS):
                found = await sandbox.project_documents()
        except (SandboxError, TimeoutError) as error:
            log.info("project documents cannot be read", session=session, problem=repr(error))
            return None
    return Documents(tuple(found.documents), found.truncated)
