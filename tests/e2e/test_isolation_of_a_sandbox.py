"""From inside a sandbox: nothing to steal, nowhere to go, nothing to write to."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.cluster

SUPERVISOR_PORT = 7443


@pytest.fixture
def inside(kube):
    """Run a shell line in a session's sandbox and return what the model got to see of it."""
    count = 0

    def run(line: str) -> str:
        nonlocal count
        count += 1
        name = f"look-{count}"
        kube.create(name, f": Look around; {line}", user="alice", approval={"policy": "Never"})
        kube.wait(name, "Idle")
        return kube.status(name)["lastMessage"]

    return run


CONNECT = (
    "python3 -c 'import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3); "
    'print("CONNECTED")\' {} {} 2>&1 | tail -1'
)
TRY_TO_WRITE = (
    "for d in / /usr /etc /opt /codex /var; do touch $d/x 2>/dev/null && echo WROTE $d; done; "
    "touch /workspace/x /tmp/x && echo volumes"
)


def assert_unreachable(inside, host: str, port: int) -> None:
    own = CONNECT.format("127.0.0.1", SUPERVISOR_PORT)
    seen = inside(f"echo own: $({own}); echo other: $({CONNECT.format(host, port)})")
    # The first attempt goes to the sandbox's own supervisor: it shows that the second could have succeeded.
    assert "own: CONNECTED" in seen, seen
    assert "other:" in seen
    assert "other: CONNECTED" not in seen, f"{host}:{port} can be reached from a sandbox"


def service_address(system, name: str) -> tuple[str, int]:
    service = json.loads(system("get", "service", name, "-o", "json"))
    return service["spec"]["clusterIP"], service["spec"]["ports"][0]["port"]


def test_there_is_no_token_and_no_key(inside) -> None:
    seen = inside(
        "ls /var/run/secrets 2>&1; env | grep -v ^GIT_CONFIG_ | grep -ciE 'key|token|secret|password'; echo looked"
    )
    assert "No such file" in seen
    assert "\n0\n" in f"\n{seen}\n"


def test_no_service_addresses_are_in_the_environment(inside) -> None:
    # The kubelet always tells where the API server is; what else there is, nobody tells.
    assert inside("env | grep _SERVICE_HOST | grep -vc ^KUBERNETES_; echo looked").split() == ["0", "looked"]


def test_the_api_server_cannot_be_reached(inside, kube) -> None:
    service = json.loads(kube("get", "--raw", "/api/v1/namespaces/default/services/kubernetes", user="admin"))
    assert_unreachable(inside, service["spec"]["clusterIP"], 443)


def test_temporal_and_the_database_cannot_be_reached(inside, system) -> None:
    assert_unreachable(inside, *service_address(system, "codex-temporal"))
    assert_unreachable(inside, *service_address(system, "codex-postgresql"))


def test_the_model_cannot_be_reached(inside, system) -> None:
    assert_unreachable(inside, *service_address(system, "codex-model"))


def test_another_sandbox_cannot_be_reached(inside, kube) -> None:
    kube.create("neighbour", "Sleep for long.", user="alice", approval={"policy": "Never"})
    kube.until("neighbour", lambda status: "ExecCommandBegin" in str(status.get("events")))
    assert_unreachable(inside, kube.pods("neighbour")[0]["status"]["podIP"], SUPERVISOR_PORT)


def test_nothing_outside_the_volumes_can_be_written(inside) -> None:
    seen = inside(TRY_TO_WRITE)
    assert seen.strip() == "volumes"


def test_commands_are_not_root_and_have_no_capabilities(inside) -> None:
    seen = inside("id -u; grep CapEff /proc/self/status")
    assert seen.split()[0] != "0"
    assert seen.split()[-1].strip("0") == ""


def test_the_network_is_reported_as_isolated(kube) -> None:
    kube.create("report", "Keep the secret alpha.", user="alice", approval={"policy": "Never"})
    kube.wait("report", "NetworkIsolated")
