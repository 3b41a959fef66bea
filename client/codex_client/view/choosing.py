"""Which view a run gets."""

from __future__ import annotations

import io
import os
from typing import IO

from codex_client.view.json_presenter import JsonPresenter
from codex_client.view.presenter import Presenter


def presenter_for(stdout: IO[str], stderr: IO[str], *, json_events: bool = False) -> tuple[Presenter, bool]:
    """Return the view for these streams, and whether a person can be asked through it.

    A terminal gets the live view; ``x=$(codex-temporal run …)`` still asks on the terminal behind standard error.
    """
    for stream in (stdout, stderr):
        _never_refuse_a_character(stream)
    if json_events:
        return JsonPresenter(stdout), False
    # rich takes a tenth of a second to import.
    from codex_client.view.asking import Asker
    from codex_client.view.live import LivePresenter
    from codex_client.view.plain import PlainPresenter
    from codex_client.view.printing import console_on
    from codex_client.view.terminal_input import open_terminal

    terminal = open_terminal() if stdout.isatty() or stderr.isatty() else None
    if stdout.isatty() and os.environ.get("TERM") != "dumb":
        return LivePresenter(console_on(stdout), terminal), terminal is not None
    asker = Asker(console_on(stderr), terminal) if terminal is not None and stderr.isatty() else None
    return PlainPresenter(stdout, stderr, asker), asker is not None


def _never_refuse_a_character(stream: IO[str]) -> None:
    # An ASCII terminal shows an escape instead of ending the run.
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
