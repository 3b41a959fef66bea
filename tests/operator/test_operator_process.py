"""The operator as a process: what it serves, how it ends, what it says of wrong settings."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from codex_cluster.testing import ApiServer
from codex_journal.journal import Journal
from codex_operator import resource_paths
from codex_operator.testing import ClusterUser, eventually

pytestmark = [pytest.mark.apiserver, pytest.mark.temporal]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class OperatorProcess:
    process: asyncio.subprocess.Process
    log: Path
    health_port: int
    metrics_port: int

    async def fetch(self, port: int, path: str) -> str:
        """Return what an endpoint says, or nothing where it does not answer yet."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
                return await response.text()
        except aiohttp.ClientError:
            return ""


@pytest.fixture
async def operator(
    api_server: ApiServer, temporal_address: str, database_url: str, journal: Journal, tmp_path: Path
) -> AsyncIterator[OperatorProcess]:
    health, metrics, log = free_port(), free_port(), tmp_path / "operator.log"
    environment = {
        **os.environ,
        "KUBECONFIG": str(api_server.kubeconfig()),
        "TEMPORAL_ADDRESS": f"http://{temporal_address}",
        "CODEX_DATABASE_URL": database_url,
        "CODEX_SANDBOX_IMAGE": "registry.test/sandbox:1",
        "CODEX_SUPERVISOR_IMAGE": "registry.test/sandbox:1",
        "CODEX_WORKER_SELECTOR": "app.kubernetes.io/name=codex-temporal,app.kubernetes.io/component=worker",
        "CODEX_SANDBOX_PROBES": "temporal=10.0.0.1:7233, database=10.0.0.2:5432",
        "CODEX_SANDBOX_RESOURCES": '{"requests": {"cpu": "100m"}}',
        "HEALTH_PORT": str(health),
        "METRICS_PORT": str(metrics),
        "LOG_LEVEL": "INFO,kopf=WARNING",
    }
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "codex_operator", env=environment, stdout=sink, stderr=sink
        )
    yield OperatorProcess(process, log, health, metrics)
    if process.returncode is None:
        process.kill()
        await process.wait()


async def test_it_serves_sessions_health_and_metrics_and_ends_when_told(
    user: ClusterUser, operator: OperatorProcess
) -> None:
    await user.create_session("x")
    await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
    health = await eventually(
        lambda: operator.fetch(operator.health_port, "/healthz"), lambda text: "reachable" in text
    )
    metrics = await operator.fetch(operator.metrics_port, "/metrics")
    seen = json.loads(health)["operator"]
    assert (seen["journal"], seen["temporal"]) == ("reachable", "reachable")
    assert 'codex_sessions{phase="Pending"} 1.0' in metrics
    assert 'codex_reconcile_total{outcome="ok"}' in metrics
    operator.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(operator.process.wait(), 10) == 0


async def test_its_log_is_json_lines(user: ClusterUser, operator: OperatorProcess) -> None:
    await user.create_session("x")
    await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
    await user.delete_session("x")
    await eventually(lambda: user.exists("x"), lambda exists: not exists)
    operator.process.send_signal(signal.SIGTERM)
    await operator.process.wait()
    entries = [json.loads(line) for line in operator.log.read_text().splitlines()]
    assert all({"event", "level", "timestamp"} <= set(entry) for entry in entries)
    events = [entry["event"] for entry in entries]
    assert (events[0], events[-1]) == ("operator ready", "operator stopped")
    told = [entry["event"] for entry in entries if entry.get("object") == f"{user.namespace}/x"]
    assert set(told[:2]) == {"workflow runs", "sandbox pod made"}
    assert told[-1] == "deleted session ended"


async def run_operator_program(*arguments: str, **environment: str) -> tuple[int | None, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CODEX_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "codex_operator", *arguments),
        env={**kept, **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, stderr.decode()


async def test_preparing_makes_what_workers_wait_for_and_ends_and_may_be_repeated(
    user: ClusterUser, api_server: ApiServer
) -> None:
    environment = {"KUBECONFIG": str(api_server.kubeconfig()), "CODEX_SYSTEM_NAMESPACE": user.namespace}
    assert (await run_operator_program("prepare", **environment))[0] == 0
    made = [
        await user.api.get(resource_paths.secret(user.namespace, name)) for name in ("codex-ca", "codex-worker-tls")
    ]
    assert {"tls.crt", "tls.key", "ca.crt"} <= set(made[1]["data"])
    assert (await run_operator_program("prepare", **environment))[0] == 0
    kept = [
        await user.api.get(resource_paths.secret(user.namespace, name)) for name in ("codex-ca", "codex-worker-tls")
    ]
    assert [secret["data"] for secret in kept] == [secret["data"] for secret in made]


async def test_an_argument_that_it_does_not_know_is_refused() -> None:
    returned, said = await run_operator_program("prepair")
    assert returned == 1
    assert "usage: codex-temporal-operator [prepare]" in said


async def test_it_names_the_setting_that_is_missing() -> None:
    returned, said = await run_operator_program()
    assert returned != 0
    assert "CODEX_DATABASE_URL" in said
