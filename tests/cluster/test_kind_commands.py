import base64
import json
import re
from pathlib import Path

import pytest

from codex_cluster import kind
from codex_cluster.kind import NODE_IMAGES, Kind
from codex_cluster.layout import Layout
from codex_cluster.progress import Progress


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(state=tmp_path / ".cluster", cache=tmp_path / "cache")


def provider(layout: Layout, node_image: str) -> Kind:
    return Kind(layout, Path("/cache/kind"), Path("/cache/programs"), node_image, Progress())


@pytest.mark.parametrize("image", NODE_IMAGES.values())
def test_node_images_are_pinned_by_digest(image: str) -> None:
    assert re.fullmatch(r"kindest/node:v1\.\d+\.\d+@sha256:[0-9a-f]{64}", image)


def test_create_touches_no_kubeconfig_but_this_clusters(layout: Layout) -> None:
    command = provider(layout, "1.36").create_command()
    assert command[:3] == ["/cache/kind", "create", "cluster"]
    assert f"--name={layout.name}" in command
    assert f"--kubeconfig={layout.kubeconfig()}" in command
    assert f"--image={NODE_IMAGES['1.36']}" in command


def test_another_image_can_be_given_in_full(layout: Layout) -> None:
    assert "--image=kindest/node@sha256:abc" in provider(layout, "kindest/node@sha256:abc").create_command()


def test_images_are_loaded_into_this_cluster_under_both_names(layout: Layout) -> None:
    command = provider(layout, "1.36").load_command("app:1", "app:dev")
    assert command == ["/cache/kind", "load", "docker-image", "app:1", "app:dev", f"--name={layout.name}"]


def test_a_build_uses_the_public_base_image_of_the_dockerfile(tmp_path: Path) -> None:
    command = kind.build_command(tmp_path, "app", "localhost/codex-temporal/app:1")
    assert "--target=app" in command
    assert "--tag=localhost/codex-temporal/app:dev" in command
    assert not any("BASE_IMAGE" in word for word in command)


def test_the_configuration_asks_for_nothing_unusual() -> None:
    assert json.loads(kind.configuration()) == {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": "control-plane"}],
    }


def test_a_users_signing_request_is_for_client_authentication_only() -> None:
    spec = json.loads(kind.signing_manifest("codex-alice", b"PEM"))["spec"]
    assert spec["usages"] == ["client auth"]
    assert spec["signerName"] == "kubernetes.io/kube-apiserver-client"
    assert base64.b64decode(spec["request"]) == b"PEM"
