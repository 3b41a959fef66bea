"""What goes on right now: text as it streams, commands that run, what is waited for."""

from __future__ import annotations

import time

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.segment import Segment

from codex_client.view.happenings import (
    AgentReasoned,
    AgentSaid,
    CallBegan,
    CallEnded,
    Happening,
    RequestCharged,
    RequestRetried,
    TurnBegan,
    TurnEnded,
)
from codex_client.view.lines import Line, Style, call_words
from codex_client.view.printing import OneLine
from codex_client.view.safe_text import safe_lines
from codex_client.view.wording import duration, retry_words
from codex_worker.deltas import Delta

# Only the end of a stream is shown, so only the end is kept.
KEPT_CHARACTERS = 4096
MAX_ROWS = 12
MAX_COMMANDS = 8
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
FRAMES_PER_SECOND = 10


class Ongoing:
    """The part of the view that changes all the time."""

    def __init__(self) -> None:
        self._text = ""
        self._kind = "text"
        self._source = (0, 0, "")
        self._running: dict[str, tuple[str, float]] = {}
        self._waiting = ""
        self._turn_began: float | None = None
        self.drawn_widths: list[int] = []
        """Columns of each row that stands on the terminal now."""

    def stream(self, delta: Delta) -> None:
        source = (delta.turn, delta.step, delta.attempt)
        # Text of an attempt that failed is to be forgotten; reasoning makes way for the answer.
        kept = self._text if source == self._source and delta.kind == self._kind else ""
        self._source, self._kind, self._waiting = source, delta.kind, ""
        self._text = (kept + delta.text)[-KEPT_CHARACTERS:]

    def follow(self, happening: Happening) -> None:
        match happening:
            case TurnBegan():
                self._turn_began = time.monotonic()
            case TurnEnded():
                self._turn_began = None
                self._text, self._waiting = "", ""
                self._running.clear()
            case AgentSaid() | AgentReasoned():
                self._text = ""
            case RequestCharged():
                self._waiting = ""
            case RequestRetried(retry):
                self._text, self._waiting = "", retry_words(retry)
            case CallBegan(call):
                self._waiting = ""
                self._running[call.call_id] = (call_words(call), time.monotonic())
            case CallEnded(call):
                self._running.pop(call.call_id, None)

    def render(self) -> _Region:
        return _Region(self._lines(), self.drawn_widths)

    def _lines(self) -> list[Line]:
        now = time.monotonic()
        style = Style.QUIET if self._kind == "reasoning" else Style.PLAIN
        lines = [Line(line, style) for line in safe_lines(self._text).split("\n")] if self._text.strip() else []
        lines = lines[-MAX_ROWS:]
        sign = FRAMES[int(now * FRAMES_PER_SECOND) % len(FRAMES)]
        running = list(self._running.values())
        for words, began in running[:MAX_COMMANDS]:
            lines.append(Line(words, Style.PLAIN, sign, Style.GOOD, duration(now - began)))
        if len(running) > MAX_COMMANDS:
            lines.append(Line(f"and {len(running) - MAX_COMMANDS} more", Style.QUIET))
        if self._waiting:
            lines.append(Line(self._waiting, Style.WARNING, sign, Style.WARNING, wraps=True))
        elif self._turn_began is not None and not running:
            lines.append(Line("thinking", Style.QUIET, sign, Style.QUIET, duration(now - self._turn_began)))
        return lines


class _Region:
    """The last lines that fit a third of the terminal, wrapped where the text is prose."""

    def __init__(self, lines: list[Line], widths: list[int]) -> None:
        self._lines = lines
        self._widths = widths

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(2, options.size.height // 3)
        rows = console.render_lines(Group(*map(OneLine, self._lines[-room:])), options, pad=False)
        self._widths[:] = map(Segment.get_line_length, rows)
        for row in rows:
            yield from row
            yield Segment.line()
