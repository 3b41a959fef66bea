import json
import tomllib
from pathlib import Path

import pytest

from codex_cluster import addons, cgroups, host_network, node_plan
from codex_cluster.components import HOST_NODE
from codex_cluster.layout import Layout
from codex_cluster.node_plan import Node


@pytest.fixture
def node(tmp_path: Path) -> Node:
    layout = Layout(state=tmp_path / ".cluster", cache=tmp_path / "cache")
    return Node(
        layout=layout,
        address="10.231.0.2",
        programs={component.name: layout.cache / component.folder for component in HOST_NODE},
        etcd=Path("/opt/etcd"),
        python=Path("/venv/bin/python"),
        sources=tmp_path / "cluster",
        cni_plugins=Path("/usr/lib/cni"),
        resolver=Path("/etc/resolv.conf"),
        may_lower_oom_score=False,
    )


def test_two_clones_get_nodes_that_share_no_name_folder_or_address(tmp_path: Path) -> None:
    one, two = (Layout(state=tmp_path / name / ".cluster", cache=tmp_path) for name in ("one", "two"))
    assert one.name != two.name
    assert {one.data, one.run}.isdisjoint({two.data, two.run})
    assert host_network.link_of(one) != host_network.link_of(two)


def test_an_interface_name_fits_the_kernels_fifteen_characters(tmp_path: Path) -> None:
    link = host_network.link_of(Layout(state=tmp_path, cache=tmp_path))
    assert len(link.interface) <= 15


def test_containerd_must_not_lower_oom_scores_without_the_capability(node: Node) -> None:
    settings = tomllib.loads(node_plan.containerd_configuration(node))
    assert settings["plugins"]["io.containerd.cri.v1.runtime"]["restrict_oom_score_adj"] is True


def test_containerd_keeps_everything_inside_the_nodes_folders(node: Node) -> None:
    settings = tomllib.loads(node_plan.containerd_configuration(node))
    assert Path(settings["root"]).is_relative_to(node.layout.data)
    assert Path(settings["state"]).is_relative_to(node.layout.run)
    assert "io.containerd.nri.v1.nri" in settings["disabled_plugins"]


def test_the_policy_plugin_runs_after_the_bridge(node: Node) -> None:
    plugins = [plugin["type"] for plugin in json.loads(node_plan.cni_configuration(node))["plugins"]]
    assert plugins == ["bridge", node_plan.POLICY_PLUGIN]


def test_pods_live_below_the_nodes_own_cgroup(node: Node) -> None:
    settings = json.loads(node_plan.kubelet_configuration(node))
    assert settings["cgroupRoot"] == f"/{node.layout.name}"
    assert settings["failCgroupV1"] is False


def test_the_kubelet_has_a_node_identity_and_no_component_is_an_administrator(node: Node) -> None:
    users = node_plan.component_users(node)
    assert users["kubelet"] == (f"system:node:{node.layout.name}", ("system:nodes",))
    assert all("system:masters" not in groups for _, groups in users.values())


def test_every_process_waits_for_what_it_needs(node: Node) -> None:
    after = {process["name"]: process["after"] for process in node_plan.processes(node)}
    assert after["etcd"] is None
    assert after["kube-apiserver"] == "127.0.0.1:2379"
    assert after["kubelet"] == str(node.containerd_socket)
    assert {after[name] for name in ("scheduler", "controller-manager", "kube-proxy", "policy-agent")} == {
        "10.231.0.2:6443"
    }


def test_cluster_dns_is_an_ordinary_pod_that_policies_can_select() -> None:
    items = json.loads(addons.host_node())["items"]
    service = next(item for item in items if item["kind"] == "Service")
    deployment = next(item for item in items if item["kind"] == "Deployment")
    assert service["spec"]["clusterIP"] == node_plan.DNS_ADDRESS
    assert deployment["spec"]["template"]["metadata"]["labels"] == service["spec"]["selector"]
    assert all(port["port"] == 53 for port in service["spec"]["ports"])


def test_cgroup_hierarchies_of_both_versions_are_found_once() -> None:
    mounts = (
        "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"
        "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
        "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
    )
    assert cgroups.hierarchies(mounts) == [Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/unified")]
