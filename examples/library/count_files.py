"""Let a model count the files of a folder, approve what only reads, and print what happens.

OPENAI_API_KEY=… python count_files.py [FOLDER]
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from codex_api.approvals import DecisionKind
from codex_api.events import ExecApprovalRequest, TurnAborted, TurnComplete, TurnFailed
from codex_api.rows import ToolCallPayload
from codex_api.session import ApprovalPolicy
from codex_client.agent_session import TemporalAgentSession
from codex_client.local.config import LocalConfig
from codex_client.local.session_options import SessionOptions
from codex_client.operations import ExecApproval, UserTurn


async def count_files(folder: Path) -> str:
    options = SessionOptions(directory=folder, approval_policy=ApprovalPolicy.UNTRUSTED, max_steps=10)
    commands: dict[str, str] = {}
    async with TemporalAgentSession.open(options, LocalConfig.of(os.environ)) as session:
        await session.submit(UserTurn("How many files are in this folder and below?"))
        while True:
            event = await session.next_event()
            match event.payload:
                case ToolCallPayload() as call:
                    commands[call.call_id] = call.preview
                case ExecApprovalRequest() as request:
                    command = commands[request.call_id]
                    harmless = command.startswith("find ") and "-exec" not in command and "-delete" not in command
                    sys.stdout.write(f"{'approved' if harmless else 'denied'}: {command}\n")
                    decision = DecisionKind.APPROVE if harmless else DecisionKind.DENY
                    await session.submit(
                        ExecApproval(request.approval_id, decision, reason="" if harmless else "only find")
                    )
                case TurnComplete() as end:
                    return end.last_agent_message
                case TurnAborted() | TurnFailed() as end:
                    raise SystemExit(f"{end.reason}: {end.message}")


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(count_files(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())) + "\n")
