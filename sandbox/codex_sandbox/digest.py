"""Digests of exactly what a sandbox will execute, computed alike by the worker and by the supervisor."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Part of every digest: a changed meaning of any field must change all of them.
VERSION = 1


def canonical_json(value: Any) -> bytes:
    """Return the one JSON text of a value: sorted keys, no spaces, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def command_digest(
    argv: Sequence[str], directory: str, stdin: str | None, environment: Mapping[str, str], tty: bool
) -> str:
    """Return `sha256:<hex>` over everything that decides what a command does.

    `environment` is what the caller lays over the sandbox's own environment, whose hash the hello carries.
    """
    return _digest(
        {
            "kind": "command",
            "argv": list(argv),
            "directory": directory,
            "stdin": stdin,
            "environment": dict(environment),
            "tty": bool(tty),
        }
    )


def write_digest(process: int, characters: str) -> str:
    """Return `sha256:<hex>` over the characters written to a running process."""
    return _digest({"kind": "write", "process": process, "characters": characters})


def environment_hash(environment: Mapping[str, str]) -> str:
    """Return `sha256:<hex>` over a base environment, for the hello."""
    return _digest({"kind": "environment", "environment": dict(environment)})


def _digest(value: dict[str, Any]) -> str:
    return "sha256:" + hashlib.sha256(canonical_json({"version": VERSION, **value})).hexdigest()
