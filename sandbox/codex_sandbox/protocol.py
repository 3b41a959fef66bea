"""The messages between worker and supervisor, version 1, as both sides read them.

Server, first line: {"hello": {...}}. Then requests {"id": 1, "verb": "start", ...} and, in any order, replies
{"id": 1, "result": {...}} or {"id": 1, "error": {"code": "...", "message": "..."}}.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
from typing import TYPE_CHECKING, Any

from codex_sandbox import fields
from codex_sandbox.digest import command_digest, write_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

PROTOCOL = 1
MAX_LIVE_PROCESSES = 64
MAX_YIELD_MS = 300_000
# Six bytes of JSON for each byte of output at worst: must stay well below the cap of a frame.
MAX_OUTPUT_BYTES = 1024 * 1024
# Base64 adds a third.
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_NAME_CHARACTERS = 256
MAX_DOCUMENTS, MAX_DOCUMENT_CHARACTERS, MAX_PATH_CHARACTERS = 64, 32 * 1024, 4096


class RefusalCode:
    """Codes of `SandboxRefused`."""

    BAD_FRAME = "bad_frame"  # the connection is closed after this one
    BAD_REQUEST = "bad_request"
    UNKNOWN_VERB = "unknown_verb"
    BOOT_MISMATCH = "boot_mismatch"  # this supervisor is not the one the call was meant for
    DIGEST_MISMATCH = "digest_mismatch"  # the arguments are not those that were approved
    CALL_CONFLICT = "call_conflict"  # the call id is taken by other arguments
    ALREADY_FINISHED = "already_finished"  # finished, and its reply was forgotten on request
    TOMBSTONED = "tombstoned"  # its turn was stopped before the call arrived
    NOT_ISOLATED = "not_isolated"  # the network is open although it must not be
    TOO_MANY_PROCESSES = "too_many_processes"
    UNKNOWN_PROCESS = "unknown_process"
    STDIN_CLOSED = "stdin_closed"
    UNREADABLE_FILE = "unreadable_file"
    INTERNAL = "internal"


@dataclasses.dataclass(frozen=True)
class IsolationReport:
    """What the supervisor could reach. `isolated` is None while nothing can be said."""

    isolated: bool | None
    checked_at: float | None
    """Seconds since 1970, by the pod's clock."""
    reached: tuple[str, ...]
    probes: Mapping[str, str]
    """Probe name → connected, refused, timeout or unreachable."""

    @classmethod
    def from_wire(cls, source: Mapping[str, Any]) -> IsolationReport:
        """Read a report; raises FieldError."""
        return cls(
            isolated=None if source.get("isolated") is None else fields.flag(source, "isolated"),
            checked_at=None if source.get("checked_at") is None else fields.seconds(source, "checked_at"),
            reached=fields.texts(source, "reached"),
            probes=fields.text_mapping(source, "probes"),
        )

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object."""
        return dict(vars(self))


@dataclasses.dataclass(frozen=True)
class Hello:
    """The supervisor's greeting."""

    protocol: int
    boot_id: str
    """128 random bits in hex, new in every life of a supervisor."""
    session: str
    generation: int
    environment_hash: str
    isolation: IsolationReport

    @classmethod
    def from_wire(cls, source: Mapping[str, Any]) -> Hello:
        """Read a hello; raises FieldError."""
        return cls(
            protocol=fields.number(source, "protocol"),
            boot_id=fields.text(source, "boot_id", MAX_NAME_CHARACTERS),
            session=fields.text(source, "session", MAX_NAME_CHARACTERS),
            generation=fields.number(source, "generation"),
            environment_hash=fields.text(source, "environment_hash", MAX_NAME_CHARACTERS),
            isolation=IsolationReport.from_wire(fields.mapping(source, "isolation")),
        )

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {**vars(self), "isolation": self.isolation.to_wire()}


@dataclasses.dataclass(frozen=True)
class StartCommand:
    """Start a command in a process group of its own. The same call id again attaches to the first start."""

    call_id: str
    boot_id: str
    digest: str
    """`command_digest` of the five fields that follow; anything else is refused."""
    argv: tuple[str, ...]
    directory: str
    """Relative paths start at the workspace."""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Laid over the supervisor's own environment."""
    stdin: str | None = None
    """Written and then closed. None: the command reads nothing, or the terminal when `tty` is set."""
    tty: bool = False
    yield_time_ms: int = 10_000
    """The reply comes when the command exits or this long after its first start."""
    max_output_bytes: int = 40_000

    @classmethod
    def from_wire(cls, source: Mapping[str, Any]) -> StartCommand:
        """Read a request; raises FieldError."""
        argv = fields.texts(source, "argv")
        if not argv or not argv[0]:
            raise fields.FieldError("argv must name a command")
        return cls(
            call_id=call_id(source),
            boot_id=fields.text(source, "boot_id"),
            digest=fields.text(source, "digest"),
            argv=argv,
            directory=fields.text(source, "directory"),
            environment=fields.text_mapping(source, "environment"),
            stdin=fields.optional_text(source, "stdin"),
            tty=fields.flag(source, "tty", default=False),
            yield_time_ms=fields.number(source, "yield_time_ms", 0, MAX_YIELD_MS),
            max_output_bytes=fields.number(source, "max_output_bytes", 0, MAX_OUTPUT_BYTES),
        )

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {**vars(self), "environment": dict(self.environment)}

    def actual_digest(self) -> str:
        """Return the digest of what this request would execute."""
        return command_digest(self.argv, self.directory, self.stdin, self.environment, self.tty)


