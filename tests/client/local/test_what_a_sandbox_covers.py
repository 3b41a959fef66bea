"""The rule of bubblewrap's command line, read from its arguments: what is covered stays covered."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from codex_api.rows import SandboxMode
from codex_client.local import bubblewrap
from codex_client.local.bubblewrap import bubblewrap_arguments
from codex_client.local.protected_paths import PROTECTED

FOLDERS = ("a", "a/b", "a/b/c", "a/d", "run", "run/e", "tmp", "tmp/f", "tmp/f/g", ".git", ".agents")
FILES = ("a/file", "a/b/file", "run/file", "tmp/f/file", ".git/file")
NAMES = (*FOLDERS, *FILES)
SOCKETS = ("tmp/sockets", "a/sockets", "run/e/sockets")

Mounted = tuple[str, str | None, Path]
"""Option, source and destination."""


def mounts(argv: list[str]) -> list[Mounted]:
    """Return what is mounted, in the order in which it is."""
    found: list[Mounted] = []
    words = iter(argv)
    for word in words:
        if word in ("--bind", "--ro-bind", "--ro-bind-try"):
            found.append((word, next(words), Path(next(words))))
        elif word in ("--tmpfs", "--dev", "--proc"):
            found.append((word, None, Path(next(words))))
    return found


def seen_at(path: Path, mounted: Iterable[Mounted]) -> Mounted:
    """Return the mount that decides what is at a path: the last one of it or around it."""
    return [mount for mount in mounted if path.is_relative_to(mount[2])][-1]


def everything_below(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if not path.is_symlink()}


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[str], dict[str, str], str, str, set[str]]:
    """Draw what is hidden, links and .git files by name, the workspace, the shared folder and tools."""
    hidden = draw(st.lists(st.sampled_from(NAMES), max_size=4))
    targets = st.sampled_from([*NAMES, ".", "..", "dev/shm", "a/link/file", *SOCKETS])
    written = draw(st.dictionaries(st.sampled_from([*PROTECTED, "a/link"]), targets, max_size=4))
    workspace = draw(st.sampled_from(["", "a", "a/b", "tmp", "tmp/f", "run"]))
    tools = draw(st.sets(st.sampled_from(["tmp/f", "tmp/f/g", "run/e", "a/d"])))
    return hidden, written, workspace, draw(st.sampled_from(SOCKETS)), tools


def build(root: Path, workspace: Path, written: dict[str, str], *, as_links: bool) -> None:
    for name in (*FOLDERS, "dev/shm", *SOCKETS):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "ours").mkdir(exist_ok=True)
    for name in FILES:
        (root / name).touch()
    for name, target in written.items():
        path = workspace / name
        if path.exists() or not path.parent.is_dir():
            continue
        if as_links:
            path.symlink_to(os.path.relpath(root / target, path.parent))
        else:
            path.write_text(f"gitdir: {root / target}\n")


@settings(max_examples=100, deadline=None)
@given(worlds(), st.booleans(), st.sampled_from([SandboxMode.WORKSPACE_WRITE, SandboxMode.READ_ONLY]))
def test_nothing_is_mounted_over_a_cover_but_our_socket_and_no_way_to_one_can_be_renamed(
    world: tuple[list[str], dict[str, str], str, str, set[str]], as_links: bool, mode: SandboxMode
) -> None:
    names, written, below, sockets, tools = world
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        workspace = root / below
        build(root, workspace, written, as_links=as_links)
        shared = root / sockets
        hidden = {root / name for name in names if not workspace.is_relative_to(root / name)}
        ours, empty = shared / "ours", shared / "empty"
        emptied = [root / "tmp", root / "run"]
        with (
            mock.patch.object(bubblewrap, "PRIVATE_FOLDERS", (str(root / "tmp"),)),
            mock.patch.object(bubblewrap, "SOCKET_FOLDERS", (str(root / "run"),)),
        ):
            argv = bubblewrap_arguments(
                "bwrap",
                mode,
                workspace,
                hidden=hidden,
                shared_folders=[shared],
                socket_folder=ours,
                empty_file=empty,
                tools=[root / tool for tool in tools],
            )
        mounted = mounts(argv)
        covers = {*hidden, shared}
        for option, source, destination in mounted:
            assert source in (None, str(destination), str(empty)), (option, source, destination)
        for path in everything_below(root):
            option, source, _ = seen_at(path, mounted)
            if path.is_relative_to(ours):
                assert (option, source) == ("--bind", str(ours))
            elif any(path.is_relative_to(cover) for cover in covers):
                assert (option, source) in (("--tmpfs", None), ("--ro-bind", str(empty))), path
            elif any(path.is_relative_to(each) and not workspace.is_relative_to(each) for each in emptied):
                # Only what we need ourselves comes back in it.
                assert option == "--tmpfs" or any(path.is_relative_to(root / tool) for tool in tools), path
        places = {destination for _, _, destination in mounted}
        for cover in covers:
            for parent in (each for each in cover.parents if each.is_relative_to(workspace)):
                writable = seen_at(parent.parent, mounted)[0] == "--bind"
                assert parent in places or parent == workspace or not writable, parent
