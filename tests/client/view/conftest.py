"""A session to show, and pseudo-terminals to show it on."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import struct
import termios
from collections.abc import Callable, Iterator

import pytest

from codex_client.view.presenter import RunInfo
from codex_client.view.testing import SESSION, SessionRows

PATIENCE_SECONDS = 20


@pytest.fixture
def rows() -> SessionRows:
    return SessionRows()


@pytest.fixture
def info() -> RunInfo:
    return RunInfo(SESSION, "gpt-5.4", "/home/someone/project", "workspace-write", "untrusted", resumed=False)


class PseudoTerminal:
    """A terminal with a person before it: what is printed on it can be read, and keys can be pressed."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self._person, self.file_descriptor = os.openpty()
        self.resize(columns, lines)
        os.set_blocking(self._person, False)
        self.stream = os.fdopen(os.dup(self.file_descriptor), "w")
        self.shown = ""

    def resize(self, columns: int, lines: int = 24) -> None:
        fcntl.ioctl(self.file_descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._person, keys.encode())

    def read(self) -> str:
        """Return all that was printed so far."""
        while select.select([self._person], [], [], 0)[0]:
            self.shown += os.read(self._person, 65536).decode(errors="replace")
        return self.shown

    async def wait_for(self, text: str, times: int = 1) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.read().count(text) < times:
                await asyncio.sleep(0.01)

    def echoes(self) -> bool:
        flags: int = termios.tcgetattr(self.file_descriptor)[3]
        return bool(flags & termios.ECHO) and bool(flags & termios.ICANON)

    def hang_up(self) -> None:
        os.close(self._person)
        self._person = -1

    def close(self) -> None:
        self.stream.close()
        os.close(self.file_descriptor)
        if self._person >= 0:
            os.close(self._person)


@pytest.fixture
def open_terminal() -> Iterator[Callable[..., PseudoTerminal]]:
    opened: list[PseudoTerminal] = []

    def open_one(**size: int) -> PseudoTerminal:
        opened.append(PseudoTerminal(**size))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()


@pytest.fixture
def terminal(open_terminal: Callable[..., PseudoTerminal]) -> PseudoTerminal:
    return open_terminal()
