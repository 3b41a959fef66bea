"""Per tool: what a call would do, made of its arguments, and whether the session's policy asks about it."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any

from codex_api.rows import Classification, ToolCallPayload
from codex_api.session import ApprovalPolicy
from codex_api.tools import APPLY_PATCH, EXEC_COMMAND, REQUEST_USER_INPUT, UPDATE_PLAN, VIEW_IMAGE, WRITE_STDIN
from codex_sandbox.digest import command_digest, write_digest
from codex_sandbox.patch.grammar import InvalidPatch, parse_patch
from codex_worker.tools import outcomes
from codex_worker.tools.apply_patch import ApplyPatchArguments, patch_argv
from codex_worker.tools.call_context import CallContext
from codex_worker.tools.digests import arguments_digest
from codex_worker.tools.display import is_deceptive, preview
from codex_worker.tools.environment import command_environment, safe_command_environment
from codex_worker.tools.exec_command import BadArguments, ExecCommandArguments, WriteStdinArguments, parse_arguments
from codex_worker.tools.patch_in_shell import patch_in_shell
from codex_worker.tools.request_user_input import RequestUserInputArguments, shown_questions
from codex_worker.tools.risks import asks_on_request, names_dotfile, outside
from codex_worker.tools.safe_commands import KNOWN_SHELLS, NotKnownSafe, safe_argv
from codex_worker.tools.update_plan import UpdatePlanArguments, shown_plan
from codex_worker.tools.view_image import ViewImageArguments

DEFAULT_SHELL = "bash"
MAX_JUSTIFICATION_BYTES = 1024


class CannotRun(Exception):
    """The call is well formed but never runs; the message is what the model reads."""

    def __init__(self, classification: Classification, message: str) -> None:
        super().__init__(message)
        self.classification = classification


def exec_command(base: ToolCallPayload, arguments: object, context: CallContext) -> ToolCallPayload:
    parsed = parse_arguments(ExecCommandArguments, arguments).clamped()
    settings = context.settings
    directory = _directory(settings.workspace, parsed.workdir)
    justification, _ = preview(parsed.justification, MAX_JUSTIFICATION_BYTES)
    base = base.model_copy(update={"justification": justification})
    escalated = parsed.sandbox_permissions == "require_escalated"
    if parsed.shell in (None, *KNOWN_SHELLS) and (patch := patch_in_shell(parsed.cmd)):
        base = base.model_copy(update={"tool": APPLY_PATCH, "serial": True})
        return _patch(base, patch.text, _directory(directory, patch.directory), context, escalated=escalated)
    argv = [parsed.shell or DEFAULT_SHELL, "-lc" if parsed.login else "-c", parsed.cmd]
    environment = command_environment(context.session, settings.workspace)
    asks = False
    if settings.approval_policy is ApprovalPolicy.ON_REQUEST:
        asks = escalated or asks_on_request(parsed.cmd, directory, settings.workspace, context.judging_ends)
    elif settings.approval_policy is ApprovalPolicy.UNTRUSTED:
        try:
            argv = safe_argv(parsed.cmd, parsed.shell, context.judging_ends)
            environment = safe_command_environment(context.session, settings.workspace)
        except NotKnownSafe:
            asks = True
    return _judged(
        base,
        context,
        asks=asks,
        shown=_shown_command(parsed),
        arguments=parsed.model_dump(exclude={"justification"}),
        argv=argv,
        directory=directory,
        environment=environment,
        tty=parsed.tty,
        digest=command_digest(argv, directory, None, environment, parsed.tty),
    )


def write_stdin(base: ToolCallPayload, arguments: object, context: CallContext) -> ToolCallPayload:
    parsed = parse_arguments(WriteStdinArguments, arguments).clamped()
    action = f"write to process {parsed.session_id}: " if parsed.chars else f"wait for process {parsed.session_id}"
    return _judged(
        base,
        context,
        asks=bool(parsed.chars) and context.settings.approval_policy is ApprovalPolicy.UNTRUSTED,
        shown=action + parsed.chars,
        arguments=parsed.model_dump(),
        digest=write_digest(parsed.session_id, parsed.chars),
    )


def apply_patch(base: ToolCallPayload, arguments: object, context: CallContext) -> ToolCallPayload:
    parsed = parse_arguments(ApplyPatchArguments, arguments)
    return _patch(base, parsed.input, _directory(context.settings.workspace, None), context)


def update_plan(base: ToolCallPayload, arguments: object, context: CallContext) -> ToolCallPayload:
    parsed = parse_arguments(UpdatePlanArguments, arguments)
    return _unexecuted(base, context, parsed.model_dump(), asks=False, shown=shown_plan(parsed))


def view_image(base: ToolCallPayload, arguments: object, context: CallContext) -> ToolCallPayload:
    parsed = parse_arguments(ViewImageArguments, arguments)
    path = _directory(context.settings.workspace, parsed.path)
    return _unexecuted(base, context, {"path": path, "detail": parsed.detail}, asks=False, shown=path)


def request_user_input(base: ToolCallPayload, arguments: object, context: CallContext) -> ToolCallPayload:
    parsed = parse_arguments(RequestUserInputArguments, arguments)
    if context.settings.approval_policy is ApprovalPolicy.NEVER:
        raise CannotRun(Classification.FORBIDDEN, outcomes.nobody_to_ask())
    return _unexecuted(base, context, parsed.model_dump(), asks=True, shown=shown_questions(parsed))


Preparation = Callable[[ToolCallPayload, object, CallContext], ToolCallPayload]

FUNCTIONS: dict[str, Preparation] = {
    EXEC_COMMAND: exec_command,
    WRITE_STDIN: write_stdin,
    APPLY_PATCH: apply_patch,
    UPDATE_PLAN: update_plan,
    VIEW_IMAGE: view_image,
    REQUEST_USER_INPUT: request_user_input,
}


def _patch(
    base: ToolCallPayload, text: str, directory: str, context: CallContext, *, escalated: bool = False
) -> ToolCallPayload:
    try:
        paths = parse_patch(text).paths()
    except InvalidPatch as error:
        raise CannotRun(Classification.MALFORMED, outcomes.invalid_patch(str(error))) from error
    settings = context.settings
    asks = settings.approval_policy is ApprovalPolicy.UNTRUSTED
    if settings.approval_policy is ApprovalPolicy.ON_REQUEST:
        where = (directory, settings.workspace)
        asks = escalated or any(outside(path, *where) or names_dotfile(path, *where) for path in paths)
    argv = patch_argv(context.turn)
    environment = command_environment(context.session, settings.workspace)
    return _judged(
        base,
        context,
        asks=asks,
        shown=text,
        argv=argv,
        directory=directory,
        environment=environment,
        stdin=text,
        digest=command_digest(argv, directory, text, environment, tty=False),
    )


def _unexecuted(
    base: ToolCallPayload, context: CallContext, arguments: dict[str, Any], *, asks: bool, shown: str
) -> ToolCallPayload:
    digest = arguments_digest(base.tool, arguments)
    return _judged(base, context, asks=asks, shown=shown, arguments=arguments, digest=digest)


def _judged(base: ToolCallPayload, context: CallContext, *, asks: bool, shown: str, **changes: Any) -> ToolCallPayload:
    text, truncated = preview(shown, context.settings.preview_bytes)
    classification = Classification.ASK if asks else Classification.AUTOMATIC
    update = {"classification": classification, "preview": text, "truncated": truncated, **changes}
    return base.model_copy(update=update)


def _shown_command(arguments: ExecCommandArguments) -> str:
    """A shell the model chose is part of what runs, so the approver sees it."""
    if arguments.shell in (None, DEFAULT_SHELL):
        return arguments.cmd
    return f"{arguments.shell} {'-lc' if arguments.login else '-c'} {arguments.cmd}"


def _directory(workspace: str, path: str | None) -> str:
    """Return the absolute path; raises BadArguments where it could not be shown as it is."""
    if path and any(is_deceptive(character) for character in path):
        raise BadArguments("a path holds a character that cannot be shown to a person as it is")
    directory = posixpath.normpath(posixpath.join(workspace, path or ""))
    # POSIX keeps two leading slashes apart from one, Linux does not.
    return "/" + directory.lstrip("/")
