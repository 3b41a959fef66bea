"""The prompt: what the command line says, and what is piped in."""

from __future__ import annotations

import select
import sys
from typing import IO

from codex_client.local.errors import UsageError

FROM_STDIN = "-"
PATIENCE_SECONDS = 1.0


def full_prompt(argument: str | None, stdin: IO[str]) -> str:
    """Return the prompt; what is piped beside one follows as a block of its own. Raises UsageError."""
    if argument in (None, FROM_STDIN):
        if stdin.isatty() and argument is None:
            raise UsageError('say what to do: codex-temporal run "…", or pipe it in')
        prompt = _piped(stdin)
    else:
        prompt = argument or ""
        if not stdin.isatty() and (piped := _piped(stdin)).strip():
            prompt = f"{prompt}\n\n<stdin>\n{piped.rstrip()}\n</stdin>"
    if not prompt.strip():
        raise UsageError("the prompt is empty")
    return prompt


def _piped(stdin: IO[str]) -> str:
    try:
        # A pipe that somebody forgot to close looks like a hang.
        if not select.select([stdin], [], [], PATIENCE_SECONDS)[0]:
            sys.stderr.write("codex-temporal: reading from standard input…\n")
        return stdin.read()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the prompt from standard input: {error}") from error
