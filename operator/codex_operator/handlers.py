"""What kopf calls: each handler only finds the right part and hands over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import kopf

from codex_api.names import FINALIZER, GROUP, KOPF_PREFIX, LABEL_SESSION_UID, PLURAL, VERSION
from codex_operator.operator_context import OperatorContext, connection_info
from codex_operator.sandbox_state import Pod
from codex_operator.session_loop import FINALIZER_SECONDS
from codex_operator.session_object import parse_session

# kopf waits this long for a daemon to end by itself before it cancels it: a little longer than finalizing may take.
DAEMON_EXIT_SECONDS = FINALIZER_SECONDS + 3.0
DAEMON_CANCEL_SECONDS = 2.0
RESTART_SECONDS = 5.0

DELETED = kopf.DaemonStoppingReason.RESOURCE_DELETED
EXITING = kopf.DaemonStoppingReason.OPERATOR_EXITING


def configure(settings: kopf.OperatorSettings) -> None:
    """Set kopf up; the prefix and the finalizer are in users' objects and can never change."""
    settings.persistence.finalizer = FINALIZER
    # No prefix of users' annotations: kopf would take approvals for its own notes and be blind to them.
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=KOPF_PREFIX)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(
        prefix=KOPF_PREFIX, ignored_fields=["spec.prompt"]
    )
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = False
    # Without these a watch behind a load balancer can freeze for ever.
    settings.watching.server_timeout = 120
    settings.watching.client_timeout = 150
    settings.watching.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.watching.label_selectors["", "v1", "pods"] = LABEL_SESSION_UID
    settings.background.instant_exit_timeout = DAEMON_EXIT_SECONDS


def trimmed_pod(body: Mapping[str, Any]) -> Pod:
    """Return what the operator needs of a pod; the rest would be kept in memory for nothing."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    images = [{"name": c["name"], "image": c["image"]} for c in body["spec"]["containers"]]
    return {"metadata": metadata, "spec": {"containers": images}, "status": dict(body.get("status") or {})}


@asynccontextmanager
async def stop_event(stopped: kopf.DaemonStopped) -> AsyncIterator[asyncio.Event]:
    """Give kopf's way of stopping a daemon as an event."""
    event = asyncio.Event()

    async def wait() -> None:
        await stopped.wait()
        event.set()

    task = asyncio.create_task(wait())
    try:
        yield event
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def has_reason(stopped: kopf.DaemonStopped, reason: kopf.DaemonStoppingReason) -> bool:
    return stopped.reason is not None and reason in stopped.reason


def register(registry: kopf.OperatorRegistry, context: OperatorContext) -> None:
    """Register all handlers of one operator process."""
    _register_activities(registry, context)
    _register_watches(registry, context)
    _register_daemon(registry, context)


def _register_activities(registry: kopf.OperatorRegistry, context: OperatorContext) -> None:
    @kopf.on.login(id="login", registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection_info(context.api.configuration)

    @kopf.on.probe(id="operator", registry=registry)
    async def health(**_: Any) -> dict[str, object]:
        return context.health.report()


def _register_watches(registry: kopf.OperatorRegistry, context: OperatorContext) -> None:
    own_pods = {LABEL_SESSION_UID: kopf.PRESENT}

    @kopf.index("", "v1", "pods", id="sandbox_pods", labels=own_pods, registry=registry)
    async def sandbox_pods(body: kopf.Body, labels: Mapping[str, str], **_: Any) -> dict[str, Pod]:
        return {labels[LABEL_SESSION_UID]: trimmed_pod(body)}

    @kopf.on.event("", "v1", "pods", id="pod_changed", labels=own_pods, registry=registry)
    async def pod_changed(labels: Mapping[str, str], **_: Any) -> None:
        context.health.beat()
        context.wakeups.wake(labels[LABEL_SESSION_UID])

    @kopf.on.event(GROUP, VERSION, PLURAL, id="session_changed", registry=registry)
    async def session_changed(event: kopf.RawEvent, uid: str, body: kopf.Body, **_: Any) -> None:
        context.health.beat()
        if event["type"] != "DELETED":
            context.wakeups.of(uid).notice(body)
        elif not context.wakeups.end(uid):
            context.sweep.ask()


def _register_daemon(registry: kopf.OperatorRegistry, context: OperatorContext) -> None:
    @kopf.daemon(
        GROUP,
        VERSION,
        PLURAL,
        id="session",
        backoff=RESTART_SECONDS,
        cancellation_timeout=DAEMON_CANCEL_SECONDS,
        registry=registry,
    )
    async def session(uid: str, body: kopf.Body, stopped: kopf.DaemonStopped, **indices: Any) -> None:
        sandbox_pods: kopf.Index[str, Pod] = indices["sandbox_pods"]
        read_pods: Callable[[], list[Pod]] = lambda: list(sandbox_pods.get(uid, []))  # noqa: E731
        wakeup = context.wakeups.of(uid)
        wakeup.served = True
        async with stop_event(stopped) as stop:
            await context.loop.run(lambda: parse_session(body), read_pods, wakeup, stop)
        if wakeup.gone or has_reason(stopped, DELETED):
            await context.loop.finalize(parse_session(body), read_pods, lambda: has_reason(stopped, EXITING))
