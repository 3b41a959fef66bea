"""The view of a person at a terminal: what is done scrolls by, what goes on stands below it."""

from __future__ import annotations

import asyncio
import atexit
import time

from rich.console import Console, RenderableType
from rich.live import Live

from codex_api.approvals import Decision, DecisionKind
from codex_client.view.asking import Asker
from codex_client.view.endings import missing_way_on
from codex_client.view.happenings import (
    AgentSaid,
    ApprovalAnswered,
    ApprovalAsked,
    DiffGrew,
    Happening,
    RequestCharged,
    RequestRetried,
    TurnBegan,
    TurnEnded,
)
from codex_client.view.json_presenter import NOBODY_TO_ASK
from codex_client.view.lines import Line, Style, diff_lines, lines_of
from codex_client.view.ongoing import Ongoing
from codex_client.view.presenter import Outcome, Question, RunInfo
from codex_client.view.printing import OneLine, prose
from codex_client.view.progress import Progress
from codex_client.view.reflow import erase_extra_rows, reflows
from codex_client.view.safe_text import safe_line
from codex_client.view.terminal_input import TerminalInput
from codex_client.view.usage import UsageTotal
from codex_client.view.wording import DEFAULT_MODEL, duration, option_value, usage_words
from codex_journal.rows import Row
from codex_worker.deltas import Delta

SECONDS_BETWEEN_FRAMES = 0.1


class LivePresenter:
    """Lives in the running loop from begin to end; ``terminal`` is None where nobody can be asked."""

    def __init__(self, console: Console, terminal: TerminalInput | None) -> None:
        self._console = console
        self._asker = Asker(console, terminal) if terminal is not None else None
        self._progress = Progress()
        self._ongoing = Ongoing()
        self._usage = UsageTotal()
        self._diff = DiffGrew("", truncated=False)
        self._retried = ""
        self._answered: set[str] = set()
        self._live: Live | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._one_at_a_time = asyncio.Lock()
        self._held: list[RenderableType] | None = None
        self._began = time.monotonic()
        self._ended = False
        self._width = console.width

    def begin(self, info: RunInfo) -> None:
        heading = (
            f"{info.model or DEFAULT_MODEL} · sandbox {info.sandbox} · approvals {option_value(info.approval_policy)}"
        )
        self._print_lines([Line(safe_line(heading), Style.QUIET, "•", Style.QUIET)])
        session = f"{'resumed ' if info.resumed else ''}session {info.session} · {info.directory}"
        self._print_lines([Line(safe_line(session), Style.QUIET, wraps=True)])
        self._start()

    def show(self, row: Row) -> None:
        for happening in self._progress.feed(row):
            self._ongoing.follow(happening)
            self._tell(happening)

    def stream(self, delta: Delta) -> None:
        self._ongoing.stream(delta)

    async def ask(self, question: Question) -> Decision:
        if self._asker is None:
            return Decision(question.approval_id, DecisionKind.DENY, NOBODY_TO_ASK)
        async with self._one_at_a_time:
            self._stop()
            self._held = []
            try:
                decision = await self._asker.ask(question)
                self._answered.add(question.approval_id)
                return decision
            finally:
                self._console.print()
                held, self._held = self._held, None
                for renderable in held:
                    self._console.print(renderable)
                if not self._ended:
                    self._start()

    def end(self, outcome: Outcome) -> None:
        self._ended = True
        self._stop()
        spent = f"{usage_words(self._usage)} · {duration(time.monotonic() - self._began)}"
        self._print_lines([Line("")])
        if outcome.exit_code == 0:
            self._print_lines([Line("done", Style.GOOD, "✓", Style.GOOD, f"· {spent}", wraps=True)])
        else:
            # The message names the cure and the way on.
            self._print_lines([Line(safe_line(outcome.message), Style.BAD, "✗", Style.BAD, wraps=True)])
            self._print_lines([Line(spent, Style.QUIET)])
        if way_on := missing_way_on(outcome):
            self._print_lines([Line(way_on, Style.QUIET, wraps=True)])

    def _tell(self, happening: Happening) -> None:
        match happening:
            case AgentSaid(text):
                self._print(prose(text))
            case RequestCharged(usage):
                self._usage = self._usage.plus(usage)
            case DiffGrew():
                self._diff = happening
            case RequestRetried(retry):
                # The same trouble again only moves the time, which stands below.
                if retry.reason != self._retried:
                    self._print_lines(lines_of(happening))
                self._retried = retry.reason
            case ApprovalAsked() if self._asker is not None:
                # The question itself follows at once.
                pass
            case ApprovalAnswered(decided, _) if decided.approval_id in self._answered:
                # Whoever decided it here has just seen it.
                pass
            case TurnEnded():
                self._print_lines(diff_lines(self._diff.unified_diff))
                self._diff = DiffGrew("", truncated=False)
            case _:
                if isinstance(happening, TurnBegan):
                    self._retried = ""
                self._print_lines(lines_of(happening))

    def _print_lines(self, lines: list[Line]) -> None:
        for line in lines:
            self._print(OneLine(line))

    def _print(self, renderable: RenderableType) -> None:
        if self._held is not None:
            self._held.append(renderable)
        else:
            self._follow_width()
            self._console.print(renderable)

    def _follow_width(self) -> None:
        """Make room for the next frame where the terminal has become narrower, lest it leave a copy of the last one."""
        if self._live is None or self._console.width == self._width:
            return
        if self._console.width < self._width and reflows():
            erase_extra_rows(self._console, self._ongoing.drawn_widths)
        self._width = self._console.width

    def _start(self) -> None:
        self._width = self._console.width
        # Its own refreshing thread erases lines that another print has just written: the loop draws instead.
        self._live = Live(
            get_renderable=self._ongoing.render, console=self._console, auto_refresh=False, transient=True
        )
        # An end by exception would leave the terminal without its cursor.
        atexit.register(self._live.stop)
        self._live.start()
        self._tick = asyncio.get_running_loop().call_later(SECONDS_BETWEEN_FRAMES, self._draw)

    def _draw(self) -> None:
        if self._live is not None:
            self._follow_width()
            self._live.refresh()
            self._tick = asyncio.get_running_loop().call_later(SECONDS_BETWEEN_FRAMES, self._draw)

    def _stop(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
        if self._live is not None:
            self._follow_width()
            self._live.stop()
            atexit.unregister(self._live.stop)
            self._live = None
