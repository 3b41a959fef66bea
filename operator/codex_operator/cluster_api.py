"""The Kubernetes API as the operator uses it: plain objects in and out, four named failures.

ClusterError
├── ClusterUnavailable   not reached, overloaded or failing; try again
├── NotFound
├── Conflict             exists already, or was changed meanwhile
└── Refused              the API server says no: rights, quota, PodSecurity, admission, an invalid object
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import client, config

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
FIELD_MANAGER = "codex-operator"
REQUEST_SECONDS = 10.0
CONNECT_SECONDS = 3.0
CONNECTIONS = 32

Manifest = dict[str, Any]


class ClusterError(Exception):
    """Base of this module's errors."""


class ClusterUnavailable(ClusterError):
    """The API server was not reached, is overloaded or fails; trying again later is right."""


class NotFound(ClusterError):
    """There is no such object, or no such kind of object."""


class Conflict(ClusterError):
    """The object exists already, or was changed since it was read."""


class Refused(ClusterError):
    """The API server understood and says no; trying the same again helps only after something else has changed."""


def _failure(status: int, body: bytes) -> ClusterError:
    try:
        message = json.loads(body).get("message", "")
    except (ValueError, AttributeError):
        message = body[:200].decode("utf-8", "replace")
    text = f"{status}: {message}"
    if status == 404:
        return NotFound(text)
    if status == 409:
        return Conflict(text)
    if status == 429 or status >= 500 or status == 401:
        return ClusterUnavailable(text)
    return Refused(text)


async def load_configuration(kubeconfig: Path | None) -> client.Configuration:
    """Return how to reach the API server: by a kubeconfig, or by the pod's service account where there is none.

    Raises kubernetes.aio.config.ConfigException where neither can be had.
    """
    configuration = client.Configuration()
    if kubeconfig:
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=str(kubeconfig), client_configuration=configuration
        )
    else:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    configuration.connection_pool_maxsize = CONNECTIONS
    return configuration


class ClusterApi:
    """A connection pool to the API server; close it when done."""

    def __init__(self, configuration: client.Configuration) -> None:
        self.configuration = configuration
        self._client = client.ApiClient(configuration)

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Manifest:
        """Send one request; raises a ClusterError for anything but success."""
        try:
            method, url, headers, payload, _ = await self._client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": accept, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
            response = await self._client.call_api(method, url, headers, payload, _request_timeout=timeout)
            content = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ClusterUnavailable(f"{type(error).__name__}: {error}") from error
        if not 200 <= response.status < 300:
            raise _failure(response.status, content)
        answer: Manifest = json.loads(content)
        return answer

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Manifest:
        return await self.request("GET", path, query=query)

    async def create(self, path: str, manifest: Manifest) -> Manifest:
        """POST to a collection; raises Conflict where an object of that name exists."""
        return await self.request("POST", path, body=manifest, query={"fieldManager": FIELD_MANAGER})

    async def apply(self, path: str, manifest: Manifest) -> Manifest:
        """Make the object be as the manifest says, whether it exists or not (server-side apply)."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self.request("PATCH", path, body=manifest, query=query, content_type=APPLY_PATCH)

    async def json_patch(self, path: str, operations: list[Manifest]) -> Manifest:
        """Apply JSON patch operations; a failing ``test`` raises Refused."""
        query = {"fieldManager": FIELD_MANAGER}
        return await self.request("PATCH", path, body=operations, query=query, content_type=JSON_PATCH)

    async def merge_patch(self, path: str, patch: Manifest) -> Manifest:
        """Change the fields that the patch names; None removes one."""
        query = {"fieldManager": FIELD_MANAGER}
        return await self.request("PATCH", path, body=patch, query=query, content_type=MERGE_PATCH)

    async def delete(self, path: str, uid: str | None = None) -> None:
        """Delete an object; one that is gone already is fine. With ``uid`` only that very object is deleted."""
        body = {"preconditions": {"uid": uid}} if uid else None
        try:
            await self.request("DELETE", path, body=body)
        except NotFound:
            return
        except Conflict:
            if uid is None:
                raise

    async def list_metadata(self, path: str) -> list[Manifest]:
        """Return the metadata of all objects of a kind, without the rest."""
        items: list[Manifest] = []
        query = {"limit": "500"}
        while True:
            page = await self.request("GET", path, query=query, accept=METADATA_LIST)
            items += [item["metadata"] for item in page.get("items") or ()]
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return items
            query = {"limit": "500", "continue": token}
