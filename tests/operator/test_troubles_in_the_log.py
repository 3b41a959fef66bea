"""What keeps a session from going on is logged when it comes, changes and goes, not at every attempt."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from structlog.testing import capture_logs

from codex_api import conditions
from codex_operator.observations import Observation, Problem, SandboxObservation
from codex_operator.sandbox_state import Pod
from codex_operator.session_loop import SessionLoop
from codex_operator.session_memory import SessionMemory, SessionWakeup
from codex_operator.session_object import SessionObject, parse_session

JOURNAL_AWAY = Problem(conditions.REASON_JOURNAL_UNAVAILABLE, "the database does not answer")
TEMPORAL_AWAY = Problem(conditions.REASON_WORKFLOW_NOT_STARTED, "Temporal does not answer")
POD_REFUSED = SandboxObservation(False, conditions.REASON_SANDBOX_REFUSED, "exceeded quota")
SESSION = parse_session(
    {"metadata": {"uid": "uid-1", "namespace": "demo", "name": "x"}, "spec": {"prompt": "Do it."}, "status": {}}
)


@dataclass
class Seen:
    """Stands for reconciler and projector: what it is given is what one reconcile after the other sees."""

    observations: Sequence[Observation]
    wakeup: SessionWakeup
    stopped: asyncio.Event
    left: list[Observation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = list(self.observations)

    async def reconcile(self, session: SessionObject, pods: Iterable[Pod], memory: SessionMemory, *, full: bool) -> Any:
        observation = self.left.pop(0)
        self.wakeup.event.set()
        if not self.left:
            self.wakeup.gone = True
        return observation

    def track(self, session: SessionObject) -> None: ...

    def observe(self, session: SessionObject, observation: Observation) -> None: ...

    def untrack(self, uid: str) -> None: ...


async def logged(*observations: Observation) -> list[tuple[str, str, str]]:
    wakeup, stopped = SessionWakeup(), asyncio.Event()
    seen = Seen(observations, wakeup, stopped)
    with capture_logs() as entries:
        await SessionLoop(seen, seen).run(lambda: SESSION, lambda: (), wakeup, stopped)  # type: ignore[arg-type]
    return [(entry["log_level"], entry["event"], entry.get("reason", "")) for entry in entries]


async def test_a_trouble_is_logged_once_and_its_end_too() -> None:
    fine, broken = Observation(), Observation(problem=JOURNAL_AWAY)
    assert await logged(fine, broken, broken, broken, fine, fine) == [
        ("warning", "session waits", conditions.REASON_JOURNAL_UNAVAILABLE),
        ("info", "session goes on", ""),
    ]


async def test_a_trouble_that_becomes_another_is_logged_again() -> None:
    troubles = [Observation(problem=JOURNAL_AWAY), Observation(problem=TEMPORAL_AWAY), Observation(sandbox=POD_REFUSED)]
    assert await logged(*troubles) == [
        ("warning", "session waits", conditions.REASON_JOURNAL_UNAVAILABLE),
        ("warning", "session waits", conditions.REASON_WORKFLOW_NOT_STARTED),
        ("warning", "session waits", conditions.REASON_SANDBOX_REFUSED),
    ]


async def test_a_session_that_is_fine_is_not_talked_about() -> None:
    assert await logged(Observation(), Observation()) == []
