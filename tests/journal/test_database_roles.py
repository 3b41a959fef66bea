"""What PostgreSQL itself refuses: the rights of the two runtime roles."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from codex_api.approvals import Decision, DecisionKind
from codex_api.rows import RowKind, SandboxAddressPayload, SessionClosedPayload, SessionSettings
from codex_journal.errors import JournalUnavailable, NotPermitted
from codex_journal.journal import Journal
from codex_journal.migrating import migrate
from codex_journal.roles import MissingRole, Role, Roles, scram_verifier
from codex_journal.rows import NewRow
from codex_journal.testing import (
    WORKER_ROLE,
    DatabaseUrls,
    PostgresServer,
    admission_row,
    call_row,
    event_row,
    item_row,
    message_row,
    open_example,
    result_row,
    usage_row,
)

pytestmark = pytest.mark.database
OpenJournal = Callable[..., Awaitable[Journal]]


@pytest.fixture
async def operator(postgres_urls: DatabaseUrls, open_journal: OpenJournal) -> Journal:
    journal = await open_journal(postgres_urls.operator)
    await open_example(journal)
    return journal


@pytest.fixture
async def worker(operator: Journal, postgres_urls: DatabaseUrls, open_journal: OpenJournal) -> Journal:
    return await open_journal(postgres_urls.worker)


async def raw(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))


@pytest.mark.parametrize("kind", [DecisionKind.APPROVE, DecisionKind.DENY, DecisionKind.ABORT])
async def test_a_worker_cannot_decide(worker: Journal, kind: DecisionKind) -> None:
    with pytest.raises(NotPermitted, match="decisions"):
        await worker.decide("session-1", Decision("id", kind, "", "alice"))
    assert await worker.decisions("session-1") == {}


async def test_a_worker_can_let_an_approval_expire_unless_a_person_was_faster(
    worker: Journal, operator: Journal
) -> None:
    expiry = Decision("slow", DecisionKind.EXPIRE)
    assert await worker.decide("session-1", expiry) == (expiry, True)
    approval = Decision("fast", DecisionKind.APPROVE, "", "alice")
    await operator.decide("session-1", approval)
    assert await worker.decide("session-1", Decision("fast", DecisionKind.EXPIRE)) == (approval, False)


@pytest.mark.parametrize("kind", [RowKind.SESSION_OPENED, RowKind.MESSAGE, RowKind.SANDBOX_ADDRESS])
async def test_a_worker_cannot_speak_for_the_operator(worker: Journal, kind: RowKind) -> None:
    forged = NewRow(kind, message_row("forged").payload | SandboxAddressPayload(generation=9, host="evil").model_dump())
    with pytest.raises(NotPermitted, match="journal"):
        await worker.append("session-1", "message/forged", [event_row(1), forged])
    assert len(await worker.read("session-1")) == 2


async def test_a_worker_can_do_all_its_work(worker: Journal) -> None:
    await worker.ping()
    reply = [admission_row(2, 1, 1), item_row(1, 1), call_row(1, 1), usage_row(1, 1)]
    assert (await worker.append("session-1", "t1.s1/reply", reply)).inserted
    assert (await worker.append("session-1", "t1.s1.c0/result", [result_row(1, 1)])).inserted
    assert not (await worker.append("session-1", "t1.s1.c0/result", [result_row(1, 1)])).inserted
    assert (await worker.end_turn("session-1", 1, lambda _: [event_row(1)])).inserted
    assert (await worker.close_session("session-1", SessionClosedPayload(reason="SessionCompleted"))).inserted


async def test_a_worker_cannot_create_sessions(worker: Journal) -> None:
    with pytest.raises(NotPermitted, match="sessions"):
        await worker.create_session("mine", "i", "ns", "n", SessionSettings(), [event_row(0)])


@pytest.mark.parametrize("role", ["operator", "worker"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal SET payload = '{}'",
        "DELETE FROM journal",
        "TRUNCATE journal",
        "UPDATE decisions SET kind = 'approve'",
        "DELETE FROM decisions",
        "UPDATE sessions SET settings = '{}'",
        "UPDATE sessions SET session = 'x'",
        "DELETE FROM sessions",
        "ALTER TABLE decisions DISABLE ROW LEVEL SECURITY",
        "DROP POLICY insert_codex_worker ON decisions",
        "CREATE TABLE mine (x int)",
        "UPDATE alembic_version SET version_num = '0'",
    ],
)
async def test_nobody_but_the_owner_changes_what_stands(
    worker: Journal, postgres_urls: DatabaseUrls, role: str, statement: str
) -> None:
    connection = await raw(getattr(postgres_urls, role))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_only_the_operator_says_what_was_shown(worker: Journal, operator: Journal) -> None:
    with pytest.raises(NotPermitted):
        await worker.set_projected("session-1", 2)
    await operator.set_projected("session-1", 2)


async def test_a_wrong_password_is_told_and_can_be_mended(postgres_urls: DatabaseUrls) -> None:
    journal = await Journal.connect(postgres_urls.worker, password="wrong", application="test")
    with pytest.raises(JournalUnavailable, match="password authentication failed"):
        await journal.ping()
    await journal.close()


async def test_a_role_that_is_missing_is_named(postgres: PostgresServer, own_urls: DatabaseUrls) -> None:
    with pytest.raises(MissingRole, match="'nobody-made-me'"):
        await migrate(own_urls.owner, roles=Roles(Role("nobody-made-me"), Role(WORKER_ROLE)))


async def test_a_new_migration_changes_passwords_and_takes_back_rights(
    postgres: PostgresServer, own_urls: DatabaseUrls, open_journal: OpenJournal
) -> None:
    roles = Roles(Role('odd "name"', "first"), Role("odd-worker", "first"))
    await migrate(own_urls.owner, roles=roles)
    database = own_urls.owner.rsplit("/", 1)[1]
    await postgres.execute('GRANT DELETE ON journal TO "odd-worker"', database)
    await migrate(own_urls.owner, roles=Roles(Role('odd "name"', "second"), Role("odd-worker")))
    journal = await open_journal(postgres.url(database, 'odd "name"', "second"))
    await open_example(journal)
    connection = await raw(postgres.url(database, "odd-worker", "first"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("DELETE FROM journal")
    await connection.close()


async def test_two_installations_with_roles_of_their_own_share_a_database(
    postgres: PostgresServer, own_urls: DatabaseUrls, open_journal: OpenJournal
) -> None:
    others = Roles(Role("second_operator", postgres.password), Role("second_worker", postgres.password))
    await migrate(own_urls.owner, roles=others)
    database = own_urls.owner.rsplit("/", 1)[1]
    first = await open_journal(own_urls.operator)
    await open_example(first)
    second = await open_journal(postgres.url(database, "second_operator"))
    await open_example(second, "session-2", installation="second")
    assert (await first.append("session-1", "x", [event_row(1)])).inserted


async def test_passwords_never_reach_the_servers_log() -> None:
    with PostgresServer(settings={"log_statement": "all"}) as server:
        roles = Roles(Role("operator", "operators-secret"), Role("worker", "workers-secret"))
        await migrate(server.url("postgres"), roles=roles)
        journal = await Journal.connect(server.url("postgres", "worker", "workers-secret"), application="test")
        await journal.ping()
        await journal.close()
        log = server.log()
    assert "CREATE ROLE" in log
    assert "secret" not in log


def test_a_verifier_is_what_the_rfc_says() -> None:
    verifier = scram_verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    # The example of RFC 7677: its client proof and server signature follow from these two keys.
    assert verifier.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    stored, server = verifier.split("$")[2].split(":")
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    signature = hmac.digest(base64.b64decode(server), message, "sha256")
    assert base64.b64encode(signature).decode() == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    client = bytes(a ^ b for a, b in zip(proof, hmac.digest(base64.b64decode(stored), message, "sha256"), strict=True))
    assert hashlib.sha256(client).digest() == base64.b64decode(stored)


@pytest.mark.parametrize("password", ["", "pässword"])
def test_a_password_that_would_need_preparation_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match="ASCII"):
        scram_verifier(password, b"salt")
