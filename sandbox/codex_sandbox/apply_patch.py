"""`codex-apply-patch`: applies a patch given as the only argument or on standard input.

Exit codes: 0 applied, 1 refused or failed, 2 wrong use. With `--report` standard output is one JSON object with
exit_code, text (what the model reads), changes, and the diff of everything patches of this turn changed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

from codex_sandbox.patch.applying import PartlyApplied, apply_plan
from codex_sandbox.patch.baselines import Baselines
from codex_sandbox.patch.grammar import InvalidPatch, parse_patch
from codex_sandbox.patch.planning import PatchFailed, plan_patch
from codex_sandbox.patch.reporting import listing, report, success_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codex_sandbox.patch.planning import Change

USAGE = "Usage: apply_patch 'PATCH'\n       echo 'PATCH' | apply_patch"
ONE_ARGUMENT = "Error: apply_patch accepts exactly one argument."
# Options that take a value: the turn, the private folder for its baselines, and where paths in the diff start.
VALUES = ("--turn", "--baselines", "--root")


class WrongUse(Exception):
    """The program was called wrongly; the text says how."""


@dataclasses.dataclass
class Options:
    """The command line."""

    patch: str | None = None
    """None: on standard input."""
    report: bool = False
    turn: int = 0
    baselines: str | None = None
    root: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Apply a patch in the current folder; return the exit code."""
    # Without this a stopped turn would leave temporary files behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        options = parse_options(sys.argv[1:] if arguments is None else arguments)
        text = sys.stdin.buffer.read().decode("utf-8") if options.patch is None else options.patch
        if not text and options.patch is None:
            raise WrongUse(USAGE)
    except WrongUse as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (OSError, UnicodeDecodeError):
        sys.stderr.write("Error: Failed to read PATCH from stdin.\nstream did not contain valid UTF-8\n")
        return 1
    try:
        directory = os.getcwd()
    except OSError as error:
        sys.stderr.write(f"Error: Failed to determine current directory.\n{error}\n")
        return 1
    return _apply(text, directory, options)


def parse_options(arguments: Sequence[str]) -> Options:
    """Read the command line; raises WrongUse."""
    options = Options()
    waiting = list(arguments)
    while waiting and (waiting[0] == "--report" or waiting[0] in VALUES):
        name = waiting.pop(0)
        if name == "--report":
            options.report = True
            continue
        if not waiting:
            raise WrongUse(f"Error: {name} needs a value.")
        value = waiting.pop(0)
        if name == "--turn":
            if not (value.isascii() and value.isdigit() and len(value) <= 18):
                raise WrongUse("Error: --turn needs a number.")
            options.turn = int(value)
        else:
            setattr(options, name[2:], value)
    if len(waiting) > 1:
        raise WrongUse(ONE_ARGUMENT)
    options.patch = waiting[0] if waiting else None
    return options


def _apply(text: str, directory: str, options: Options) -> int:
    baselines = Baselines(options.baselines, options.turn)
    changes: tuple[Change, ...] = ()
    try:
        plan = plan_patch(parse_patch(text), directory)
    except (InvalidPatch, PatchFailed) as error:
        message = f"apply_patch verification failed: {error}" if options.report else _plain(error)
        return _tell(1, message + "\n", changes, baselines, directory, options)
    if options.report:
        baselines.remember(plan)
    try:
        apply_plan(plan)
    except PartlyApplied as error:
        changes = error.done
        message = f"{error}\nThese files were changed before that:\n{listing(changes)}"
        return _tell(1, message, changes, baselines, directory, options)
    except PatchFailed as error:
        return _tell(1, f"{error}\nNo file was changed.\n", changes, baselines, directory, options)
    return _tell(0, success_text(plan.changes), plan.changes, baselines, directory, options)


def _plain(error: InvalidPatch | PatchFailed) -> str:
    if not isinstance(error, InvalidPatch):
        return str(error)
    where = "" if error.line is None else f" hunk on line {error.line}"
    return f"Invalid patch{where}: {error.reason}"


def _tell(
    exit_code: int, text: str, changes: Sequence[Change], baselines: Baselines, directory: str, options: Options
) -> int:
    stream = sys.stdout if options.report or exit_code == 0 else sys.stderr
    if options.report:
        told = report(exit_code, text, changes, baselines, options.root or directory)
        text = json.dumps(told, ensure_ascii=False) + "\n"
    # Not through the text layer: its encoding depends on the session's environment.
    stream.buffer.write(text.encode("utf-8", "backslashreplace"))
    stream.flush()
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
