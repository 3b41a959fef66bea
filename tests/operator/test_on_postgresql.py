"""The operator with its own database role: all it does is allowed, and the hints of other processes reach it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from codex_journal.journal import Journal
from codex_journal.testing import DatabaseUrls, PostgresServer, migrated_database
from codex_operator.settings import Settings
from codex_operator.testing import APPROVAL_ID, ClusterUser, RunningOperator, ask, eventually

pytestmark = [pytest.mark.apiserver, pytest.mark.temporal, pytest.mark.database]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
async def urls(postgres: PostgresServer) -> DatabaseUrls:
    return await migrated_database(postgres)


@pytest.fixture
def database_url(urls: DatabaseUrls) -> str:
    return urls.operator


@pytest.fixture
async def worker_journal(urls: DatabaseUrls) -> AsyncIterator[Journal]:
    journal = await Journal.connect(urls.worker, application="worker")
    yield journal
    await journal.close()


async def test_a_session_lives_its_whole_life(user: ClusterUser, settings: Settings, worker_journal: Journal) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
        await ask(worker_journal, uid)
        await eventually(lambda: user.status("x"), lambda s: s["phase"] == "AwaitingApproval", seconds=5)
        await user.decide("x", APPROVAL_ID, "approve")
        decided = await eventually(lambda: worker_journal.decisions(uid), bool)
        assert decided[APPROVAL_ID][0].decided_by == "alice"
        await user.delete_session("x")
        await eventually(lambda: user.exists("x"), lambda exists: not exists)
    record = await worker_journal.session(uid)
    assert record is not None
    assert record.closed


async def test_a_restarted_server_only_delays_the_status(
    user: ClusterUser, settings: Settings, worker_journal: Journal, postgres: PostgresServer
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
        postgres.restart()
        await ask(worker_journal, uid)
        await eventually(lambda: user.status("x"), lambda s: s["phase"] == "AwaitingApproval")
