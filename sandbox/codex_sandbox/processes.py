"""The running commands: their output, their input and how they ended. One event loop, no threads."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections import deque
from typing import TYPE_CHECKING

from codex_sandbox.errors import SandboxRefused
from codex_sandbox.output_buffer import OutputBuffer
from codex_sandbox.process_tree import CALL_VARIABLE, read_entry
from codex_sandbox.programs import resolve
from codex_sandbox.protocol import MAX_LIVE_PROCESSES, RefusalCode
from codex_sandbox.spawn import spawn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codex_sandbox.protocol import StartCommand
    from codex_sandbox.spawn import Spawned

READ_BYTES = 64 * 1024
# After the command itself is gone, for what its children still write; a daemon may hold the pipe open for ever.
DRAIN_SECONDS = 0.15
MAX_PENDING_INPUT_BYTES = 8 * 1024 * 1024
# Ended commands whose end nobody asked for, and pipes that daemons of ended commands hold open.
MAX_UNREPORTED, MAX_LINGERING = 64, 128
# The first number of a supervisor's life is drawn from here; all stay below 2**31.
FIRST_NUMBERS = range(1_000, 1_000_000_000)


class CommandProcess:
    """One started command. `finished` is done once it exited and its output was read."""

    def __init__(self, number: int, call_id: str, spawned: Spawned) -> None:
        self._loop = asyncio.get_running_loop()
        self.number = number
        self.call_id = call_id
        self.pid = spawned.pid
        self.started = self._loop.time()
        self.output = OutputBuffer()
        self.status: int | None = None
        """Exit code, or minus the number of the signal that ended it."""
        self.finished: asyncio.Future[None] = self._loop.create_future()
        self._output: int | None = spawned.output
        self._input = spawned.input
        self._is_terminal = spawned.input == spawned.output
        self._pending_input = bytearray()
        self._close_input_when_written = False
        self._discarding = False
        self._loop.add_reader(spawned.output, self._read)

    @property
    def accepts_input(self) -> bool:
        """Whether characters can still be written to it."""
        return self._input is not None and not self._close_input_when_written

    @property
    def pipe_open(self) -> bool:
        """Whether somebody may still write to its output."""
        return self._output is not None

    def write(self, data: bytes, close: bool = False) -> None:
        """Queue input; `close` ends the input after it. Raises SandboxRefused when too much is waiting."""
        if len(self._pending_input) + len(data) > MAX_PENDING_INPUT_BYTES:
            raise SandboxRefused(RefusalCode.BAD_REQUEST, "the process does not read its input")
        self._pending_input += data
        self._close_input_when_written = close
        self._flush_input()

    def exited(self, status: int) -> None:
        """Note the end of the command itself; its children may still be writing."""
        self.status = status
        if self._output is None:
            self._finish()
        else:
            self._loop.call_later(DRAIN_SECONDS, self._finish)

    def discard_output(self) -> None:
        """Read on, so that a daemon is not stopped by a full or closed pipe, but keep nothing."""
        self._discarding = True
        self.output = OutputBuffer()

    def close(self) -> None:
        """Close our ends of the pipes or of the terminal."""
        if self._output is not None:
            self._loop.remove_reader(self._output)
        self._close_input()
        if self._output is not None:
            os.close(self._output)
            self._output = None

    def _read(self) -> None:
        assert self._output is not None
        try:
            data = os.read(self._output, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            # How a terminal reports that its last user is gone.
            data = b""
        if data and not self._discarding:
            self.output.append(data)
        if not data:
            self.close()
            if self.status is not None:
                self._finish()

    def _finish(self) -> None:
        if not self.finished.done():
            self.finished.set_result(None)

    def _flush_input(self) -> None:
        if self._input is None:
            return
        try:
            while self._pending_input:
                del self._pending_input[: os.write(self._input, self._pending_input)]
        except BlockingIOError:
            self._loop.add_writer(self._input, self._flush_input)
            return
        except OSError:
            # Nobody reads any more; the command's own end tells why.
            self._pending_input.clear()
            self._close_input_when_written = True
        self._loop.remove_writer(self._input)
        if self._close_input_when_written:
            self._close_input()

    def _close_input(self) -> None:
        if self._input is None:
            return
        self._loop.remove_writer(self._input)
        if not self._is_terminal:
            os.close(self._input)
        self._input = None
        self._pending_input.clear()


class ProcessTable:
    """All commands of this supervisor, by number. Numbers are never used again.

    They begin at random: input meant for a process of an earlier life must not reach one of this life.
    """

    def __init__(self, base_environment: Mapping[str, str], workspace: str, private_folder: str) -> None:
        self._base_environment = base_environment
        self._workspace = workspace
        self._private_folder = private_folder
        self._processes: dict[int, CommandProcess] = {}
        self._by_pid: dict[int, CommandProcess] = {}
        self._lingering: deque[CommandProcess] = deque()
        self._next_number = secrets.choice(FIRST_NUMBERS)
        self.sessions: dict[int, str] = {}
        """Session id (the pid of its leader) → call id, also of ended commands: their daemons may live on."""
        self.start_ticks: dict[str, int] = {}
        """Call id → start of its command, in clock ticks after boot."""

    @property
    def live(self) -> int:
        """How many commands have not exited."""
        return len(self._by_pid)

    def start(self, command: StartCommand) -> CommandProcess:
        """Start a command; raises CannotStart, or SandboxRefused when too many are running."""
        if self.live >= MAX_LIVE_PROCESSES:
            raise SandboxRefused(RefusalCode.TOO_MANY_PROCESSES, f"{self.live} commands are running")
        spawned = spawn(
            resolve(command.argv, self._workspace, self._private_folder),
            os.path.join(self._workspace, command.directory),
            {**self._base_environment, **command.environment, CALL_VARIABLE: command.call_id},
            has_stdin=command.stdin is not None,
            tty=command.tty,
        )
        process = CommandProcess(self._next_number, command.call_id, spawned)
        self._next_number += 1
        self._processes[process.number] = process
        self._by_pid[process.pid] = process
        self.sessions[process.pid] = command.call_id
        # Even if it ended already it is a zombie until we reap it.
        entry = read_entry(process.pid)
        if entry is not None:
            self.start_ticks[command.call_id] = entry.start_ticks
        if command.stdin is not None:
            process.write(command.stdin.encode("utf-8", "surrogateescape"), close=not command.tty)
        return process

    def get(self, number: int) -> CommandProcess:
        """Return a process whose end was not yet reported; raises SandboxRefused."""
        process = self._processes.get(number)
        if process is None:
            raise SandboxRefused(RefusalCode.UNKNOWN_PROCESS, f"no process has the number {number}")
        return process

    def forget(self, process: CommandProcess) -> None:
        """Drop a process whose end was reported."""
        if self._processes.pop(process.number, None) is None:
            return
        process.discard_output()
        if process.pipe_open:
            self._lingering = deque(other for other in self._lingering if other.pipe_open)
            self._lingering.append(process)
            if len(self._lingering) > MAX_LINGERING:
                self._lingering.popleft().close()

    def reap(self) -> None:
        """Collect every child that ended: commands, and orphans that became ours."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            process = self._by_pid.pop(pid, None)
            if process is not None:
                process.exited(os.waitstatus_to_exitcode(status))
                self._drop_oldest_unreported()

    def _drop_oldest_unreported(self) -> None:
        ended = [process for process in self._processes.values() if process.status is not None]
        for process in ended[: max(0, len(ended) - MAX_UNREPORTED)]:
            self.forget(process)


def signal_name(number: int) -> str:
    """Return SIGKILL for 9; signals without a name get their number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
