"""Starting one process with its pipes or its terminal. Nothing here waits for the process."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TERMINAL_ROWS, TERMINAL_COLUMNS = 24, 80


class CannotStart(Exception):
    """The command could not be started; a shell would report the same exit code and text."""

    def __init__(self, exit_code: int, text: str) -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.text = text


@dataclass(frozen=True)
class Spawned:
    """A running process, leader of a session and group of its own, and our non-blocking ends."""

    pid: int
    output: int
    """File descriptor with stdout and stderr; the terminal itself when there is one."""
    input: int | None
    """File descriptor to write to; the same as `output` for a terminal; None when the process has no input."""


def spawn(argv: Sequence[str], directory: str, environment: Mapping[str, str], has_stdin: bool, tty: bool) -> Spawned:
    """Start a command; raises CannotStart."""
    opened: list[int] = []
    try:
        if tty:
            return _spawn_on_terminal(argv, directory, environment, opened)
        return _spawn_on_pipes(argv, directory, environment, has_stdin, opened)
    # ValueError: a null byte in an argument. UnicodeError is one too.
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        for descriptor in opened:
            os.close(descriptor)
        raise _explain(error, argv, directory) from error


def _spawn_on_pipes(
    argv: Sequence[str], directory: str, environment: Mapping[str, str], has_stdin: bool, opened: list[int]
) -> Spawned:
    output, child_output = os.pipe()
    opened += (output, child_output)
    child_input, our_input = os.pipe() if has_stdin else (os.open(os.devnull, os.O_RDONLY), None)
    opened.append(child_input)
    if our_input is not None:
        opened.append(our_input)
    pid = _popen(argv, directory, environment, child_input, child_output, terminal=False)
    os.close(child_output)
    os.close(child_input)
    os.set_blocking(output, False)
    if our_input is not None:
        os.set_blocking(our_input, False)
    return Spawned(pid, output, our_input)


def _spawn_on_terminal(
    argv: Sequence[str], directory: str, environment: Mapping[str, str], opened: list[int]
) -> Spawned:
    ours, theirs = os.openpty()
    opened += (ours, theirs)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", TERMINAL_ROWS, TERMINAL_COLUMNS, 0, 0))
    pid = _popen(argv, directory, {"TERM": "dumb", **environment}, theirs, theirs, terminal=True)
    os.close(theirs)
    os.set_blocking(ours, False)
    return Spawned(pid, ours, ours)


def _popen(
    argv: Sequence[str],
    directory: str,
    environment: Mapping[str, str],
    stdin: int,
    output: int,
    terminal: bool,
) -> int:
    process = subprocess.Popen(
        list(argv),
        cwd=directory,
        env=dict(environment),
        stdin=stdin,
        stdout=output,
        stderr=output,
        start_new_session=True,
        # Safe here: the supervisor has one thread.
        preexec_fn=_take_terminal if terminal else None,
    )
    # Every child is reaped in one place; this object must never wait for its own.
    process.returncode = 0
    return process.pid


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _explain(error: Exception, argv: Sequence[str], directory: str) -> CannotStart:
    if not isinstance(error, OSError):
        return CannotStart(126, f"{argv[0]}: {error}")
    about_directory = error.filename is not None and os.fspath(error.filename) == directory
    subject = directory if about_directory else argv[0]
    if isinstance(error, FileNotFoundError):
        reason = "command not found" if "/" not in subject else "No such file or directory"
        return CannotStart(127, f"{subject}: {reason}")
    return CannotStart(126, f"{subject}: {error.strerror}")
