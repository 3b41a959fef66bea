"""One loop per session: reconcile, wait for a reason to do so again, and end the session when its object is deleted.

A kopf daemon carries it rather than create/update/resume handlers, because a daemon
- starts with the first event, without waiting for the finalizer's round trip, and again after a restart;
- runs one at a time per session and may be woken by pods, by the journal and by the clock, not only by its object;
- keeps no progress and no last-handled copy of the spec in annotations: an approval waits for no further write;
- holds the finalizer for as long as it runs, and no longer than kopf's cancellation allows.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from codex_api import conditions
from codex_journal.errors import JournalError
from codex_operator import metrics
from codex_operator.cluster_api import ClusterError
from codex_operator.observations import Observation, Problem
from codex_operator.reconcile import Reconciler
from codex_operator.sandbox_state import Pod
from codex_operator.session_memory import SessionMemory, SessionWakeup
from codex_operator.session_object import InvalidSession, SessionObject
from codex_operator.workflows import WorkflowError

log = structlog.get_logger("codex_operator.session")

FULL_PASS_SECONDS = 60.0
MIN_PASS_SECONDS = 0.1
RECONCILE_SECONDS = 30.0
RETRY_SECONDS = (0.2, 1.0, 2.0, 5.0, 10.0)
FINALIZER_SECONDS = 55.0
FINALIZER_RETRY_SECONDS = 2.0

ReadSession = Callable[[], SessionObject]
ReadPods = Callable[[], Iterable[Pod]]


class StatusSink(Protocol):
    """Where observations go: the projector."""

    def track(self, session: SessionObject) -> None: ...

    def observe(self, session: SessionObject, observation: Observation) -> None: ...

    def untrack(self, uid: str) -> None: ...


class SessionLoop:
    def __init__(
        self,
        reconciler: Reconciler,
        sink: StatusSink,
        *,
        full_pass_seconds: float = FULL_PASS_SECONDS,
        finalizer_seconds: float = FINALIZER_SECONDS,
    ) -> None:
        self._reconciler = reconciler
        self._sink = sink
        self._full_pass_seconds = full_pass_seconds
        self._finalizer_seconds = finalizer_seconds

    async def run(
        self, read_session: ReadSession, read_pods: ReadPods, wakeup: SessionWakeup, stopped: asyncio.Event
    ) -> None:
        """Serve a session until ``stopped`` is set or its object is gone; finalizing is the caller's next step."""
        memory, failures, full = SessionMemory(), 0, True
        while not stopped.is_set() and not wakeup.gone:
            wakeup.event.clear()
            ok = await _unless(stopped, self._pass(read_session, read_pods, memory, full=full))
            failures = 0 if ok else failures + 1
            delay = RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1] if failures else self._until_full_pass(memory)
            # What failed is looked at in full when it is tried again.
            full = await _timed_out(delay, wakeup.event, stopped) or failures > 0

    async def finalize(self, session: SessionObject, read_pods: ReadPods, leaving: Callable[[], bool]) -> None:
        """End a deleted session in bounded time, even while Temporal or the journal is away; a sweep does the rest."""
        _name_in_logs(session)
        deadline = asyncio.get_running_loop().time() + self._finalizer_seconds
        try:
            async with asyncio.timeout_at(deadline):
                while not await self._finalized(session, read_pods) and not leaving():
                    await asyncio.sleep(FINALIZER_RETRY_SECONDS)
        except TimeoutError:
            log.error("let go of a deleted session; the sweep will close it")
        finally:
            self._sink.untrack(session.uid)

    async def _finalized(self, session: SessionObject, read_pods: ReadPods) -> bool:
        try:
            await self._reconciler.finalize(session, read_pods())
        except (JournalError, WorkflowError, ClusterError) as error:
            log.warning("cannot end a deleted session yet", error=str(error))
            return False
        log.info("deleted session ended")
        return True

    async def _pass(self, read_session: ReadSession, read_pods: ReadPods, memory: SessionMemory, *, full: bool) -> bool:
        """Reconcile once; return whether everything is as it should be."""
        try:
            session = read_session()
        except InvalidSession as error:
            log.error("the object does not fit the operator's models", error=str(error))
            metrics.RECONCILES.labels("invalid").inc()
            return True
        _name_in_logs(session)
        self._sink.track(session)
        try:
            async with asyncio.timeout(RECONCILE_SECONDS):
                observation = await self._reconciler.reconcile(session, read_pods(), memory, full=full)
        except TimeoutError:
            problem = Problem(conditions.REASON_JOURNAL_UNAVAILABLE, "journal or Temporal did not answer in time")
            observation = Observation(observed_generation=session.generation, problem=problem)
        self._sink.observe(session, observation)
        trouble = _trouble(observation)
        outcome = observation.problem.reason if observation.problem else "sandbox" if trouble else "ok"
        metrics.RECONCILES.labels(outcome).inc()
        _log_trouble(trouble, memory)
        return trouble is None

    def _until_full_pass(self, memory: SessionMemory) -> float:
        # Spread, or a restart makes all sessions look at the same moment for ever.
        seconds = self._full_pass_seconds * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        if memory.deadline is None:
            return seconds
        return min(seconds, max(MIN_PASS_SECONDS, (memory.deadline - datetime.now(UTC)).total_seconds()))


# Reasons of the sandbox that no pod event ends: the API server must be asked again.
UNSETTLED = frozenset({conditions.REASON_SANDBOX_REFUSED, conditions.REASON_SANDBOX_LOST})


def _name_in_logs(session: SessionObject) -> None:
    """Name the session in every line that this task logs, in whichever module."""
    structlog.contextvars.bind_contextvars(session=session.uid, object=f"{session.namespace}/{session.name}")


def _trouble(observation: Observation) -> Problem | None:
    """Return what keeps the session from being as it should be."""
    sandbox = observation.sandbox
    if observation.problem is None and sandbox.reason in UNSETTLED:
        return Problem(sandbox.reason, sandbox.message)
    return observation.problem


def _log_trouble(trouble: Problem | None, memory: SessionMemory) -> None:
    """Log trouble when it comes, changes and goes, not at every attempt."""
    reason = trouble.reason if trouble else ""
    if reason == memory.trouble:
        return
    memory.trouble = reason
    if trouble:
        log.warning("session waits", reason=reason, message=trouble.message)
    else:
        log.info("session goes on")


async def _unless(stopped: asyncio.Event, work: Coroutine[Any, Any, bool]) -> bool:
    """Do the work, or give it up when ``stopped`` is set meanwhile."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else False
    finally:
        for unfinished in (task, stop):
            unfinished.cancel()
        await asyncio.gather(task, stop, return_exceptions=True)


async def _timed_out(seconds: float, *events: asyncio.Event) -> bool:
    """Wait for any of the events; tell whether none came in time."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return not done
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
