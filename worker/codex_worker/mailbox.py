"""The workflow's mailbox: message keys in order of arrival, each once, without those already in the conversation."""

from __future__ import annotations

from collections.abc import Iterable

from codex_api.rows import Delivery
from codex_api.workflow_payloads import MessageSignal


class Mailbox:
    """Signals may repeat, come late or come before the journal was read; the journal's word counts."""

    def __init__(self) -> None:
        self._waiting: dict[int, MessageSignal] = {}
        self._admitted: set[int] = set()
        self._known_seq = 0
        self.compaction_requested = False
        """Somebody asked for it; the next model call does it."""

    def receive(self, message: MessageSignal) -> None:
        """Take a signal's message unless it is admitted already."""
        if message.seq > self._known_seq and message.seq not in self._admitted:
            self._waiting[message.seq] = message

    def open(self, known_seq: int, waiting: Iterable[MessageSignal]) -> None:
        """Take over what the journal knows up to ``known_seq``: ``waiting`` is all of it that is not admitted."""
        listed = {message.seq: message for message in waiting}
        late = {seq: message for seq, message in self._waiting.items() if seq > known_seq}
        self._known_seq = known_seq
        self._waiting = listed | late

    def admit(self, seqs: Iterable[int]) -> None:
        """Drop messages that entered the conversation."""
        for seq in seqs:
            self._admitted.add(seq)
            self._waiting.pop(seq, None)

    def next_message(self) -> MessageSignal | None:
        """Return the oldest waiting message: it starts the next turn."""
        return self._waiting[min(self._waiting)] if self._waiting else None

    def has_steering(self, after: int = 0) -> bool:
        """Tell whether a message waits that belongs into the running turn."""
        return any(message.delivery is Delivery.STEER and seq > after for seq, message in self._waiting.items())

    def __bool__(self) -> bool:
        return bool(self._waiting)
