"""Whose key opens what: real TLS between a real supervisor and the worker's client."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from codex_sandbox.client import SandboxAddress, SandboxClient
from codex_sandbox.errors import SandboxIdentityMismatch, SandboxUnreachable
from codex_sandbox.naming import sandbox_server_name
from codex_sandbox.testing import LocalSandbox, TestingAuthority, command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from codex_sandbox.tls import TlsFiles

A, B = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"


@pytest.fixture
async def sandbox_a(authority: TestingAuthority) -> AsyncIterator[LocalSandbox]:
    async with LocalSandbox(session=A, authority=authority) as running:
        yield running


@pytest.fixture
async def sandbox_b(authority: TestingAuthority) -> AsyncIterator[LocalSandbox]:
    async with LocalSandbox(session=B, authority=authority) as running:
        yield running


async def can_run_a_command(sandbox: LocalSandbox, tls: TlsFiles | None = None) -> bool:
    client = await SandboxClient.connect(sandbox.address, tls or sandbox.tls)
    try:
        return (await client.start(command(client, "t1.s1.c1", "echo", "hello"))).output == "hello\n"
    finally:
        await client.close()


def at(session: str, generation: int, other: LocalSandbox) -> SandboxAddress:
    return SandboxAddress(session, generation, host=other.address.host, port=other.address.port)


async def test_a_worker_runs_commands_over_mutual_tls(sandbox_a: LocalSandbox) -> None:
    assert await can_run_a_command(sandbox_a)
    client = await sandbox_a.client()
    connection = client._writer.get_extra_info("ssl_object")
    assert connection.version() == "TLSv1.3"


async def test_one_sandboxs_key_does_not_open_another(
    authority: TestingAuthority, sandbox_a: LocalSandbox, sandbox_b: LocalSandbox
) -> None:
    with pytest.raises(SandboxUnreachable):
        await SandboxClient.connect(sandbox_b.address, authority.sandbox(A, 1))
    assert await can_run_a_command(sandbox_b)


async def test_a_sandboxs_key_does_not_even_open_itself(authority: TestingAuthority, sandbox_a: LocalSandbox) -> None:
    with pytest.raises(SandboxUnreachable):
        await SandboxClient.connect(sandbox_a.address, authority.sandbox(A, 1))


async def test_another_sandbox_at_the_same_address_is_refused(sandbox_b: LocalSandbox) -> None:
    with pytest.raises(SandboxIdentityMismatch):
        await SandboxClient.connect(at(A, 1, sandbox_b), sandbox_b.tls)


async def test_an_older_generation_of_the_same_session_is_refused(sandbox_a: LocalSandbox) -> None:
    with pytest.raises(SandboxIdentityMismatch):
        await SandboxClient.connect(at(A, 2, sandbox_a), sandbox_a.tls)


async def test_a_hello_that_contradicts_the_certificate_is_refused(authority: TestingAuthority) -> None:
    async with LocalSandbox(session=A, generation=1, authority=authority) as sandbox:
        following, serving = authority.sandbox(A, 2), authority.sandbox(A, 1)
        shutil.copy(following.certificate, serving.certificate)
        shutil.copy(following.key, serving.key)
        with pytest.raises(SandboxIdentityMismatch, match="generation 1 answered"):
            await SandboxClient.connect(at(A, 2, sandbox), sandbox.tls)


async def test_a_workers_key_cannot_serve_as_a_sandbox(authority: TestingAuthority) -> None:
    name = sandbox_server_name(A, 1)
    pretended = authority.issue(name, ExtendedKeyUsageOID.CLIENT_AUTH)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pretended.certificate, pretended.key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SandboxIdentityMismatch):
            await SandboxClient.connect(SandboxAddress(A, 1, host="127.0.0.1", port=port), authority.worker())


async def test_a_key_of_another_authority_opens_nothing(sandbox_a: LocalSandbox, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    stranger = TestingAuthority(folder).worker()
    assert sandbox_a.tls is not None
    with pytest.raises(SandboxIdentityMismatch):
        await SandboxClient.connect(sandbox_a.address, stranger)
    with pytest.raises(SandboxUnreachable):
        await SandboxClient.connect(sandbox_a.address, dataclasses.replace(stranger, ca=sandbox_a.tls.ca))


async def test_without_a_certificate_nothing_is_opened(
    authority: TestingAuthority, sandbox_a: LocalSandbox, logged: Callable[[LocalSandbox, str], Awaitable[None]]
) -> None:
    context = ssl.create_default_context(cafile=str(authority.ca))
    reader, writer = await asyncio.open_connection(
        sandbox_a.address.host, sandbox_a.address.port, ssl=context, server_hostname=sandbox_a.address.server_name
    )
    # TLS 1.3 lets the client finish its handshake before the server has refused it.
    with contextlib.suppress(ssl.SSLError):
        assert await reader.read() == b""
    writer.close()
    await logged(sandbox_a, "handshake_refused")


async def test_older_tls_is_refused(authority: TestingAuthority, sandbox_a: LocalSandbox) -> None:
    worker = authority.worker()
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.load_cert_chain(worker.certificate, worker.key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(
            sandbox_a.address.host, sandbox_a.address.port, ssl=context, server_hostname=sandbox_a.address.server_name
        )


async def test_certificates_are_rotated_without_a_restart(authority: TestingAuthority, sandbox_a: LocalSandbox) -> None:
    client = await sandbox_a.client()
    before = client._writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
    authority.sandbox(A, 1)
    again = await sandbox_a.client()
    assert again._writer.get_extra_info("ssl_object").getpeercert()["serialNumber"] != before
    assert again.hello.boot_id == client.hello.boot_id
    assert (await client.start(command(client, "t1.s1.c1", "echo", "old connection"))).output == "old connection\n"


async def test_two_authorities_are_trusted_while_rotating(
    authority: TestingAuthority, sandbox_a: LocalSandbox, tmp_path: Path
) -> None:
    folder = tmp_path / "next"
    folder.mkdir()
    following = TestingAuthority(folder)
    bundle = authority.ca.read_text() + following.ca.read_text()
    authority.ca.write_text(bundle)
    worker = dataclasses.replace(following.worker(), ca=str(authority.ca))
    assert await can_run_a_command(sandbox_a, worker)
    assert await can_run_a_command(sandbox_a)


async def test_readiness_probes_leave_no_trace_in_the_log(sandbox_a: LocalSandbox) -> None:
    before = sandbox_a.log.read_text()
    for _ in range(20):
        _, writer = await asyncio.open_connection(sandbox_a.address.host, sandbox_a.address.port)
        writer.close()
        await writer.wait_closed()
    _, writer = await asyncio.open_connection(sandbox_a.address.host, sandbox_a.address.port)
    writer.transport.abort()
    assert await can_run_a_command(sandbox_a)
    assert sandbox_a.log.read_text() == before


async def test_plain_text_to_a_tls_port_is_refused_and_logged(
    sandbox_a: LocalSandbox, logged: Callable[[LocalSandbox, str], Awaitable[None]]
) -> None:
    reader, writer = await asyncio.open_connection(sandbox_a.address.host, sandbox_a.address.port)
    writer.write(b'{"id": 1, "verb": "health"}\n')
    async with asyncio.timeout(10):
        assert b"hello" not in await reader.read()
    writer.close()
    assert await can_run_a_command(sandbox_a)
    await logged(sandbox_a, "handshake_refused")


async def test_a_network_address_without_tls_is_a_mistake_of_the_caller(sandbox_a: LocalSandbox) -> None:
    with pytest.raises(ValueError, match="needs TLS"):
        await SandboxClient.connect(sandbox_a.address)
