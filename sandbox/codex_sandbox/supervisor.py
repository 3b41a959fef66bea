"""The verbs: what one request does to the processes and to the book of calls."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import stat
import time
from typing import TYPE_CHECKING, Any

from codex_sandbox import fields
from codex_sandbox.calls import CallBook
from codex_sandbox.digest import environment_hash
from codex_sandbox.documents import project_documents
from codex_sandbox.errors import SandboxRefused
from codex_sandbox.output_buffer import OutputBuffer, OutputSlice
from codex_sandbox.process_tree import belonging, descendants
from codex_sandbox.processes import CommandProcess, ProcessTable, signal_name
from codex_sandbox.protocol import (
    MAX_FILE_BYTES,
    PROTOCOL,
    CommandReply,
    FileContent,
    Health,
    Hello,
    ProjectDocuments,
    RefusalCode,
    StartCommand,
    WriteCharacters,
    call_id,
)
from codex_sandbox.spawn import CannotStart
from codex_sandbox.stopping import stop_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from codex_sandbox.calls import Call
    from codex_sandbox.isolation import IsolationWatch
    from codex_sandbox.process_tree import ProcessEntry

    Request = Mapping[str, Any]
    Result = dict[str, Any]


class Supervisor:
    """One life of one sandbox. Its requests may come over any number of connections."""

    def __init__(
        self,
        session: str,
        generation: int,
        workspace: str,
        base_environment: Mapping[str, str],
        isolation: IsolationWatch,
        require_isolation: bool,
    ) -> None:
        self.boot_id = secrets.token_hex(16)
        self._session = session
        self._generation = generation
        self._workspace = workspace
        self._environment_hash = environment_hash(base_environment)
        self._isolation = isolation
        self._require_isolation = require_isolation
        # Made by the first command that needs it, if it can be made.
        self._private_folder = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"codex-sandbox-{self.boot_id}")  # noqa: S108
        self._processes = ProcessTable(base_environment, workspace, self._private_folder)
        self._calls = CallBook()
        self._reports: set[asyncio.Task[None]] = set()
        self._started = time.monotonic()
        self._verbs = {
            "start": self._start,
            "write": self._write,
            "signal": self._signal,
            "stop": self._stop,
            "forget": self._forget,
            "read_file": self._read_file,
            "project_documents": self._project_documents,
            "health": self._health,
        }

    async def hello(self) -> dict[str, Any]:
        """Return the greeting, not before the isolation was tested once."""
        report = await self._isolation.first_report()
        hello = Hello(PROTOCOL, self.boot_id, self._session, self._generation, self._environment_hash, report)
        return {"hello": hello.to_wire()}

    async def handle(self, request: Request) -> Result:
        """Do what a request asks; raises SandboxRefused."""
        verb = self._verbs.get(str(request.get("verb")))
        if verb is None:
            raise SandboxRefused(RefusalCode.UNKNOWN_VERB, f"there is no verb {str(request.get('verb'))[:80]!r}")
        try:
            return await verb(request)
        except fields.FieldError as error:
            raise SandboxRefused(RefusalCode.BAD_REQUEST, str(error)) from error

    def reap(self) -> None:
        """Collect ended children; to be called on SIGCHLD."""
        self._processes.reap()

    async def stop_everything(self) -> int:
        """End every process below the supervisor and remove its own files; return how many could not be ended."""
        _, remaining = await stop_processes(lambda: descendants(os.getpid()), kill_seconds=0.5)
        self._processes.reap()
        shutil.rmtree(self._private_folder, ignore_errors=True)
        return remaining

    async def _start(self, request: Request) -> Result:
        command = StartCommand.from_wire(request)
        self._check_boot(command.boot_id)
        self._check_digest(command.digest, command.actual_digest())
        call = self._calls.find(command.call_id, f"start {command.digest}")
        if call is None:
            if self._require_isolation and not self._isolation.report.isolated:
                raise SandboxRefused(RefusalCode.NOT_ISOLATED, f"the network is open: {self._isolation.report.probes}")
            call = self._execute(command)
        return await asyncio.shield(call.reply)

    def _execute(self, command: StartCommand) -> Call:
        # No await between looking the call up and having both the process and the call in their tables.
        fingerprint = f"start {command.digest}"
        try:
            process = self._processes.start(command)
        except CannotStart as error:
            call = self._calls.admit(command.call_id, fingerprint)
            self._calls.finish(call, _not_started(error, command.max_output_bytes).to_wire())
            return call
        call = self._calls.admit(command.call_id, fingerprint)
        self._report_later(call, process, process.started, command.yield_time_ms, command.max_output_bytes)
        return call

    async def _write(self, request: Request) -> Result:
        write = WriteCharacters.from_wire(request)
        self._check_boot(write.boot_id)
        self._check_digest(write.digest, write.actual_digest())
        fingerprint = f"write {write.digest}"
        call = self._calls.find(write.call_id, fingerprint)
        if call is None:
            process = self._processes.get(write.process)
            if write.characters and process.status is None:
                if not process.accepts_input:
                    raise SandboxRefused(RefusalCode.STDIN_CLOSED, "only a command with a terminal takes more input")
                process.write(write.characters.encode("utf-8", "surrogateescape"))
            call = self._calls.admit(write.call_id, fingerprint)
            now = asyncio.get_running_loop().time()
            self._report_later(call, process, now, write.yield_time_ms, write.max_output_bytes)
        return await asyncio.shield(call.reply)

    async def _signal(self, request: Request) -> Result:
        identifier = call_id(request)
        self._check_boot(fields.text(request, "boot_id"))
        number = fields.number(request, "signal", 1, 64)
        target = fields.number(request, "process")
        fingerprint = f"signal {target} {number}"
        call = self._calls.find(identifier, fingerprint)
        if call is None:
            process = self._processes.get(target)
            call = self._calls.admit(identifier, fingerprint)
            delivered = process.status is None
            if delivered:
                os.killpg(process.pid, number)
            self._calls.finish(call, {"delivered": delivered})
        return await asyncio.shield(call.reply)

    async def _stop(self, request: Request) -> Result:
        self._check_boot(fields.text(request, "boot_id"))
        if request.get("turn_prefix") is not None:
            prefix = fields.text(request, "turn_prefix")
            # "t1" would take t10 along.
            if not prefix.endswith("."):
                raise fields.FieldError("turn_prefix must end with a dot")
            self._calls.tombstone_turn(prefix)
            signalled, remaining = await stop_processes(lambda: self._of_turn(prefix))
        else:
            chosen = frozenset(fields.texts(request, "call_ids"))
            self._calls.tombstone(chosen)
            signalled, remaining = await stop_processes(lambda: self._belonging(chosen.__contains__, None))
        return {"signalled": signalled, "remaining": remaining}

    def _of_turn(self, prefix: str) -> list[ProcessEntry]:
        starts = [ticks for call, ticks in self._processes.start_ticks.items() if call.startswith(prefix)]
        return self._belonging(lambda call: call.startswith(prefix), min(starts, default=None))

    def _belonging(self, wanted: Callable[[str], bool], orphans_since: int | None) -> list[ProcessEntry]:
        root = os.getpid()
        return belonging(descendants(root), root, self._processes.sessions, wanted, orphans_since)

    async def _forget(self, request: Request) -> Result:
        return {"forgotten": self._calls.forget(fields.texts(request, "call_ids"))}

    async def _read_file(self, request: Request) -> Result:
        path = os.path.join(self._workspace, fields.text(request, "path"))
        most = fields.number(request, "max_bytes", 0, MAX_FILE_BYTES)
        try:
            return _file_content(path, most).to_wire()
        except (OSError, ValueError) as error:
            raise SandboxRefused(RefusalCode.UNREADABLE_FILE, str(error)) from error

    async def _project_documents(self, request: Request) -> Result:
        documents, truncated = project_documents(self._workspace)
        return ProjectDocuments(tuple(documents), truncated).to_wire()

    async def _health(self, request: Request) -> Result:
        try:
            free = shutil.disk_usage(self._workspace).free
        except OSError:
            free = None
        uptime = time.monotonic() - self._started
        return Health(uptime, self._processes.live, free, self._isolation.report).to_wire()

    def _check_boot(self, boot_id: str) -> None:
        if boot_id != self.boot_id:
            raise SandboxRefused(RefusalCode.BOOT_MISMATCH, "this supervisor started after the call was prepared")

    def _check_digest(self, claimed: str, actual: str) -> None:
        if claimed != actual:
            raise SandboxRefused(RefusalCode.DIGEST_MISMATCH, f"the arguments have the digest {actual}")

    def _report_later(
        self, call: Call, process: CommandProcess, since: float, yield_time_ms: int, max_output_bytes: int
    ) -> None:
        report = self._report(call, process, since, yield_time_ms, max_output_bytes)
        task = asyncio.ensure_future(report)
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    async def _report(
        self, call: Call, process: CommandProcess, since: float, yield_time_ms: int, max_output_bytes: int
    ) -> None:
        await asyncio.wait({process.finished}, timeout=yield_time_ms / 1000)
        ended = process.finished.done()
        taken = process.output.take(max_output_bytes, final=ended)
        elapsed = asyncio.get_running_loop().time() - since
        self._calls.finish(call, _command_reply(process, taken, ended, elapsed).to_wire())
        if ended:
            self._processes.forget(process)


def _file_content(path: str, most: int) -> FileContent:
    # Links are followed: commands run as the same user, so refusing one here would protect nothing.
    # Without O_NONBLOCK a named pipe would hold up everything.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is not a regular file")
        content = file.read(most)
        more = bool(file.read(1))
    return FileContent(content, max(status.st_size, len(content)), more)


def _not_started(error: CannotStart, max_output_bytes: int) -> CommandReply:
    output = OutputBuffer()
    output.append(f"{error.text}\n".encode("utf-8", "replace"))
    taken = output.take(max_output_bytes, final=True)
    return CommandReply(
        taken.text, taken.produced, taken.omitted, taken.omitted_at, error.exit_code, None, None, 0.0, taken.lines
    )


def _command_reply(process: CommandProcess, taken: OutputSlice, ended: bool, elapsed: float) -> CommandReply:
    status = process.status if ended else None
    killed_by = -status if status is not None and status < 0 else None
    return CommandReply(
        output=taken.text,
        output_bytes=taken.produced,
        omitted_bytes=taken.omitted,
        omitted_at=taken.omitted_at,
        exit_code=128 + killed_by if killed_by is not None else status,
        signal=None if killed_by is None else signal_name(killed_by),
        process=None if ended else process.number,
        wall_time_seconds=elapsed,
        output_lines=taken.lines,
    )
