"""view_image: reads a file of the sandbox. Reading twice harms nothing, so that no intent is journaled."""

from __future__ import annotations

from codex_api.rows import ToolResultPayload
from codex_sandbox.errors import SandboxRefused
from codex_sandbox.protocol import RefusalCode
from codex_worker.handlers.results import GrantedCall, Results, result_of
from codex_worker.handover import until_shutdown
from codex_worker.sandboxes import Sandboxes
from codex_worker.tools import outcomes
from codex_worker.tools.view_image import MAX_IMAGE_BYTES, NotAnImage, image_output


class Images:
    def __init__(self, sandboxes: Sandboxes, results: Results) -> None:
        self._sandboxes = sandboxes
        self._results = results

    async def run(self, granted: GrantedCall) -> None:
        """Raises SandboxNotReady, SandboxError (repeat the call), JournalError."""
        await self._results.finish(granted, await self._viewed(granted))

    async def _viewed(self, granted: GrantedCall) -> ToolResultPayload:
        record, call = granted.record, granted.call
        path = str(call.arguments["path"])
        # Not isolated: reading a file reaches no network.
        lease = self._sandboxes.lease(record.session, record.settings, fresh=False, isolated=False)
        async with lease as sandbox:
            try:
                file = await until_shutdown(sandbox.read_file(path, MAX_IMAGE_BYTES))
                return result_of(call, image_output(path, file, str(call.arguments["detail"])))
            except SandboxRefused as refusal:
                if refusal.code == RefusalCode.UNREADABLE_FILE:
                    return result_of(call, f"unable to read image at `{path}`: {refusal.message}", "failed")
                return result_of(call, outcomes.refused(refusal.message), "refused")
            except NotAnImage as error:
                return result_of(call, str(error), "failed")
