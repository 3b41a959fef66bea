"""A person at a pseudo-terminal: real keys, real signals, the live view."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from codex_client.local.testing import PATIENCE_SECONDS, Machine
from codex_client.model_server.testing import shell, shell_call

pytestmark = pytest.mark.temporal


class Terminal:
    """A command of ours with a terminal that a test types on and reads from."""

    def __init__(self, process: asyncio.subprocess.Process, descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self._seen = ""
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    @property
    def text(self) -> str:
        """What was shown, without colours and cursor movements."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", self._seen)

    def type(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    async def shows(self, text: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while text not in self.text:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{text!r} is not in {self.text}") from None

    async def ends(self) -> int:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.process.wait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> None:
        try:
            self._seen += os.read(self._descriptor, 65536).decode(errors="replace")
        except OSError:
            asyncio.get_running_loop().remove_reader(self._descriptor)


@asynccontextmanager
async def terminal(machine: Machine, *arguments: str) -> AsyncIterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    # Takes the terminal as its own, so that Ctrl-C and /dev/tty mean this one.
    take = (
        "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", take, sys.executable, "-m", "codex_client", *arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=machine.workspace,
        env=machine.variables(),
    )
    os.close(theirs)
    shown = Terminal(process, ours)
    try:
        yield shown
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        shown.close()


ASK = ("run", "--approval-policy", "untrusted", "Make it.")


async def test_an_approved_command_runs(machine: Machine) -> None:
    machine.model.script(replies=[shell("touch made.txt"), {"text": "Done."}])
    async with terminal(machine, *ASK) as person:
        await person.shows("touch made.txt")
        await person.shows("y approve")
        assert not (machine.workspace / "made.txt").exists()
        person.type("y")
        assert await person.ends() == 0, person.text
        assert "Done." in person.text
    assert (machine.workspace / "made.txt").exists()


async def test_a_denied_command_never_runs_and_the_model_reads_why(machine: Machine) -> None:
    machine.model.script(replies=[shell("touch made.txt"), {"text": "Understood."}])
    async with terminal(machine, *ASK) as person:
        await person.shows("y approve")
        person.type("n")
        await person.shows("why?")
        person.type("not on a Sunday\n")
        assert await person.ends() == 4, person.text
    assert not (machine.workspace / "made.txt").exists()
    assert "not on a Sunday" in machine.outputs()[0]


async def test_two_commands_are_asked_one_after_the_other(machine: Machine) -> None:
    calls = [shell_call(f"touch {name}.txt") for name in ("one", "two")]
    machine.model.script(replies=[{"calls": calls}, {"text": "Done."}])
    async with terminal(machine, *ASK) as person:
        await person.shows("y approve")
        person.type("y")
        await person.shows("touch two.txt")
        await asyncio.sleep(0.3)
        person.type("y")
        assert await person.ends() == 0, person.text
    assert (machine.workspace / "one.txt").exists()
    assert (machine.workspace / "two.txt").exists()


async def test_aborting_ends_the_turn(machine: Machine) -> None:
    machine.model.script(replies=[shell("touch made.txt"), {"text": "Never."}])
    async with terminal(machine, *ASK) as person:
        await person.shows("y approve")
        person.type("a")
        assert await person.ends() == 4, person.text
    assert len(machine.model.requests) == 1


async def test_control_c_at_a_question_interrupts_the_turn(machine: Machine) -> None:
    machine.model.script(replies=[shell("touch made.txt"), {"text": "Never."}])
    async with terminal(machine, *ASK) as person:
        await person.shows("y approve")
        person.type("\x03")
        assert await person.ends() == 130, person.text
        assert "codex-temporal resume" in person.text
    assert machine.processes() == {}


async def test_a_question_survives_a_killed_terminal(machine: Machine) -> None:
    machine.model.script(replies=[shell("touch made.txt"), {"text": "Done."}])
    async with terminal(machine, *ASK) as person:
        await person.shows("y approve")
        person.process.kill()
        await person.ends()
    await machine.until(lambda: machine.processes() == {})
    async with terminal(machine, "resume", "--last") as person:
        await person.shows("touch made.txt")
        await person.shows("y approve")
        person.type("y")
        assert await person.ends() == 0, person.text
    assert (machine.workspace / "made.txt").exists()


async def test_a_question_of_the_model_is_answered(machine: Machine) -> None:
    options = [{"label": name, "description": f"the colour {name}"} for name in ("red", "blue")]
    question = {"id": "colour", "header": "Colour", "question": "Which colour?", "options": options}
    call = {"name": "request_user_input", "arguments": {"questions": [question]}}
    machine.model.script(replies=[{"calls": [call]}, {"text": "Done."}])
    async with terminal(machine, "run", "Ask me.") as person:
        await person.shows("Which colour?")
        await person.shows("2. blue")
        await person.shows("decline")
        person.type("2\n")
        assert await person.ends() == 0, person.text
    assert "blue" in machine.outputs()[0]
