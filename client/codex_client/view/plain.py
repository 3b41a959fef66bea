"""The view without a terminal: progress on standard error, on standard output nothing but the final message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

from codex_api.approvals import Decision, DecisionKind
from codex_client.view.asking import Asker
from codex_client.view.endings import missing_way_on
from codex_client.view.happenings import AgentSaid, DiffGrew, Happening, RequestCharged, TurnEnded
from codex_client.view.json_presenter import NOBODY_TO_ASK
from codex_client.view.lines import Line, diff_lines, lines_of, prose_lines
from codex_client.view.presenter import Outcome, Question, RunInfo
from codex_client.view.progress import Progress
from codex_client.view.safe_text import safe_line
from codex_client.view.usage import UsageTotal
from codex_client.view.vanished_reader import ForgivingStream
from codex_client.view.wording import DEFAULT_MODEL, option_value, usage_words
from codex_journal.rows import Row
from codex_worker.deltas import Delta


class PlainPresenter:
    """``asker`` is None where nobody can be asked."""

    def __init__(self, stdout: IO[str], stderr: IO[str], asker: Asker | None = None) -> None:
        self._stdout = ForgivingStream(stdout)
        self._stderr = ForgivingStream(stderr)
        self._asker = asker
        self._progress = Progress()
        self._usage = UsageTotal()
        self._diff = ""

    def begin(self, info: RunInfo) -> None:
        model = info.model or DEFAULT_MODEL
        about = f"{model}, sandbox {info.sandbox}, approvals {option_value(info.approval_policy)}, in {info.directory}"
        resumed = "resumed " if info.resumed else ""
        self._write([Line(f"{resumed}session {info.session}: {safe_line(about)}")])

    def show(self, row: Row) -> None:
        for happening in self._progress.feed(row):
            self._tell(happening)

    def stream(self, delta: Delta) -> None:
        """The finished item follows."""

    async def ask(self, question: Question) -> Decision:
        if self._asker is None:
            return Decision(question.approval_id, DecisionKind.DENY, NOBODY_TO_ASK)
        return await self._asker.ask(question)

    def end(self, outcome: Outcome) -> None:
        self._write([Line(usage_words(self._usage))])
        if outcome.message:
            self._write([Line(safe_line(outcome.message))])
        if outcome.message and (way_on := missing_way_on(outcome)):
            self._write([Line(way_on)])
        # A terminal has shown it; for a program every character counts, for example where it is JSON.
        if outcome.last_message and not self._stdout.isatty():
            self._stdout.write(outcome.last_message.encode("utf-8", "replace").decode() + "\n")

    def _tell(self, happening: Happening) -> None:
        match happening:
            case AgentSaid(text):
                self._write(prose_lines(text))
            case RequestCharged(usage):
                self._usage = self._usage.plus(usage)
            case DiffGrew(unified_diff, _):
                self._diff = unified_diff
            case TurnEnded():
                self._write(diff_lines(self._diff))
                self._diff = ""
            case _:
                self._write(lines_of(happening))

    def _write(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._stderr.write(plain_text(line) + "\n")


def plain_text(line: Line) -> str:
    """Return a line without colours, as wide as it is."""
    mark = f"{line.mark} " if line.mark else "  "
    return f"{mark}{line.text}{f'  {line.note}' if line.note else ''}".rstrip()
