"""The provider `host`: one Kubernetes node in network, mount and PID namespaces of this machine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from codex_cluster import (
    addons,
    certificates,
    cgroups,
    commands,
    control_plane,
    host_network,
    host_settings,
    image_archive,
    node_plan,
)
from codex_cluster.certificates import Authority
from codex_cluster.errors import ClusterError
from codex_cluster.layout import Layout
from codex_cluster.node_plan import Node
from codex_cluster.progress import Progress

READY_SECONDS = 60.0
REPAIR_SECONDS = 20.0
KILL_SECONDS = 10.0
NODE_SYSCTL = {
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
    "net/bridge/bridge-nf-call-ip6tables": "1",
}


class HostNode:
    """Brings one node up, looks at it, takes it down."""

    def __init__(self, node: Node, programs: Path, progress: Progress) -> None:
        self._node = node
        self._layout = node.layout
        self._programs = programs
        self._progress = progress

    def up(self) -> None:
        """Start the node, or repair it; raises ClusterError when it cannot be made healthy."""
        self._refuse_other_owner()
        if self._is_current():
            problems = self.problems()
            if not problems:
                self._progress.say(f"node {self._layout.name} is healthy")
                return
            self._progress.say(f"node {self._layout.name} needs repair: {'; '.join(problems)}")
            if self._wait_healthy(REPAIR_SECONDS, "waiting for its own restarts"):
                self._apply_addons()
                return
        elif self._layout.data.exists():
            self._progress.say(
                f"node {self._layout.name} is stopped or was started from other files: starting it again"
            )
        self._kill()
        if (self._layout.data / "etcd").exists() and self._start("starting the node with its old data"):
            return
        self.down(keep_settings=True)
        if not self._start("starting the node"):
            raise ClusterError(f"the node is not healthy: {'; '.join(self.problems())}; logs: {self._layout.logs}")

    def down(self, *, keep_settings: bool = False) -> None:
        """Stop the node and remove everything it made outside the user's cache."""
        self._refuse_other_owner()
        self._kill()
        cgroups.remove(self._layout.name)
        host_network.remove(self._layout)
        for folder in (self._layout.data, self._layout.run):
            shutil.rmtree(folder, ignore_errors=not folder.exists())
        if not keep_settings:
            _remove_if_empty(self._layout.run.parent)
            host_settings.restore()

    def problems(self) -> list[str]:
        """What is wrong with a running node, each in a few words; empty when all works."""
        if self._init_pid() is None:
            return ["its first process is gone"]
        running = self._layout.run / "running"
        wrong = [
            f"{process['name']} does not run"
            for process in node_plan.processes(self._node)
            if not (running / process["name"]).exists()
        ]
        if wrong:
            return wrong
        checks: dict[str, Sequence[str]] = {
            "the API server is not ready": self.kubectl_command("get", "--raw=/readyz"),
            "the kubelet does not answer": self.kubectl_command(
                "get", f"--raw=/api/v1/nodes/{self._layout.name}/proxy/healthz"
            ),
            "containerd does not answer": self._ctr("version"),
        }
        wrong = [problem for problem, argv in checks.items() if not commands.succeeds(argv, timeout=5)]
        return wrong or self._unready_objects()

    def import_image(self, archive: Path) -> None:
        """Load an image archive into the node's containerd."""
        commands.output(self._ctr("images", "import", "--digests=false", str(archive)), timeout=600)

    def tag_image(self, name: str, alias: str) -> None:
        """Give an image a second name, which another image may have had."""
        commands.output(self._ctr("images", "tag", "--force", name, alias))

    def images(self) -> set[str]:
        """Names of the images the node has."""
        return set(commands.output(self._ctr("images", "list", "-q")).split())

    def kubectl_command(self, *arguments: str) -> list[str]:
        """kubectl as admin."""
        kubeconfig = f"--kubeconfig={self._layout.kubeconfig()}"
        return [str(self._programs / "kubectl"), kubeconfig, "--request-timeout=4s", *arguments]

    def _unready_objects(self) -> list[str]:
        node = json.loads(commands.output(self.kubectl_command("get", "node", self._layout.name, "-o=json")))
        conditions = {entry["type"]: entry["status"] for entry in node.get("status", {}).get("conditions", [])}
        if conditions.get("Ready") != "True":
            return ["the node is not Ready"]
        dns = self.kubectl_command("-n=kube-system", "get", "deployment", "coredns", "--ignore-not-found", "-o=json")
        found = commands.output(dns)
        ready = bool(found) and json.loads(found)["status"].get("readyReplicas", 0) > 0
        return [] if ready else ["cluster DNS is not ready"]

    def _is_current(self) -> bool:
        """Whether the node runs from exactly the files that would be written now."""
        stamp = self._layout.run / "plan.sha256"
        return self._init_pid() is not None and stamp.exists() and stamp.read_text() == _digest(self._files())

    def _start(self, title: str) -> bool:
        self._progress.say(f"{title}: {self._layout.name} at {host_network.link_of(self._layout).inner}")
        for folder in (self._layout.data, self._layout.run, self._layout.run / "running"):
            folder.mkdir(parents=True, exist_ok=True)
            # User namespaces in pods must be able to pass every folder down to containerd's state.
            folder.chmod(0o711)
            folder.parent.chmod(0o711)
        self._layout.logs.mkdir(parents=True, exist_ok=True)
        (self._layout.data / "owner").write_text(str(self._layout.state))
        host_settings.apply()
        host_network.create(self._layout)
        cgroups.create(self._layout.name)
        self._write_files()
        self._start_init()
        return self._wait_started()

    def _files(self) -> dict[Path, str]:
        """Every generated file except certificates, by path."""
        node = self._node
        plan = {
            "logs": str(self._layout.logs),
            "running": str(self._layout.run / "running"),
            "private": host_settings.HIDDEN_FOLDERS,
            "sysctl": NODE_SYSCTL,
            "ruleset": node_plan.node_ruleset(),
            "processes": node_plan.processes(node),
        }
        return {
            node.config / "plan.json": json.dumps(plan, indent=2),
            node.config / "kubelet.json": node_plan.kubelet_configuration(node),
            node.config / "containerd.toml": node_plan.containerd_configuration(node),
            node.config / "cni" / "10-codex.conflist": node_plan.cni_configuration(node),
            self._layout.data / "cni-plugins" / node_plan.POLICY_PLUGIN: node_plan.policy_plugin(node),
        }

    def _write_files(self) -> None:
        files = self._files()
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        self._write_credentials()
        (self._layout.run / "plan.sha256").write_text(_digest(files))

    def _write_credentials(self) -> None:
        node, folder, server = self._node, self._node.certificates, self._node.plane.server
        if (folder / "ca.crt").exists() and self._layout.kubeconfig().exists():
            return
        authority = certificates.write_control_plane(folder, (*control_plane.SERVICE_HOSTS, node.address))
        authority.issue("kubelet", hosts=(node.address, self._layout.name)).write(folder, "kubelet")
        authority.issue("kubelet-client", ("system:masters",)).write(folder, "kubelet-client")
        authority.issue(node_plan.AGENT_USER).write(folder, "policy-agent")
        for component, (user, groups) in node_plan.component_users(node).items():
            certificates.write_kubeconfig(node.kubeconfig(component), server, authority, user, groups)
        self._write_users(authority)

    def _write_users(self, authority: Authority) -> None:
        server = self._node.plane.server
        for user, groups in certificates.USERS.items():
            certificates.write_kubeconfig(self._layout.kubeconfig(user), server, authority, user, groups)

    def _start_init(self) -> None:
        script = self._node.sources / "codex_cluster" / "node_init.py"
        enter = ["nsenter", f"--net={host_network.namespace_path(self._layout)}"]
        unshare = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--propagation", "private"]
        program = [str(self._node.python), "-I", "-S", str(script), str(self._node.config / "plan.json")]
        with (self._layout.logs / "node.log").open("ab") as log:
            process = subprocess.Popen(
                [*enter, *unshare, *program],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        process.returncode = 0  # It outlives this program on purpose, so nobody waits for it.

    def _wait_started(self) -> bool:
        with self._progress.step("waiting for the API server", estimate_seconds=4):
            if not _until(lambda: commands.succeeds(self.kubectl_command("get", "--raw=/readyz")), READY_SECONDS):
                return False
        self._apply_addons()
        if not _until(lambda: commands.succeeds(self._ctr("version")), READY_SECONDS):
            return False
        self._import_own_images()
        return self._wait_healthy(READY_SECONDS, "waiting for node and DNS")

    def _wait_healthy(self, seconds: float, title: str) -> bool:
        with self._progress.step(title, estimate_seconds=6):
            return _until(lambda: not self._problems_now(), seconds)

    def _problems_now(self) -> list[str]:
        try:
            return self.problems()
        except ClusterError as error:
            return [str(error)]

    def _import_own_images(self) -> None:
        present = self.images()
        wanted = {node_plan.PAUSE_IMAGE: ("pause", "pause"), addons.DNS_IMAGE: ("coredns", "coredns")}
        for name, (component, program) in wanted.items():
            if name not in present:
                archive = self._layout.data / f"{program}.tar"
                archive.write_bytes(image_archive.program_image(self._node.programs[component] / program, name))
                self.import_image(archive)
                archive.unlink()

    def _apply_addons(self) -> None:
        def apply() -> bool:
            try:
                commands.output(
                    self.kubectl_command("apply", "--server-side", "--force-conflicts", "-f", "-"),
                    stdin=addons.host_node(),
                )
            except ClusterError as error:
                self._last_error = str(error)
                return False
            return True

        if not _until(apply, READY_SECONDS):
            raise ClusterError(f"the cluster's own objects were not accepted: {self._last_error}")

    def _ctr(self, *arguments: str) -> list[str]:
        program = self._node.programs["containerd"] / "ctr"
        return [str(program), f"--address={self._node.containerd_socket}", "--namespace=k8s.io", *arguments]

    def _init_pid(self) -> int | None:
        """The node's first process, seen from outside: the one that is number 1 in its own PID namespace."""
        for pid in self._pids():
            status = Path("/proc", str(pid), "status")
            lines = status.read_text().splitlines() if status.exists() else []
            numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
            if len(numbers) > 1 and numbers[-1] == "1":
                return pid
        return None

    def _pids(self) -> list[int]:
        if not host_network.namespace_path(self._layout).exists():
            return []
        return [int(pid) for pid in commands.output(["ip", "netns", "pids", self._layout.name]).split()]

    def _kill(self) -> None:
        """Kill the first process, with which the kernel kills all others, then whatever else is in the namespace."""
        first = self._init_pid()
        for pid in [first] if first else self._pids():
            _kill_process(pid)
        if not _until(lambda: not self._pids(), KILL_SECONDS):
            for pid in self._pids():
                _kill_process(pid)
        cgroups.remove(self._layout.name)
        host_network.remove(self._layout)
        shutil.rmtree(self._layout.run, ignore_errors=True)

    def _refuse_other_owner(self) -> None:
        record = self._layout.data / "owner"
        owner = record.read_text() if record.exists() else str(self._layout.state)
        if owner != str(self._layout.state):
            raise ClusterError(
                f"the node {self._layout.name} belongs to {owner}, not to {self._layout.state}: run `make down` there"
            )


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _digest(files: dict[Path, str]) -> str:
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()


def _kill_process(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _remove_if_empty(folder: Path) -> None:
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
