"""Arguments of the tools exec_command and write_stdin: their names, defaults and limits."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

DEFAULT_YIELD_MS = 10_000
MIN_YIELD_MS, MAX_YIELD_MS = 250, 30_000
# Waiting without writing costs nothing, so that it may take longer.
MIN_POLL_MS, MAX_POLL_MS = 5_000, 300_000
DEFAULT_WRITE_YIELD_MS = 250
MAX_OUTPUT_TOKENS = 10_000
# Linux takes no longer single argument (MAX_ARG_STRLEN, with its closing NUL).
MAX_TEXT_BYTES = 131_071
MAX_PATH_BYTES = 1024


class BadArguments(ValueError):
    """The arguments cannot be used; the message is written for the model."""


def _encodable(text: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair") from None
    if size > MAX_TEXT_BYTES:
        raise ValueError(f"is longer than {MAX_TEXT_BYTES} bytes")
    return text


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character")
    return text


def _path(text: str) -> str:
    if len(text.encode()) > MAX_PATH_BYTES:
        raise ValueError(f"is longer than {MAX_PATH_BYTES} bytes")
    return text


def filled(text: str) -> str:
    """Refuse blanks only; a pydantic validator."""
    if not text.strip():
        raise ValueError("is empty")
    return text


Text = Annotated[str, AfterValidator(_encodable)]
CommandText = Annotated[Text, AfterValidator(_without_nul)]
PathText = Annotated[CommandText, AfterValidator(_path)]


def default_for_null(default: Any) -> BeforeValidator:
    """Models send null for an argument they leave out."""
    return BeforeValidator(lambda value: default if value is None else value)


class ToolArguments(BaseModel):
    """Strict about types, tolerant of arguments that we do not know."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class ExecCommandArguments(ToolArguments):
    cmd: Annotated[CommandText, AfterValidator(filled)]
    workdir: PathText | None = None
    """Relative to the workspace; None: the workspace."""
    shell: Annotated[PathText, AfterValidator(filled)] | None = None
    """None: bash."""
    login: Annotated[bool, default_for_null(True)] = True
    tty: Annotated[bool, default_for_null(False)] = False
    yield_time_ms: Annotated[int, default_for_null(DEFAULT_YIELD_MS), Field(ge=0)] = DEFAULT_YIELD_MS
    max_output_tokens: Annotated[int, default_for_null(MAX_OUTPUT_TOKENS), Field(ge=0)] = MAX_OUTPUT_TOKENS
    sandbox_permissions: Annotated[Literal["use_default", "require_escalated"], default_for_null("use_default")] = (
        "use_default"
    )
    """Escalated: a person is asked; the command runs in the sandbox all the same."""
    justification: Annotated[Text, default_for_null("")] = ""

    def clamped(self) -> ExecCommandArguments:
        """Return the arguments with time and output inside what is allowed."""
        return self.model_copy(
            update={
                "yield_time_ms": _clamp(self.yield_time_ms, MIN_YIELD_MS, MAX_YIELD_MS),
                "max_output_tokens": _clamp(self.max_output_tokens, 1, MAX_OUTPUT_TOKENS),
            }
        )


class WriteStdinArguments(ToolArguments):
    session_id: Annotated[int, Field(ge=0, le=2**31 - 1)]
    """The process number an earlier call reported."""
    chars: Annotated[Text, default_for_null("")] = ""
    """Empty: only wait for output."""
    yield_time_ms: Annotated[int, default_for_null(DEFAULT_WRITE_YIELD_MS), Field(ge=0)] = DEFAULT_WRITE_YIELD_MS
    max_output_tokens: Annotated[int, default_for_null(MAX_OUTPUT_TOKENS), Field(ge=0)] = MAX_OUTPUT_TOKENS

    def clamped(self) -> WriteStdinArguments:
        """Return the arguments with time and output inside what is allowed."""
        low, high = (MIN_YIELD_MS, MAX_YIELD_MS) if self.chars else (MIN_POLL_MS, MAX_POLL_MS)
        return self.model_copy(
            update={
                "yield_time_ms": _clamp(self.yield_time_ms, low, high),
                "max_output_tokens": _clamp(self.max_output_tokens, 1, MAX_OUTPUT_TOKENS),
            }
        )


Arguments = TypeVar("Arguments", bound=ToolArguments)


def parse_arguments(model: type[Arguments], text: object) -> Arguments:
    """Read a call's ``arguments``, a JSON text; raises BadArguments saying what is wrong with them."""
    if not isinstance(text, str):
        raise BadArguments("arguments must be a JSON text")
    try:
        value = json.loads(text)
    # Nesting and numbers without bounds are refused by Python itself.
    except (ValueError, RecursionError) as error:
        raise BadArguments(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadArguments("expected a JSON object")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise BadArguments("; ".join(_problem(dict(detail)) for detail in error.errors(include_url=False))) from error


def _problem(detail: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"missing field `{name}`"
    return f"`{name}` {detail['msg'].removeprefix('Value error, ')}"


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))
