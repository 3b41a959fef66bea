import os
import subprocess
import sys
from pathlib import Path

import pytest

from codex_cluster import host_settings
from codex_cluster.layout import REPOSITORY


def tool(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The tool with a state folder and a cache of its own."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "cluster"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    argv = [sys.executable, "-m", "codex_cluster", f"--state={tmp_path / 'state'}", *arguments]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_down_without_a_cluster_says_so_and_succeeds(tmp_path: Path) -> None:
    done = tool(tmp_path, "down")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"no cluster belongs to {tmp_path / 'state'}" in done.stdout


def test_status_without_a_cluster_fails(tmp_path: Path) -> None:
    done = tool(tmp_path, "status")
    assert done.returncode == 1
    assert "there is none" in done.stdout


def test_images_without_a_cluster_name_the_cure_without_a_traceback(tmp_path: Path) -> None:
    done = tool(tmp_path, "images")
    assert done.returncode == 1
    assert done.stderr == "error: there is no cluster to load images into: run `make up` first\n"


def test_clean_removes_the_cache_and_nothing_else(tmp_path: Path) -> None:
    builds = tmp_path / "cache" / "codex-temporal" / "runc-1"
    builds.mkdir(parents=True)
    (tmp_path / "cache" / "other").touch()
    done = tool(tmp_path, "clean")
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["other"]


def test_only_nodes_that_run_from_a_cache_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_settings, "BASE", tmp_path)
    for name, cache in (("one", "/cache/a"), ("two", "/cache/b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "owner").write_text(f"/clones/{name}/.cluster")
        (tmp_path / name / "cache").write_text(cache)
    assert host_settings.users_of(Path("/cache/b")) == ["/clones/two/.cluster"]
