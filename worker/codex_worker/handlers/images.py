"""view_image: reads a file of the sandbox. Reading twice harms nothing, so that no intent is journaled."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from codex_api.rows import ToolCallPayload, ToolResultPayload
from codex_sandbox.client import SandboxClient
from codex_sandbox.errors import SandboxRefused
from codex_sandbox.protocol import RefusalCode
from codex_worker.handlers.results import GrantedCall, Results, result_of
from codex_worker.handover import until_shutdown
from codex_worker.sandboxes import Sandboxes
from codex_worker.token_estimates import image_characters
from codex_worker.tools import outcomes
from codex_worker.tools.view_image import MAX_CONVERSATION_CHARACTERS, MAX_IMAGE_BYTES, NotAnImage, image_output
from codex_worker.transcript import Transcripts

MAX_AT_ONCE = 2
"""In this process: each takes several times its own size until it is journaled."""
READ_SECONDS = 3.0
"""What a sandbox may hold such a place for."""


class Images:
    def __init__(self, sandboxes: Sandboxes, transcripts: Transcripts, results: Results) -> None:
        self._sandboxes = sandboxes
        self._transcripts = transcripts
        self._results = results
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self._sessions: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, granted: GrantedCall) -> None:
        """Raises SandboxNotReady, SandboxError (repeat the call), JournalError."""
        record = granted.record
        # Of a session one at a time: it holds one place at most, and of two images only one may find the last room.
        alone = self._sessions.setdefault(record.session, asyncio.Lock())
        # Not isolated: reading a file reaches no network.
        lease = self._sandboxes.lease(record.session, record.settings, fresh=False, isolated=False)
        async with lease as sandbox, alone, self._places:
            result = await _viewed(granted.call, sandbox)
            size = image_characters(result.item)
            held = (await self._transcripts.load(record.session)).image_characters if size else 0
            if held + size > MAX_CONVERSATION_CHARACTERS:
                text = outcomes.too_many_images(held, MAX_CONVERSATION_CHARACTERS)
                result = result_of(granted.call, text, "failed")
            await self._results.finish(granted, result)


async def _viewed(call: ToolCallPayload, sandbox: SandboxClient) -> ToolResultPayload:
    path = str(call.arguments["path"])
    try:
        async with asyncio.timeout(READ_SECONDS):
            file = await until_shutdown(sandbox.read_file(path, MAX_IMAGE_BYTES))
        return result_of(call, image_output(path, file, str(call.arguments["detail"])))
    except TimeoutError:
        text = f"unable to read image at `{path}`: it took longer than {READ_SECONDS:.0f} seconds"
        return result_of(call, text, "failed")
    except SandboxRefused as refusal:
        if refusal.code == RefusalCode.UNREADABLE_FILE:
            return result_of(call, f"unable to read image at `{path}`: {refusal.message}", "failed")
        return result_of(call, outcomes.refused(refusal.message), "refused")
    except NotAnImage as error:
        return result_of(call, str(error), "failed")
