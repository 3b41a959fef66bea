"""The one file that is copied into any image with Python 3.9 or newer."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from codex_sandbox import build_zipapp
from codex_sandbox.testing import LocalSandbox, characters, command

if TYPE_CHECKING:
    from codex_sandbox.testing import TestingAuthority

OLDEST = (3, 9)
PACKAGE = Path(build_zipapp.__file__).parent
# Newer than Python 3.9 and tempting.
TOO_NEW = {
    "Self",
    "StrEnum",
    "TaskGroup",
    "UTC",
    "aiter",
    "anext",
    "pairwise",
    "slots",
    "kw_only",
    "strict",
    "ExceptionGroup",
    "batched",
}


def interpreters() -> list[str]:
    """Return one Python of every version from 3.9 on that can be found, this one included."""
    candidates = [sys.executable, *(str(path) for path in Path.home().glob(".pyenv/versions/3.*/bin/python"))]
    candidates += [path for minor in range(9, 20) if (path := shutil.which(f"python3.{minor}"))]
    found: dict[str, str] = {}
    for candidate in candidates:
        asked = [candidate, "-c", "import sys, ssl; print('%d.%d' % sys.version_info[:2])"]
        version = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        if version and tuple(int(part) for part in version.split(".")) >= OLDEST:
            found.setdefault(version, candidate)
    return list(found.values())


@pytest.fixture
def zipapp(tmp_path: Path) -> Path:
    output = tmp_path / "supervisor.pyz"
    build_zipapp.build_zipapp(output)
    return output


@pytest.mark.parametrize("python", interpreters())
async def test_the_zipapp_runs_commands(python: str, zipapp: Path, authority: TestingAuthority) -> None:
    async with LocalSandbox(command=(python, "-I", str(zipapp)), authority=authority) as sandbox:
        client = await sandbox.client()
        reply = await client.start(command(client, "t1.s1.c1", "cat", stdin="hello"))
        assert (reply.output, reply.exit_code) == ("hello", 0)
        missing = await client.start(command(client, "t1.s1.c2", "no-such-command"))
        assert (missing.output, missing.exit_code) == ("no-such-command: command not found\n", 127)
        script = "read name; echo hello $name; exec sleep 300"
        asking = await client.start(command(client, "t1.s1.c3", "sh", "-c", script, tty=True, yield_time_ms=100))
        assert asking.process is not None
        greeted = await client.write(characters(client, "t1.s1.c4", asking.process, "Ada\n", yield_time_ms=500))
        assert "hello Ada\r\n" in greeted.output
        assert await client.stop(turn_prefix="t1.") == 0
        ended = await client.write(characters(client, "t2.s1.c1", asking.process))
        assert ended.signal in ("SIGTERM", "SIGHUP")
        patch = "*** Begin Patch\n*** Add File: n\n+a\n*** End Patch"
        patched = await client.start(command(client, "t2.s1.c2", "codex-apply-patch", stdin=patch))
        assert (patched.output, patched.exit_code) == ("Success. Updated the following files:\nA n\n", 0)
        assert await sandbox.stop() == 0
        assert "Traceback" not in sandbox.log.read_text()


def test_the_oldest_supported_python_can_parse_every_module() -> None:
    for module in build_zipapp.MODULES:
        source = (PACKAGE / f"{module}.py").read_text()
        tree = ast.parse(source, feature_version=OLDEST)
        assert "from __future__ import annotations" in source or module.endswith("__init__")
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg is not None}
        assert names & TOO_NEW == set(), module


def test_the_zipapp_needs_nothing_but_the_standard_library(zipapp: Path) -> None:
    script = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]); import codex_sandbox.__main__;"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}"
        " - set(sys.stdlib_module_names)))"
        ";print(*sorted(name for name in sys.modules if name.startswith('codex_sandbox.')))"
    )
    asked = [sys.executable, "-I", "-S", "-c", script, str(zipapp)]
    output = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    assert output[0] == "codex_sandbox"
    # The patch program runs in a process of its own and costs the supervisor nothing.
    needed = {f"codex_sandbox.{module}" for module in build_zipapp.SUPERVISOR_MODULES if module != "__init__"}
    assert set(output[1].split()) == needed


def test_the_patch_program_needs_nothing_but_the_standard_library(zipapp: Path) -> None:
    script = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]); import codex_sandbox.apply_patch;"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}"
        " - set(sys.stdlib_module_names)))"
        ";print(*sorted(name for name in sys.modules if name.startswith('codex_sandbox.')))"
    )
    asked = [sys.executable, "-I", "-S", "-c", script, str(zipapp)]
    output = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    assert output[0] == "codex_sandbox"
    needed = {f"codex_sandbox.{module}".replace("/", ".") for module in build_zipapp.PATCH_MODULES}
    assert set(output[1].split()) == {module.removesuffix(".__init__") for module in needed}


def test_the_zipapp_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    build_zipapp.build_zipapp(first)
    subprocess.run([sys.executable, "-m", "codex_sandbox.build_zipapp", str(second)], check=True, umask=0o077)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert first.stat().st_mode & 0o777 == second.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--listen", "tcp://0.0.0.0:7443"], "needs --certificate, --key and --ca"),
        (["--listen", "0.0.0.0:7443"], "neither tcp://ADDRESS:PORT nor unix:///PATH"),
        (["--listen", "unix:///tmp/x", "--probe", "api-server=kubernetes:443"], "does not appear to be an IPv4"),
        (["--listen", "unix:///tmp/x", "--exit-with-parent"], "needs a pipe or a socket as standard input"),
        ([], "--listen"),
    ],
)
def test_wrong_arguments_are_explained(zipapp: Path, arguments: list[str], complaint: str) -> None:
    started = [sys.executable, str(zipapp), *arguments, "--session", "x", "--generation", "1", "--workspace", "."]
    result = subprocess.run(started, capture_output=True, text=True, check=False, timeout=20, stdin=subprocess.DEVNULL)
    assert result.returncode == 2
    assert complaint in " ".join(result.stderr.split())
