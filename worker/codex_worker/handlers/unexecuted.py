"""Tools whose result is known without a sandbox: update_plan, and a question that a person has answered."""

from __future__ import annotations

from codex_worker.handlers.results import GrantedCall, Results, result_of
from codex_worker.tools.request_user_input import answers_text
from codex_worker.tools.update_plan import UPDATED


class PlanUpdates:
    def __init__(self, results: Results) -> None:
        self._results = results

    async def run(self, granted: GrantedCall) -> None:
        """The call's row is the plan; raises JournalError."""
        await self._results.finish(granted, result_of(granted.call, UPDATED))


class Questions:
    def __init__(self, results: Results) -> None:
        self._results = results

    async def run(self, granted: GrantedCall) -> None:
        """Hand the answer to the model; raises JournalError."""
        words = granted.decision.reason if granted.decision is not None else ""
        text = answers_text(granted.call.arguments, words)
        await self._results.finish(granted, result_of(granted.call, text, "answered"))
