"""The event stream as JSON lines on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import IO, Any

from codex_api.approvals import Decision, DecisionKind
from codex_client.view.json_events import EventStream
from codex_client.view.presenter import Outcome, Question, RunInfo
from codex_client.view.vanished_reader import ForgivingStream
from codex_journal.rows import Row
from codex_worker.deltas import Delta

NOBODY_TO_ASK = "nobody can be asked here: the run has no terminal"


class JsonPresenter:
    """One event a line, flushed; it goes on in silence once nobody reads."""

    def __init__(self, stdout: IO[str]) -> None:
        self._stream = EventStream()
        self._out = ForgivingStream(stdout)

    def begin(self, info: RunInfo) -> None:
        self._write(self._stream.begin(info))

    def show(self, row: Row) -> None:
        self._write(self._stream.show(row))

    def stream(self, delta: Delta) -> None:
        """The finished item follows; a program does not need its pieces."""

    async def ask(self, question: Question) -> Decision:
        return Decision(question.approval_id, DecisionKind.DENY, NOBODY_TO_ASK)

    def end(self, outcome: Outcome) -> None:
        self._write(self._stream.end(outcome))

    def _write(self, events: Iterable[dict[str, Any]]) -> None:
        for event in events:
            # Escaped to ASCII: a lone surrogate or a terminal's control character never leaves as itself.
            line = json.dumps(event, separators=(",", ":"))
            self._out.write(line.replace("\x7f", "\\u007f") + "\n")
