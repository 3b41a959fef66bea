"""API servers for pytest: one per version and test run, started when first asked for.

from codex_cluster.testing import ApiServers

@pytest.fixture(scope="session")
def api_servers(tmp_path_factory):
    with ApiServers(tmp_path_factory.mktemp("api-servers")) as servers:
        yield servers

server = api_servers.get("1.36.3")
server.kubectl("apply", "-f", "-", user="alice", stdin=manifest)
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from codex_cluster import apiserver
from codex_cluster.components import KUBERNETES, KUBERNETES_WITHOUT_MUTATING_POLICIES
from codex_cluster.layout import cache_directory
from codex_cluster.progress import Progress

CURRENT = KUBERNETES
WITHOUT_MUTATING_POLICIES = KUBERNETES_WITHOUT_MUTATING_POLICIES
KUBECTL_SECONDS = 120.0


class ApiServer:
    """A running API server as tests see it."""

    def __init__(self, running: apiserver.RunningApiServer) -> None:
        self._running = running
        self.version = running.version
        self.server = running.server
        self.kubeconfigs = running.kubeconfigs

    def kubeconfig(self, user: str = "admin") -> Path:
        """The file that logs `user` in: admin, alice or bob. Raises KeyError for others."""
        return self.kubeconfigs[user]

    def run(self, *arguments: str, user: str = "admin", stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """kubectl as `user`; the caller judges the status, `stdout` and `stderr`."""
        argv = [str(self._running.kubectl), f"--kubeconfig={self.kubeconfig(user)}", *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=KUBECTL_SECONDS)

    def kubectl(self, *arguments: str, user: str = "admin", stdin: str | None = None) -> str:
        """kubectl's standard output; a failure raises AssertionError with its standard error."""
        done = self.run(*arguments, user=user, stdin=stdin)
        if done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)} as {user}: {done.stderr}{done.stdout}")
        return done.stdout

    def stop(self) -> None:
        self._running.stop()


def api_server(directory: Path, version: str = CURRENT) -> ApiServer:
    """Start one API server in `directory`; the caller stops it."""
    running = apiserver.start(directory, version, cache=cache_directory(os.environ), progress=Progress())
    return ApiServer(running)


class ApiServers:
    """At most one API server per version, all stopped at the end of the `with` block."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: dict[str, ApiServer] = {}

    def get(self, version: str = CURRENT) -> ApiServer:
        if version not in self._started:
            directory = self._directory / version
            directory.mkdir(parents=True)
            self._started[version] = api_server(directory, version)
        return self._started[version]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._started.values():
            server.stop()
