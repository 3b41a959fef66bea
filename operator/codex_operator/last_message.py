"""The agent's last message as the status shows it: to people its beginning, to programs the whole JSON. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from codex_api.rows import RowKind
from codex_journal.rows import Row
from codex_operator.display import escape, paragraph

BEGINNING_BYTES = 1024
EVENT_CHARACTERS = 1000  # of the message, in a TurnComplete
JSON_BYTES = 16 * 1024

# A string of JSON is kept as it is; the blanks between its tokens are not.
_STRING_OR_BLANKS = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|[ \t\n\r]+')
_NOT_PRINTABLE_ASCII = re.compile(r"[^ -~]")


@dataclass(frozen=True)
class LastMessage:
    text: str
    truncated: bool
    """Whether the agent said more than ``text`` holds."""


def beginning(text: str, *, more: bool = False) -> LastMessage:
    """Return the beginning of a message, escaped; ``more`` says that ``text`` itself is only a beginning."""
    shown = paragraph(text[:EVENT_CHARACTERS], BEGINNING_BYTES)
    cut = more or len(text) > EVENT_CHARACTERS or shown != escape(text, keep="\n\t")
    return LastMessage(shown, truncated=cut)


def newest_end_with_message(rows: Iterable[Row]) -> Mapping[str, Any] | None:
    """Return the payload of the newest TurnComplete that names its message's row."""
    ends = [row.payload for row in rows if row.kind is RowKind.EVENT and row.payload.get("type") == "TurnComplete"]
    named = [end for end in ends if end.get("last_agent_message") and isinstance(end.get("message_seq"), int)]
    return named[-1] if named and named[-1]["message_seq"] > 0 else None


def needs_whole(end: Mapping[str, Any], *, structured: bool) -> bool:
    """Tell whether the event alone does not say what to show; ``structured``: the session has an output schema."""
    return structured or len(end["last_agent_message"]) >= EVENT_CHARACTERS


def last_message(text: str, *, structured: bool) -> LastMessage:
    """Return what to show of a whole message: all of it where it is JSON for a program, of at most 16 KiB."""
    if structured and (compact := compact_json(text)) is not None and len(compact) <= JSON_BYTES:
        return LastMessage(compact, truncated=False)
    return beginning(text)


def message_text(payload: Mapping[str, Any]) -> str:
    """Return the text of a journaled item, empty where it is no message of the agent."""
    item = payload.get("item")
    if not isinstance(item, dict) or (item.get("type"), item.get("role")) != ("message", "assistant"):
        return ""
    parts = (part for part in item.get("content") or () if isinstance(part, dict) and part.get("type") == "output_text")
    return "".join(str(part.get("text", "")) for part in parts)


def compact_json(text: str) -> str | None:
    """Return JSON without blanks and in printable ASCII, every number as it was written; None for anything else.

    What could deceive a terminal stands in strings only, and there as ``\\uXXXX``, above U+FFFF as a surrogate pair.
    """
    try:
        # Numbers are only looked at: a float would lose digits, and a long integer would be refused.
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    compact = _STRING_OR_BLANKS.sub(lambda found: found[1] or "", text)
    return _NOT_PRINTABLE_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], compact)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
