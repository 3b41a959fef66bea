"""Builds the operator's parts from its settings and connections, and runs them together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterator
from typing import Any

import kopf

from codex_journal.journal import Journal
from codex_operator.annotation_pruning import AnnotationPruning
from codex_operator.certificates import KeyPair
from codex_operator.cluster_api import ClusterApi
from codex_operator.delivery import Delivery
from codex_operator.handlers import configure, register
from codex_operator.health import Health
from codex_operator.operator_context import OperatorContext
from codex_operator.projector import Projector
from codex_operator.reconcile import DEADLINE_GRACE_SECONDS, Reconciler
from codex_operator.sandbox_objects import SandboxSettings
from codex_operator.sandboxes import Sandboxes
from codex_operator.session_loop import FINALIZER_SECONDS, FULL_PASS_SECONDS, SessionLoop
from codex_operator.session_memory import Wakeups
from codex_operator.settings import ApprovalAdmission, Isolation, Settings
from codex_operator.status_writer import StatusWriter
from codex_operator.sweep import Sweep
from codex_operator.workflows import Workflows


def sandbox_settings(settings: Settings) -> SandboxSettings:
    return SandboxSettings(
        image=settings.sandbox_image,
        supervisor_image=settings.supervisor_image,
        port=settings.sandbox_port,
        system_namespace=settings.system_namespace,
        worker_selector=settings.worker_selector,
        probes=settings.probes,
        resources=settings.sandbox_resources,
    )


def assemble(
    settings: Settings,
    *,
    api: ClusterApi,
    journal: Journal,
    workflows: Workflows,
    installation: str,
    authority: KeyPair,
    full_pass_seconds: float = FULL_PASS_SECONDS,
    finalizer_seconds: float = FINALIZER_SECONDS,
    deadline_grace_seconds: float = DEADLINE_GRACE_SECONDS,
) -> OperatorContext:
    """Build all parts; nothing runs and nothing is asked yet."""
    wakeups = Wakeups()
    isolation_required = settings.sandbox_isolation is Isolation.REQUIRED
    stamp_required = settings.approval_admission is ApprovalAdmission.REQUIRED
    reconciler = Reconciler(
        journal=journal,
        workflows=workflows,
        sandboxes=Sandboxes(api, authority, sandbox_settings(settings)),
        delivery=Delivery(journal, workflows, stamp_required=stamp_required),
        pruning=AnnotationPruning(api),
        installation=installation,
        isolation_required=isolation_required,
        sandbox_port=settings.sandbox_port,
        deadline_grace_seconds=deadline_grace_seconds,
    )
    projector = Projector(
        journal, StatusWriter(api), installation, isolation_required=isolation_required, wake=wakeups.wake
    )
    return OperatorContext(
        api=api,
        journal=journal,
        workflows=workflows,
        projector=projector,
        loop=SessionLoop(
            reconciler, projector, full_pass_seconds=full_pass_seconds, finalizer_seconds=finalizer_seconds
        ),
        sweep=Sweep(api, journal, workflows, reconciler, installation),
        wakeups=wakeups,
        health=Health(journal, workflows, projector),
    )


@contextlib.asynccontextmanager
async def _in_background(context: OperatorContext) -> AsyncIterator[None]:
    """Run projector, sweep and health beside kopf; the failure of one, a bug, ends the process to be restarted."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(part) for part in (context.projector.run(), context.sweep.run(), context.health.run())
        ]
        yield
        for task in tasks:
            task.cancel()


async def run_operator(
    context: OperatorContext, stop: asyncio.Event, *, health_port: int | None = None, ready: asyncio.Event | None = None
) -> None:
    """Run kopf and the background parts until ``stop`` is set."""
    registry, settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
    configure(settings)
    register(registry, context)
    endpoint = f"http://0.0.0.0:{health_port}/healthz" if health_port else None
    async with _in_background(context):
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=settings,
            clusterwide=True,
            standalone=True,
            liveness_endpoint=endpoint,
            stop_flag=stop,
            ready_flag=ready,
        )
        await kopf.run_tasks(tasks, ignored=_EveryTask())


class _EveryTask(Collection[Any]):
    """Keeps kopf from taking every later task of the loop for its own: it would wait for them and cancel them."""

    def __contains__(self, task: object) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0
