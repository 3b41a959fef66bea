"""Asking the person at the terminal: what exactly would run, and their decision."""

from __future__ import annotations

import asyncio

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from codex_api.approvals import MAX_REASON_CHARACTERS, Decision, DecisionKind
from codex_api.rows import ToolCallPayload
from codex_api.tools import REQUEST_USER_INPUT, WRITE_STDIN
from codex_client.view.items import is_patch, patch_text
from codex_client.view.presenter import Question
from codex_client.view.questions import AskedQuestion, answer_to, joined_answers, questions_of
from codex_client.view.safe_text import exact_lines, safe_line, safe_lines
from codex_client.view.terminal_input import InputClosed, TerminalInput
from codex_client.view.wording import clock_time

DIGEST_CHARACTERS = 19
_DIFF_STYLES = {"+": "green", "-": "red", "*": "bold"}
_KEYS = {"y": DecisionKind.APPROVE, "n": DecisionKind.DENY, "a": DecisionKind.ABORT}


class Asker:
    """Asks one question at a time; what is printed meanwhile would tear the question apart and must wait."""

    def __init__(self, console: Console, terminal: TerminalInput) -> None:
        self._console = console
        self._terminal = terminal

    async def ask(self, question: Question) -> Decision:
        """Return the person's decision. Once the terminal is gone this waits until it is cancelled."""
        try:
            if question.call.tool == REQUEST_USER_INPUT and (asked := questions_of(question.call)):
                kind, words = await self._answers(asked)
            else:
                kind, words = await self._approval(question)
        except InputClosed:
            # Nobody decided anything: the session can be resumed, or the approval expires.
            await asyncio.Event().wait()
            raise
        return Decision(question.approval_id, kind, words)

    async def _approval(self, question: Question) -> tuple[DecisionKind, str]:
        self._console.print(approval_panel(question))
        self._prompt("y approve · n deny · a abort: ")
        while (kind := _KEYS.get((await self._terminal.key()).lower())) is None:
            pass
        self._console.print(Text(kind.value, "bold"))
        if kind is not DecisionKind.DENY:
            return kind, ""
        self._prompt("why? (Enter: no reason): ")
        return kind, (await self._terminal.line())[:MAX_REASON_CHARACTERS]

    async def _answers(self, asked: list[AskedQuestion]) -> tuple[DecisionKind, str]:
        answers = []
        for question in asked:
            self._console.print(question_panel(question))
            self._prompt("number or text (Enter: decline): " if question.options else "text (Enter: decline): ")
            typed = await self._terminal.line()
            if not typed:
                return DecisionKind.DENY, ""
            answers.append(answer_to(question, typed))
        return DecisionKind.ANSWER, joined_answers(answers)

    def _prompt(self, text: str) -> None:
        self._console.print(Text(text, "bold yellow"), end="")


def approval_panel(question: Question) -> RenderableType:
    """Return all that a person needs to decide; the command is shown whole, whatever its length."""
    call = question.call
    title = "Run this command?"
    if is_patch(call):
        title = "Apply this patch?"
    elif call.tool == WRITE_STDIN:
        title = "Send this to a running command?"
    parts: list[RenderableType] = [_exact(call), Text("")]
    if call.directory:
        parts.append(_fact("in", safe_line(call.directory)))
    if call.justification:
        parts.append(_fact("the model says", safe_line(call.justification)))
    digest = safe_line(call.digest)[:DIGEST_CHARACTERS]
    until = f" · answer until {clock_time(question.expires)}" if question.expires else ""
    parts.append(Text(f"{digest}{until}", "dim", overflow="fold"))
    return Panel(Group(*parts), title=Text(title, "bold yellow"), title_align="left", border_style="yellow")


def question_panel(question: AskedQuestion) -> RenderableType:
    """Return a question with its numbered options."""
    parts = [Text(safe_lines(question.question), "bold", overflow="fold")]
    for number, option in enumerate(question.options, 1):
        text = Text(f"{number}. {safe_line(option.label)}", overflow="fold")
        if option.description:
            text.append(f" - {safe_line(option.description)}", "dim")
        parts.append(text)
    title = Text(safe_line(question.header) or "Question", "bold cyan")
    return Panel(Group(*parts), title=title, title_align="left", border_style="cyan")


def _exact(call: ToolCallPayload) -> Text:
    patch = patch_text(call)
    command = call.arguments.get("cmd")
    lines = exact_lines(patch or (command if isinstance(command, str) else call.preview), call.preview)
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    text = Text(overflow="fold")
    for index, line in enumerate(lines):
        text.append("\n" if index else "")
        text.append(line, _DIFF_STYLES.get(line[:1], "") if patch else "bold")
    if call.truncated:
        text.append("\n(not all of it is shown: it cannot be approved)", "red")
    return text


def _fact(name: str, value: str) -> Text:
    return Text.assemble((f"{name}: ", "dim"), value, overflow="fold")
