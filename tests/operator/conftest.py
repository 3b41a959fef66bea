"""Real parts for the operator's tests: a kube-apiserver with the CRD, a Temporal dev server, a journal."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from codex_cluster.testing import ApiServer, ApiServers
from codex_journal.journal import Journal
from codex_journal.testing import sqlite_journal
from codex_operator.settings import Settings
from codex_operator.testing import ClusterUser, cluster_user
from codex_worker.testing import temporal_dev_server

SYSTEM_NAMESPACE = "codex-system"
CRDS = Path(__file__).parents[2] / "crds"


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServers(tmp_path_factory.mktemp("api-servers")) as servers:
        server = servers.get()
        server.kubectl("apply", "-f", str(CRDS / "codexsessions.yaml"))
        server.kubectl("wait", "--for=condition=Established", "crd/codexsessions.codex-temporal.dev")
        server.kubectl("create", "namespace", SYSTEM_NAMESPACE)
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def temporal_address() -> AsyncIterator[str]:
    async with temporal_dev_server() as environment:
        yield environment.client.service_client.config.target_host


@pytest.fixture
async def temporal(temporal_address: str) -> Client:
    return await Client.connect(temporal_address, data_converter=pydantic_data_converter)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'journal.db'}"


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """The journal as the workers see it."""
    async with sqlite_journal(tmp_path / "journal.db") as journal:
        yield journal


@pytest.fixture
async def user(api_server: ApiServer) -> AsyncIterator[ClusterUser]:
    """A person with a namespace of their own."""
    user = await cluster_user(api_server.kubeconfig(), f"test-{secrets.token_hex(4)}")
    await user.create_namespace()
    yield user
    await user.clean_up()
    await user.api.close()


@pytest.fixture
def settings(api_server: ApiServer, temporal_address: str, database_url: str) -> Settings:
    """Settings of an operator on all the real parts, with a task queue that no worker serves."""
    return Settings(
        temporal_address=temporal_address,
        task_queue=f"test-{uuid.uuid4()}",
        database_url=database_url,
        system_namespace=SYSTEM_NAMESPACE,
        sandbox_image="registry.test/sandbox:1",
        supervisor_image="registry.test/sandbox:1",
        worker_selector={"app.kubernetes.io/component": "worker"},
        kubeconfig=api_server.kubeconfig(),
    )
