"""What a model reads of a command that ran, as the item that answers its call."""

from __future__ import annotations

import hashlib
from typing import Any

from codex_sandbox.protocol import CommandReply
from codex_worker.token_estimates import BYTES_PER_TOKEN

Output = str | list[dict[str, Any]]
"""A text, or the parts of one that holds pictures."""


def call_output(provider_call_id: str, output: Output, *, custom: bool = False) -> dict[str, Any]:
    """Return the item that answers a function call, or a custom tool call."""
    kind = "custom_tool_call_output" if custom else "function_call_output"
    return {"type": kind, "call_id": provider_call_id, "output": output}


def format_reply(call_id: str, reply: CommandReply, max_output_tokens: int) -> str:
    """Return the text of exec_command and write_stdin: the same for the same call, however often it is retried.

    The sandbox is not trusted: what it says of its own omissions only places the marker and is counted.
    """
    lines = [f"Chunk ID: {chunk_id(call_id)}", f"Wall time: {reply.wall_time_seconds:.4f} seconds"]
    if reply.exit_code is not None:
        lines.append(f"Process exited with code {reply.exit_code}")
    elif reply.process is not None:
        lines.append(f"Process running with session ID {reply.process}")
    tokens = token_count(max(reply.output_bytes, len(_encode(reply.output))))
    text, cut = truncate_middle(reply.output, max_output_tokens, reply.omitted_at, reply.omitted_bytes)
    lines += [f"Original token count: {tokens}", "Output:"]
    if cut:
        lines.append(f"Warning: truncated output (original token count: {tokens})")
        known = reply.output_lines is not None or reply.omitted_at is None
        total = len(reply.output.splitlines()) if reply.output_lines is None else reply.output_lines
        lines += [f"Total output lines: {total}"] if known else []
        lines.append("")
    return "\n".join([*lines, text])


def truncate_middle(
    text: str, max_tokens: int, omitted_at: int | None = None, omitted_bytes: int = 0
) -> tuple[str, bool]:
    """Return at most ``max_tokens`` of the text, head and tail with a marker between them, and whether it was cut.

    ``omitted_at`` is the index at which ``omitted_bytes`` are missing already. The marker comes on top of the limit.
    """
    budget = max_tokens * BYTES_PER_TOKEN
    encoded = _encode(text)
    if omitted_at is None and len(encoded) <= budget:
        return encoded.decode(), False
    gap = len(encoded) // 2 if omitted_at is None else len(_encode(text[: max(0, omitted_at)]))
    # A side that needs less than its half leaves the rest to the other.
    head_size = min(gap, max(budget // 2, budget - (len(encoded) - gap)))
    tail_size = min(len(encoded) - gap, budget - head_size)
    # What is left of a character that was cut is dropped.
    head = encoded[:head_size].decode(errors="ignore")
    tail = encoded[len(encoded) - tail_size :].decode(errors="ignore")
    removed = omitted_bytes + len(encoded) - len(head.encode()) - len(tail.encode())
    return f"{head}…{token_count(removed)} tokens truncated…{tail}", True


def token_count(size: int) -> int:
    """Estimate the tokens of so many bytes of UTF-8."""
    return -(-size // BYTES_PER_TOKEN)


def chunk_id(call_id: str) -> str:
    """Return six hex digits that stand for a call."""
    return hashlib.sha256(f"chunk\n{call_id}".encode()).hexdigest()[:6]


def _encode(text: str) -> bytes:
    # JSON can hold half a surrogate pair, UTF-8 cannot.
    return text.encode(errors="replace")
