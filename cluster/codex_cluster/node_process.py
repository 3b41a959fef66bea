"""The node's first process as the machine sees it: starting it, finding it, killing it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from codex_cluster import commands, host_network
from codex_cluster.errors import ClusterError
from codex_cluster.layout import Layout

KILL_SECONDS = 10.0
POLL_SECONDS = 0.1


class NodeProcess:
    """`node_init` in namespaces of its own, with everything that it started."""

    def __init__(self, layout: Layout, python: Path, sources: Path) -> None:
        self._layout = layout
        self._python = python
        self._sources = sources
        self.log = layout.logs / "node.log"

    def start(self, plan: Path) -> None:
        """Enter the network namespace, make mount and PID namespaces, run the plan; does not wait."""
        enter = ["nsenter", f"--net={host_network.namespace_path(self._layout)}"]
        unshare = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--propagation", "private"]
        script = self._sources / "codex_cluster" / "node_init.py"
        program = [str(self._python), "-I", "-S", str(script), str(plan)]
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [*enter, *unshare, *program],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        process.returncode = 0  # It outlives this program on purpose, so nobody waits for it.

    def first(self) -> int | None:
        """Its process id outside: of those in the network namespace, the one that is number 1 in its own."""
        for pid in self._pids():
            status = Path("/proc", str(pid), "status")
            try:
                lines = status.read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue
            numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
            if len(numbers) > 1 and numbers[-1] == "1":
                return pid
        return None

    def kill(self) -> None:
        """Kill the first process, with which the kernel kills all others, then whatever else is in the namespace.

        Raises ClusterError when something survives for 10 s.
        """
        first = self.first()
        for pid in [first] if first else self._pids():
            _kill(pid)
        if until(lambda: not self._pids(), KILL_SECONDS):
            return
        for pid in self._pids():
            _kill(pid)
        if not until(lambda: not self._pids(), KILL_SECONDS):
            raise ClusterError(f"these processes of node {self._layout.name} do not end: {self._pids()}")

    def _pids(self) -> list[int]:
        if not host_network.namespace_path(self._layout).exists():
            return []
        return [int(pid) for pid in commands.output(["ip", "netns", "pids", self._layout.name]).split()]


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition came true within some seconds; it is asked at least once."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
