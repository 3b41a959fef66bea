"""The events that ``get_events_since`` answers: a bounded ring whose index counts over the whole session."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from codex_api.events import AnyEvent, TurnComplete
from codex_api.workflow_payloads import EventsSince

MAX_BYTES = 16 * 1024  # what a query answer, and so a worker's cache per session, may cost
MESSAGE_CHARACTERS = 1_000


class EventRing:
    """Holds the newest events; older ones stand in the journal."""

    def __init__(self, first: int = 0) -> None:
        self._first = first
        self._events: deque[tuple[AnyEvent, int]] = deque()
        self._bytes = 0

    @property
    def next(self) -> int:
        """Index that the next event will get."""
        return self._first + len(self._events)

    def extend(self, events: Iterable[AnyEvent]) -> None:
        for event in events:
            if isinstance(event, TurnComplete) and len(event.last_agent_message) > MESSAGE_CHARACTERS:
                event = event.model_copy(update={"last_agent_message": event.last_agent_message[:MESSAGE_CHARACTERS]})
            size = len(event.model_dump_json().encode())
            self._events.append((event, size))
            self._bytes += size
        while self._bytes > MAX_BYTES and len(self._events) > 1:
            self._first += 1
            self._bytes -= self._events.popleft()[1]

    def since(self, index: int) -> EventsSince:
        """Return the events from ``index`` on; ``first`` tells where the answer really starts."""
        start = min(max(index, self._first), self.next)
        newest = [event for event, _ in self._events][start - self._first :]
        return EventsSince(first=start, next=self.next, events=newest)
