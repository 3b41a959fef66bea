"""The command line as its users have it, for tests: a process with a home, a workspace and a scripted model."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codex_client.local.bubblewrap import PRIVATE_FOLDERS
from codex_client.model_server.testing import ScriptedModel

PATIENCE_SECONDS = 60.0


@dataclass
class Finished:
    exit_code: int
    stdout: str
    stderr: str


@dataclass
class Machine:
    """A user's machine, with nothing of the one that the tests run on."""

    home: Path
    workspace: Path
    runtime_folder: Path
    """Short, because the paths of sockets have to be."""
    model: ScriptedModel
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.home / ".local" / "state" / "codex-temporal"

    def variables(self, **more: str | None) -> dict[str, str]:
        values: dict[str, str | None] = {
            "HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "XDG_RUNTIME_DIR": str(self.runtime_folder),
            "OPENAI_API_KEY": "sk-secret-of-the-user",
            "OPENAI_BASE_URL": self.model.base_url,
            "CODEX_MODEL": "scripted",
            **self.environment,
            **more,
        }
        return {name: value for name, value in values.items() if value is not None}

    async def start(
        self, *arguments: str, environment: Mapping[str, str | None] | None = None, stdin: Any = subprocess.DEVNULL
    ) -> asyncio.subprocess.Process:
        """Start a command of ours in the workspace."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "codex_client",
            *arguments,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.workspace,
            env=self.variables(**(environment or {})),
        )

    async def finish(self, process: asyncio.subprocess.Process, stdin: bytes | None = None) -> Finished:
        async with asyncio.timeout(PATIENCE_SECONDS):
            stdout, stderr = await process.communicate(stdin)
        assert process.returncode is not None
        return Finished(process.returncode, stdout.decode(), stderr.decode())

    async def command(
        self, *arguments: str, environment: Mapping[str, str | None] | None = None, stdin: str | None = None
    ) -> Finished:
        """Run a command of ours to its end."""
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        process = await self.start(*arguments, environment=environment, stdin=source)
        return await self.finish(process, None if stdin is None else stdin.encode())

    def socket_folders(self) -> list[Path]:
        """Return what processes have, or left, for their sockets."""
        return [folder for shared in self.runtime_folder.iterdir() for folder in shared.iterdir()]

    def processes(self) -> dict[int, str]:
        """Return all processes that belong to this machine: {pid: command line}."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                # Empty for a zombie.
                if f"HOME={self.home}\0".encode() in (entry / "environ").read_bytes() + b"\0":
                    found[int(entry.name)] = (
                        (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    )
            except OSError:
                continue
        return found

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await asyncio.sleep(0.02)

    async def rows(self, session: str = "") -> list[dict[str, Any]]:
        """Return the journal's rows as ``show --json`` prints them."""
        shown = await self.command("show", *([session] if session else []), "--json")
        assert shown.exit_code == 0, shown.stderr
        return [json.loads(line) for line in shown.stdout.splitlines()]

    async def session(self) -> str:
        """Return the id of the only session."""
        listed = await self.command("sessions", "--json")
        assert listed.exit_code == 0, listed.stderr
        (line,) = listed.stdout.splitlines()
        return str(json.loads(line)["session"])

    def outputs(self) -> list[str]:
        """Return what the newest request told the model of its calls."""
        items = self.model.requests[-1].body["input"]
        return [str(item["output"]) for item in items if item.get("type", "").endswith("call_output")]


@asynccontextmanager
async def local_machine(folder: Path, replies: Sequence[Mapping[str, Any]]) -> AsyncIterator[Machine]:
    """Give a machine whose files are below ``folder``; whatever still runs of it in the end is killed."""
    home, workspace = folder / "home", folder / "workspace"
    home.mkdir()
    workspace.mkdir()
    with tempfile.TemporaryDirectory(prefix="run-", dir=PRIVATE_FOLDERS[0]) as runtime_folder:
        async with ScriptedModel(replies=replies) as model:
            machine = Machine(home, workspace, Path(runtime_folder), model)
            yield machine
            for pid in machine.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await machine.until(lambda: machine.processes() == {})
