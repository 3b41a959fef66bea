from dataclasses import replace

import pytest

from codex_cluster import preflight
from codex_cluster.errors import ClusterError
from codex_cluster.preflight import GIB, Machine, choose_provider, host_problems

GOOD = Machine(
    system="linux",
    processor="x86_64",
    is_root=True,
    docker_client=False,
    docker_engine=False,
    memory_bytes=8 * GIB,
    disk_bytes=50 * GIB,
    go_version=(1, 26),
    missing=(),
    has_apt=True,
    kernel={"namespaces": True},
)


def test_an_answering_docker_engine_means_kind() -> None:
    assert choose_provider("auto", None, replace(GOOD, docker_client=True, docker_engine=True)).provider == "kind"


def test_without_docker_root_on_linux_gets_the_host_node() -> None:
    choice = choose_provider("auto", None, GOOD)
    assert choice.provider == "host"
    assert "docker info" in choice.reason


def test_a_docker_client_without_an_engine_is_mentioned() -> None:
    assert "--provider kind" in choose_provider("auto", None, replace(GOOD, docker_client=True)).reason


@pytest.mark.parametrize(
    ("machine", "word"),
    [(replace(GOOD, is_root=False), "root"), (replace(GOOD, system="darwin"), "system")],
    ids=["not root", "macOS"],
)
def test_where_neither_can_run_the_cure_is_docker(machine: Machine, word: str) -> None:
    with pytest.raises(ClusterError, match=f"{word}.*start Docker"):
        choose_provider("auto", None, machine)


def test_a_stopped_docker_never_turns_a_kind_cluster_into_a_host_node() -> None:
    with pytest.raises(ClusterError, match="start Docker again"):
        choose_provider("auto", "kind", replace(GOOD, docker_client=True))


def test_a_host_node_stays_one_when_docker_appears() -> None:
    assert choose_provider("auto", "host", replace(GOOD, docker_engine=True)).provider == "host"


def test_changing_the_provider_of_a_living_cluster_is_refused() -> None:
    with pytest.raises(ClusterError, match="make down"):
        choose_provider("kind", "host", replace(GOOD, docker_engine=True))


def test_a_good_machine_has_no_problems() -> None:
    assert host_problems(GOOD) == []


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (replace(GOOD, memory_bytes=GIB), "1.0 GiB of memory available, 3.0 GiB needed"),
        (replace(GOOD, disk_bytes=5 * GIB), "5.0 GiB of disk free, 14.0 GiB needed"),
        (replace(GOOD, go_version=(1, 19)), "Go 1.26 or newer"),
        (replace(GOOD, go_version=None), "found none"),
        (replace(GOOD, missing=("nft",), has_apt=False), "not found: nft"),
        (replace(GOOD, kernel={"br_netfilter": False}), "the kernel lacks br_netfilter"),
        (replace(GOOD, is_root=False), "need root"),
        (replace(GOOD, processor="aarch64"), "use kind"),
    ],
)
def test_each_problem_names_itself_and_its_cure(machine: Machine, words: str) -> None:
    problems = host_problems(machine)
    assert len(problems) == 1
    assert words in problems[0]


def test_built_programs_need_neither_go_nor_much_disk() -> None:
    assert host_problems(replace(GOOD, built=True, go_version=None, disk_bytes=6 * GIB)) == []


def test_missing_programs_lead_to_packages_named_once() -> None:
    assert preflight.packages_for(("nft", "gcc", "/usr/include/seccomp.h")) == ["gcc", "libseccomp-dev", "nftables"]


@pytest.mark.parametrize(("mask", "may"), [("000001fffeffffff", False), ("000001ffffffffff", True)])
def test_the_right_to_lower_oom_scores_is_one_capability(mask: str, may: bool) -> None:
    assert preflight.may_lower_oom_score(f"Name:\tx\nCapEff:\t{mask}\n") is may
