"""One level-based reconcile of a session; safe to run any number of times, at any moment, after any crash.

Journal first, then in parallel the workflow (which the person waits for) and the sandbox. What fails becomes an
observation, is shown as a condition and tried again; nothing is remembered that would be needed for correctness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import structlog

from codex_api import conditions, names
from codex_api.events import SANDBOX_RESET
from codex_api.rows import Delivery as MessageDelivery
from codex_api.rows import MessagePayload, RowKind, SandboxAddressPayload, SessionClosedPayload
from codex_api.session import OperatingMode
from codex_journal.errors import JournalError, UnknownSession
from codex_journal.journal import Journal
from codex_journal.rows import NewRow, SessionRecord
from codex_operator.annotation_pruning import AnnotationPruning
from codex_operator.cluster_api import ClusterError
from codex_operator.delivery import OPENING_ROWS, PROMPT_KEY, Delivery
from codex_operator.display import one_line
from codex_operator.observations import SANDBOX_PENDING, Notice, Observation, Problem, SandboxObservation
from codex_operator.sandbox_state import Pod, SandboxPods, generation_of, observe, pod_address, sort_out
from codex_operator.sandboxes import REMOVED, Sandboxes
from codex_operator.session_memory import SessionMemory
from codex_operator.session_object import SessionObject, session_settings
from codex_operator.workflows import TemporalUnavailable, WorkflowGone, Workflows

log = structlog.get_logger("codex_operator.session")

PROBLEM_BYTES = 512
# The workflow keeps the deadline by itself; the operator only where worker or Temporal are away.
DEADLINE_GRACE_SECONDS = 15.0


def _opening_rows(session: SessionObject) -> list[NewRow]:
    prompt = MessagePayload(key=PROMPT_KEY, text=session.spec.prompt, delivery=MessageDelivery.QUEUE)
    return [NewRow(RowKind.SESSION_OPENED, {}), NewRow(RowKind.MESSAGE, prompt.model_dump(mode="json"))]


def _journal_problem(error: JournalError) -> Problem:
    message = f"the journal cannot be used: {error}; the session goes on when the database answers again"
    return Problem(conditions.REASON_JOURNAL_UNAVAILABLE, one_line(message, PROBLEM_BYTES))


def _temporal_problem(error: Exception) -> Problem:
    message = f"Temporal cannot be reached: {error}; the session goes on when it answers again"
    return Problem(conditions.REASON_WORKFLOW_NOT_STARTED, one_line(message, PROBLEM_BYTES))


class Reconciler:
    def __init__(
        self,
        *,
        journal: Journal,
        workflows: Workflows,
        sandboxes: Sandboxes,
        delivery: Delivery,
        pruning: AnnotationPruning,
        installation: str,
        isolation_required: bool,
        sandbox_port: int,
        deadline_grace_seconds: float = DEADLINE_GRACE_SECONDS,
    ) -> None:
        self._journal = journal
        self._workflows = workflows
        self._sandboxes = sandboxes
        self._delivery = delivery
        self._pruning = pruning
        self._installation = installation
        self._isolation_required = isolation_required
        self._sandbox_port = sandbox_port
        self._deadline_grace = timedelta(seconds=deadline_grace_seconds)

    def workflow_id(self, session: SessionObject) -> str:
        return names.workflow_id(self._installation, session.namespace, session.name, session.uid)

    async def reconcile(
        self, session: SessionObject, pods: Iterable[Pod], memory: SessionMemory, *, full: bool
    ) -> Observation:
        """Bring everything to where the object says it should be; ``full`` also looks for what no event tells."""
        sorted_pods = sort_out(pods, session.uid)
        try:
            record = await self._record(session, memory)
            must_end = self._must_end(session, record)
            if must_end is not None and not record.closed:
                await self.close(session.uid, must_end)
                log.info("session closed", reason=must_end)
                record = await self._record(session, memory)
        except JournalError as error:
            seen = observe(sorted_pods.current) if sorted_pods.current else SANDBOX_PENDING
            return self._observation(session, memory, _journal_problem(error), seen)
        memory.deadline = None if record.closed else self._deadline(record)
        if record.closed:
            return await self._wind_down(session, sorted_pods, memory, cancel=must_end is not None)
        if full:
            memory.policy_applied = False
        (problem, notices), sandbox = await asyncio.gather(
            self._keep_workflow(session, record, memory, full=full),
            self._keep_sandbox(session, sorted_pods, record, memory),
        )
        await self._pruning.prune(session, memory.acknowledged)
        return self._observation(session, memory, problem, sandbox, notices)

    async def close(self, uid: str, reason: str = conditions.REASON_SESSION_CANCELLED) -> None:
        """Journal that the session is over; every model call looks for this first. Raises JournalUnavailable."""
        payload = SessionClosedPayload(reason=reason)
        try:
            await self._journal.close_session(uid, payload)
        except UnknownSession:
            return

    def _deadline(self, record: SessionRecord) -> datetime | None:
        seconds = record.settings.active_deadline_seconds
        return None if seconds is None else record.created_at + timedelta(seconds=seconds) + self._deadline_grace

    def _must_end(self, session: SessionObject, record: SessionRecord) -> str | None:
        """Return why the session must be over by now, whatever its workflow does."""
        if session.spec.operating_mode is OperatingMode.CANCELLED:
            return conditions.REASON_SESSION_CANCELLED
        deadline = self._deadline(record)
        return conditions.REASON_DEADLINE_EXCEEDED if deadline and datetime.now(UTC) > deadline else None

    async def finalize(self, session: SessionObject, pods: Iterable[Pod]) -> None:
        """End a deleted session: close, then cancel, then remove; raises what failed, to be repeated as a whole."""
        await self.close(session.uid)
        await self._workflows.cancel(self.workflow_id(session))
        await self._sandboxes.remove(session, sort_out(pods, session.uid))

    def _observation(
        self,
        session: SessionObject,
        memory: SessionMemory,
        problem: Problem | None,
        sandbox: SandboxObservation,
        notices: tuple[Notice, ...] = (),
    ) -> Observation:
        return Observation(
            observed_generation=session.generation,
            problem=problem,
            workflow_id=self.workflow_id(session),
            run_id=memory.run_id or (session.status.get("workflow") or {}).get("runId"),
            sandbox=sandbox,
            notices=notices,
        )

    async def _record(self, session: SessionObject, memory: SessionMemory) -> SessionRecord:
        if memory.journaled and (record := await self._journal.session(session.uid)) is not None:
            return record
        settings = session_settings(session.spec, isolation_required=self._isolation_required)
        record = await self._journal.create_session(
            session.uid, self._installation, session.namespace, session.name, settings, _opening_rows(session)
        )
        memory.journaled = True
        return record

    async def _keep_workflow(
        self, session: SessionObject, record: SessionRecord, memory: SessionMemory, *, full: bool
    ) -> tuple[Problem | None, tuple[Notice, ...]]:
        try:
            problem, started = await self._ensure_running(session, memory, full=full)
            try:
                return problem, await self._deliver(session, record, memory, started=started)
            except WorkflowGone:
                # It ended since this process saw it: a new run reads everything from the journal.
                await self._ensure_running(session, memory, full=False)
                return problem, await self._deliver(session, record, memory, started=True)
        except (TemporalUnavailable, WorkflowGone) as error:
            return _temporal_problem(error), ()
        except JournalError as error:
            return _journal_problem(error), ()

    async def _ensure_running(
        self, session: SessionObject, memory: SessionMemory, *, full: bool
    ) -> tuple[Problem | None, bool]:
        """Return what is wrong with the workflow, and whether this call may have started it."""
        workflow_id = self.workflow_id(session)
        if memory.run_id is not None and full:
            try:
                running = await self._workflows.describe(workflow_id)
            except WorkflowGone:
                memory.run_id = None
            else:
                memory.run_id = running.run_id
                if running.is_failing:
                    return _failing_problem(running.failing_attempts), False
        if memory.run_id is not None:
            return None, False
        memory.run_id = await self._workflows.start(
            workflow_id, session.uid, f"CodexSession {session.namespace}/{session.name}"
        )
        log.info("workflow runs", workflow=workflow_id, run=memory.run_id)
        return None, True

    async def _deliver(
        self, session: SessionObject, record: SessionRecord, memory: SessionMemory, *, started: bool
    ) -> tuple[Notice, ...]:
        workflow_id = self.workflow_id(session)
        notices = await self._delivery.deliver(session, record, memory, workflow_id, started=started)
        if session.spec.operating_mode is OperatingMode.COMPLETED:
            await self._delivery.request_shutdown(memory, workflow_id)
        return notices

    async def _keep_sandbox(
        self, session: SessionObject, pods: SandboxPods, record: SessionRecord, memory: SessionMemory
    ) -> SandboxObservation:
        try:
            pods = await self._without_discarded(session, pods, record, memory)
            generation = 0 if pods.current else await self._next_generation(session, pods, record)
            seen, pod = await self._sandboxes.ensure(session, pods, memory, generation)
            if pod is not None:
                await self._journal_address(session, pod, memory)
        except JournalError as error:
            return SandboxObservation(False, conditions.REASON_SANDBOX_STARTING, one_line(str(error), PROBLEM_BYTES))
        return seen

    async def _without_discarded(
        self, session: SessionObject, pods: SandboxPods, record: SessionRecord, memory: SessionMemory
    ) -> SandboxPods:
        """Give up a pod whose processes could not be stopped: the next turn gets a new one."""
        if record.last_seq > memory.sandbox_seq:
            kinds = [RowKind.SANDBOX_ADDRESS, RowKind.EVENT]
            for row in await self._journal.read(session.uid, after=memory.sandbox_seq, kinds=kinds):
                if row.kind is RowKind.SANDBOX_ADDRESS:
                    memory.newest_address = max(memory.newest_address, row.payload["generation"])
                elif row.payload["type"] == SANDBOX_RESET:
                    memory.discarded_generation = memory.newest_address
            memory.sandbox_seq = record.last_seq
        if pods.current is None or generation_of(pods.current) > memory.discarded_generation:
            return pods
        return SandboxPods(None, (*pods.ended, pods.current), pods.newest_generation)

    async def _next_generation(self, session: SessionObject, pods: SandboxPods, record: SessionRecord) -> int:
        if record.last_seq <= OPENING_ROWS:
            return pods.newest_generation + 1
        rows = await self._journal.read(session.uid, kinds=[RowKind.SANDBOX_ADDRESS])
        journaled = max((row.payload["generation"] for row in rows), default=0)
        return max(pods.newest_generation, journaled) + 1

    async def _journal_address(self, session: SessionObject, pod: Pod, memory: SessionMemory) -> None:
        generation, host = generation_of(pod), pod_address(pod)
        if host is None or memory.addressed_generation >= generation:
            return
        payload = SandboxAddressPayload(generation=generation, host=host, port=self._sandbox_port)
        row = NewRow(RowKind.SANDBOX_ADDRESS, payload.model_dump(mode="json"))
        await self._journal.append(session.uid, f"address/{generation}", [row])
        log.info("sandbox has its address", generation=generation, host=host)
        memory.addressed_generation = generation

    async def _wind_down(
        self, session: SessionObject, pods: SandboxPods, memory: SessionMemory, *, cancel: bool
    ) -> Observation:
        """Remove the pod of a session that is over; ``cancel``: its workflow may not end by itself, and is told to."""
        problem = None
        try:
            if cancel and not memory.wound_down:
                await self._workflows.cancel(self.workflow_id(session))
        except TemporalUnavailable as error:
            problem = _temporal_problem(error)
        try:
            await self._sandboxes.remove(session, pods)
        except ClusterError as error:
            problem = Problem(conditions.REASON_SANDBOX_REFUSED, one_line(str(error), PROBLEM_BYTES))
        memory.wound_down = memory.wound_down or problem is None
        return self._observation(session, memory, problem, REMOVED)


def _failing_problem(attempts: int) -> Problem:
    message = (
        f"the workflow task has failed {attempts} times; do all workers run the same version? "
        "The workers' logs say why, and it is tried again by itself"
    )
    return Problem(conditions.REASON_WORKFLOW_TASK_FAILING, message)
