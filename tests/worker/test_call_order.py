"""Serial and parallel calls of one reply, without a server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_worker.call_order import due_calls
from codex_worker.execution import Executor, run_calls


@dataclass(frozen=True)
class Call:
    call_id: str
    serial: bool


def calls_of(kinds: str) -> list[Call]:
    """Return a call for each letter: s is serial, anything else parallel."""
    return [Call(f"t1.s1.c{index}", kind == "s") for index, kind in enumerate(kinds)]


@given(st.text("sp", max_size=12), st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)), st.randoms())
def test_every_call_runs_once_in_an_order_that_serial_ones_rule(
    kinds: str, asked: set[int], refused: set[int], chance: Any
) -> None:
    calls = calls_of(kinds)
    undecided = {call.call_id for index, call in enumerate(calls) if index in asked}
    running: list[Call] = []
    started: list[str] = []
    settled: set[str] = set()
    while len(settled) < len(calls):
        for call in due_calls(calls, undecided=undecided, started=started, settled=settled):
            assert call.call_id not in undecided
            running.append(call)
            started.append(call.call_id)
            before = [other.call_id for other in calls[: calls.index(call)]]
            if call.serial:
                assert settled.issuperset(before)
            assert not any(other.serial for other in running if other is not call)
        if undecided and (not running or chance.random() < 0.5):
            decided = chance.choice(sorted(undecided))
            undecided.remove(decided)
            if int(decided.rpartition("c")[2]) in refused:
                settled.add(decided)
        else:
            done = running.pop(chance.randrange(len(running)))
            settled.add(done.call_id)
    assert len(started) == len(set(started))


def test_parallel_calls_start_at_once_and_in_order() -> None:
    calls = calls_of("ppp")
    assert due_calls(calls, undecided=(), started=(), settled=()) == calls


class Recorder:
    """Stands where the executor stands: notes who runs beside whom."""

    def __init__(self, failing: str = "") -> None:
        self.running: set[str] = set()
        self.beside: dict[str, set[str]] = {}
        self.finished: list[str] = []
        self._failing = failing

    async def run(self, record: object, transcript: object, call_id: str) -> None:
        self.running.add(call_id)
        self.beside[call_id] = set(self.running)
        for other in self.running:
            self.beside[other].add(call_id)
        await asyncio.sleep(0)
        self.running.remove(call_id)
        if call_id == self._failing:
            raise ConnectionError(call_id)
        self.finished.append(call_id)


async def run(kinds: str, recorder: Recorder) -> None:
    calls = {call.call_id: call for call in calls_of(kinds)}
    transcript = cast("Any", SimpleNamespace(calls=calls))
    await run_calls(cast("Executor", recorder), cast("Any", None), transcript, list(calls))


async def test_neighbours_run_side_by_side_and_a_serial_call_alone() -> None:
    recorder = Recorder()
    await run("ppspp", recorder)
    assert recorder.beside["t1.s1.c0"] == {"t1.s1.c0", "t1.s1.c1"}
    assert recorder.beside["t1.s1.c2"] == {"t1.s1.c2"}
    assert recorder.beside["t1.s1.c4"] == {"t1.s1.c3", "t1.s1.c4"}
    assert recorder.finished == [f"t1.s1.c{index}" for index in range(5)]


async def test_a_failure_lets_neighbours_finish_and_starts_nothing_behind_it() -> None:
    recorder = Recorder(failing="t1.s1.c0")
    with pytest.raises(ConnectionError):
        await run("ppsp", recorder)
    assert recorder.finished == ["t1.s1.c1"]
