import time
from pathlib import Path

import pytest

from codex_cluster import binaries, commands
from codex_cluster.components import HOST_NODE, KIND, OLDER_API_SERVER, PAUSE, Component
from codex_cluster.errors import CommandFailedError
from codex_cluster.layout import MODULES
from codex_cluster.progress import Progress

PROGRAM = 'package main\n\nfunc main() { println("built") }\n'


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    module = tmp_path / "modules" / "sample"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module example.invalid/sample\n\ngo 1.26\n")
    (module / "main.go").write_text(PROGRAM)
    return module.parent


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


SAMPLE = Component("sample", "1", "sample", ("sample",), 5, package=".")


@pytest.mark.parametrize("component", [*HOST_NODE, OLDER_API_SERVER, KIND], ids=lambda component: component.folder)
def test_every_component_is_pinned_by_its_module(component: Component) -> None:
    module = (MODULES / component.module / "go.mod").read_text()
    if component is not PAUSE:
        assert f" v{component.version}" in module
        assert (MODULES / component.module / "go.sum").exists()


def test_a_program_is_built_once_until_its_module_changes_and_leaves_no_compiler_cache(
    modules: Path, cache: Path
) -> None:
    program = cache / "sample-1" / "sample"
    binaries.build([SAMPLE], cache, Progress(), modules)
    first = program.stat().st_mtime_ns
    binaries.build([SAMPLE], cache, Progress(), modules)
    assert program.stat().st_mtime_ns == first
    assert not (cache / "go").exists()
    (modules / "sample" / "main.go").write_text(PROGRAM.replace("built", "built again"))
    assert not binaries.is_built(SAMPLE, cache, modules)


def test_a_failed_build_names_its_log_shows_its_end_and_leaves_nothing_that_looks_built(
    modules: Path, cache: Path
) -> None:
    (modules / "sample" / "main.go").write_text("package main\n\nfunc main() { broken\n")
    with pytest.raises(CommandFailedError, match=r"main\.go:\d+") as caught:
        binaries.build([SAMPLE], cache, Progress(), modules)
    assert str(cache / "logs" / "sample-1.log") in str(caught.value)
    assert not binaries.is_built(SAMPLE, cache, modules)


def test_a_long_step_says_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "build.log"
    log.write_text("first package\nsecond package\n")
    with Progress(heartbeat_seconds=0.05).step("building x", estimate_seconds=9, log=log):
        time.sleep(0.2)
    lines = capsys.readouterr().out.splitlines()
    assert "building x (about 9 s)" in lines[0]
    assert "of about 9 s, now: second package" in lines[1]
    assert "building x: done in" in lines[-1]


def test_a_missing_program_is_an_error_that_names_it() -> None:
    with pytest.raises(CommandFailedError, match="no-such-program"):
        commands.output(["no-such-program"])
