"""`python -m bench.faults`: the same failures of a model provider, met by the Codex CLI and by this product.

Prints a table; with `--write FILE` it replaces the one in that file.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.agents import Agent, CodexCli, Finished, OurCommand, homes

from codex_client.model_server.testing import ScriptedModel

ANSWER = "Done."
SUMMARY = {"text": "One command has run."}
MARKS = ("<!-- begin: python -m bench.faults -->", "<!-- end -->")
LATER_REPLIES = 20
Reply = dict[str, Any]


@dataclass(frozen=True)
class Case:
    name: str
    fault: Any = None
    """What the second reply meets; the first one is a command that leaves a line each time it runs."""
    reply: Reply | None = None
    """What stands instead of the second reply; the third is the answer."""
    for_ever: bool = False
    """Every later reply meets the fault too: an agent that keeps what it got and asks again meets it again."""

    def replies(self) -> list[Reply]:
        command = {"name": "exec_command", "arguments": {"cmd": "echo ran >> ran.txt", "login": False}}
        if self.reply is None:
            answer = {"text": ANSWER, "fail": self.fault}
            return [{"calls": [command]}, *([answer] * (LATER_REPLIES if self.for_ever else 1))]
        return [{"calls": [command]}, self.reply, {"text": ANSWER}]


@dataclass(frozen=True)
class Outcome:
    finished: Finished
    requests: int
    runs: int
    """How often the command ran; it should be once."""

    def __str__(self) -> str:
        seconds = f"{self.finished.seconds:.1f} s, {self.requests} requests"
        if self.runs != 1:
            seconds += f", **the command ran {self.runs} times**"
        if self.finished.exit_code is None:
            return f"**still waiting** after {seconds}"
        if self.finished.exit_code == 0 and self.finished.last_message == ANSWER:
            return f"goes on: exit 0, {seconds}"
        if self.finished.exit_code == 0:
            return f"**exit 0 without the answer**, {seconds}: {quoted(self.finished.last_message)}"
        return f"fails: exit {self.finished.exit_code}, {seconds}: {quoted(self.finished.failure)}"


def quoted(text: str) -> str:
    """Return a text as a cell of a table shows it."""
    text = re.sub(r"https?://\S+", "…", text)
    text = re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").strip()
    return f"“{text[:160]}{'…' if len(text) > 160 else ''}”"


def call(**fields: Any) -> Reply:
    return {"name": "exec_command", "arguments": {"cmd": "true", "login": False}, **fields}


CASES = [
    Case("429 with `Retry-After: 2`, twice", {"status": 429, "retry_after": 2, "times": 2}),
    Case("429 without `Retry-After`, three times", {"status": 429, "times": 3}),
    Case("500, twice", {"status": 500, "times": 2}),
    Case("503 overloaded, six times", {"status": 503, "times": 6}),
    Case("502 with a gateway's page, twice", {"status": 502, "html": True, "times": 2}),
    Case("401: wrong key", {"status": 401}),
    Case("403: forbidden", {"status": 403}),
    Case("404: no such model", {"status": 404}),
    Case("429 `insufficient_quota`", {"status": 429, "code": "insufficient_quota"}),
    Case("400 `context_length_exceeded`, once", {"status": 400, "code": "context_length_exceeded", "times": 1}),
    Case("`response.failed`: `context_length_exceeded`, once", {"failed_code": "context_length_exceeded", "times": 1}),
    Case("`response.failed`: `server_is_overloaded`, twice", {"failed_code": "server_is_overloaded", "times": 2}),
    Case(
        "`response.failed`: `rate_limit_exceeded`, “try again in 1.5s”, once",
        {"failed_code": "rate_limit_exceeded", "retry_after": 1.5, "times": 1},
    ),
    Case("stream cut within the answer, twice", {"after_items": 0, "times": 2}),
    Case("stream cut within the answer, seven times", {"after_items": 0, "times": 7}),
    Case("silence for 4 s, then the stream is cut, once", {"after_events": 3, "hang_seconds": 4, "times": 1}),
    Case(
        "stream cut after a tool call, twice",
        reply={"calls": [call()], "fail": {"after_items": 1, "times": 2}},
    ),
    Case("a page instead of a stream, twice", {"garbage": "html", "times": 2}),
    Case("a stream without events, twice", {"garbage": "sse", "times": 2}),
    Case("an event that is no JSON, twice", {"garbage": "json", "times": 2}),
    Case("a function call without name and id, twice", {"garbage": "call", "times": 2}),
    Case("unknown events and fields", {"garbage": "unknown"}),
    Case("`response.incomplete`: `max_output_tokens`", {"incomplete": "max_output_tokens"}, for_ever=True),
    Case("`response.incomplete`: `content_filter`", {"incomplete": "content_filter"}, for_ever=True),
    Case("a response without items", {"garbage": "empty"}),
    Case(
        "one delta every 0.5 s", reply={"text": "slow but steady words", "calls": [call()], "token_delay_seconds": 0.5}
    ),
    Case("malformed arguments", reply={"calls": [call(arguments='{"cmd": "tru')]}),
    Case("unknown tool", reply={"calls": [call(name="browse_web")]}),
    Case("the same call id twice in a reply", reply={"calls": [call(call_id="call_1"), call(call_id="call_1")]}),
]


async def meet(agent: Agent, case: Case, patience_seconds: float) -> Outcome:
    """Let the agent work on a task during which the failure happens."""
    conversation = {"match": "always", "replies": case.replies(), "compaction": SUMMARY}
    with tempfile.TemporaryDirectory(dir=agent.home) as folder:
        async with ScriptedModel(conversations=[conversation]) as model:
            finished = await agent.run(Path(folder), "Go.", model.base_url, patience_seconds=patience_seconds)
            requests = len(model.requests)
        ran = Path(folder) / "ran.txt"
        return Outcome(finished, requests, len(ran.read_text().splitlines()) if ran.exists() else 0)


def table(agents: Sequence[Agent], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as Markdown."""
    head = ["failure", *(agent.name for agent in agents)]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def replaced(page: str, text: str) -> str:
    """Return the page with another table between the marks."""
    before, after = page.split(MARKS[0])[0], page.split(MARKS[1])[1]
    return f"{before}{MARKS[0]}\n{text}{MARKS[1]}{after}"


async def measure(wanted: str, patience_seconds: float) -> str:
    rows = []
    with homes("codex", "ours") as (codex_home, our_home):
        agents: list[Agent] = [CodexCli("Codex CLI 0.147", codex_home), OurCommand("codex-temporal", our_home)]
        for case in CASES:
            if wanted not in case.name:
                continue
            row = [case.name, *[str(await meet(agent, case, patience_seconds)) for agent in agents]]
            sys.stderr.write(" | ".join(row) + "\n")
            rows.append(row)
    return table(agents, rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds after which a case is stopped")
    parser.add_argument("--write", type=Path, help="the page whose table is replaced")
    options = parser.parse_args()
    text = asyncio.run(measure(options.only, options.patience))
    if options.write is None:
        sys.stdout.write(text)
        return
    options.write.write_text(replaced(options.write.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main()
