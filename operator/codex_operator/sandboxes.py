"""Makes a session's sandbox exist, and removes it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import structlog

from codex_api import conditions
from codex_operator import resource_paths
from codex_operator.certificates import KeyPair, sandbox_files
from codex_operator.cluster_api import ClusterApi, ClusterError, ClusterUnavailable, Conflict
from codex_operator.display import one_line
from codex_operator.observations import SandboxObservation
from codex_operator.probe_addresses import ProbeAddresses
from codex_operator.sandbox_objects import SandboxSettings, network_policy, pod_name, sandbox_pod, tls_secret
from codex_operator.sandbox_state import MESSAGE_BYTES, Pod, SandboxPods, is_own, observe
from codex_operator.session_memory import SessionMemory
from codex_operator.session_object import SessionObject

log = structlog.get_logger("codex_operator.session")

# Names that foreign pods may occupy before the operator gives up for this pass.
FOREIGN_NAMES = 5
# A pod that lived this long was no failure.
SETTLED_SECONDS = 300.0
BACKOFF_SECONDS = (0.0, 0.0, 1.0, 5.0, 15.0, 60.0)

REMOVED = SandboxObservation(False, conditions.REASON_SANDBOX_REMOVED, "the pod is removed with the end of the session")


def _cure(message: str) -> str:
    if "quota" in message:
        return "raise the namespace's ResourceQuota, or delete sessions that are done"
    if "PodSecurity" in message:
        return "the namespace's PodSecurity level refuses the pod"
    if "RuntimeClass" in message:
        return "create the RuntimeClass, or leave spec.sandbox.runtimeClassName out in a new session"
    return "see the message; the operator goes on trying"


def _refused(error: Exception, generation: int) -> SandboxObservation:
    message = one_line(f"the API server refuses the sandbox: {error}; {_cure(str(error))}", MESSAGE_BYTES)
    return SandboxObservation(False, conditions.REASON_SANDBOX_REFUSED, message, None, generation)


class Sandboxes:
    """Creates and removes pods with their Secrets and policies; errors of the API server become observations."""

    def __init__(self, api: ClusterApi, authority: KeyPair, settings: SandboxSettings) -> None:
        self._api = api
        self._authority = authority
        self._settings = settings
        self._probes = ProbeAddresses(settings.probes)

    async def ensure(
        self, session: SessionObject, pods: SandboxPods, memory: SessionMemory, generation: int
    ) -> tuple[SandboxObservation, Pod | None]:
        """Make sure that a pod lives; return what is seen of it. ``generation`` is that of a pod to be created."""
        try:
            await self._apply_policy(session, memory)
            for pod in pods.ended:
                await self._delete(pod)
            pod_now = pods.current or await self._create(session, memory, generation)
        except ClusterUnavailable as error:
            message = one_line(f"the API server cannot be asked: {error}", MESSAGE_BYTES)
            return SandboxObservation(False, conditions.REASON_SANDBOX_STARTING, message), None
        except ClusterError as error:
            self._back_off(memory)
            return _refused(error, generation), None
        if pod_now is None:
            message = "the last pods ended soon after they started; the next one is created in a moment"
            return SandboxObservation(False, conditions.REASON_SANDBOX_LOST, message), None
        return observe(pod_now), pod_now

    async def remove(self, session: SessionObject, pods: SandboxPods) -> None:
        """Delete the session's pods; everything else goes with the session's object. Raises ClusterError."""
        for pod in (pods.current, *pods.ended):
            if pod is not None:
                await self._delete(pod)

    async def _apply_policy(self, session: SessionObject, memory: SessionMemory) -> None:
        # Before the pod: there must be no moment in which it is open to everybody.
        if not memory.policy_applied:
            policy = network_policy(session, self._settings)
            path = resource_paths.network_policy(session.namespace, policy["metadata"]["name"])
            await self._api.apply(path, policy)
            memory.policy_applied = True

    async def _create(self, session: SessionObject, memory: SessionMemory, generation: int) -> Pod | None:
        """Create the pod of a generation, or of the next one whose name is free; None while it is too soon."""
        if asyncio.get_running_loop().time() < memory.create_not_before:
            return None
        for candidate in range(generation, generation + FOREIGN_NAMES):
            pod = await self._create_generation(session, candidate)
            if pod is not None:
                log.info("sandbox pod made", pod=pod["metadata"]["name"], generation=candidate)
                self._back_off(memory)
                return pod
        raise Conflict(f"foreign pods hold the names up to {pod_name(session, generation + FOREIGN_NAMES - 1)}")

    async def _create_generation(self, session: SessionObject, generation: int) -> Pod | None:
        """Create one generation; None where a pod that is not the session's own, or a dying one, holds its name."""
        files = sandbox_files(self._authority, session.uid, generation)
        settings = replace(self._settings, probes=await self._probes.resolved())
        # On a conflict an earlier attempt of ours got this far; a foreign Secret would only make this pod unreachable.
        with contextlib.suppress(Conflict):
            await self._api.create(resource_paths.secrets(session.namespace), tls_secret(session, generation, files))
        try:
            return await self._api.create(
                resource_paths.pods(session.namespace), sandbox_pod(session, generation, settings)
            )
        except Conflict:
            name = pod_name(session, generation)
            existing = await self._api.get(resource_paths.pod(session.namespace, name))
            alive = "deletionTimestamp" not in existing["metadata"]
            return existing if alive and is_own(existing, session.uid) else None

    async def _delete(self, pod: Pod) -> None:
        metadata = pod["metadata"]
        await self._api.delete(resource_paths.pod(metadata["namespace"], metadata["name"]), metadata["uid"])
        log.info("sandbox pod removed", pod=metadata["name"])

    def _back_off(self, memory: SessionMemory) -> None:
        """Leave more and more time between pods of a session that loses one soon after the other."""
        now = asyncio.get_running_loop().time()
        if now - memory.pod_created_at > SETTLED_SECONDS:
            memory.pods_created = 0
        memory.create_not_before = now + BACKOFF_SECONDS[min(memory.pods_created, len(BACKOFF_SECONDS) - 1)]
        memory.pods_created += 1
        memory.pod_created_at = now
