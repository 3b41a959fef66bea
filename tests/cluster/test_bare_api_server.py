import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from codex_cluster.errors import ClusterError
from codex_cluster.testing import CURRENT, WITHOUT_MUTATING_POLICIES, ApiServer, ApiServers, api_server

pytestmark = pytest.mark.apiserver


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServers]:
    with ApiServers(tmp_path_factory.mktemp("api-servers")) as servers:
        yield servers


@pytest.fixture(scope="module")
def server(servers: ApiServers) -> ApiServer:
    return servers.get(CURRENT)


@pytest.mark.parametrize(("version", "served"), [(CURRENT, True), (WITHOUT_MUTATING_POLICIES, False)])
def test_only_the_newer_server_has_mutating_policies(servers: ApiServers, version: str, served: bool) -> None:
    kinds = servers.get(version).kubectl("api-resources", "--api-group=admissionregistration.k8s.io", "-o=name")
    assert ("mutatingadmissionpolicies" in kinds) is served
    assert "validatingadmissionpolicies" in kinds


def test_every_user_is_who_the_certificate_says(server: ApiServer) -> None:
    for user, group in (("admin", "system:masters"), ("alice", "dev"), ("bob", "dev")):
        info = json.loads(server.kubectl("auth", "whoami", "-o=json", user=user))["status"]["userInfo"]
        assert (info["username"], group in info["groups"]) == (user, True)


def test_an_ordinary_user_has_no_rights_that_nobody_gave(server: ApiServer) -> None:
    refused = server.run("get", "secrets", user="bob")
    assert refused.returncode != 0
    assert 'User "bob" cannot list resource "secrets"' in refused.stderr


def test_a_service_accounts_token_can_be_made(server: ApiServer) -> None:
    server.kubectl("create", "serviceaccount", "operator")
    token = server.kubectl("create", "token", "operator").strip()
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    answer = json.loads(server.kubectl("create", "-o=json", "-f=-", stdin=json.dumps(review)))
    assert answer["status"]["user"]["username"] == "system:serviceaccount:default:operator"


def test_stop_ends_the_server(tmp_path: Path) -> None:
    running = api_server(tmp_path)
    running.stop()
    assert running.run("get", "--raw=/readyz").returncode != 0
    running.stop()


def test_an_unknown_version_is_refused_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(ClusterError, match=r"no API server 1\.2\.3 is pinned here"):
        api_server(tmp_path, "1.2.3")
    assert time.monotonic() - began < 1
