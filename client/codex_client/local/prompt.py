"""The prompt: what the command line says, and what is piped in."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import IO

from codex_client.local.errors import UsageError

FROM_STDIN = "-"
PATIENCE_SECONDS = 1.0


def full_prompt(argument: str | None, stdin: IO[str]) -> str:
    """Return the prompt; what is piped beside one follows as a block of its own. Raises UsageError.

    Bytes that are no UTF-8 become replacement characters, whatever the locale.
    """
    if argument in (None, FROM_STDIN):
        if stdin.isatty() and argument is None:
            raise UsageError('say what to do: codex-temporal run "…", or pipe it in')
        prompt = _piped(stdin)
    else:
        prompt = _readable(argument or "")
        if not stdin.isatty() and (piped := _piped(stdin)).strip():
            prompt = f"{prompt}\n\n<stdin>\n{piped.rstrip()}\n</stdin>"
    if not prompt.strip():
        raise UsageError("the prompt is empty")
    return prompt


def _readable(argument: str) -> str:
    """Return an argument of the command line without the surrogates that stand for its undecodable bytes."""
    try:
        return os.fsencode(argument).decode("utf-8", errors="replace")
    except UnicodeEncodeError:
        return argument.encode("utf-8", errors="replace").decode()


def _piped(stdin: IO[str]) -> str:
    if isinstance(stdin, io.TextIOWrapper):
        stdin.reconfigure(encoding="utf-8", errors="replace")
    try:
        # A pipe that somebody forgot to close looks like a hang.
        if not select.select([stdin], [], [], PATIENCE_SECONDS)[0]:
            sys.stderr.write("codex-temporal: reading from standard input…\n")
        return stdin.read()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the prompt from standard input: {error}") from error
