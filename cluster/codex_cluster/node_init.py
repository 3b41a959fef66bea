"""PID 1 of the host node: prepares the namespaces, keeps the node's programs running, reaps orphans.

Run as a program inside fresh network, mount and PID namespaces with the path of a plan (JSON) as its argument; standard
library only. Killing it kills everything on the node, which is how the node is stopped.

The plan: {"logs": folder, "running": folder that gets one file per living program, "private": [folders hidden behind a
tmpfs], "sysctl": {path below /proc/sys: value}, "ruleset": nftables text, "processes": [{"name", "argv", "after"}]};
`after` is null or what must answer first: a socket's path or "host:port".
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.05
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
STABLE_SECONDS = 10.0


def prepare(plan: dict[str, Any]) -> None:
    """Hide the folders whose paths are fixed in other people's programs, then set kernel parameters and rules."""
    for folder in plan["private"]:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", folder], check=True)
    for path, value in plan["sysctl"].items():
        Path("/proc/sys", path).write_text(value)
    subprocess.run(["nft", "-f", "-"], input=plan["ruleset"], text=True, check=True)


def answers(condition: str) -> bool:
    """Whether something listens on a Unix socket (a path) or on `host:port`."""
    is_path = condition.startswith("/")
    with socket.socket(socket.AF_UNIX if is_path else socket.AF_INET) as probe:
        probe.settimeout(1)
        host, _, port = condition.rpartition(":")
        try:
            probe.connect(condition if is_path else (host, int(port)))
        except OSError:
            return False
    return True


class Reaper:
    """Collects every child that ends, because orphans of the whole namespace become children of PID 1."""

    def __init__(self) -> None:
        self._ended: dict[int, threading.Event] = {}
        self._lock = threading.Lock()

    def start(self, argv: list[str], log: Path) -> tuple[int, threading.Event]:
        """Start a program; the event is set when it ended. The lock keeps a quick death from passing unseen."""
        ended = threading.Event()
        with self._lock, log.open("ab") as sink:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True)
            process.returncode = 0  # Popen must never wait for it: the status belongs to this reaper.
            self._ended[process.pid] = ended
        return process.pid, ended

    def run(self) -> None:
        """Reap until PID 1 is killed."""
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                time.sleep(POLL_SECONDS)
                continue
            if info is None:
                continue
            with self._lock:
                with contextlib.suppress(ChildProcessError):  # A program that could not be executed is already gone.
                    os.waitpid(info.si_pid, os.WNOHANG)
                ended = self._ended.pop(info.si_pid, None)
            if ended is not None:
                ended.set()


def keep_running(process: dict[str, Any], reaper: Reaper, plan: dict[str, Any]) -> None:
    """Start a program when its condition holds and again whenever it ends, slower while it keeps ending quickly."""
    pause = FIRST_PAUSE_SECONDS
    log = Path(plan["logs"], f"{process['name']}.log")
    running = Path(plan["running"], process["name"])
    while True:
        while process["after"] is not None and not answers(process["after"]):
            time.sleep(POLL_SECONDS)
        began = time.monotonic()
        pid, ended = reaper.start(process["argv"], log)
        running.write_text(str(pid))
        ended.wait()
        running.unlink(missing_ok=True)
        pause = (
            FIRST_PAUSE_SECONDS if time.monotonic() - began > STABLE_SECONDS else min(pause * 2, LONGEST_PAUSE_SECONDS)
        )
        print(f"{process['name']} ended, starting it again in {pause:g} s", flush=True)
        time.sleep(pause)


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    prepare(plan)
    reaper = Reaper()
    for process in plan["processes"]:
        threading.Thread(target=keep_running, args=(process, reaper, plan), daemon=True).start()
    reaper.run()


if __name__ == "__main__":
    main()
