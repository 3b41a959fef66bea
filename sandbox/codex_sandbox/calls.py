"""The book of call ids: each is executed once in the life of a supervisor, whoever asks how often."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from codex_sandbox.errors import SandboxRefused
from codex_sandbox.protocol import RefusalCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    Reply = dict[str, Any]

# Replies that nobody forgot: the oldest are dropped beyond this many characters of output.
MAX_STORED_CHARACTERS = 64 * 1024 * 1024


class Call:
    """One admitted call. `reply` is awaited by everyone who asks for it, through `asyncio.shield`."""

    def __init__(self, call_id: str, fingerprint: str) -> None:
        self.call_id = call_id
        self.fingerprint = fingerprint
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()


class CallBook:
    """Knows every call id for its whole life; holds replies until they are forgotten."""

    def __init__(self, capacity: int = MAX_STORED_CHARACTERS) -> None:
        self._capacity = capacity
        self._calls: dict[str, Call] = {}
        self._finished: dict[str, int] = {}
        self._stored = 0
        self._forgotten: set[str] = set()
        self._tombstones: set[str] = set()
        self._tombstoned_turns: set[str] = set()

    def find(self, call_id: str, fingerprint: str) -> Call | None:
        """Return the call when it is known, None when it may be admitted; raises SandboxRefused."""
        call = self._calls.get(call_id)
        if call is not None:
            if call.fingerprint != fingerprint:
                raise SandboxRefused(RefusalCode.CALL_CONFLICT, f"{call_id} is taken by another call")
            return call
        if call_id in self._forgotten:
            raise SandboxRefused(RefusalCode.ALREADY_FINISHED, f"{call_id} has finished and its reply was dropped")
        if call_id in self._tombstones or any(call_id.startswith(turn) for turn in self._tombstoned_turns):
            raise SandboxRefused(RefusalCode.TOMBSTONED, f"{call_id} was stopped before it arrived")
        return None

    def admit(self, call_id: str, fingerprint: str) -> Call:
        """Take the call id; it must not be known."""
        call = self._calls[call_id] = Call(call_id, fingerprint)
        return call

    def finish(self, call: Call, reply: Reply) -> None:
        """Store the reply and wake everyone who waits for it."""
        call.reply.set_result(reply)
        self._finished[call.call_id] = size = len(reply.get("output", ""))
        self._stored += size
        while self._stored > self._capacity:
            self._drop(next(iter(self._finished)))

    def forget(self, call_ids: Iterable[str]) -> int:
        """Drop stored replies; open calls are left alone. Return how many were dropped."""
        finished = [call_id for call_id in call_ids if call_id in self._finished]
        for call_id in finished:
            self._drop(call_id)
        return len(finished)

    def tombstone_turn(self, prefix: str) -> None:
        """Refuse every call of a turn that is not yet known."""
        self._tombstoned_turns.add(prefix)

    def tombstone(self, call_ids: Iterable[str]) -> None:
        """Refuse these calls unless they are known."""
        self._tombstones.update(call_ids)

    def _drop(self, call_id: str) -> None:
        self._stored -= self._finished.pop(call_id)
        del self._calls[call_id]
        self._forgotten.add(call_id)
