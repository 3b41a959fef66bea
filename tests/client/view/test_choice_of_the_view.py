"""Which view a program gets: run as a process of its own, with real pipes and a real controlling terminal."""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

from codex_client.view.choosing import presenter_for
from codex_client.view.json_presenter import JsonPresenter

if TYPE_CHECKING:
    from conftest import PseudoTerminal

TELL = (
    "import sys; from codex_client.view.choosing import presenter_for;"
    "view, asks = presenter_for(sys.stdout, sys.stderr);"
    "print(type(view).__name__, asks, file=open(sys.argv[1], 'w'))"
)


def chosen(terminal: PseudoTerminal, result: os.PathLike[str], stdout: int, stderr: int, **environment: str) -> str:
    """Return what a process with these streams and the terminal as its own chose."""
    process = subprocess.Popen(
        [sys.executable, "-c", TELL, result],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(terminal.file_descriptor, termios.TIOCSCTTY, 0),
        pass_fds=[terminal.file_descriptor],
        env={**os.environ, "TERM": "xterm", **environment},
    )
    assert process.wait(30) == 0
    with open(result) as told:
        return told.read().strip()


def test_a_terminal_gets_the_live_view(terminal: PseudoTerminal, tmp_path: os.PathLike[str]) -> None:
    result = os.path.join(tmp_path, "chosen")
    fd = terminal.file_descriptor
    assert chosen(terminal, result, fd, fd) == "LivePresenter True"
    assert chosen(terminal, result, fd, fd, TERM="dumb") == "PlainPresenter True"


def test_a_captured_message_still_asks_on_the_terminal(terminal: PseudoTerminal, tmp_path: os.PathLike[str]) -> None:
    result = os.path.join(tmp_path, "chosen")
    assert chosen(terminal, result, subprocess.DEVNULL, terminal.file_descriptor) == "PlainPresenter True"


def test_nobody_is_asked_where_nothing_reaches_the_terminal(
    terminal: PseudoTerminal, tmp_path: os.PathLike[str]
) -> None:
    result = os.path.join(tmp_path, "chosen")
    assert chosen(terminal, result, subprocess.DEVNULL, subprocess.DEVNULL) == "PlainPresenter False"


def test_the_event_stream_asks_nobody() -> None:
    view, asks = presenter_for(io.StringIO(), io.StringIO(), json_events=True)
    assert isinstance(view, JsonPresenter)
    assert not asks


def test_a_stream_that_knows_no_umlauts_shows_an_escape() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    presenter_for(stream, io.StringIO(), json_events=True)
    stream.write("é")
    stream.flush()
    assert raw.getvalue() == b"\\xe9"
