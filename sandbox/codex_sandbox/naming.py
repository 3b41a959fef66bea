"""The name under which a sandbox's certificate is issued and checked."""

from __future__ import annotations

DOMAIN = "sandbox.codex-temporal.dev"


def sandbox_server_name(session: str, generation: int) -> str:
    """Return the DNS name that a sandbox's certificate must carry.

    `session` is the uid of the CodexSession, `generation` counts its pods from 1. The name differs for every pod, so a
    reused pod address never passes for the pod that had it before.
    """
    return f"g{generation}.{session}.{DOMAIN}"
