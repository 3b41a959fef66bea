"""A real supervisor on this machine, for tests: over a Unix socket, or over TCP with certificates made for the moment.

Nothing is isolated here: commands run as the user who runs the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from codex_sandbox.client import SandboxAddress, SandboxClient
from codex_sandbox.digest import command_digest, write_digest
from codex_sandbox.naming import sandbox_server_name
from codex_sandbox.process_tree import descendants
from codex_sandbox.protocol import StartCommand, WriteCharacters
from codex_sandbox.tls import TlsFiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SESSION = "6f0c2c9e-0000-4000-8000-000000000001"
READY_SECONDS = 20.0
STOP_SECONDS = 10.0


def command(
    client: SandboxClient,
    call_id: str,
    *argv: str,
    directory: str = ".",
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    tty: bool = False,
    yield_time_ms: int = 20_000,
    max_output_bytes: int = 40_000,
) -> StartCommand:
    """Return a start of `argv`, for the life of the supervisor that the client is connected to."""
    overlay = dict(environment or {})
    digest = command_digest(argv, directory, stdin, overlay, tty)
    boot_id = client.hello.boot_id
    return StartCommand(call_id, boot_id, digest, argv, directory, overlay, stdin, tty, yield_time_ms, max_output_bytes)


def characters(
    client: SandboxClient, call_id: str, process: int, text: str = "", yield_time_ms: int = 20_000
) -> WriteCharacters:
    """Return a write to a running process, or without text a wait for it."""
    return WriteCharacters(
        call_id, client.hello.boot_id, write_digest(process, text), process, text, yield_time_ms=yield_time_ms
    )


def installed_bubblewrap() -> str:
    """Return the path of bwrap, installed where we may. Raises RuntimeError where it stays missing."""
    if shutil.which("bwrap") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-q"], check=False, capture_output=True)
        subprocess.run(["apt-get", "install", "-y", "-q", "bubblewrap"], check=True, capture_output=True)
    program = shutil.which("bwrap")
    if program is None:
        raise RuntimeError("these tests need bubblewrap: apt install bubblewrap")
    return program


class TestingAuthority:
    """A certificate authority that lives in a folder."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        # Two authorities of one name in one bundle would be taken for each other.
        name = f"testing authority {x509.random_serial_number():x}"[:64]
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def sandbox(self, session: str, generation: int) -> TlsFiles:
        """Issue what a sandbox gets: it may serve under its own name, and nothing else."""
        return self.issue(sandbox_server_name(session, generation), ExtendedKeyUsageOID.SERVER_AUTH)

    def worker(self) -> TlsFiles:
        """Issue what a worker gets: it may connect, and nothing else."""
        return self.issue("worker.codex-temporal.dev", ExtendedKeyUsageOID.CLIENT_AUTH)

    def issue(self, name: str, usage: x509.ObjectIdentifier) -> TlsFiles:
        """Write a certificate and its key; the newest one for a name replaces the one before."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "testing leaf")])
        certificate = (
            self._builder(subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        files = TlsFiles(str(self.folder / f"{name}.crt"), str(self.folder / f"{name}.key"), str(self.ca))
        Path(files.certificate).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        Path(files.key).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def _builder(self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )


class LocalSandbox:
    """`async with LocalSandbox() as sandbox:` runs a supervisor; `await sandbox.client()` connects to it.

    With `authority` it listens on TCP on 127.0.0.1 with mutual TLS. `command` replaces what starts the supervisor
    (default: this Python's `-m codex_sandbox`). `environment` is the base environment of its commands.
    """

    def __init__(
        self,
        *,
        session: str = SESSION,
        generation: int = 1,
        workspace: Path | None = None,
        authority: TestingAuthority | None = None,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "codex_sandbox"),
    ) -> None:
        # Short: the path of a Unix socket has at most 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="sandbox-"))
        self.session = session
        self.generation = generation
        self.workspace = workspace if workspace is not None else self._folder / "workspace"
        self.workspace.mkdir(exist_ok=True)
        self.log = self._folder / "log"
        self.tls = authority.worker() if authority is not None else None
        """What a worker needs to connect; None for a Unix socket."""
        self.address = SandboxAddress(session, generation, path=str(self._folder / "socket"))
        self.process: asyncio.subprocess.Process | None = None
        self._authority = authority
        self._options = tuple(options)
        base = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self._folder), "LANG": "C.UTF-8"}
        self._environment = dict(environment) if environment is not None else base
        self._command = tuple(command)
        self._clients: list[SandboxClient] = []

    async def __aenter__(self) -> Self:
        try:
            await self._launch()
        except BaseException:
            await self._end(kill=True)
            raise
        return self

    async def __aexit__(self, error_type: object, *_: object) -> None:
        # An orderly end could fail in its turn and hide why the test did.
        await self._end(kill=error_type is not None)

    async def client(self) -> SandboxClient:
        """Return a new connection; it is closed together with the sandbox."""
        client = await SandboxClient.connect(self.address, self.tls)
        self._clients.append(client)
        return client

    async def kill(self) -> None:
        """End the supervisor and all it started without a word, as the loss of a pod does."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            # Stopped, so that it can neither start nor report anything while its children die.
            self.process.send_signal(signal.SIGSTOP)
            below = descendants(self.process.pid)
            self.process.kill()
            for entry in below:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(entry.pid, signal.SIGKILL)
        await self.process.wait()

    async def restart(self) -> None:
        """Kill the supervisor and start another one at the same place: a new boot id, nothing known."""
        await self.kill()
        await self._launch()

    async def stop(self) -> int:
        """End the supervisor as a cluster does, by SIGTERM; return its exit code."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        async with asyncio.timeout(STOP_SECONDS):
            return await self.process.wait()

    async def _launch(self) -> None:
        arguments = ["--session", self.session, "--generation", str(self.generation)]
        arguments += ["--workspace", str(self.workspace), *self._options]
        if self._authority is None:
            arguments += ["--listen", f"unix://{self.address.path}"]
        else:
            files = self._authority.sandbox(self.session, self.generation)
            arguments += ["--certificate", files.certificate, "--key", files.key, "--ca", files.ca]
            arguments += ["--listen", f"tcp://127.0.0.1:{self.address.port or 0}"]
        with self.log.open("ab") as log:
            offset = log.tell()
            self.process = await asyncio.create_subprocess_exec(
                *self._command, *arguments, stdin=asyncio.subprocess.DEVNULL, stderr=log, env=self._environment
            )
        listening = await self._listening(offset)
        if self._authority is not None:
            self.address = SandboxAddress(
                self.session, self.generation, host="127.0.0.1", port=json.loads(listening)["address"][1]
            )

    async def _listening(self, offset: int) -> bytes:
        assert self.process is not None
        async with asyncio.timeout(READY_SECONDS):
            while True:
                lines = self.log.read_bytes()[offset:].splitlines(keepends=True)
                for line in lines:
                    if line.endswith(b"\n") and b'"event": "listening"' in line:
                        return line
                if self.process.returncode is not None:
                    raise RuntimeError(f"the supervisor did not start: {b''.join(lines).decode(errors='replace')}")
                await asyncio.sleep(0.01)

    async def _end(self, kill: bool) -> None:
        for client in self._clients:
            await client.close()
        try:
            if self.process is not None and self.process.returncode is None:
                await (self.kill() if kill else self.stop())
        except TimeoutError:
            await self.kill()
            raise
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
