"""The sandbox of a session on this machine: the supervisor on a Unix socket, under bubblewrap or without."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import codex_sandbox
from codex_api.rows import SandboxMode
from codex_client.local.bubblewrap import bubblewrap_arguments
from codex_client.local.child_process import ISOLATED_PYTHON, end, ending_with_us, spawn, tail
from codex_client.local.errors import LocalError, UsageError
from codex_client.local.hidden_paths import MAX_ENTRIES, hidden_paths
from codex_client.local.socket_folder import SocketFolder

READY_SECONDS = 15.0
POLL_SECONDS = 0.005
RESTART_SECONDS = 0.5
CURE = "install it (apt install bubblewrap), or run without a sandbox: --sandbox none"
# The module's folder comes last: with it come other packages, which must not hide the standard library.
_RUN_SUPERVISOR = "import sys; sys.path.append(sys.argv.pop(1)); import codex_sandbox.__main__ as s; sys.exit(s.main())"


class LocalSandbox:
    """One session's supervisor; a new generation replaces one that ended."""

    def __init__(
        self,
        *,
        mode: SandboxMode,
        workspace: Path,
        session: str,
        home: Path,
        hidden: Sequence[Path],
        runtime_folder: Path | None,
        log: Path,
        program_path: str,
        environment: Mapping[str, str],
    ) -> None:
        self._mode = mode
        self._workspace = workspace
        self._session = session
        self._home = home
        self._hidden = hidden
        self._log = log
        self._program_path = program_path
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._offset = 0
        self._generation = 0
        self._folder = SocketFolder(runtime_folder)
        self.warning = ""
        """What its commands may reach although they should not; known once it is started."""

    @property
    def socket(self) -> str:
        return str(self._folder.path / f"sandbox-{self._generation}")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def generation(self) -> int:
        return self._generation

    async def start(self, generation: int) -> None:
        """Start the supervisor of this generation and return at once; raises UsageError, LocalError."""
        self._generation = generation
        environment = {"PATH": os.defpath, **self._environment}
        try:
            self._offset = self._log.stat().st_size if self._log.exists() else 0
            # The search for what to hide takes as long as the home folder is large.
            command = await asyncio.to_thread(self._command)
            self._process = await spawn(command, log=self._log, environment=environment)
        except OSError as error:
            raise LocalError(f"cannot start the sandbox: {error}") from error

    async def wait_until_ready(self) -> None:
        """Return once it can be connected to; raises UsageError where the kernel refuses the sandbox."""
        assert self._process is not None
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not os.path.exists(self.socket):  # noqa: ASYNC240 - a look at a local folder
                    if self._process.returncode is not None:
                        raise self._refused()
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise LocalError(f"the sandbox is not up after {READY_SECONDS:.0f} s (log: {self._log})") from None

    async def keep(self, announce: Callable[[LocalSandbox], Awaitable[None]]) -> None:
        """Replace the supervisor whenever it ends, and announce the new one; runs until cancelled."""
        while True:
            assert self._process is not None
            await self._process.wait()
            await asyncio.sleep(RESTART_SECONDS)
            await self.start(self._generation + 1)
            await self.wait_until_ready()
            await announce(self)

    async def reset(self) -> None:
        """Kill everything in it; ``keep`` starts the next generation."""
        if self._process is not None:
            await end(self._process, signal.SIGKILL if self._confined else signal.SIGTERM)

    async def stop(self) -> None:
        """End it with all its commands, and remove its socket."""
        try:
            await self.reset()
        finally:
            self._folder.remove()

    @property
    def _confined(self) -> bool:
        return self._mode is not SandboxMode.NONE

    def _command(self) -> list[str]:
        package_root = Path(codex_sandbox.__file__).resolve().parent.parent
        supervisor = [*ISOLATED_PYTHON, _RUN_SUPERVISOR, str(package_root), "--listen", f"unix://{self.socket}"]
        supervisor += ["--session", self._session, "--generation", str(self._generation)]
        supervisor += ["--workspace", str(self._workspace)]
        if not self._confined:
            # Not to be killed outright: it is the one who knows the commands that have to end with it.
            return ending_with_us(supervisor, signal.SIGTERM)
        return [*self._confinement(package_root), *supervisor]

    def _confinement(self, package_root: Path) -> list[str]:
        program = find_bubblewrap(self._program_path)
        shared_folders = self._folder.to_hide(self._workspace)
        if any(self._workspace.is_relative_to(folder) for folder in shared_folders):
            raise UsageError(f"cannot work in {self._workspace}: sockets of running sessions are kept there")
        hidden = hidden_paths(self._home, self._workspace, self._hidden)
        if not hidden.complete:
            searched = f"only the first {MAX_ENTRIES:,} files and folders of {self._home} were searched for sockets"
            self.warning = f"{searched}; commands can reach daemons that listen in the others"
        python = Path(sys.executable)
        return bubblewrap_arguments(
            program,
            self._mode,
            self._workspace,
            hidden=hidden.paths,
            shared_folders=shared_folders,
            socket_folder=self._folder.path,
            empty_file=self._empty_file(),
            tools={Path(sys.prefix), Path(sys.base_prefix), python.parent, python.resolve().parent, package_root},
        )

    def _empty_file(self) -> Path:
        path = self._folder.path / "empty"
        path.touch(mode=0o400)
        return path

    def _refused(self) -> LocalError:
        said = tail(self._log, self._offset)
        if self._confined and said.startswith("bwrap:"):
            return UsageError(f"the kernel refuses the sandbox ({said}); allow user namespaces, or use --sandbox none")
        return LocalError(f"the sandbox ended at once: {said} (log: {self._log})")


def find_bubblewrap(program_path: str) -> str:
    """Return bubblewrap's path; raises UsageError."""
    program = shutil.which("bwrap", path=program_path)
    if program is None:
        raise UsageError(f"commands run in a sandbox by bubblewrap, which is not installed; {CURE}")
    return os.path.abspath(program)
