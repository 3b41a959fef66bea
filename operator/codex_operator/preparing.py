"""What has to stand in the cluster before a session is served: the sandboxes' authority, the workers' certificate."""

from __future__ import annotations

import asyncio

import structlog

from codex_operator import resource_paths
from codex_operator.certificate_store import ensure_authority, ensure_worker_certificate
from codex_operator.certificates import KeyPair
from codex_operator.cluster_api import ClusterApi, ClusterError
from codex_operator.settings import PreparingSettings

log = structlog.get_logger("codex_operator")

RETRY_SECONDS = 2.0


async def read_installation(api: ClusterApi) -> str:
    """Return the id of this cluster, the uid of kube-system: it keeps two clusters on one Temporal apart.

    Listed, not read: the right to list namespaces is there for kopf anyway. Raises ClusterError.
    """
    found = await api.get(resource_paths.NAMESPACES, {"fieldSelector": "metadata.name=kube-system"})
    uid: str = found["items"][0]["metadata"]["uid"]
    return uid


async def prepare_cluster(api: ClusterApi, settings: PreparingSettings) -> tuple[str, KeyPair]:
    """Return the installation's id and authority; waits while the API server is away.

    Raises InvalidAuthority where the stored one is damaged.
    """
    while True:
        try:
            installation = await read_installation(api)
            authority = await ensure_authority(api, settings.system_namespace, settings.ca_secret)
            await ensure_worker_certificate(api, authority, settings.system_namespace, settings.worker_tls_secret)
        except ClusterError as error:
            log.warning("the cluster is not ready for the operator", error=str(error))
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return installation, authority
