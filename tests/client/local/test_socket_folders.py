"""Where processes of a user have their sockets, and what becomes of the folders of those that were killed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from codex_client.local import socket_folder
from codex_client.local.errors import LocalError
from codex_client.local.socket_folder import NAME, SocketFolder

MAKE_ONE_AND_DIE = """
import os, pathlib, sys
from codex_client.local.socket_folder import SocketFolder
(SocketFolder(pathlib.Path(sys.argv[1])).path / "sandbox").touch()
os.kill(os.getpid(), 9)
"""
# What a command of a sandbox can do, as another user than root, whom no rights keep out.
TAKE_THE_RIGHTS_AWAY = """
import os, pathlib, sys
from codex_client.local.socket_folder import SocketFolder
if os.getuid() == 0:
    os.setuid(65534)
made = SocketFolder(pathlib.Path(sys.argv[1]))
folder = made.of_generation(1)
(folder / "in" / "it").mkdir(parents=True)
for path in (folder / "in", folder):
    path.chmod(0)
if sys.argv[2] == "killed":
    made.path.chmod(int(sys.argv[3], 8))
    os.kill(os.getpid(), 9)
made.remove()
"""


def take_the_rights_away(*arguments: str) -> int:
    """Return the exit code of the process whose folder it is."""
    return subprocess.run([sys.executable, "-c", TAKE_THE_RIGHTS_AWAY, *arguments], check=False).returncode


@pytest.fixture
def runtime_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="run-", dir="/tmp") as folder:
        yield Path(folder).resolve()


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stands for /tmp, and there is no other place."""
    with tempfile.TemporaryDirectory(prefix="tmp-", dir="/tmp") as folder:
        monkeypatch.setattr(socket_folder, "PARENTS", (folder,))
        yield Path(folder).resolve()


def test_sockets_are_below_the_runtime_folder_and_only_we_may_enter(runtime_folder: Path, temporary: Path) -> None:
    made = SocketFolder(runtime_folder)
    assert made.path.parent == runtime_folder / NAME
    assert stat.S_IMODE(made.path.parent.stat().st_mode) == stat.S_IMODE(made.path.stat().st_mode) == 0o700
    made.remove()
    assert list((runtime_folder / NAME).iterdir()) == []
    assert not (temporary / NAME).exists()


def test_where_their_paths_grew_too_long_they_are_below_the_temporary_folder(temporary: Path) -> None:
    long = temporary / ("long" * 20)
    long.mkdir()
    for unusable in (long, temporary / "nowhere", None):
        made = SocketFolder(unusable)
        assert made.path.parent == temporary / NAME
        made.remove()


def test_what_a_killed_process_left_is_removed_by_the_next_and_nothing_else(
    runtime_folder: Path, temporary: Path
) -> None:
    living = SocketFolder(runtime_folder)
    for parent in (runtime_folder, temporary):
        subprocess.run([sys.executable, "-c", MAKE_ONE_AND_DIE, str(parent)], check=False)
        (parent / NAME / "file").touch()
    assert len(list((runtime_folder / NAME).iterdir())) == 2 + len([living])
    following = SocketFolder(runtime_folder)
    assert set((runtime_folder / NAME).iterdir()) == {living.path, following.path, runtime_folder / NAME / "file"}
    assert set((temporary / NAME).iterdir()) == {temporary / NAME / "file"}
    living.remove()
    following.remove()


def test_a_place_that_others_may_have_prepared_is_not_used(runtime_folder: Path, temporary: Path) -> None:
    place = runtime_folder / NAME
    (place / "left").mkdir(parents=True)
    place.chmod(0o777)
    made = SocketFolder(runtime_folder)
    assert made.path.parent == temporary / NAME
    assert (place / "left").is_dir()
    made.remove()
    place.chmod(0o700)
    private = place.rename(runtime_folder / "private")
    place.symlink_to(private)
    made = SocketFolder(runtime_folder)
    assert made.path.parent == temporary / NAME
    assert place not in made.to_hide(runtime_folder)
    made.remove()


def test_a_place_of_another_user_is_not_used(runtime_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SocketFolder(runtime_folder).remove()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(LocalError, match="no sockets can be made"):
        SocketFolder(runtime_folder)


def test_a_place_that_sandboxes_may_see_is_not_used(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    with tempfile.TemporaryDirectory(dir=Path.home()) as visible:
        (temporary / "link").symlink_to(visible)
        monkeypatch.setattr(tempfile, "tempdir", visible)
        for asked_for in (Path(visible), temporary / "link", None):
            made = SocketFolder(asked_for)
            assert made.path.parent == temporary / NAME
            made.remove()
        assert list(Path(visible).iterdir()) == []


def test_nothing_that_commands_do_to_their_folder_keeps_it_or_blocks_the_next(runtime_folder: Path) -> None:
    runtime_folder.chmod(0o777)
    assert take_the_rights_away(str(runtime_folder), "ended") == 0
    (place,) = runtime_folder.iterdir()
    assert list(place.iterdir()) == []
    assert take_the_rights_away(str(runtime_folder), "killed", "700") == -9
    assert take_the_rights_away(str(runtime_folder), "ended") == 0
    assert list(place.iterdir()) == []
    assert take_the_rights_away(str(runtime_folder), "killed", "0") == -9
    assert take_the_rights_away(str(runtime_folder), "ended") == 0


def test_where_no_place_can_be_used_the_cure_is_told(temporary: Path) -> None:
    (temporary / NAME).write_text("a file in the way")
    with pytest.raises(LocalError, match="set XDG_RUNTIME_DIR to a folder of yours below /run or /tmp"):
        SocketFolder(temporary / "nowhere")
