"""Enforces NetworkPolicies on the host node: watches the API, rewrites one nftables table, answers the network plugin.

A new pod has no open moment: the network plugin asks here before the pod's first process starts, and the answer comes
after the rules are in the kernel. While the agent is away the last rules stay and no pod can start. A changed policy or
label takes effect after the watch event and one `nft` run, some tens of milliseconds; the rules before it hold until
then, also for a policy that is created in the same moment as its pod. After a restart of the agent, addresses come from
the pods' status until the plugin names new ones.
What is and is not enforced is listed in `policy_rules`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from codex_cluster import policy_rules
from codex_cluster.policy_state import ClusterState

RESOURCES = {
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "networkpolicies": "/apis/networking.k8s.io/v1/networkpolicies",
}
POD_WAIT_SECONDS = 10.0
RETRY_SECONDS = 0.2
COALESCE_SECONDS = 0.01


class Enforcer:
    """Keeps the kernel's table equal to what the state asks for."""

    def __init__(self, state: ClusterState, pod_network: str) -> None:
        self._state = state
        self._pod_network = pod_network
        self._listed: set[str] = set()
        self._changed = asyncio.Condition()
        self._version = 0
        self._applied = -1

    async def changed(self, resource: str | None = None) -> int:
        """Note a change, after a whole list also which; returns the version to wait for."""
        async with self._changed:
            if resource:
                self._listed.add(resource)
            self._version += 1
            self._changed.notify_all()
            return self._version

    async def applied(self, version: int) -> None:
        """Wait until the kernel holds this version."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._applied >= version)

    async def wait_for_change(self, seconds: float) -> None:
        """Wait for anything new, at most `seconds`."""
        async with self._changed:
            version = self._version
            try:
                await asyncio.wait_for(self._changed.wait_for(lambda: self._version != version), seconds)
            except TimeoutError:
                return

    async def run(self) -> None:
        """Apply versions as they come, several at once when they come quickly; the first after all three lists."""
        last = ""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._applied < self._version and self._listed == RESOURCES.keys())
            await asyncio.sleep(COALESCE_SECONDS)
            version = self._version
            text = policy_rules.ruleset(self._state.snapshot(), self._pod_network)
            if text != last:
                await load(text)
                last = text
            async with self._changed:
                self._applied = version
                self._changed.notify_all()


async def load(ruleset: str) -> None:
    """Run one nftables transaction; raises RuntimeError with its complaint."""
    process = await asyncio.create_subprocess_exec(
        "nft", "-f", "-", stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await process.communicate(ruleset.encode())
    if process.returncode:
        raise RuntimeError(f"nft refused the rules: {complaint.decode()}\n{ruleset}")


async def follow(session: aiohttp.ClientSession, resource: str, state: ClusterState, enforcer: Enforcer) -> None:
    """List and watch one resource for ever; a lost connection or an expired version lists again."""
    while True:
        try:
            async with session.get(RESOURCES[resource]) as response:
                response.raise_for_status()
                listed = await response.json()
            state.replace(resource, listed["items"])
            await enforcer.changed(resource)
            async for event in watch(session, RESOURCES[resource], listed["metadata"]["resourceVersion"]):
                if event["type"] == "ERROR":
                    break
                if event["type"] != "BOOKMARK":
                    state.observe(resource, event["type"], event["object"])
                    await enforcer.changed()
        except (aiohttp.ClientError, TimeoutError) as error:
            print(f"{resource}: {getattr(error, 'status', error)}, listing again", flush=True)
        await asyncio.sleep(RETRY_SECONDS)


async def watch(session: aiohttp.ClientSession, path: str, version: str) -> AsyncIterator[dict[str, Any]]:
    """The events after a resource version, until the server ends the stream."""
    query = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true"}
    async with session.get(path, params=query) as response:
        response.raise_for_status()
        rest = b""
        # Not by lines: aiohttp refuses lines above 128 KiB, and objects may be larger.
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield json.loads(line)


async def answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: ClusterState, enforcer: Enforcer
) -> None:
    """One request of the network plugin: `{"namespace", "name", "address"}`, or `{}` to ask whether all is applied."""
    request = json.loads(await reader.readline())
    reply = {"ok": True}
    if request:
        reply["ok"] = await assign(request, state, enforcer)
    else:
        await enforcer.applied(0)
    writer.write(json.dumps(reply).encode() + b"\n")
    await writer.drain()
    writer.close()


async def assign(request: dict[str, str], state: ClusterState, enforcer: Enforcer) -> bool:
    """Program a pod's rules; False when the API server does not tell of the pod within 10 s."""
    deadline = asyncio.get_running_loop().time() + POD_WAIT_SECONDS
    pod = (request["namespace"], request["name"])
    while not state.assign(pod, request["address"]):
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return False
        await enforcer.wait_for_change(left)
    await enforcer.applied(await enforcer.changed())
    return True


async def serve(server: str, certificates: Path, socket: Path, pod_network: str) -> None:
    """Run until something fails; PID 1 of the node starts the agent again."""
    context = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
    context.load_cert_chain(certificates / "policy-agent.crt", certificates / "policy-agent.key")
    state = ClusterState()
    enforcer = Enforcer(state, pod_network)
    connector = aiohttp.TCPConnector(ssl=context)
    timeout = aiohttp.ClientTimeout(total=None, connect=10)
    async with aiohttp.ClientSession(server, connector=connector, timeout=timeout) as session:
        listener = await asyncio.start_unix_server(lambda r, w: answer(r, w, state, enforcer), socket)
        async with listener, asyncio.TaskGroup() as group:
            group.create_task(enforcer.run())
            for resource in RESOURCES:
                group.create_task(follow(session, resource, state, enforcer))


def main() -> None:
    parser = argparse.ArgumentParser(prog="policy_agent")
    parser.add_argument("--server", required=True)
    parser.add_argument("--certificates", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--pod-network", required=True)
    given = parser.parse_args()
    given.socket.unlink(missing_ok=True)
    asyncio.run(serve(given.server, given.certificates, given.socket, given.pod_network))


if __name__ == "__main__":
    main()
