"""Telling a person where a long run is: one line at the start of a step, one every 15 s, one at its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HEARTBEAT_SECONDS = 15.0
TAIL_BYTES = 4096


class Progress:
    """Prints steps with the seconds since the start of the whole run."""

    def __init__(self, *, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self._started = time.monotonic()
        self._heartbeat_seconds = heartbeat_seconds

    def say(self, text: str) -> None:
        """One line, at once, also into a pipe."""
        print(f"[{time.monotonic() - self._started:5.0f} s] {text}", flush=True)

    @contextmanager
    def step(self, title: str, *, estimate_seconds: float, log: Path | None = None) -> Iterator[None]:
        """Announce a step and repeat the last line of its log while it runs."""
        began = time.monotonic()
        self.say(f"{title} (about {estimate_seconds:.0f} s)")
        ended = threading.Event()
        beat = threading.Thread(target=self._beat, args=(title, began, estimate_seconds, log, ended), daemon=True)
        beat.start()
        try:
            yield
        finally:
            ended.set()
            beat.join()
        self.say(f"{title}: done in {time.monotonic() - began:.1f} s")

    def _beat(self, title: str, began: float, estimate: float, log: Path | None, ended: threading.Event) -> None:
        while not ended.wait(self._heartbeat_seconds):
            seconds = time.monotonic() - began
            self.say(f"  {title}: {seconds:.0f} of about {estimate:.0f} s{_last_line(log)}")


def _last_line(log: Path | None) -> str:
    if log is None or not log.exists():
        return ""
    with log.open("rb") as written:
        written.seek(max(0, log.stat().st_size - TAIL_BYTES))
        lines = written.read().decode(errors="replace").split("\n")
    named = [line.strip() for line in lines if line.strip()]
    return f", now: {named[-1][:90]}" if named else ""
