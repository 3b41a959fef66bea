"""Certificates: what each can be used for, and by whom."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from codex_operator.certificates import (
    CA_VALIDITY,
    InvalidAuthority,
    load_authority,
    new_authority,
    sandbox_files,
    worker_files,
)
from codex_sandbox.naming import sandbox_server_name

SESSION = "0b5d2c5e-6f2a-4a53-9e0c-7f3ad3f1c001"


def usages(files: Mapping[str, bytes]) -> list[x509.ObjectIdentifier]:
    certificate = x509.load_pem_x509_certificate(files["tls.crt"])
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_sandbox_can_only_serve_and_only_as_itself() -> None:
    files = sandbox_files(new_authority(), SESSION, 2)
    certificate = x509.load_pem_x509_certificate(files["tls.crt"])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert usages(files) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert names.get_values_for_type(x509.DNSName) == [sandbox_server_name(SESSION, 2)]


def test_a_worker_can_only_be_a_client_and_has_no_name_to_serve_under() -> None:
    files = worker_files(new_authority())
    certificate = x509.load_pem_x509_certificate(files["tls.crt"])
    assert usages(files) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def write(directory: Path, files: Mapping[str, bytes]) -> Path:
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def context(purpose: ssl.Purpose, directory: Path) -> ssl.SSLContext:
    made = ssl.create_default_context(purpose, cafile=str(directory / "ca.crt"))
    made.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    return made


async def shake_hands(server: Path, client: Path, name: str) -> bytes:
    """Let a client greet a server over mutual TLS and return what it heard."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context(ssl.Purpose.CLIENT_AUTH, server))
    port = listener.sockets[0].getsockname()[1]
    async with listener:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context(ssl.Purpose.SERVER_AUTH, client), server_hostname=name
        )
        try:
            return await reader.read()
        finally:
            writer.close()


async def test_worker_and_sandbox_understand_each_other_under_strict_checks(tmp_path: Path) -> None:
    authority = new_authority()
    sandbox = write(tmp_path / "sandbox", sandbox_files(authority, SESSION, 1))
    worker = write(tmp_path / "worker", worker_files(authority))
    assert await shake_hands(sandbox, worker, sandbox_server_name(SESSION, 1)) == b"hello"


async def test_another_generation_is_refused_by_its_name(tmp_path: Path) -> None:
    authority = new_authority()
    sandbox = write(tmp_path / "sandbox", sandbox_files(authority, SESSION, 1))
    worker = write(tmp_path / "worker", worker_files(authority))
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        await shake_hands(sandbox, worker, sandbox_server_name(SESSION, 2))


async def test_a_sandboxs_key_opens_no_other_sandbox(tmp_path: Path) -> None:
    authority = new_authority()
    one = write(tmp_path / "one", sandbox_files(authority, SESSION, 1))
    other = write(tmp_path / "other", sandbox_files(authority, "other", 1))
    heard = b""
    # With TLS 1.3 the refusal reaches the client as an error or as an early end.
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        heard = await shake_hands(one, other, sandbox_server_name(SESSION, 1))
    assert heard == b""


def test_an_authority_survives_being_stored() -> None:
    authority = new_authority()
    loaded = load_authority(authority.certificate_pem(), authority.key_pem())
    assert loaded.certificate == authority.certificate


def test_a_damaged_authority_is_refused() -> None:
    one, other = new_authority(), new_authority()
    with pytest.raises(InvalidAuthority, match="do not belong together"):
        load_authority(one.certificate_pem(), other.key_pem())
    with pytest.raises(InvalidAuthority):
        load_authority(b"", b"")
    with pytest.raises(InvalidAuthority, match="expired"):
        load_authority(one.certificate_pem(), one.key_pem(), datetime.now(UTC) + CA_VALIDITY + timedelta(days=1))