@dataclasses.dataclass(frozen=True)
class WriteCharacters:
    """Write to a running process, or with no characters only wait for it. The same call id again repeats the reply."""

    call_id: str
    boot_id: str
    digest: str
    """`write_digest` of the two fields that follow."""
    process: int
    characters: str = ""
    yield_time_ms: int = 10_000
    max_output_bytes: int = 40_000

    @classmethod
    def from_wire(cls, source: Mapping[str, Any]) -> WriteCharacters:
        """Read a request; raises FieldError."""
        return cls(
            call_id=call_id(source),
            boot_id=fields.text(source, "boot_id"),
            digest=fields.text(source, "digest"),
            process=fields.number(source, "process"),
            characters=fields.text(source, "characters"),
            yield_time_ms=fields.number(source, "yield_time_ms", 0, MAX_YIELD_MS),
            max_output_bytes=fields.number(source, "max_output_bytes", 0, MAX_OUTPUT_BYTES),
        )

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object."""
        return dict(vars(self))

    def actual_digest(self) -> str:
        """Return the digest of what this request would write."""
        return write_digest(self.process, self.characters)


@dataclasses.dataclass(frozen=True)
class CommandReply:
    """What a command has done by the time of the reply."""

    output: str
    """stdout and stderr as they came, undecodable bytes replaced."""
    output_bytes: int
    """Produced since the process' output was last reported, kept or not."""
    omitted_bytes: int
    """Dropped from the middle of `output`."""
    omitted_at: int | None
    """Index into `output` where they are missing; None when nothing is."""
    exit_code: int | None
    """None while it runs; 128 + n when signal n ended it; 127 and 126 when it could not be started."""
    signal: str | None
    """The signal that ended it, such as SIGKILL."""
    process: int | None
    """Its number while it still runs."""
    wall_time_seconds: float
    output_lines: int | None = None
    """Produced since the process' output was last reported; None from a supervisor that does not count them."""

    @classmethod
    def from_wire(cls, source: Mapping[str, Any], max_output_bytes: int) -> CommandReply:
        """Read the reply to a request for at most so many bytes; raises FieldError."""
        return cls(
            output=fields.text(source, "output", max_output_bytes),
            output_bytes=fields.number(source, "output_bytes"),
            omitted_bytes=fields.number(source, "omitted_bytes"),
            omitted_at=fields.optional_number(source, "omitted_at"),
            exit_code=fields.optional_number(source, "exit_code", 255),
            signal=None if source.get("signal") is None else fields.text(source, "signal", MAX_NAME_CHARACTERS),
            process=fields.optional_number(source, "process"),
            wall_time_seconds=fields.seconds(source, "wall_time_seconds"),
            output_lines=fields.optional_number(source, "output_lines"),
        )

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object."""
        return dict(vars(self))


@dataclasses.dataclass(frozen=True)
class FileContent:
    """The beginning of a file."""

    content: bytes
    size: int
    """Of the whole file, in bytes."""
    truncated: bool

    @classmethod
    def from_wire(cls, source: Mapping[str, Any]) -> FileContent:
        """Read a reply; raises FieldError."""
        try:
            content = base64.b64decode(fields.text(source, "content"), validate=True)
        except (binascii.Error, ValueError) as error:
            raise fields.FieldError("content must be base64") from error
        return cls(content=content, size=fields.number(source, "size"), truncated=fields.flag(source, "truncated"))

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {**vars(self), "content": base64.b64encode(self.content).decode("ascii")}


@dataclasses.dataclass(frozen=True)
class ProjectDocuments:
    """The AGENTS.md files that apply to the workspace."""

    documents: tuple[tuple[str, str], ...]
    """(absolute path, text), from the repository's root down to the workspace; at most 32 KiB of text in all."""
    truncated: bool

    @classmethod
    def from_wire(cls, source: Mapping[str, Any]) -> ProjectDocuments:
        """Read a reply; raises FieldError."""
        listed = source.get("documents")
        if not isinstance(listed, list) or len(listed) > MAX_DOCUMENTS:
            raise fields.FieldError(f"documents must be a list of at most {MAX_DOCUMENTS}")
        documents = []
        left = MAX_DOCUMENT_CHARACTERS
        for entry in listed:
            if not isinstance(entry, dict):
                raise fields.FieldError("a document must be an object")
            text = fields.text(entry, "text", left)
            left -= len(text)
            documents.append((fields.text(entry, "path", MAX_PATH_CHARACTERS), text))
        return cls(tuple(documents), fields.flag(source, "truncated"))

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object."""
        documents = [{"path": path, "text": text} for path, text in self.documents]
        return {"documents": documents, "truncated": self.truncated}


@dataclasses.dataclass(frozen=True)
class Health:
    """How a supervisor is doing."""

    uptime_seconds: float
    live_processes: int
    workspace_free_bytes: int | None
    isolation: IsolationReport

    @classmethod
    def from_wire(cls, source: Mapping[str, Any]) -> Health:
        """Read a reply; raises FieldError."""
        return cls(
            uptime_seconds=fields.seconds(source, "uptime_seconds"),
            live_processes=fields.number(source, "live_processes"),
            workspace_free_bytes=fields.optional_number(source, "workspace_free_bytes"),
            isolation=IsolationReport.from_wire(fields.mapping(source, "isolation")),
        )

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {**vars(self), "isolation": self.isolation.to_wire()}


def call_id(source: Mapping[str, Any]) -> str:
    """Return the call id of a request; raises FieldError."""
    value = fields.text(source, "call_id", MAX_NAME_CHARACTERS)
    if not value or "\0" in value:
        raise fields.FieldError("call_id must not be empty")
    return value
