"""For tests: an operator in this process, and a person and a kubelet who act on a real API server."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from codex_api.names import API_VERSION, APPROVAL_PREFIX, APPROVED_BY_PREFIX, KIND, LABEL_SESSION_UID
from codex_api.rows import Classification, RowKind, ToolCallPayload
from codex_journal.journal import Journal
from codex_journal.rows import NewRow
from codex_operator import resource_paths
from codex_operator.assembly import assemble, run_operator
from codex_operator.cluster_api import MERGE_PATCH, ClusterApi, Manifest, NotFound, load_configuration
from codex_operator.operator_context import OperatorContext
from codex_operator.preparing import prepare_cluster
from codex_operator.sandbox_objects import MAIN_CONTAINER
from codex_operator.settings import Settings
from codex_operator.workflows import Workflows, connect

PATIENCE_SECONDS = 20.0
LOOK_AGAIN_SECONDS = 0.02
APPROVAL_ID = "t1-c0-mfrggzdfmztwq2lknnwg23tpoa"

T = TypeVar("T")


async def eventually(
    look: Callable[[], Awaitable[T]], holds: Callable[[T], bool], seconds: float = PATIENCE_SECONDS
) -> T:
    """Look until it holds and return what was seen; raises AssertionError showing the last sight."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        seen = await look()
        if holds(seen):
            return seen
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {seconds} s; last seen: {seen}")
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


@dataclass
class RunningOperator:
    """One operator with connections of its own, as a process would have them."""

    settings: Settings
    full_pass_seconds: float = 60.0
    finalizer_seconds: float = 5.0
    deadline_grace_seconds: float = 15.0
    context: OperatorContext | None = None
    _task: asyncio.Task[None] | None = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        settings = self.settings
        api = ClusterApi(await load_configuration(settings.kubeconfig))
        self._stack.push_async_callback(api.close)
        journal = await Journal.connect(settings.database_url, application="operator")
        self._stack.push_async_callback(journal.close)
        client = await connect(settings.temporal_target, settings.temporal_namespace)
        installation, authority = await prepare_cluster(api, settings)
        self.context = assemble(
            settings,
            api=api,
            journal=journal,
            workflows=Workflows(client, settings.task_queue),
            installation=installation,
            authority=authority,
            full_pass_seconds=self.full_pass_seconds,
            finalizer_seconds=self.finalizer_seconds,
            deadline_grace_seconds=self.deadline_grace_seconds,
        )
        ready = asyncio.Event()
        self._task = asyncio.create_task(run_operator(self.context, self._stop, ready=ready))
        await asyncio.wait_for(ready.wait(), PATIENCE_SECONDS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End as on SIGTERM; raises what the operator died of."""
        self._stop.set()
        assert self._task is not None
        try:
            await asyncio.wait_for(self._task, PATIENCE_SECONDS)
        finally:
            await self._stack.aclose()


@dataclass
class ClusterUser:
    """Does to one namespace of a real API server what people, the stamping policy and a kubelet do."""

    api: ClusterApi
    namespace: str
    _addresses: Any = field(default_factory=lambda: itertools.count(2))

    async def create_namespace(self) -> None:
        """Create the namespace; it takes only pods that pass PodSecurity ``restricted``."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        await self.api.create(resource_paths.NAMESPACES, {"metadata": {"name": self.namespace, "labels": labels}})

    async def create_session(self, name: str, prompt: str = "Do it.", **spec: Any) -> str:
        """Create a CodexSession and return its uid."""
        manifest = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"prompt": prompt, **spec},
        }
        created = await self.api.create(resource_paths.sessions(self.namespace), manifest)
        uid: str = created["metadata"]["uid"]
        return uid

    async def session(self, name: str) -> Manifest:
        return await self.api.get(resource_paths.session(self.namespace, name))

    async def status(self, name: str) -> Manifest:
        status: Manifest = (await self.session(name)).get("status") or {}
        return status

    async def condition(self, name: str, kind: str) -> Manifest:
        """Return a condition of the session, or an empty object."""
        conditions = (await self.status(name)).get("conditions") or []
        return next((c for c in conditions if c["type"] == kind), {})

    async def patch_session(self, name: str, patch: Mapping[str, Any]) -> None:
        path = resource_paths.session(self.namespace, name)
        await self.api.request("PATCH", path, body=dict(patch), content_type=MERGE_PATCH)

    async def decide(self, name: str, approval_id: str, value: str, user: str | None = "alice") -> None:
        """Annotate a decision, with the stamp that the chart's policy adds unless ``user`` is None."""
        annotations = {APPROVAL_PREFIX + approval_id: value}
        if user is not None:
            annotations[APPROVED_BY_PREFIX + approval_id] = user
        await self.patch_session(name, {"metadata": {"annotations": annotations}})

    async def delete_session(self, name: str) -> None:
        await self.api.delete(resource_paths.session(self.namespace, name))

    async def exists(self, name: str) -> bool:
        try:
            await self.session(name)
        except NotFound:
            return False
        return True

    async def pods(self, uid: str) -> list[Manifest]:
        found = await self.api.get(resource_paths.pods(self.namespace), {"labelSelector": f"{LABEL_SESSION_UID}={uid}"})
        pods: list[Manifest] = found["items"]
        return pods

    async def events(self) -> list[Manifest]:
        """Return the namespace's Events."""
        events: list[Manifest] = (await self.api.get(resource_paths.events(self.namespace)))["items"]
        return events

    async def secret_files(self, name: str, directory: Path, namespace: str | None = None) -> Path:
        """Write the content of a Secret into a directory, as a kubelet mounts it."""
        secret = await self.api.get(resource_paths.secret(namespace or self.namespace, name))
        _write_files(directory, secret["data"])
        return directory

    async def set_pod_status(self, name: str, status: Mapping[str, Any]) -> None:
        path = f"{resource_paths.pod(self.namespace, name)}/status"
        await self.api.request("PATCH", path, body={"status": dict(status)}, content_type=MERGE_PATCH)

    async def run_pod(self, name: str, address: str | None = None) -> str:
        """Let a pod run and be ready, as a kubelet would report it; return its address."""
        address = address or f"10.9.0.{next(self._addresses)}"
        container = {"name": MAIN_CONTAINER, "image": "x", "imageID": "x", "ready": True, "restartCount": 0}
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{**container, "state": {"running": {}}}],
        }
        await self.set_pod_status(name, status)
        return address

    async def clean_up(self) -> None:
        """Remove all sessions of the namespace, held by a finalizer or not; no operator may run meanwhile."""
        for item in (await self.api.get(resource_paths.sessions(self.namespace)))["items"]:
            name = item["metadata"]["name"]
            with suppress(NotFound):
                await self.delete_session(name)
                await self.patch_session(name, {"metadata": {"finalizers": None}})


