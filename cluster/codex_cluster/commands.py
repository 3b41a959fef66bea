"""Starting other programs: short ones for their output, long ones with a log file."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from codex_cluster.errors import ClusterError, CommandFailedError

MISSING_PROGRAM_STATUS = 127


def output(argv: Sequence[str], *, stdin: str | None = None, timeout: float = 120) -> str:
    """Standard output of a short program.

    Raises CommandFailedError on a non-zero status or a missing program, ClusterError after `timeout` seconds.
    """
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=timeout)
    except FileNotFoundError as error:
        raise CommandFailedError(argv, MISSING_PROGRAM_STATUS, f"{error.filename}: no such program") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{' '.join(argv)[:300]}` did not end within {timeout:g} s") from error
    if done.returncode != 0:
        raise CommandFailedError(argv, done.returncode, done.stdout + done.stderr)
    return done.stdout


def succeeds(argv: Sequence[str], *, timeout: float = 30) -> bool:
    """Whether a short program exists, ends in time and returns 0."""
    try:
        output(argv, timeout=timeout)
    except ClusterError:
        return False
    return True


def run_logged(argv: Sequence[str], log: Path, *, directory: Path | None = None) -> None:
    """Run a long program whose output goes to the end of `log`; raises CommandFailedError with its last lines."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        start = sink.tell()
        try:
            status = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, cwd=directory, check=False
            ).returncode
        except FileNotFoundError as error:
            raise CommandFailedError(argv, MISSING_PROGRAM_STATUS, f"{error.filename}: no such program") from error
    if status != 0:
        with log.open("rb") as written:
            written.seek(start)
            raise CommandFailedError(argv, status, written.read().decode(errors="replace"), log)
