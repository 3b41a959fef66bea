"""The script format: what a person writes, and nothing else. ``docs/model-server.md`` describes it with examples."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator


class ScriptPart(BaseModel):
    """A part of a script: unknown fields are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Match(ScriptPart):
    """Which requests a conversation answers; every field given must agree, none given answers all."""

    prompt: str | None = None
    """Substring of the first user message."""
    regex: str | None = None
    """Python regular expression searched for in the first user message."""
    model: str | None = None
    """Exact model name of the request."""

    @field_validator("regex")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return value


class Call(ScriptPart):
    """A tool call of the model: of a function with ``arguments``, or of a custom tool with ``input``."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    arguments: Any = {}
    """A mapping, sent as JSON; or a string, sent as it is (for malformed JSON)."""
    input: str | None = None
    """Free text for a custom tool; None: the call is of a function."""
    call_id: str | None = Field(default=None, min_length=1, max_length=64)
    """None: made from conversation and reply, so that it is the same after a retry."""

    @field_validator("arguments")
    @classmethod
    def _mapping_or_text(cls, value: Any) -> Any:
        if not isinstance(value, dict | str):
            raise ValueError("must be a mapping, or a string to send raw")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.input is not None and self.arguments != {}:
            raise ValueError("takes arguments (a function) or input (a custom tool), not both")
        return self


class ScriptedUsage(ScriptPart):
    """Token counts to report; a count left out is computed from bytes/4."""

    input: int | None = Field(default=None, ge=0)
    cached: int | None = Field(default=None, ge=0)
    output: int | None = Field(default=None, ge=0)
    reasoning: int | None = Field(default=None, ge=0)


class Garbage(StrEnum):
    HTML = "html"
    """A page with status 200, as a misconfigured proxy sends it."""
    SSE = "sse"
    """An event stream without a single event."""
    JSON = "json"
    """Events whose data is no JSON."""
    CALL = "call"
    """A function call without name and call id."""
    EMPTY = "empty"
    """A completed response without a single item."""
    UNKNOWN = "unknown"
    """The whole reply, with events and fields among it that no client knows."""


def _named_garbage(value: Any) -> Any:
    return Garbage.HTML if value is True else value


FAULT_KINDS = ("status", "after_events", "after_items", "garbage", "incomplete", "failed_code")


class Fault(ScriptPart):
    """What goes wrong instead of the reply; exactly one kind."""

    status: int | None = Field(default=None, ge=400, le=599)
    """Refuse with this HTTP status."""
    after_events: int | None = Field(default=None, ge=0)
    """Drop the connection after so many events; 0: before any answer."""
    after_items: int | None = Field(default=None, ge=0)
    """Drop the connection after so many finished items; 0: within the first one."""
    garbage: Annotated[Garbage | None, BeforeValidator(_named_garbage)] = None
    incomplete: Literal["max_output_tokens", "content_filter"] | None = None
    """End with response.incomplete: the last item of the reply is cut short."""
    failed_code: str | None = Field(default=None, min_length=1)
    """End with response.failed and this code after the stream has begun."""

    retry_after: int | float | str | None = None
    """Seconds or an HTTP date: the header Retry-After of a status; with failed_code seconds named in the message."""
    code: str | None = None
    """Error code of a status; None: the one the API uses for it."""
    html: bool = False
    """The body of a status is a page, as a gateway sends it."""
    hang_seconds: float = Field(default=0, ge=0)
    """With after_events or after_items: send nothing for so long before the connection is dropped."""
    message: str | None = None
    times: int | None = Field(default=None, ge=1)
    """How often each session meets this fault in one server process; None: always."""

    @property
    def breaks_off(self) -> bool:
        """Whether the connection is dropped before the answer has ended."""
        return self.after_events is not None or self.after_items is not None

    @property
    def kind(self) -> str:
        return next(name for name in FAULT_KINDS if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [name for name in FAULT_KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(FAULT_KINDS)}; given: {', '.join(given) or 'none'}")
        if self.code is not None and self.status is None:
            raise ValueError("code belongs to status; the code of a failed response is failed_code")
        if self.html and self.status is None:
            raise ValueError("html is the body of a status; a page with status 200 is garbage: html")
        if self.hang_seconds and self.after_events is None and self.after_items is None:
            raise ValueError("hang_seconds needs after_events or after_items")
        if self.retry_after is not None and self.status is None and self.failed_code is None:
            raise ValueError("retry_after needs status or failed_code")
        return self


def _list_of_faults(value: Any) -> Any:
    return value if value is None or isinstance(value, list | tuple) else [value]


class Reply(ScriptPart):
    """One answer of the model: its items in the order reasoning, text, calls."""

    text: str | None = None
    reasoning: str | None = None
    calls: list[Call] = []
    usage: ScriptedUsage = ScriptedUsage()
    delay_seconds: float = Field(default=0, ge=0)
    """Between response.created and the first item, or before a refusal."""
    token_delay_seconds: float = Field(default=0, ge=0)
    """Before each delta."""
    fail: Annotated[list[Fault], BeforeValidator(_list_of_faults)] = []
    """One fault or several, which happen one after the other before the reply is given."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.text is None and self.reasoning is None and not self.calls and not self.fail:
            raise ValueError("needs one of text, reasoning, calls, fail")
        if any(fault.times is None for fault in self.fail[:-1]):
            raise ValueError("every fault but the last needs times, or the later ones never happen")
        return self


def _always(value: Any) -> Any:
    if value == "always":
        return Match()
    if isinstance(value, str):
        return Match(prompt=value)
    if value == {} or value is None:
        raise ValueError("is empty; write 'always' to answer every request")
    return value


class Conversation(ScriptPart):
    """What the model says to the sessions that match, reply by reply."""

    match: Annotated[Match, BeforeValidator(_always)]
    """``always``, a substring of the first user message, or a mapping of prompt, regex, model."""
    replies: list[Reply] = Field(min_length=1)
    repeat: bool = False
    """Begin again after the last reply, instead of saying that the script has ended."""
    compaction: Reply | None = None
    """What the model says to a request without tools: the summary that replaces the conversation."""

    @field_validator("compaction")
    @classmethod
    def _is_a_summary(cls, value: Reply | None) -> Reply | None:
        if value is not None and (value.calls or (value.text is None and not value.fail)):
            raise ValueError("is a summary: it needs text, and no calls")
        return value


class Script(ScriptPart):
    conversations: list[Conversation] = []
    """The first one that matches answers."""
    models: list[str] = []
    """Models that exist; none listed: every name does."""
