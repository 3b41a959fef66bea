from typing import Any

from codex_cluster.policy_state import ClusterState


def pod(name: str, address: str | None = None, uid: str = "u1", **extra: Any) -> dict[str, Any]:
    status = {"phase": extra.pop("phase", "Running"), **({"podIP": address} if address else {})}
    metadata = {"namespace": "team", "name": name, "uid": uid, "labels": {"app": name}}
    return {"metadata": metadata, "spec": extra, "status": status}


def addresses(state: ClusterState) -> dict[str, str]:
    return {endpoint.address: endpoint.name for endpoint in state.snapshot().endpoints}


def test_an_address_from_the_network_plugin_counts_before_the_pods_status_shows_it() -> None:
    state = ClusterState()
    state.replace("pods", [pod("a")])
    assert state.assign(("team", "a"), "10.244.0.7")
    assert addresses(state) == {"10.244.0.7": "a"}


def test_an_address_cannot_be_assigned_to_a_pod_that_is_not_known_yet() -> None:
    assert not ClusterState().assign(("team", "a"), "10.244.0.7")


def test_an_assigned_address_wins_over_the_stale_status_of_another_pod() -> None:
    state = ClusterState()
    state.replace("pods", [pod("old", "10.244.0.7"), pod("new")])
    state.assign(("team", "new"), "10.244.0.7")
    assert addresses(state) == {"10.244.0.7": "new"}


def test_a_finished_pod_has_no_address() -> None:
    state = ClusterState()
    state.replace("pods", [pod("done", "10.244.0.7", phase="Succeeded"), pod("broken", "10.244.0.8", phase="Failed")])
    assert addresses(state) == {}


def test_a_pod_on_the_nodes_network_is_not_an_endpoint() -> None:
    state = ClusterState()
    state.replace("pods", [pod("host", "10.231.0.2", hostNetwork=True)])
    assert addresses(state) == {}


def test_a_recreated_pod_does_not_inherit_its_predecessors_address() -> None:
    state = ClusterState()
    state.replace("pods", [pod("a", uid="first")])
    state.assign(("team", "a"), "10.244.0.7")
    state.observe("pods", "DELETED", pod("a", uid="first"))
    state.observe("pods", "ADDED", pod("a", uid="second"))
    assert addresses(state) == {}


def test_a_watch_event_changes_labels_and_namespaces() -> None:
    state = ClusterState()
    state.observe("namespaces", "ADDED", {"metadata": {"name": "team", "labels": {"tier": "x"}}})
    state.observe("namespaces", "MODIFIED", {"metadata": {"name": "team"}})
    assert state.snapshot().namespaces == {"team": {}}
