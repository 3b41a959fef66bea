"""The provider `host`: one Kubernetes node in network, mount and PID namespaces of this machine."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from codex_cluster import (
    addons,
    cgroups,
    commands,
    host_network,
    host_settings,
    image_archive,
    node_files,
    node_health,
    node_plan,
    policy_plugin,
)
from codex_cluster.errors import ClusterError
from codex_cluster.node_plan import Node
from codex_cluster.node_process import NodeProcess, until
from codex_cluster.progress import Progress

READY_SECONDS = 60.0
REPAIR_SECONDS = 30.0
"""After this a repair restarts the whole node, with all pods; a merely overloaded machine must not get there."""
ETCD_ATTEMPTS = 3


class HostNode:
    """Brings one node up, looks at it, takes it down."""

    def __init__(self, node: Node, programs: Path, progress: Progress) -> None:
        self._node = node
        self._layout = node.layout
        self._programs = programs
        self._progress = progress
        self._process = NodeProcess(self._layout, node.python, node.sources)

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
                return
        elif self._layout.data.exists():
            self._progress.say(
                f"node {self._layout.name} is stopped or was started from other files: starting it again"
            )
        self._stop()
        problem = self._start()
        if problem and self._etcd_keeps_ending():
            self._progress.say(f"its data is damaged, so it is made anew: {problem}")
            self.down(keep_settings=True)
            problem = self._start()
        if problem:
            cure = "`make down` and `make up` start from nothing"
            raise ClusterError(f"the node is not healthy: {problem}; logs: {self._layout.logs}; {cure}")

    def _stop(self) -> None:
        """End all processes and remove what does not outlive them."""
        self._process.kill()
        cgroups.remove(self._layout.name)
        host_network.remove(self._layout)
        shutil.rmtree(self._layout.run, ignore_errors=not self._layout.run.exists())

    def down(self, *, keep_settings: bool = False) -> None:
        """Stop the node and remove everything it made outside the user's cache."""
        self._refuse_other_owner()
        with self._progress.step(f"removing node {self._layout.name}", estimate_seconds=5):
            self._stop()
            commands.output(["rm", "-rf", "--one-file-system", str(self._layout.data)], timeout=600)
            if not keep_settings:
                _remove_if_empty(self._layout.run.parent)
                host_settings.restore()

    def problems(self) -> list[str]:
        """What is wrong with a running node, each in a few words; empty when all works."""
        if self._process.first() is None:
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
        if not self._policy_agent_answers():
            wrong.append("the policy agent does not answer")
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

    def _policy_agent_answers(self) -> bool:
        """Whether the agent says that the rules of all present policies are in the kernel."""
        try:
            return bool(policy_plugin.ask(str(self._node.policy_socket), {})["ok"])
        except (OSError, ValueError):
            return False

    def _unready_objects(self) -> list[str]:
        node = json.loads(commands.output(self.kubectl_command("get", "node", self._layout.name, "-o=json")))
        pods = json.loads(commands.output(self.kubectl_command("get", "pods", "--all-namespaces", "-o=json")))
        try:
            kubelet_started = (self._layout.run / "running" / "kubelet").stat().st_mtime
        except FileNotFoundError:
            return ["kubelet does not run"]
        return node_health.problems(node, pods["items"], node_files.written_at(self._node), kubelet_started)

    def _is_current(self) -> bool:
        """Whether the node runs from exactly the files that would be written now."""
        return self._process.first() is not None and node_files.are_current(self._node)

    def _start(self) -> str:
        """Start everything around the data that is there; returns what went wrong, if anything did."""
        data = "its old data" if (self._layout.data / "etcd").exists() else "no data"
        self._progress.say(
            f"starting the node with {data}: {self._layout.name} at {host_network.link_of(self._layout).inner}"
        )
        for folder in (self._layout.data, self._layout.run, self._layout.run / "running"):
            folder.mkdir(parents=True, exist_ok=True)
            # User namespaces in pods must be able to pass every folder down to containerd's state.
            folder.chmod(0o711)
            folder.parent.chmod(0o711)
        self._layout.logs.mkdir(parents=True, exist_ok=True)
        (self._layout.data / "cache").write_text(str(self._layout.cache))
        (self._layout.data / "owner").write_text(str(self._layout.state))
        host_settings.apply()
        host_network.create(self._layout)
        cgroups.create(self._layout.name)
        node_files.write(self._node)
        self._process.start(node_files.plan_path(self._node))
        try:
            return "" if self._wait_started() else "; ".join(self.problems())
        except ClusterError as error:
            return str(error)

    def _wait_started(self) -> bool:
        with self._progress.step("waiting for the API server", estimate_seconds=4):
            ready = self.kubectl_command("get", "--raw=/readyz")
            if not until(lambda: commands.succeeds(ready) or self._etcd_keeps_ending(), READY_SECONDS):
                return False
        if self._etcd_keeps_ending():
            return False
        self._apply_addons()
        if not until(lambda: commands.succeeds(self._ctr("version")), READY_SECONDS):
            return False
        self._import_own_images()
        return self._wait_healthy(READY_SECONDS, "waiting for node and DNS")

    def _etcd_keeps_ending(self) -> bool:
        """Whether etcd ended several times since the node was started, as it does with damaged data."""
        return self._process.log.read_text().count("etcd ended") >= ETCD_ATTEMPTS

    def _wait_healthy(self, seconds: float, title: str) -> bool:
        with self._progress.step(title, estimate_seconds=6):
            return until(lambda: not self._problems_now(), seconds)

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
        deadline = time.monotonic() + READY_SECONDS
        apply = self.kubectl_command("apply", "--server-side", "--force-conflicts", "-f", "-")
        while True:
            try:
                commands.output(apply, stdin=addons.host_node())
            except ClusterError:
                # Right after readiness the namespace kube-system may not exist yet.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    def _ctr(self, *arguments: str) -> list[str]:
        program = self._node.programs["containerd"] / "ctr"
        return [str(program), f"--address={self._node.containerd_socket}", "--namespace=k8s.io", *arguments]

    def _refuse_other_owner(self) -> None:
        record = self._layout.data / "owner"
        owner = record.read_text() if record.exists() else str(self._layout.state)
        if owner != str(self._layout.state):
            raise ClusterError(
                f"the node {self._layout.name} belongs to {owner}, not to {self._layout.state}: run `make down` there"
            )


def _remove_if_empty(folder: Path) -> None:
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
