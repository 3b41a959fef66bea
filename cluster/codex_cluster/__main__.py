"""`python -m codex_cluster up | down | status | images | deploy | demo | clean`: what `make` calls."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from codex_cluster import host_provider, host_settings, kind, kubectl, locking, preflight, workspace
from codex_cluster.buildah import Buildah
from codex_cluster.demo import Demo
from codex_cluster.deploy import deploy
from codex_cluster.errors import ClusterError
from codex_cluster.host_provider import HostProvider
from codex_cluster.kind import DEFAULT_NODE_IMAGE, NODE_IMAGES, Kind
from codex_cluster.layout import REPOSITORY, Layout, cache_directory
from codex_cluster.node_process import until
from codex_cluster.preflight import Machine
from codex_cluster.progress import Progress
from codex_cluster.provider import Provider

FAILED_STATUS = 1
INTERRUPTED_STATUS = 130
SETTLE_SECONDS = 15.0
"""A kubelet that begins anew calls running pods unready for some seconds."""


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="codex_cluster", description="A Kubernetes cluster for tests and demos.")
    parser.add_argument("--state", type=Path, default=REPOSITORY / ".cluster", help="folder of this cluster's files")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring the cluster up, or repair it")
    up.add_argument("--provider", choices=("auto", "host", "kind"), default="auto")
    versions = ", ".join(sorted(NODE_IMAGES))
    up.add_argument("--node-image", default=DEFAULT_NODE_IMAGE, help=f"kind only: {versions}, or an image by digest")
    commands.add_parser("down", help="remove the cluster and all it left on this machine, except build caches")
    commands.add_parser("status", help="say whether the cluster is healthy; status 1 when it is not")
    images = commands.add_parser("images", help="build the product's images where their content changed and load them")
    images.add_argument("--context", type=Path, default=REPOSITORY, help="folder of the Dockerfile")
    commands.add_parser("deploy", help="install the chart as a self-contained trial")
    demo = commands.add_parser("demo", help="up, images, deploy, then a session from apply to approval to answer")
    demo.add_argument("--model", default="scripted", help="scripted, or openai with OPENAI_API_KEY")
    commands.add_parser("clean", help="take the cluster down and remove the build caches that all clones share")
    return parser.parse_args(arguments)


class Tool:
    """Builds the provider that a command needs and runs the command."""

    def __init__(self, layout: Layout, progress: Progress) -> None:
        self._layout = layout
        self._progress = progress

    def up(self, wanted: str, node_image: str) -> None:
        machine = self._machine()
        choice = preflight.choose_provider(wanted, workspace.provider(self._layout), machine)
        self._progress.say(f"provider {choice.provider}: {choice.reason}")
        provider = self._provider(choice.provider, machine, node_image)
        workspace.record_provider(self._layout, choice.provider)
        provider.up()
        workspace.write(self._layout, self._programs())
        self._progress.say(f"cluster {self._layout.name} is up; for a shell: . {self._layout.state}/env")

    def down(self) -> None:
        name = workspace.provider(self._layout)
        if name is None:
            self._progress.say(f"no cluster belongs to {self._layout.state}")
            return
        self._provider(name, self._machine()).down()
        workspace.remove(self._layout)
        self._progress.say(f"cluster {self._layout.name} is gone")

    def status(self) -> int:
        name = workspace.provider(self._layout)
        problems = ["there is none"] if name is None else self._provider(name, self._machine()).problems()
        print(f"cluster {self._layout.name}: {'; '.join(problems) or 'healthy'}")
        return FAILED_STATUS if problems else 0

    def images(self, context: Path) -> None:
        name = workspace.provider(self._layout)
        if name is None:
            raise ClusterError("there is no cluster to load images into: run `make up` first")
        provider = self._provider(name, self._machine())
        if not until(lambda: not provider.problems(), SETTLE_SECONDS):
            problems = "; ".join(provider.problems())
            raise ClusterError(f"the cluster is not healthy ({problems}): run `make up` first")
        for target, image in provider.load_images(context).items():
            self._progress.say(f"{target}: {image}")

    def demo(self, model: str) -> None:
        demo = Demo(self._layout, self._progress)
        demo.check(model)
        self.up("auto", DEFAULT_NODE_IMAGE)
        self.images(REPOSITORY)
        demo.run(model)

    def deploy(self) -> None:
        deploy(self._layout, self._progress)

    def clean(self) -> None:
        self.down()
        others = host_settings.users_of(self._layout.cache)
        if others:
            raise ClusterError(f"the builds are in use by the clusters of {', '.join(others)}: run `make down` there")
        with tempfile.TemporaryDirectory() as scratch:
            Buildah(self._layout.cache, Path(scratch) / "buildah").remove()
        shutil.rmtree(self._layout.cache, ignore_errors=not self._layout.cache.exists())
        self._progress.say(f"{self._layout.cache} is gone")

    def _machine(self) -> Machine:
        return preflight.gather(self._layout.cache, built=host_provider.is_built(self._layout.cache))

    def _programs(self) -> Path:
        return kubectl.install(self._layout.cache, self._progress)

    def _provider(self, name: str, machine: Machine, node_image: str = DEFAULT_NODE_IMAGE) -> Provider:
        if name == "host":
            return HostProvider(self._layout, self._programs(), machine, self._progress)
        program = kind.install(self._layout.cache, self._progress)
        return Kind(self._layout, program, self._programs(), node_image, self._progress)


def run(given: argparse.Namespace, layout: Layout) -> int:
    tool = Tool(layout, Progress())
    if given.command == "status":
        return tool.status()
    with locking.exclusive(layout.cache / f"{layout.name}.lock"):
        match given.command:
            case "up":
                tool.up(given.provider, given.node_image)
            case "down":
                tool.down()
            case "images":
                tool.images(given.context.resolve())
            case "deploy":
                tool.deploy()
            case "demo":
                tool.demo(given.model)
            case "clean":
                tool.clean()
    return 0


def main() -> int:
    given = parse(sys.argv[1:])
    try:
        return run(given, Layout(state=given.state.resolve(), cache=cache_directory(os.environ)))
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED_STATUS
    except KeyboardInterrupt:
        print("interrupted; `make up` goes on where this stopped, `make down` removes what is there", file=sys.stderr)
        return INTERRUPTED_STATUS


if __name__ == "__main__":
    sys.exit(main())
