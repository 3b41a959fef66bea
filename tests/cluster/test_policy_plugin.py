import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from codex_cluster import policy_plugin

PLUGIN = Path(policy_plugin.__file__)
RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0"}],
    "ips": [{"address": "fd00::7/64"}, {"address": "10.244.0.7/24", "gateway": "10.244.0.1"}],
}
ARGUMENTS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=team;K8S_POD_NAME=sandbox-1;K8S_POD_INFRA_CONTAINER_ID=abc"


def run(command: str, path: Path) -> subprocess.CompletedProcess[str]:
    configuration = {"cniVersion": "1.0.0", "name": "codex", "socket": str(path), "prevResult": RESULT}
    return subprocess.run(
        [sys.executable, "-I", "-S", str(PLUGIN)],
        input=json.dumps(configuration),
        env={**os.environ, "CNI_COMMAND": command, "CNI_ARGS": ARGUMENTS},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def agent(tmp_path: Path) -> Any:
    """A listener that answers one request as told and keeps what it was asked."""
    asked: list[Any] = []

    def listen(answer: dict[str, Any]) -> tuple[Path, list[Any], threading.Thread]:
        path = tmp_path / "policy.sock"
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen(1)

        def serve() -> None:
            connection, _ = server.accept()
            with server, connection, connection.makefile("rw") as stream:
                asked.append(json.loads(stream.readline()))
                stream.write(json.dumps(answer) + "\n")

        thread = threading.Thread(target=serve)
        thread.start()
        return path, asked, thread

    return listen


def test_a_pod_may_start_once_the_agent_has_programmed_its_address(agent: Any) -> None:
    path, asked, thread = agent({"ok": True})
    done = run("ADD", path)
    thread.join()
    assert (done.returncode, json.loads(done.stdout)) == (0, RESULT)
    assert asked == [{"namespace": "team", "name": "sandbox-1", "address": "10.244.0.7"}]


def test_a_pod_may_not_start_while_the_agent_refuses(agent: Any) -> None:
    path, _, thread = agent({"ok": False})
    done = run("ADD", path)
    thread.join()
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == policy_plugin.TRY_AGAIN_LATER


def test_a_pod_may_not_start_while_the_agent_is_away(tmp_path: Path) -> None:
    done = run("ADD", tmp_path / "absent.sock")
    assert done.returncode == 1
    assert "policy agent" in json.loads(done.stdout)["msg"]


def test_a_pod_can_be_removed_without_the_agent(tmp_path: Path) -> None:
    assert run("DEL", tmp_path / "absent.sock").returncode == 0


def test_the_plugin_names_the_versions_it_speaks(tmp_path: Path) -> None:
    assert "1.0.0" in json.loads(run("VERSION", tmp_path / "absent.sock").stdout)["supportedVersions"]
