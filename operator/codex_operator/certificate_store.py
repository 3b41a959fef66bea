"""Keeps the certificate authority and the workers' certificate in Secrets of the system namespace."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from codex_operator import resource_paths
from codex_operator.certificates import (
    CA_FILE,
    CERTIFICATE_FILE,
    KEY_FILE,
    InvalidAuthority,
    KeyPair,
    load_authority,
    new_authority,
    worker_files,
)
from codex_operator.cluster_api import ClusterApi, Conflict, Manifest, NotFound

CA_TYPE = "Opaque"
TLS_TYPE = "kubernetes.io/tls"


def _secret(namespace: str, name: str, kind: str, files: Mapping[str, bytes]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "codex-temporal"},
        },
        "type": kind,
        "data": {file: base64.b64encode(content).decode() for file, content in files.items()},
    }


def _content(secret: Manifest, file: str) -> bytes:
    return base64.b64decode((secret.get("data") or {}).get(file, ""))


async def _read_or_create(api: ClusterApi, secret: Manifest) -> Manifest:
    """Return the Secret that counts: the first that anybody created. Two operators that race read the same one."""
    namespace, name = secret["metadata"]["namespace"], secret["metadata"]["name"]
    try:
        return await api.create(resource_paths.secrets(namespace), secret)
    except Conflict:
        return await api.get(resource_paths.secret(namespace, name))


async def ensure_authority(api: ClusterApi, namespace: str, name: str) -> KeyPair:
    """Return the installation's authority, made at the first start.

    Raises InvalidAuthority where the Secret was tampered with; ClusterError where the API server cannot be asked.
    """
    try:
        stored = await api.get(resource_paths.secret(namespace, name))
    except NotFound:
        made = new_authority()
        files = {CERTIFICATE_FILE: made.certificate_pem(), KEY_FILE: made.key_pem()}
        stored = await _read_or_create(api, _secret(namespace, name, CA_TYPE, files))
    try:
        return load_authority(_content(stored, CERTIFICATE_FILE), _content(stored, KEY_FILE))
    except InvalidAuthority as error:
        raise InvalidAuthority(
            f"Secret {namespace}/{name}: {error}; delete it together with the workers' certificate to begin anew"
        ) from error


async def ensure_worker_certificate(api: ClusterApi, authority: KeyPair, namespace: str, name: str) -> None:
    """Make sure that the workers' Secret holds a certificate of this authority; one of another is replaced."""
    secret = _secret(namespace, name, TLS_TYPE, worker_files(authority))
    stored = await _read_or_create(api, secret)
    if _content(stored, CA_FILE) != authority.certificate_pem():
        version = stored["metadata"]["resourceVersion"]
        secret["metadata"]["resourceVersion"] = version
        await api.request("PUT", resource_paths.secret(namespace, name), body=secret)
