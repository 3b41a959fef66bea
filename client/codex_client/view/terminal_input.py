"""Keys and lines from a terminal, without blocking the loop; a cancelled wait leaves the terminal as it was."""

from __future__ import annotations

import asyncio
import os
import select
import termios
from collections.abc import Iterator
from contextlib import contextmanager

_LOCAL_FLAGS = 3
_CONTROL_CHARACTERS = 6
_CHUNK = 8192


class InputClosed(Exception):
    """The terminal is gone: whoever sat there cannot answer any more."""


class TerminalInput:
    """``file_descriptor`` is a terminal that stays open while this is used."""

    def __init__(self, file_descriptor: int) -> None:
        self._fd = file_descriptor

    async def key(self) -> str:
        """Return the next key pressed, an empty text for one without a character.

        What was typed before the call is thrown away: it was no answer to what is asked now. Raises InputClosed.
        """
        with self._mode(canonical=False, discard=True):
            pressed = await self._read()
        if not pressed:
            raise InputClosed
        text = pressed.decode(errors="ignore")
        return text[:1] if text[:1].isprintable() else ""

    async def line(self) -> str:
        """Return the next line without its end and without control characters; empty at Ctrl-D. Raises InputClosed."""
        with self._mode(canonical=True, discard=False):
            line = await self._read()
        if not line and self._hung_up():
            raise InputClosed
        return "".join(filter(str.isprintable, line.decode(errors="ignore"))).strip()

    @contextmanager
    def _mode(self, *, canonical: bool, discard: bool) -> Iterator[None]:
        try:
            before = termios.tcgetattr(self._fd)
            wanted = termios.tcgetattr(self._fd)
            flags = termios.ICANON | termios.ECHO
            wanted[_LOCAL_FLAGS] = wanted[_LOCAL_FLAGS] | flags if canonical else wanted[_LOCAL_FLAGS] & ~flags
            wanted[_CONTROL_CHARACTERS][termios.VMIN] = 1
            wanted[_CONTROL_CHARACTERS][termios.VTIME] = 0
            termios.tcsetattr(self._fd, termios.TCSAFLUSH if discard else termios.TCSADRAIN, wanted)
        except termios.error as error:
            raise InputClosed from error
        try:
            yield
        finally:
            try:
                termios.tcsetattr(self._fd, termios.TCSADRAIN, before)
            except termios.error as error:
                raise InputClosed from error

    async def _read(self) -> bytes:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._fd, readable.set)
        try:
            await readable.wait()
            return os.read(self._fd, _CHUNK)
        except OSError as error:
            raise InputClosed from error
        finally:
            loop.remove_reader(self._fd)

    def _hung_up(self) -> bool:
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in poller.poll(0))


def open_terminal() -> TerminalInput | None:
    """Return the terminal that controls this process, also where standard input is a pipe; None where there is none."""
    try:
        file_descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    return TerminalInput(file_descriptor)
