"""The peer: an agent loop in workflow code that sends its whole transcript with every model call."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow

from codex_worker.responses.client import ResponsesModel
from codex_worker.responses.request import ModelRequest
from codex_worker.tools.schemas import tool_definitions

Item = dict[str, Any]


class PeerActivities:
    """One activity per model call, one per command, as the agent SDKs on Temporal do it."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._model = ResponsesModel()

    @activity.defn
    async def ask(self, items: list[Item]) -> list[Item]:
        request = ModelRequest(
            base_url=self._base_url,
            api_key="test-key",
            session="peer",
            model="scripted",
            instructions="You are a coding agent.",
            input=items,
            tools=tool_definitions(),
        )
        return (await self._model.stream(request)).items

    @activity.defn
    async def run(self, arguments: str) -> str:
        command = json.loads(arguments)["cmd"]
        process = await asyncio.create_subprocess_exec("bash", "-c", command, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        return output.decode()

    async def close(self) -> None:
        await self._model.close()


@workflow.defn
class TranscriptInHistory:
    @workflow.run
    async def run(self, prompt: str) -> None:
        content = [{"type": "input_text", "text": prompt}]
        items: list[Item] = [{"type": "message", "role": "user", "content": content}]
        timeout = timedelta(minutes=1)
        while True:
            reply: list[Item] = await workflow.execute_activity(
                PeerActivities.ask, args=[items], start_to_close_timeout=timeout
            )
            items += reply
            calls = [item for item in reply if item["type"] == "function_call"]
            if not calls:
                return
            for call in calls:
                output = await workflow.execute_activity(
                    PeerActivities.run, call["arguments"], start_to_close_timeout=timeout
                )
                items.append({"type": "function_call_output", "call_id": call["call_id"], "output": output})
