"""The tool apply_patch: its arguments, the program that applies a patch in the sandbox, and what that reports."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from codex_api.tools import PATCH_PROGRAM
from codex_sandbox.protocol import MAX_OUTPUT_BYTES, MAX_YIELD_MS, CommandReply
from codex_worker.tools.exec_command import MAX_OUTPUT_TOKENS, ToolArguments
from codex_worker.tools.output import truncate_middle

YIELD_MS = MAX_YIELD_MS  # a patch is quick; one that is not done by then has failed
REPORT_BYTES = MAX_OUTPUT_BYTES
MAX_PATCH_BYTES = 1024 * 1024
MAX_DIFF_CHARACTERS = 256 * 1024
MAX_CHANGES = 2000
KILLED = 128 + 9  # exit code of a program that SIGKILL ended


def _patch_text(text: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair") from None
    if size > MAX_PATCH_BYTES:
        raise ValueError(f"is longer than {MAX_PATCH_BYTES} bytes; split the patch")
    return text


class ApplyPatchArguments(ToolArguments):
    input: Annotated[str, AfterValidator(_patch_text)]
    """The patch, envelope included."""


class ReportedChange(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    path: str = Field(min_length=1, max_length=4096)
    kind: Literal["add", "delete", "update"]
    move_path: str | None = Field(default=None, max_length=4096)


class PatchReport(BaseModel):
    """What the program says it did; it comes from the sandbox, so that every field has a bound."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    exit_code: int = Field(ge=0, le=255)
    text: str
    changes: list[ReportedChange] = Field(default=[], max_length=MAX_CHANGES)
    diff: str = Field(default="", max_length=MAX_DIFF_CHARACTERS)
    """Of everything that the turn's patches have changed so far."""
    diff_truncated: bool = False


class BadReport(Exception):
    """What came from the program is no report of the run it ended with; the message is written for the model."""


def patch_argv(turn: int) -> list[str]:
    return [PATCH_PROGRAM, "--report", "--turn", str(turn)]


def read_report(reply: CommandReply) -> PatchReport:
    """Return the report of a program that has ended; raises BadReport."""
    if reply.exit_code is None:
        raise BadReport(f"the patch was not applied within {YIELD_MS // 1000} seconds")
    # Not splitlines: a string of JSON may hold U+2028 as it is.
    lines = reply.output.strip().split("\n")
    try:
        if reply.omitted_at is not None:
            raise ValueError("cut")
        report = PatchReport.model_validate_json(lines[-1])
    except ValueError as error:  # pydantic's ValidationError is one
        raise BadReport(_without_report(reply, reply.exit_code)) from error
    if report.exit_code != reply.exit_code:
        raise BadReport(f"{PATCH_PROGRAM} ended with code {reply.exit_code} but reported {report.exit_code}")
    return report


def _without_report(reply: CommandReply, exit_code: int) -> str:
    said = truncate_middle(reply.output.strip(), 200)[0]
    told = f": {said}" if said else ""
    if exit_code == KILLED:
        # It may have been moving files into their places.
        cure = "See which files were changed, and change large files by a command instead"
        return f"{PATCH_PROGRAM} was killed, probably for lack of memory. {cure}{told}"
    return f"{PATCH_PROGRAM} ended with code {exit_code} and no report{told}"


def format_report(report: PatchReport, seconds: float) -> str:
    """Return what the model reads: the form of a shell command, or for a failure its message alone."""
    text, _ = truncate_middle(report.text, MAX_OUTPUT_TOKENS)
    if report.exit_code != 0:
        return text
    return f"Exit code: 0\nWall time: {round(seconds, 1):g} seconds\nOutput:\n{text}"
