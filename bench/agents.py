"""Two agents side by side on one scripted model: the Codex CLI and this product, each as the command a person runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codex_client.model_server.testing import ScriptedModel
from codex_worker.testing import installed_program

MODEL = "gpt-5.4"
KEY = "sk-scripted"
PATIENCE_SECONDS = 120.0
FORWARDED = ("PATH", "LANG", "TEMPORAL_ADDRESS")


@dataclass(frozen=True)
class Finished:
    """What a command that has ended left behind."""

    exit_code: int | None
    """None: it was stopped, because it did not end in time."""
    began_at: float
    """Seconds since the epoch."""
    seconds: float
    events: list[dict[str, Any]]
    """Standard output: one JSON object per line."""
    errors: str

    @property
    def last_message(self) -> str:
        """The model's last text, "" where it said none."""
        items = [event["item"] for event in self.events if event.get("type") == "item.completed"]
        texts = [item["text"] for item in items if item.get("type") == "agent_message"]
        return str(texts[-1]) if texts else ""

    @property
    def failure(self) -> str:
        """What the command said of why it failed, "" where it did not."""
        told = [event for event in self.events if event.get("type") == "turn.failed"]
        if told:
            return str(told[-1].get("error", {}).get("message", ""))
        lines = [line for line in self.errors.splitlines() if line.strip()]
        return lines[-1] if self.exit_code and lines else ""


@dataclass(frozen=True)
class Agent(ABC):
    """A program that works on a prompt in a folder, with a home of its own and no other settings than these."""

    name: str
    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @abstractmethod
    def command(self, workspace: Path, prompt: str, base_url: str) -> list[str]:
        """Return the command line that works on the prompt in a folder."""

    async def run(
        self, workspace: Path, prompt: str, base_url: str, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> Finished:
        """Run the command to its end; it and everything it started is stopped when patience ends."""
        began, began_at = time.monotonic(), time.time()
        process = await asyncio.create_subprocess_exec(
            *self.command(workspace, prompt, base_url),
            env=self.variables(base_url),
            cwd=workspace,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        exit_code: int | None = None
        reading = asyncio.ensure_future(process.communicate())
        try:
            async with asyncio.timeout(patience_seconds):
                await asyncio.shield(reading)
            exit_code = process.returncode
        except TimeoutError:
            pass
        finally:
            _stop_group(process.pid)
        stdout, stderr = await reading
        events = [json.loads(line) for line in stdout.decode(errors="replace").splitlines() if line.startswith("{")]
        seconds = time.monotonic() - began
        return Finished(exit_code, began_at, seconds, events, stderr.decode(errors="replace"))

    def variables(self, base_url: str) -> dict[str, str]:
        """Return the whole environment of the command."""
        forwarded = {name: os.environ[name] for name in FORWARDED if name in os.environ}
        return {**forwarded, "HOME": str(self.home), "OPENAI_API_KEY": KEY, **self.environment}


def _stop_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


@dataclass(frozen=True)
class CodexCli(Agent):
    """``codex exec`` of the package codex-bin, with the scripted model as a provider of its own."""

    settings: Sequence[str] = ()
    """Further ``-c`` settings."""

    def command(self, workspace: Path, prompt: str, base_url: str) -> list[str]:
        provider = f'{{name="scripted",base_url="{base_url}",env_key="OPENAI_API_KEY",wire_api="responses"}}'
        settings = ["model_provider=scripted", f"model_providers.scripted={provider}", *self.settings]
        options = ["--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-m", MODEL]
        return [
            installed_program("codex"),
            "exec",
            *options,
            *(part for setting in settings for part in ("-c", setting)),
            *("-C", str(workspace), prompt),
        ]

    def variables(self, base_url: str) -> dict[str, str]:
        return {**super().variables(base_url), "CODEX_HOME": str(self.home / ".codex")}


@dataclass(frozen=True)
class OurCommand(Agent):
    """``codex-temporal run`` without a sandbox and without approvals, as the other agent is run."""

    options: Sequence[str] = ()

    def command(self, workspace: Path, prompt: str, base_url: str) -> list[str]:
        options = ["--json", "--sandbox", "none", "--approval-policy", "never", "--model", MODEL, *self.options]
        return [installed_program("codex-temporal"), "run", *options, "--cd", str(workspace), prompt]

    def variables(self, base_url: str) -> dict[str, str]:
        # Its sockets go with the home, too.
        folders = {"XDG_STATE_HOME": str(self.home / "state"), "XDG_RUNTIME_DIR": str(self.home)}
        return {**super().variables(base_url), "OPENAI_BASE_URL": base_url, **folders}


@contextmanager
def homes(*names: str) -> Iterator[list[Path]]:
    """Give empty folders that are removed at the end, outside of the temporary folder: Codex refuses a home there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "codex-temporal"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="agents-", dir=cache, ignore_cleanup_errors=True) as folder:
        paths = [Path(folder) / name for name in names]
        for path in paths:
            (path / ".codex").mkdir(parents=True)
        yield paths


def told(model: ScriptedModel) -> list[Any]:
    """Return what the tools said to the model, in the order of its calls: outputs of the last request."""
    accepted = [request.body for request in model.requests if request.conversation is not None]
    return [item["output"] for item in accepted[-1]["input"] if str(item.get("type")).endswith("_output")]
