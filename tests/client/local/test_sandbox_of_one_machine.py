"""What commands may do under bubblewrap: asked of the kernel, through the whole command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from codex_api.rows import SandboxMode
from codex_client.local import hidden_paths as hiding
from codex_client.local import socket_folder
from codex_client.local.bubblewrap import bubblewrap_arguments
from codex_client.local.config import LocalConfig
from codex_client.local.errors import LocalError, UsageError
from codex_client.local.hidden_paths import hidden_paths, sockets_below
from codex_client.local.protected_paths import protected_paths
from codex_client.local.providers import secret_files
from codex_client.local.sandbox import LocalSandbox, find_bubblewrap
from codex_client.local.testing import Machine
from codex_sandbox.client import SandboxAddress, SandboxClient
from codex_sandbox.testing import command


class Confined:
    """A supervisor in a sandbox of local mode, and what its commands say."""

    def __init__(self, machine: Machine, mode: SandboxMode, workspace: Path | None = None) -> None:
        config = LocalConfig.of(machine.variables())
        config.state.create()
        self.sandbox = LocalSandbox(
            mode=mode,
            workspace=workspace or machine.workspace,
            session="session",
            home=machine.home,
            hidden=[config.state.root, *secret_files(config)],
            runtime_folder=config.runtime_folder,
            log=config.state.logs / "sandbox.log",
            program_path=config.program_path,
            environment=config.command_environment,
        )
        self._client: SandboxClient | None = None
        self._count = 0

    async def start(self) -> None:
        generation = self.sandbox.generation + 1
        await self.sandbox.start(generation)
        await self.sandbox.wait_until_ready()
        self._client = await SandboxClient.connect(SandboxAddress("session", generation, path=self.sandbox.socket))

    async def start_again(self) -> None:
        """Replace it, as after its end."""
        assert self._client is not None
        await self._client.close()
        await self.sandbox.reset()
        await self.start()

    async def sh(self, script: str) -> tuple[int | None, str]:
        """Return exit code and output of a script."""
        assert self._client is not None
        self._count += 1
        reply = await self._client.start(command(self._client, f"t1.s1.c{self._count}", "bash", "-c", script))
        return reply.exit_code, reply.output

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.close()
        await self.sandbox.stop()


@pytest.fixture
def mode() -> SandboxMode:
    return SandboxMode.WORKSPACE_WRITE


@pytest.fixture
def home_of_its_own(machine: Machine) -> Iterator[None]:
    """Move the home out of the folders that a sandbox has for itself anyway."""
    machine.home = Path(tempfile.mkdtemp(prefix=".codex-temporal-test-", dir=Path.home())).resolve()
    yield
    shutil.rmtree(machine.home)


@pytest.fixture
def secrets(home_of_its_own: None, machine: Machine) -> None:
    """Put secrets into the home."""
    for name in (".ssh", ".aws", ".git"):
        (machine.home / name).mkdir()
        (machine.home / name / "secret").write_text("a secret\n")
    (machine.home / ".netrc").write_text("a secret\n")
    (machine.home / "key").write_text("sk-of-a-provider\n")
    providers = {"default": {"base_url": machine.model.base_url, "api_key_file": str(machine.home / "key")}}
    (machine.home / "providers.yaml").write_text(json.dumps({"providers": providers}))
    machine.environment["CODEX_PROVIDERS_FILE"] = str(machine.home / "providers.yaml")


@pytest.fixture
async def confined(secrets: None, machine: Machine, mode: SandboxMode) -> AsyncIterator[Confined]:
    (machine.workspace / ".git").mkdir()
    (machine.workspace / ".git" / "config").write_text("[core]\n")
    confined = Confined(machine, mode)
    await confined.start()
    yield confined
    await confined.stop()


async def test_the_workspace_and_a_private_tmp_are_writable_and_nothing_else(
    confined: Confined, machine: Machine
) -> None:
    assert (await confined.sh("echo new > file && cat file"))[0] == 0
    assert (machine.workspace / "file").read_text() == "new\n"
    assert (await confined.sh("echo new > /tmp/of-a-sandbox && cat /tmp/of-a-sandbox"))[0] == 0
    assert not Path("/tmp/of-a-sandbox").exists()
    for place in ("/etc", "/usr", "$HOME", "/", "/var"):
        code, said = await confined.sh(f"touch {place}/new-file")
        assert code != 0, place
        assert "Read-only file system" in said or "Permission denied" in said, place


async def test_what_git_would_run_later_is_read_only(confined: Confined) -> None:
    assert (await confined.sh("cat .git/config"))[0] == 0
    for attempt in ("echo evil >> .git/config", "rm -rf .git", "mv .git elsewhere"):
        assert (await confined.sh(attempt))[0] != 0, attempt


def test_the_repository_behind_a_link_or_a_git_file_is_protected_too(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    for name in ("real", "bare", "elsewhere"):
        (workspace / name).mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    assert protected_paths(workspace) == []
    (workspace / ".codex").symlink_to("real")
    (workspace / ".agents").symlink_to(tmp_path / "outside")
    (workspace / ".git").write_text("gitdir: ./bare\n")
    assert protected_paths(workspace) == [workspace / ".git", workspace / "bare", workspace / "real"]
    (workspace / ".git").write_text(f"gitdir: {tmp_path / 'outside'}\n")
    assert protected_paths(workspace) == [workspace / ".git", workspace / "real"]
    for nonsense in ("gitdir: .\n", "gitdir: nowhere\n", "gitdir:\n", "no repository", "gitdir: \udcff\n"):
        (workspace / ".git").write_bytes(nonsense.encode(errors="surrogateescape"))
        assert protected_paths(workspace) == [workspace / ".git", workspace / "real"], nonsense


async def test_a_repository_behind_a_git_file_is_read_only(machine: Machine, home_of_its_own: None) -> None:
    (machine.workspace / "bare").mkdir()
    (machine.workspace / ".git").write_text("gitdir: bare\n")
    confined = Confined(machine, SandboxMode.WORKSPACE_WRITE)
    await confined.start()
    for attempt in ("echo evil > bare/config", "echo 'gitdir: other' > .git", "rm .git", "mv bare other"):
        assert (await confined.sh(attempt))[0] != 0, attempt
    assert (await confined.sh("touch file"))[0] == 0
    await confined.stop()


async def test_no_privilege_takes_the_sandbox_apart(confined: Confined) -> None:
    code, said = await confined.sh("grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status")
    assert code == 0
    assert said.split() == ["CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
    assert (await confined.sh("mount -o remount,rw,bind / && touch /etc/new-file"))[0] != 0
    assert (await confined.sh("umount $HOME/.ssh; cat $HOME/.ssh/secret"))[0] != 0


async def test_the_kernel_takes_no_orders_from_a_sandbox(confined: Confined) -> None:
    # Only asked, never written: where this fails, a write would reach the machine itself.
    code, said = await confined.sh("test -e /proc/sys/kernel/core_pattern && test ! -w /proc/sys/kernel/core_pattern")
    assert code == 0, said
    _, said = await confined.sh("find /proc /sys -path '/proc/[0-9]*' -prune -o -type f -writable -print 2> /dev/null")
    assert said == ""
    for namespace in ("uts", "net", "ipc", "pid", "mnt"):
        _, said = await confined.sh(f"readlink /proc/self/ns/{namespace}")
        assert said.strip() != os.readlink(f"/proc/self/ns/{namespace}"), namespace


async def test_the_keys_of_providers_are_hidden(confined: Confined) -> None:
    assert await confined.sh("cat $HOME/key $HOME/providers.yaml") == (0, "")


async def test_the_folder_of_the_sockets_is_no_workspace(machine: Machine) -> None:
    of_another = socket_folder.SocketFolder(machine.runtime_folder)
    confined = Confined(machine, SandboxMode.WORKSPACE_WRITE, of_another.path)
    with pytest.raises(UsageError, match=f"cannot work in {of_another.path}"):
        await confined.start()
    await confined.stop()
    of_another.remove()


@pytest.fixture
def daemons(home_of_its_own: None, machine: Machine) -> Iterator[list[Path]]:
    """Daemons outside that listen on sockets in the home folder."""
    paths = [machine.home / name for name in (".colima/docker.sock", "engine.sock", "tool/agent.sock")]
    with contextlib.ExitStack() as stack:
        for path in paths:
            path.parent.mkdir(exist_ok=True)
            daemon = stack.enter_context(socket.socket(socket.AF_UNIX))
            daemon.bind(str(path))
            daemon.listen()
        yield paths


async def test_no_daemon_outside_can_be_spoken_to(daemons: list[Path], confined: Confined) -> None:
    for path in daemons:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))  # it does answer here
        script = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
        code, said = await confined.sh(f'{sys.executable} -c "{script}"')
        assert code != 0, path
        assert "Error" in said, path


def test_sockets_are_found_however_many_folders_the_home_has(daemons: list[Path], machine: Machine) -> None:
    for number in range(5000):
        (machine.home / f"folder-{number}").mkdir()
    assert {path for path in hidden_paths(machine.home, machine.workspace).paths if path.is_socket()} == {
        machine.home / name for name in ("engine.sock", "tool/agent.sock")
    }
    assert sockets_below(machine.home, {machine.home / "tool"}) == (
        [machine.home / name for name in ("engine.sock", ".colima/docker.sock")],
        True,
    )


async def test_a_home_that_is_too_large_to_be_searched_is_told(
    daemons: list[Path], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hiding, "MAX_ENTRIES", 3)
    confined = Confined(machine, SandboxMode.WORKSPACE_WRITE)
    await confined.start()
    await confined.stop()
    assert f"files and folders of {machine.home} were searched" in confined.sandbox.warning


@pytest.mark.parametrize("workspace", ["/", "run", "run/user", "run/user/1"])
async def test_no_other_session_can_be_spoken_to_whatever_the_workspace_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, workspace: str
) -> None:
    parent, temporary = (machine.runtime_folder / name for name in ("run/user/1", "run/tmp"))
    for folder in (parent, temporary):
        folder.mkdir(parents=True)
    monkeypatch.setattr(socket_folder, "PARENTS", (str(temporary),))
    async with AsyncExitStack() as stack:

        async def started(confined: Confined) -> Confined:
            stack.push_async_callback(confined.stop)
            await confined.start()
            return confined

        machine.environment["XDG_RUNTIME_DIR"] = str(parent)
        others = [await started(Confined(machine, SandboxMode.NONE))]
        ours = await started(
            Confined(machine, SandboxMode.WORKSPACE_WRITE, workspace=machine.runtime_folder / workspace)
        )
        others.append(await started(Confined(machine, SandboxMode.NONE)))
        machine.environment["XDG_RUNTIME_DIR"] = ""
        others.append(await started(Confined(machine, SandboxMode.NONE)))
        for other in others:
            script = f"import socket; socket.socket(socket.AF_UNIX).connect({other.sandbox.socket!r})"
            code, said = await ours.sh(f'{sys.executable} -c "{script}"')
            assert code == 1, other.sandbox.socket
            assert "Error" in said, other.sandbox.socket
            attempt = f"mv {Path(other.sandbox.socket).parents[1]} /elsewhere"
            assert (await ours.sh(attempt))[0] != 0


async def test_secrets_are_hidden(confined: Confined) -> None:
    for path in (".ssh/secret", ".aws/secret"):
        assert (await confined.sh(f"cat $HOME/{path}"))[0] != 0, path
    assert await confined.sh("cat $HOME/.netrc") == (0, "")
    assert (await confined.sh("ls -A $HOME/.local/state/codex-temporal"))[1] == ""
    # Not everything: what is no secret can be read.
    assert (await confined.sh("cat $HOME/.git/secret"))[0] == 0


@pytest.fixture
async def at_home(secrets: None, machine: Machine) -> AsyncIterator[Confined]:
    """The home folder with its secrets as the workspace."""
    (machine.home / ".config" / "gh").mkdir(parents=True)
    (machine.home / ".config" / "gh" / "secret").write_text("a secret\n")
    (machine.home / "files" / "kube").mkdir(parents=True)
    (machine.home / "files" / "kube" / "secret").write_text("a secret\n")
    (machine.home / ".kube").symlink_to("files/kube")
    confined = Confined(machine, SandboxMode.WORKSPACE_WRITE, machine.home)
    await confined.start()
    yield confined
    await confined.stop()


@pytest.mark.parametrize(
    "attempt",
    [
        "ln -s .ssh/secret .agents",
        "ln -s .ssh .agents",
        "ln -s .config .agents",
        "mkdir between && ln -s ../.ssh between/link && ln -s between/link/secret .agents",
        "echo 'gitdir: .ssh/secret' > .agents",
        "for folder in $SOCKETS $SOCKETS/..; do rm -f $folder/empty; ln -s ~/.ssh/secret $folder/empty; done",
        "mv $SOCKETS/sandbox x; chmod 0 $SOCKETS",
        "mv .config .elsewhere",
        "mv .config/gh .elsewhere",
        "mv .local/state .elsewhere",
        "rm .kube",
        "mv files other",
    ],
)
async def test_what_commands_leave_behind_uncovers_nothing(at_home: Confined, machine: Machine, attempt: str) -> None:
    await at_home.sh(f"SOCKETS={Path(at_home.sandbox.socket).parent}; {attempt}")
    await at_home.start_again()
    secrets = "-name secret -o -name journal.db -o -name providers.yaml -o -name .netrc -o -name logs -o -name key"
    code, said = await at_home.sh(f"find -L ~ $SOCKETS \\( {secrets} \\) -not -path '*/.git/*' | xargs cat")
    assert (code, said) == (0, ""), attempt


async def test_a_repository_that_commands_choose_uncovers_nothing(at_home: Confined, machine: Machine) -> None:
    (machine.home / ".git").rename(machine.home / "repository")
    for target in (".ssh/secret", ".ssh", ".netrc"):
        assert (await at_home.sh(f"rm -f .git; echo 'gitdir: {target}' > .git"))[0] == 0
        await at_home.start_again()
        assert (await at_home.sh("cat .git; cat .ssh/secret .netrc"))[1].count("a secret") == 0
        (machine.home / ".git").unlink()
        await at_home.start_again()


async def test_the_way_to_a_protected_repository_cannot_be_renamed(machine: Machine, home_of_its_own: None) -> None:
    (machine.workspace / "deep" / "bare").mkdir(parents=True)
    (machine.workspace / ".git").write_text("gitdir: deep/bare\n")
    confined = Confined(machine, SandboxMode.WORKSPACE_WRITE)
    await confined.start()
    assert (await confined.sh("mv deep other"))[0] != 0
    assert (await confined.sh("echo new > deep/file"))[0] == 0
    await confined.stop()


def bubblewrap_that_first_runs(script: str, machine: Machine, folder: Path) -> Path:
    """Put a bubblewrap in PATH before which something happens; return the file that counts its starts."""
    real, count = find_bubblewrap(os.environ["PATH"]), folder / "starts"
    (folder / "bwrap").write_text(f'#!/bin/sh\necho >> {count}\n{script}\nexec {real} "$@"\n')
    (folder / "bwrap").chmod(0o755)
    machine.environment["PATH"] = f"{folder}:/usr/bin:/bin"
    return count


@pytest.mark.parametrize("at_home", [False, True])
async def test_a_socket_that_vanishes_meanwhile_neither_keeps_it_from_starting_nor_leaves_a_file(
    daemons: list[Path], machine: Machine, tmp_path: Path, at_home: bool
) -> None:
    starts = bubblewrap_that_first_runs(f"rm -f {machine.home / 'engine.sock'}", machine, tmp_path)
    confined = Confined(machine, SandboxMode.WORKSPACE_WRITE, machine.home if at_home else None)
    await confined.start()
    assert not (machine.home / "engine.sock").exists()
    assert len(starts.read_text()) == (1 if at_home else 2)
    await confined.stop()


async def test_what_vanishes_again_and_again_is_not_taken_for_the_kernel(machine: Machine, tmp_path: Path) -> None:
    said = "bwrap: Can't find source path /namespace: No such file or directory"
    starts = bubblewrap_that_first_runs(f'echo "{said}" >&2; exit 1', machine, tmp_path)
    confined = Confined(machine, SandboxMode.WORKSPACE_WRITE)
    with pytest.raises(LocalError, match=said) as raised:
        await confined.start()
    assert "kernel" not in str(raised.value)
    assert 1 < len(starts.read_text()) < 10
    await confined.stop()


async def test_the_environment_holds_no_secret(confined: Confined) -> None:
    _, said = await confined.sh("env")
    assert "PATH=" in said
    assert "sk-secret" not in said
    assert "OPENAI" not in said


async def test_nothing_answers_on_the_network(confined: Confined, machine: Machine) -> None:
    port = machine.model.base_url.rpartition(":")[2].partition("/")[0]
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5):
        pass  # it does answer here
    assert (await confined.sh(f"exec 3<>/dev/tcp/127.0.0.1/{port}"))[0] != 0


async def test_no_process_outside_can_be_seen(confined: Confined) -> None:
    code, said = await confined.sh("ls -d /proc/[0-9]* | wc -l")
    assert code == 0
    assert int(said) < 10


@pytest.mark.parametrize("mode", [SandboxMode.READ_ONLY])
async def test_a_read_only_workspace_cannot_be_changed(confined: Confined) -> None:
    assert (await confined.sh("cat .git/config"))[0] == 0
    code, said = await confined.sh("touch file")
    assert code != 0
    assert "Read-only file system" in said


@pytest.mark.parametrize("mode", [SandboxMode.NONE])
async def test_without_a_sandbox_the_environment_holds_no_secret_either(confined: Confined, machine: Machine) -> None:
    assert (await confined.sh("touch $HOME/file"))[0] == 0
    assert (machine.home / "file").exists()
    assert "sk-secret" not in (await confined.sh("env"))[1]


async def test_a_sandbox_that_ends_is_replaced(confined: Confined) -> None:
    announced: asyncio.Queue[int] = asyncio.Queue()

    async def announce(sandbox: LocalSandbox) -> None:
        announced.put_nowait(sandbox.generation)

    keeping = asyncio.create_task(confined.sandbox.keep(announce))
    await confined.sandbox.reset()
    async with asyncio.timeout(30):
        assert await announced.get() == 2
    client = await SandboxClient.connect(SandboxAddress("session", 2, path=confined.sandbox.socket))
    await client.close()
    keeping.cancel()


async def test_a_kernel_that_refuses_is_told_with_the_cure(machine: Machine, tmp_path: Path) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    machine.environment["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    confined = Confined(machine, SandboxMode.WORKSPACE_WRITE)
    with pytest.raises(UsageError, match=r"No permissions to create new namespace.*--sandbox none"):
        await confined.start()
    await confined.stop()


def test_a_missing_bubblewrap_is_told_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"apt install bubblewrap.*--sandbox none"):
        find_bubblewrap(str(tmp_path))


def arguments(workspace: Path, home: Path, state: Path, *tools: Path) -> list[str]:
    return bubblewrap_arguments(
        "/usr/bin/bwrap",
        SandboxMode.WORKSPACE_WRITE,
        workspace,
        hidden=hidden_paths(home, workspace, [state]).paths,
        shared_folders=[],
        socket_folder=Path("/tmp/sockets"),
        empty_file=Path("/tmp/sockets/empty"),
        tools=tools,
    )


def test_of_the_name_service_only_files_are_shown(tmp_path: Path) -> None:
    argv = arguments(tmp_path, tmp_path, tmp_path / "state")
    assert "/run/systemd/resolve/resolv.conf" in argv
    assert "/run/systemd/resolve" not in argv


def test_who_works_among_secrets_meant_it(tmp_path: Path) -> None:
    (tmp_path / ".aws" / "work").mkdir(parents=True)
    (tmp_path / ".ssh").mkdir()
    argv = arguments(tmp_path / ".aws" / "work", tmp_path, tmp_path / "state")
    assert str(tmp_path / ".ssh") in argv
    assert str(tmp_path / ".aws") not in argv


def test_a_home_that_is_the_workspace_still_hides_its_secrets(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    argv = arguments(tmp_path, tmp_path, tmp_path / "state")
    assert argv.index(str(tmp_path / ".ssh")) > argv.index(str(tmp_path))


def test_programs_below_tmp_are_seen_again(tmp_path: Path) -> None:
    argv = arguments(Path("/work"), Path("/root"), Path("/state"), Path("/tmp/venv"), Path("/usr"))
    mount = argv.index("/tmp/venv")
    assert argv[mount - 1] == "--ro-bind"
    assert mount > argv.index("/tmp")
    assert "/usr" not in argv