def _write_files(directory: Path, encoded: Mapping[str, str]) -> None:
    directory.mkdir()
    for file, content in encoded.items():
        (directory / file).write_bytes(base64.b64decode(content))


async def cluster_user(kubeconfig: Path, namespace: str) -> ClusterUser:
    """Connect; the caller closes ``api``."""
    return ClusterUser(ClusterApi(await load_configuration(kubeconfig)), namespace)


async def ask(journal: Journal, uid: str, approval_id: str = APPROVAL_ID, **call_fields: Any) -> None:
    """Journal what a worker journals when a command needs a decision."""
    call = ToolCallPayload(
        **{"tool": "exec_command", "preview": "make test", **call_fields},
        call_id=f"call/{approval_id}",
        provider_call_id="x",
        index=0,
        classification=Classification.ASK,
        approval_id=approval_id,
    )
    event = {
        "type": "ExecApprovalRequest",
        "turn": 1,
        "approval_id": approval_id,
        "call_id": call.call_id,
        "request_time": "2026-01-02T03:04:05Z",
        "expiration_time": "2026-01-02T04:04:05Z",
    }
    rows = [NewRow(RowKind.TOOL_CALL, call.model_dump(mode="json"), 1, 1), NewRow(RowKind.EVENT, event, 1)]
    await journal.append(uid, f"approval/{approval_id}/requested", rows)


async def acknowledge(journal: Journal, uid: str, approval_id: str = APPROVAL_ID) -> None:
    """Journal what the workflow journals once it knows of a decision."""
    event = {
        "type": "ApprovalDecided",
        "turn": 1,
        "approval_id": approval_id,
        "call_id": f"call/{approval_id}",
        "decision": "approve",
        "decided_by": "alice",
    }
    await journal.append(uid, f"approval/{approval_id}/decided", [NewRow(RowKind.EVENT, event, 1)])


class Cable:
    """A TCP connection to a server that a test can cut and mend again; new connections are refused meanwhile."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        self._open |= {writer, far_writer}
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            self._open -= {writer, far_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
