"""Ends what belongs to sessions whose object is gone: journaled sessions and workflows that nobody deleted properly."""

from __future__ import annotations

import asyncio

import structlog

from codex_api import names
from codex_journal.errors import JournalError
from codex_journal.journal import Journal
from codex_operator import resource_paths
from codex_operator.cluster_api import ClusterApi, ClusterError
from codex_operator.reconcile import Reconciler
from codex_operator.workflows import WorkflowError, Workflows

log = structlog.get_logger("codex_operator.sweep")

SWEEP_SECONDS = 60.0


class Sweep:
    def __init__(
        self, api: ClusterApi, journal: Journal, workflows: Workflows, reconciler: Reconciler, installation: str
    ) -> None:
        self._api = api
        self._journal = journal
        self._workflows = workflows
        self._reconciler = reconciler
        self._installation = installation
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Sweep soon: an object was deleted that no loop could end."""
        self._asked.set()

    async def run(self) -> None:
        """Sweep now and once a minute, until cancelled."""
        while True:
            self._asked.clear()
            try:
                await self.sweep()
            except (ClusterError, JournalError, WorkflowError) as error:
                log.warning("the sweep is tried again", error=str(error))
            try:
                await asyncio.wait_for(self._asked.wait(), SWEEP_SECONDS)
            except TimeoutError:
                continue

    async def sweep(self) -> None:
        """Close and cancel what has no object; raises ClusterError, JournalError and WorkflowError."""
        # Objects are listed last: whatever belongs to one made meanwhile is not in the other two lists.
        journaled = await self._journal.open_sessions(self._installation)
        prefix = names.workflow_id(self._installation, "", "", "").rstrip("/") + "/"
        running = await self._workflows.running_ids(prefix)
        alive = {found["uid"] for found in await self._api.list_metadata(resource_paths.ALL_SESSIONS)}
        for record in journaled:
            if record.session not in alive:
                log.info("closing a session whose object is gone", session=record.session, name=record.name)
                await self._reconciler.close(record.session)
        for workflow_id in running:
            if workflow_id.rpartition("/")[2] not in alive:
                log.info("cancelling a workflow whose object is gone", workflow=workflow_id)
                await self._workflows.cancel(workflow_id)
