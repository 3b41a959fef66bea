"""What a model is told of its surroundings: once, and again only where it changed. Pure.

Each part is a row of its own in the journal, so the items of one request are the beginning of the next one's.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from xml.sax.saxutils import escape

from codex_api.rows import POSITION_CONTEXT, ContextPayload, RowKind, SandboxMode, SessionSettings
from codex_api.session import ApprovalPolicy, NetworkMode
from codex_journal.rows import NewRow
from codex_worker.items import message_item

PERMISSIONS = "permissions"
DOCUMENTS = "documents"
ENVIRONMENT = "environment"
# The order in which they are told.
PARTS = (PERMISSIONS, DOCUMENTS, ENVIRONMENT)
NO_DOCUMENTS = "none"
SHELL = "bash"

_PLACES = {
    SandboxMode.POD: (
        "Commands run in a sandbox of their own: a container that holds the workspace. "
        "Only the workspace ({workspace}) and the folder for temporary files can be written; all else is read-only."
    ),
    SandboxMode.WORKSPACE_WRITE: (
        "Commands run in a sandbox on the user's machine. Only the workspace ({workspace}) and a private folder for "
        "temporary files can be written; an existing `.git`, `.codex` or `.agents` of it and all else are read-only."
    ),
    SandboxMode.READ_ONLY: (
        "Commands run in a sandbox on the user's machine. Nothing can be written, except for a private folder for "
        "temporary files; the workspace is {workspace}."
    ),
    SandboxMode.NONE: (
        "There is no sandbox: commands run on the user's machine with the user's own rights, everywhere. "
        "The workspace is {workspace}; leave alone what lies outside of it unless the task needs it."
    ),
}
_APPROVALS = {
    ApprovalPolicy.UNTRUSTED: (
        "Approval policy `untrusted`: known read-only commands run at once; every other command, input to a running "
        "command and every patch waits until a person has approved it."
    ),
    ApprovalPolicy.ON_REQUEST: (
        "Approval policy `on-request`: what you call runs at once, except for forced deletes, changes of `.git` and of "
        "files whose name begins with a dot, patches outside the workspace, and calls that you mark with "
        "`sandbox_permissions: require_escalated` and a `justification`. Those wait until a person has approved them; "
        "they too run inside the sandbox, where there is one."
    ),
    ApprovalPolicy.NEVER: (
        "Approval policy `never`: nobody is asked and nobody can be. What you call runs at once or is refused; do not "
        "ask for escalated permissions."
    ),
}


@dataclass(frozen=True)
class Documents:
    """The AGENTS.md files that hold for the workspace, from the outermost folder to the innermost."""

    documents: Sequence[tuple[str, str]] = ()
    """Path and text."""
    truncated: bool = False


def network_restricted(settings: SessionSettings) -> bool:
    return settings.network_mode is NetworkMode.NONE and settings.sandbox_mode is not SandboxMode.NONE


def context_changes(
    settings: SessionSettings,
    now: datetime,
    documents: Documents | None,
    told: Mapping[str, str],
    newest: Mapping[str, ContextPayload],
) -> list[ContextPayload]:
    """Return what the next request has to add, in the order of telling.

    ``now`` is aware; ``documents`` None: could not be read now. ``told`` is part → state of what stands in the
    conversation, ``newest`` the last item of each part, also from before a compaction.
    """
    changes = [_permissions(settings), _documents(documents, told, newest), _environment(settings, now, told)]
    return [change for change in changes if change is not None and told.get(change.part) != change.state]


def context_rows(changes: Sequence[ContextPayload], turn: int, step: int) -> list[NewRow]:
    return [
        NewRow(RowKind.CONTEXT, change.model_dump(), turn, step, POSITION_CONTEXT + ordinal)
        for ordinal, change in enumerate(changes)
    ]


def _permissions(settings: SessionSettings) -> ContextPayload:
    network = "cannot reach any network" if network_restricted(settings) else "can reach the network"
    lines = [
        "<permissions instructions>",
        f"Sandbox mode `{settings.sandbox_mode.value}`. " + _PLACES[settings.sandbox_mode],
        f"Commands {network}.",
        _APPROVALS[settings.approval_policy],
        "</permissions instructions>",
    ]
    text = "\n".join(lines).replace("{workspace}", settings.workspace)
    return ContextPayload(part=PERMISSIONS, state=_hash(text), item=message_item("developer", text))


def _documents(
    documents: Documents | None, told: Mapping[str, str], newest: Mapping[str, ContextPayload]
) -> ContextPayload | None:
    if documents is None:
        # Unchanged as far as anybody knows; after a compaction it has to be told anew.
        known = newest.get(DOCUMENTS)
        return None if known is None or known.state == NO_DOCUMENTS else known
    if not documents.documents:
        if told.get(DOCUMENTS, NO_DOCUMENTS) == NO_DOCUMENTS:
            return None
        gone = "# AGENTS.md instructions\n\nThe files are gone: the instructions given above no longer hold."
        return ContextPayload(part=DOCUMENTS, state=NO_DOCUMENTS, item=message_item("user", gone))
    sections = [_section(path, text) for path, text in documents.documents]
    if documents.truncated:
        sections.append("(These instructions were too long and were cut; read the files for the rest.)")
    if told.get(DOCUMENTS, NO_DOCUMENTS) != NO_DOCUMENTS:
        sections.append("These instructions take the place of all given above.")
    text = "\n\n".join(sections)
    state = _hash(json.dumps([list(documents.documents), documents.truncated]))
    return ContextPayload(part=DOCUMENTS, state=state, item=message_item("user", text))


def _section(path: str, text: str) -> str:
    folder = posixpath.dirname(path) or "/"
    return f"# AGENTS.md instructions for {folder}\n\n<INSTRUCTIONS>\n{text.strip()}\n</INSTRUCTIONS>"


def _environment(settings: SessionSettings, now: datetime, told: Mapping[str, str]) -> ContextPayload:
    fields = {
        "cwd": settings.workspace,
        "shell": SHELL,
        "current_date": now.strftime("%Y-%m-%d"),
        "timezone": now.tzname() or "UTC",
        "network": "restricted" if network_restricted(settings) else "enabled",
    }
    before: dict[str, str] = json.loads(told.get(ENVIRONMENT, "{}"))
    changed = {name: value for name, value in fields.items() if before.get(name) != value}
    lines = [f"  <{name}>{escape(value)}</{name}>" for name, value in changed.items()]
    text = "\n".join(["<environment_context>", *lines, "</environment_context>"])
    return ContextPayload(part=ENVIRONMENT, state=json.dumps(fields), item=message_item("user", text))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
