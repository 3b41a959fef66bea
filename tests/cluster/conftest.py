"""A host node of the tests' own, beside whatever cluster this clone has."""

import os
from collections.abc import Iterator

import pytest

from codex_cluster import host_provider, preflight
from codex_cluster.layout import Layout, cache_directory
from codex_cluster.node_testing import NodeUnderTest, inventory, load_python


@pytest.fixture(scope="session")
def node_layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return Layout(state=tmp_path_factory.mktemp("node") / ".cluster", cache=cache_directory(os.environ))


@pytest.fixture(scope="session")
def machine_before(node_layout: Layout) -> dict[str, list[str]]:
    """What this machine looks like before the tests' node exists."""
    problems = preflight.host_problems(
        preflight.gather(node_layout.cache, built=host_provider.is_built(node_layout.cache))
    )
    if problems:
        cure = "mend that, or leave these tests out on purpose: make test WITHOUT_HOST_NODE=1"
        pytest.fail(f"the host node cannot run here: {'; '.join(problems)}; {cure}")
    return inventory()


@pytest.fixture(scope="session")
def node(node_layout: Layout, machine_before: dict[str, list[str]]) -> Iterator[NodeUnderTest]:
    """A running node with an image that holds Python."""
    under_test = NodeUnderTest(node_layout)
    try:
        under_test.up()
        load_python(under_test)
        yield under_test
    finally:
        done = under_test.tool("down")
        assert done.returncode == 0, done.stdout + done.stderr
