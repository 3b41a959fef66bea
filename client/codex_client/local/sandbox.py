"""The sandbox of a session on this machine: the supervisor on a Unix socket, under bubblewrap or without."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
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
MAX_STARTS = 4
CURE = "install it (apt install bubblewrap), or run without a sandbox: --sandbox none"
# Something to mount, or to mount on, is gone since it was looked for.
_VANISHED = re.compile(r"bwrap: Can't (find source path|get type of source|create file at|mkdir) ")
_REFUSED_BY_KERNEL = re.compile(
    r"bwrap: (No permissions to create|Creating new namespace|setting up [ug]id map|error writing to setgroups"
    r"|loopback:|unshare|pivot_root|Failed to make / slave|Failed to mount tmpfs|Can't mount proc "
    r"|.*(Operation not permitted|Permission denied)$)",
    re.MULTILINE,
)
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
        self._starts = 0
        self._sockets: list[Path] = []
        self._to_cover: set[Path] = set()
        self._folder = SocketFolder(runtime_folder)
        self.warning = ""
        """What its commands may reach although they should not; known once it is started."""

    @property
    def socket(self) -> str:
        return str(self._folder.path / str(self._generation) / "sandbox")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def generation(self) -> int:
        return self._generation

    async def start(self, generation: int) -> None:
        """Start the supervisor of this generation and return at once; raises UsageError, LocalError."""
        self._generation = generation
        self._starts = 0
        await self._start()

    async def _start(self) -> None:
        self._starts += 1
        environment = {"PATH": os.defpath, **self._environment}
        try:
            self._offset = self._log.stat().st_size if self._log.exists() else 0
            # The search for what to hide takes as long as the home folder is large.
            command = await asyncio.to_thread(self._command)
            self._process = await spawn(command, log=self._log, environment=environment)
        except OSError as error:
            raise LocalError(f"cannot start the sandbox: {error}") from error

    async def wait_until_ready(self) -> None:
        """Return once it can be connected to; raises LocalError, as UsageError where the kernel refuses the sandbox."""
        assert self._process is not None
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not os.path.exists(self.socket):  # noqa: ASYNC240 - a look at a local folder
                    if self._process.returncode is not None:
                        await self._start_again()
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise LocalError(f"the sandbox is not up after {READY_SECONDS:.0f} s (log: {self._log})") from None
        finally:
            self._remove_what_bubblewrap_made()

    async def keep(self, announce: Callable[[LocalSandbox], Awaitable[None]]) -> None:
        """Replace the supervisor whenever it ends, and announce the new one; runs until cancelled.

        Raises what ``start``, ``wait_until_ready`` and ``announce`` raise: then nobody replaces it any more.
        """
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
        socket_folder = self._folder.of_generation(self._generation)
        if not self._confined:
            # Not to be killed outright: it is the one who knows the commands that have to end with it.
            return ending_with_us(supervisor, signal.SIGTERM)
        return [*self._confinement(package_root, socket_folder), *supervisor]

    def _confinement(self, package_root: Path, socket_folder: Path) -> list[str]:
        program = find_bubblewrap(self._program_path)
        shared_folders = self._folder.to_hide(self._workspace)
        if any(self._workspace.is_relative_to(folder) for folder in shared_folders):
            raise UsageError(f"cannot work in {self._workspace}: sockets of running sessions are kept there")
        hidden = hidden_paths(self._home, self._workspace, self._hidden)
        if not hidden.complete:
            searched = f"only the first {MAX_ENTRIES:,} files and folders of {self._home} were searched for sockets"
            self.warning = f"{searched}; commands can reach daemons that listen in the others"
        self._sockets = hidden.sockets
        # Commands may have removed the link by which a secret was found.
        known = {*self._to_cover, *hidden.paths}
        self._to_cover = {path for path in known if os.path.exists(path) and path.resolve() == path}
        python = Path(sys.executable)
        return bubblewrap_arguments(
            program,
            self._mode,
            self._workspace,
            hidden=self._to_cover,
            shared_folders=shared_folders,
            socket_folder=socket_folder,
            empty_file=self._empty_file(),
            tools={Path(sys.prefix), Path(sys.base_prefix), python.parent, python.resolve().parent, package_root},
        )

    def _empty_file(self) -> Path:
        path = self._folder.path / "empty"
        path.touch(mode=0o400)
        return path

    async def _start_again(self) -> None:
        """Search once more where what was to be hidden has gone meanwhile; raises LocalError for everything else."""
        said = tail(self._log, self._offset)
        vanished = self._confined and _VANISHED.match(said)
        if self._confined and not vanished and _REFUSED_BY_KERNEL.match(said):
            raise UsageError(f"the kernel refuses the sandbox ({said}); allow user namespaces, or use --sandbox none")
        if not vanished or self._starts == MAX_STARTS:
            raise LocalError(f"the sandbox ended at once: {said} (log: {self._log})")
        self._remove_what_bubblewrap_made()
        await self._start()

    def _remove_what_bubblewrap_made(self) -> None:
        """Where a socket in the workspace was gone already, there is a file for the cover now: on the disk."""
        for path in self._sockets:
            with contextlib.suppress(OSError):
                if path.is_relative_to(self._workspace) and path.is_file() and path.stat().st_size == 0:
                    path.unlink()


def find_bubblewrap(program_path: str) -> str:
    """Return bubblewrap's path; raises UsageError."""
    program = shutil.which("bwrap", path=program_path)
    if program is None:
        raise UsageError(f"commands run in a sandbox by bubblewrap, which is not installed; {CURE}")
    return os.path.abspath(program)
