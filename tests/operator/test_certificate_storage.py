"""The authority in its Secret: made once, whoever comes first."""

from __future__ import annotations

import asyncio
import base64

import pytest
from cryptography import x509

from codex_cluster.testing import ApiServer
from codex_operator import resource_paths
from codex_operator.certificate_store import ensure_authority, ensure_worker_certificate
from codex_operator.certificates import InvalidAuthority
from codex_operator.testing import ClusterUser, cluster_user

pytestmark = pytest.mark.apiserver


async def test_operators_that_race_for_the_authority_agree_on_one(user: ClusterUser, api_server: ApiServer) -> None:
    other = await cluster_user(api_server.kubeconfig(), user.namespace)
    try:
        made = await asyncio.gather(
            *(ensure_authority(api, user.namespace, "ca") for api in (user.api, other.api) for _ in range(4))
        )
    finally:
        await other.api.close()
    assert len({authority.certificate_pem() for authority in made}) == 1


async def test_the_workers_certificate_is_issued_by_the_authority_and_kept(user: ClusterUser) -> None:
    authority = await ensure_authority(user.api, user.namespace, "ca")
    path = resource_paths.secret(user.namespace, "worker")
    await ensure_worker_certificate(user.api, authority, user.namespace, "worker")
    first = await user.api.get(path)
    await ensure_worker_certificate(user.api, authority, user.namespace, "worker")
    assert (await user.api.get(path))["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    certificate = x509.load_pem_x509_certificate(base64.b64decode(first["data"]["tls.crt"]))
    certificate.verify_directly_issued_by(authority.certificate)


async def test_the_workers_certificate_is_replaced_with_the_authority(user: ClusterUser) -> None:
    old = await ensure_authority(user.api, user.namespace, "old")
    new = await ensure_authority(user.api, user.namespace, "new")
    await ensure_worker_certificate(user.api, old, user.namespace, "worker")
    await ensure_worker_certificate(user.api, new, user.namespace, "worker")
    stored = await user.api.get(resource_paths.secret(user.namespace, "worker"))
    certificate = x509.load_pem_x509_certificate(base64.b64decode(stored["data"]["tls.crt"]))
    certificate.verify_directly_issued_by(new.certificate)


async def test_a_damaged_authority_is_told_with_the_secrets_name(user: ClusterUser) -> None:
    damaged = {"metadata": {"name": "ca"}, "data": {"tls.crt": "", "tls.key": ""}}
    await user.api.create(resource_paths.secrets(user.namespace), damaged)
    with pytest.raises(InvalidAuthority, match=f"{user.namespace}/ca"):
        await ensure_authority(user.api, user.namespace, "ca")
