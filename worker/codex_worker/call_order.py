"""In which order the calls of one reply may run. Pure.

A serial call waits for all calls before it, and all calls after it wait for it: the model wrote them in an order that
it relies on. Its other calls run side by side.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar


class Orderable(Protocol):
    @property
    def call_id(self) -> str: ...

    @property
    def serial(self) -> bool: ...


Call = TypeVar("Call", bound=Orderable)


def due_calls(
    calls: Sequence[Call], *, undecided: Collection[str], started: Collection[str], settled: Collection[str]
) -> list[Call]:
    """Return the calls to start now, in call order.

    ``undecided`` are the ids of calls that somebody is or will be asked about, ``started`` of those begun before,
    ``settled`` of those that have finished or will never run.
    """
    due: list[Call] = []
    all_settled = serial_settled = True
    for call in calls:
        if call.call_id in settled:
            continue
        free = all_settled if call.serial else serial_settled
        if free and call.call_id not in started and call.call_id not in undecided:
            due.append(call)
        all_settled = False
        serial_settled = serial_settled and not call.serial
    return due
