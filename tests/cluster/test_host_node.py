"""One real node, from `up` to `down`: the tests share it, and the last three must run last."""

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from codex_cluster.node_testing import PYTHON_IMAGE, NodeUnderTest, eventually, inventory

pytestmark = [pytest.mark.cluster, pytest.mark.host_node]

NAMESPACE = "policies"
PORT = 8080
PROBE = """
import socket, sys
for target in sys.argv[1:]:
    host, port = target.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        print("open")
    except OSError as error:
        print("closed")
"""


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """A restricted pod that serves HTTP, with a user namespace of its own."""
    container = {
        "name": "main",
        "image": PYTHON_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "-m", "http.server", str(PORT), "--directory", "/etc/python3"],
        "readinessProbe": {"httpGet": {"port": PORT, "path": "/"}, "periodSeconds": 1},
        "resources": {"limits": {"memory": "100Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    defaults = {
        "automountServiceAccountToken": False,
        "hostUsers": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**defaults, **spec}}


def policy(name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


DENY = policy("deny", podSelector={}, policyTypes=["Ingress", "Egress"])


class Pods:
    """Two pods in a namespace that enforces the restricted standard."""

    def __init__(self, node: NodeUnderTest) -> None:
        self._node = node
        self.address = self._address("server")

    def reach(self, *targets: str, source: str = "client") -> list[str]:
        """Per target whether a connection opens."""
        command = ("exec", f"-n={NAMESPACE}", source, "--", "python3", "-c", PROBE, *targets)
        return self._node.kubectl(*command).split()

    def uid(self, name: str) -> str:
        return self._node.kubectl("get", "pod", f"-n={NAMESPACE}", name, "-o=jsonpath={.metadata.uid}")

    def _address(self, name: str) -> str:
        return self._node.kubectl("get", "pod", f"-n={NAMESPACE}", name, "-o=jsonpath={.status.podIP}")


@pytest.fixture(scope="module")
def _running_pods(node: NodeUnderTest) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    node.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    node.apply(pod("client"), pod("server"))
    node.kubectl("wait", f"-n={NAMESPACE}", "--for=condition=Ready", "pod/client", "pod/server", "--timeout=60s")


@pytest.fixture
def pods(node: NodeUnderTest, _running_pods: None) -> Pods:
    node.kubectl("delete", f"-n={NAMESPACE}", "networkpolicy", "--all")
    found = Pods(node)
    eventually(lambda: found.reach(f"{found.address}:{PORT}") == ["open"])
    return found


def test_a_second_up_finds_a_healthy_node(node: NodeUnderTest) -> None:
    assert "is healthy" in node.up()
    assert node.tool("status").returncode == 0


def test_ordinary_users_may_edit_in_the_default_namespace_only(node: NodeUnderTest) -> None:
    assert node.run("auth", "can-i", "create", "pods", user="alice").stdout.strip() == "yes"
    assert node.run("auth", "can-i", "create", "pods", "-n=kube-system", user="alice").stdout.strip() == "no"
    assert node.run("auth", "can-i", "delete", "nodes", user="bob").stdout.strip() == "no"


def test_the_restricted_standard_is_enforced(node: NodeUnderTest, pods: Pods) -> None:
    refused = node.run("apply", "-f=-", stdin=json.dumps(pod("root", securityContext={"runAsUser": 0})))
    assert refused.returncode != 0
    assert "violates PodSecurity" in refused.stderr


def test_without_policies_pods_reach_each_other_the_api_server_and_dns(pods: Pods) -> None:
    targets = (f"{pods.address}:{PORT}", "10.96.0.1:443", "kubernetes.default.svc.cluster.local:443")
    assert pods.reach(*targets) == ["open"] * 3


def test_a_deny_policy_closes_pods_services_and_the_node(node: NodeUnderTest, pods: Pods) -> None:
    node.apply(DENY)
    inner = node.kubectl("get", "nodes", "-o=jsonpath={.items[0].status.addresses[0].address}")
    outer = ".".join((*inner.split(".")[:3], str(int(inner.split(".")[3]) - 1)))
    targets = (f"{pods.address}:{PORT}", "10.96.0.1:443", f"{inner}:6443", f"{inner}:10250", "10.244.0.1:10250")
    with socket.create_server((outer, 0)) as machine:
        everywhere = (*targets, f"{outer}:{machine.getsockname()[1]}")
        eventually(lambda: pods.reach(targets[0]) == ["closed"])
        assert pods.reach(*everywhere) == ["closed"] * 6
        node.kubectl("delete", f"-n={NAMESPACE}", "networkpolicy", "deny")
        eventually(lambda: pods.reach(*everywhere) == ["open"] * 6)


def test_probes_of_the_kubelet_pass_a_deny_policy(node: NodeUnderTest, pods: Pods) -> None:
    node.apply(DENY)
    eventually(lambda: pods.reach(f"{pods.address}:{PORT}") == ["closed"])
    node.apply(pod("probed"))
    node.kubectl("wait", f"-n={NAMESPACE}", "--for=condition=Ready", "pod/probed", "--timeout=30s")
    node.kubectl("delete", f"-n={NAMESPACE}", "pod", "probed", "--now")


def test_a_policy_opens_one_port_to_one_peer_and_dns(node: NodeUnderTest, pods: Pods) -> None:
    dns = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    server = {"podSelector": {"matchLabels": {"app": "server"}}}
    client = {"podSelector": {"matchLabels": {"app": "client"}}}
    egress = [{"to": [dns], "ports": [{"protocol": "UDP", "port": 53}]}, {"to": [server]}]
    ingress = [{"from": [client], "ports": [{"port": PORT}]}]
    node.apply(
        DENY,
        policy("client", **client, policyTypes=["Egress"], egress=egress),
        policy("server", **server, policyTypes=["Ingress"], ingress=ingress),
    )
    node.kubectl("expose", f"-n={NAMESPACE}", "pod", "server", f"--port={PORT}")
    eventually(lambda: pods.reach("10.96.0.1:443") == ["closed"])
    assert pods.reach(f"server:{PORT}", f"{pods.address}:{PORT}", f"{pods.address}:{PORT + 1}") == [
        *("open", "open", "closed")
    ]
    assert pods.reach(f"{pods.address}:{PORT}", source="server") == ["open"]
    node.kubectl("delete", f"-n={NAMESPACE}", "service", "server")


def test_a_new_pod_under_a_deny_policy_has_no_open_moment(node: NodeUnderTest, pods: Pods) -> None:
    node.apply(DENY)
    eventually(lambda: pods.reach("10.96.0.1:443") == ["closed"])
    script = "import socket,time\nfor n in range(20):\n  s=socket.socket(); s.settimeout(0.1)\n"
    script += f"  print(s.connect_ex(('{pods.address}', {PORT})), s.connect_ex(('10.96.0.1', 443)), flush=True)\n"
    early = pod("early", restartPolicy="Never")
    early["spec"]["containers"][0] |= {"command": ["python3", "-c", script], "readinessProbe": None}
    node.apply(early)
    node.kubectl("wait", f"-n={NAMESPACE}", "--for=jsonpath={.status.phase}=Succeeded", "pod/early", "--timeout=60s")
    results = node.kubectl("logs", f"-n={NAMESPACE}", "early").split()
    node.kubectl("delete", f"-n={NAMESPACE}", "pod", "early", "--now")
    assert len(results) == 40
    assert "0" not in results


@pytest.mark.parametrize("program", ["kubelet", "containerd", "kube-apiserver", "etcd"])
def test_up_repairs_a_node_that_lost_a_process_and_pods_live_on(node: NodeUnderTest, pods: Pods, program: str) -> None:
    before = pods.uid("server")
    for pid in node.processes(program):
        os.kill(pid, signal.SIGKILL)
    node.up()
    eventually(lambda: node.tool("status").returncode == 0)
    assert pods.uid("server") == before
    eventually(lambda: pods.reach(f"{pods.address}:{PORT}") == ["open"])
    restarts = "-o=jsonpath={.status.containerStatuses[0].restartCount}"
    assert node.kubectl("get", "pod", f"-n={NAMESPACE}", "server", restarts) == "0"


def test_policies_hold_while_the_agent_is_away(node: NodeUnderTest, pods: Pods) -> None:
    node.apply(DENY)
    eventually(lambda: pods.reach(f"{pods.address}:{PORT}") == ["closed"])
    agents = [pid for pid in node.processes(Path(os.path.realpath("/proc/self/exe")).name) if _is_agent(pid)]
    assert agents
    for pid in agents:
        os.kill(pid, signal.SIGKILL)
    assert pods.reach(f"{pods.address}:{PORT}") == ["closed"]
    node.up()
    assert pods.reach(f"{pods.address}:{PORT}") == ["closed"]


def test_a_stopped_kubelet_is_noticed_and_replaced(node: NodeUnderTest, pods: Pods) -> None:
    (kubelet,) = node.processes("kubelet")
    os.kill(kubelet, signal.SIGSTOP)
    assert node.tool("status").returncode == 1
    said = node.up()
    assert "the kubelet does not answer" in said
    # A kubelet that begins anew calls its pods unready until it has probed them.
    eventually(lambda: node.tool("status").returncode == 0)


def test_after_losing_all_processes_up_brings_the_old_objects_back(node: NodeUnderTest) -> None:
    node.kubectl("create", "configmap", "kept")
    for pid in _first_processes(node):
        os.kill(pid, signal.SIGKILL)
    assert "its old data" in node.up()
    # What the API server kept says Ready and running, too early: what is healthy must stay so.
    assert [node.tool("status").stdout for _ in range(5)] == [f"cluster {node.layout.name}: healthy\n"] * 5
    node.kubectl("get", "configmap", "kept")


def test_damaged_data_is_made_anew(node: NodeUnderTest) -> None:
    for pid in _first_processes(node):
        os.kill(pid, signal.SIGKILL)
    for file in (node.layout.data / "etcd" / "member").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged" * 100)
    assert "is made anew" in node.up()
    assert node.run("get", "configmap", "kept").returncode != 0


def test_down_leaves_nothing_and_may_be_repeated(node: NodeUnderTest, machine_before: dict[str, list[str]]) -> None:
    name = node.layout.name
    done = node.tool("down")
    assert done.returncode == 0, done.stderr
    now = inventory()
    left = {kind: set(now[kind]) ^ set(entries) for kind, entries in machine_before.items() if now[kind] != entries}
    assert left == {}
    assert not node.layout.state.exists()
    assert [line for line in _command_lines() if name in line] == []
    assert node.tool("down").returncode == 0


def _first_processes(node: NodeUnderTest) -> list[int]:
    return [pid for pid in node.processes(Path(os.path.realpath("/proc/self/exe")).name) if _is_first(pid)]


def _is_first(pid: int) -> bool:
    lines = Path("/proc", str(pid), "status").read_text().splitlines()
    return next(line for line in lines if line.startswith("NSpid:")).split()[-1] == "1"


def _is_agent(pid: int) -> bool:
    return b"codex_cluster.policy_agent" in Path("/proc", str(pid), "cmdline").read_bytes()


def _command_lines() -> list[str]:
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            time.sleep(0)
    return lines
