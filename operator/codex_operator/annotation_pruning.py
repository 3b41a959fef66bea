"""Removes the annotations of decisions that the workflow has acknowledged: an object's annotations stay few.

Who decided what stays in the journal and in the status's events.
"""

from __future__ import annotations

from collections.abc import Set

import structlog

from codex_api.approvals import approval_annotations
from codex_api.names import APPROVAL_PREFIX, APPROVED_BY_PREFIX
from codex_operator import resource_paths
from codex_operator.cluster_api import ClusterApi, ClusterError
from codex_operator.session_object import SessionObject

log = structlog.get_logger("codex_operator.annotation_pruning")


class AnnotationPruning:
    def __init__(self, api: ClusterApi) -> None:
        self._api = api

    async def prune(self, session: SessionObject, acknowledged: Set[str]) -> None:
        """Remove decisions with acknowledged ids and their stamps; what fails is logged, the next pass tries again."""
        decided = sorted(approval_annotations(session.annotations).keys() & acknowledged)
        if not decided or session.deleting:
            return
        keys = [prefix + name for name in decided for prefix in (APPROVAL_PREFIX, APPROVED_BY_PREFIX)]
        # With the uid, an object that took the name meanwhile is left alone.
        metadata = {"uid": session.uid, "annotations": dict.fromkeys(keys)}
        try:
            await self._api.merge_patch(resource_paths.session(session.namespace, session.name), {"metadata": metadata})
        except ClusterError as error:
            log.warning("acknowledged decisions could not be pruned", session=session.uid, error=str(error))
