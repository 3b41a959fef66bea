"""Writes statuses and Events of sessions into the cluster."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

import structlog

from codex_api.session import Phase
from codex_operator import metrics, resource_paths
from codex_operator.cluster_api import (
    ClusterApi,
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Manifest,
    NotFound,
    Refused,
)
from codex_operator.cluster_events import Subject, event_manifest
from codex_operator.status import StatusDocument
from codex_operator.tracked_session import TrackedSession

log = structlog.get_logger("codex_operator.projector")


class StatusWriter:
    def __init__(self, api: ClusterApi) -> None:
        self._api = api

    async def exists(self, subject: Subject) -> bool:
        """Tell whether this very object is there. Raises ClusterError where the API server cannot say."""
        try:
            found = await self._api.get(resource_paths.session(subject.namespace, subject.name))
        except NotFound:
            return False
        same: bool = found["metadata"]["uid"] == subject.uid
        return same

    async def publish(self, tracked: TrackedSession, now: datetime) -> None:
        """Bring status and Events up to date. Raises NotFound where the object is gone, and other ClusterErrors."""
        document = tracked.document(now)
        urgent, tracked.urgent = tracked.urgent, False
        if document != tracked.published:
            try:
                await self._write(tracked, document)
            except ClusterError as error:
                tracked.urgent = urgent
                metrics.STATUS_WRITES.labels(type(error).__name__).inc()
                raise
            metrics.STATUS_WRITES.labels("ok").inc()
            tracked.published = document
            if tracked.newest_row_at is not None:
                metrics.PROJECTION_LAG.observe(max(0.0, (now - tracked.newest_row_at).total_seconds()))
        tracked.newest_row_at = None
        self._count(tracked, document.get("phase", Phase.PENDING))
        await self._post(tracked, now)

    def forget(self, tracked: TrackedSession) -> None:
        """Count a session no longer."""
        if phase := tracked.counted_phase:
            metrics.SESSIONS.labels(phase).dec()
            tracked.counted_phase = None

    async def _write(self, tracked: TrackedSession, document: StatusDocument) -> None:
        subject = tracked.subject
        # The whole status in one piece, and only on the object it is about: one of the same name may have come since.
        operations: list[Manifest] = [
            {"op": "test", "path": "/metadata/uid", "value": subject.uid},
            {"op": "add", "path": "/status", "value": document},
        ]
        try:
            await self._api.json_patch(resource_paths.session_status(subject.namespace, subject.name), operations)
        except Refused:
            if not await self.exists(subject):
                raise NotFound("another object has taken the name") from None
            raise

    def _count(self, tracked: TrackedSession, phase: str) -> None:
        if phase != tracked.counted_phase:
            self.forget(tracked)
            tracked.counted_phase = phase
            metrics.SESSIONS.labels(phase).inc()

    async def _post(self, tracked: TrackedSession, now: datetime) -> None:
        """Post what is due; an Event that exists was posted before, one that is refused is not worth a retry."""
        for key, told in list(tracked.milestones.items()):
            manifest = event_manifest(tracked.subject, told, now)
            try:
                with suppress(Conflict):
                    await self._api.create(resource_paths.events(tracked.subject.namespace), manifest)
            except ClusterUnavailable:
                raise
            except ClusterError as error:
                log.warning("an Event was refused", session=tracked.subject.uid, error=str(error))
            tracked.milestones.pop(key, None)
