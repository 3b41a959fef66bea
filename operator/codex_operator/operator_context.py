"""The objects that one operator process consists of, built once at its start and handed to kopf's handlers."""

from __future__ import annotations

from dataclasses import dataclass

import kopf
from kubernetes.aio import client

from codex_journal.journal import Journal
from codex_operator.cluster_api import ClusterApi
from codex_operator.health import Health
from codex_operator.projector import Projector
from codex_operator.session_loop import SessionLoop
from codex_operator.session_memory import Wakeups
from codex_operator.sweep import Sweep
from codex_operator.workflows import Workflows


@dataclass(frozen=True)
class OperatorContext:
    api: ClusterApi
    journal: Journal
    workflows: Workflows
    projector: Projector
    loop: SessionLoop
    sweep: Sweep
    wakeups: Wakeups
    health: Health


async def connection_info(configuration: client.Configuration) -> kopf.ConnectionInfo:
    """Return kopf's way to the API server: the same as that of all other calls."""
    header = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme="Bearer" if header else None,
        token=header.split(" ", 1)[-1].strip() if header else None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )
