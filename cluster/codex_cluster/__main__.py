"""`python -m codex_cluster up | down | status | images | clean`: what `make` calls."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from codex_cluster import host_provider, images, kubectl, preflight, workspace
from codex_cluster.errors import ClusterError
from codex_cluster.layout import REPOSITORY, Layout, cache_directory
from codex_cluster.progress import Progress

INTERRUPTED_STATUS = 130


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="codex_cluster", description="A Kubernetes cluster for tests and demos.")
    parser.add_argument("--state", type=Path, default=REPOSITORY / ".cluster", help="folder of this cluster's files")
    parser.add_argument("--provider", choices=("auto", "host", "kind"), default="auto")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="bring the cluster up, or repair it")
    commands.add_parser("down", help="remove the cluster and all it left on this machine, except build caches")
    commands.add_parser("status", help="say whether the cluster is healthy; status 1 when it is not")
    commands.add_parser("images", help="build the product's images where their content changed and load them")
    commands.add_parser("clean", help="remove the build caches of all clones")
    return parser.parse_args(arguments)


def up(layout: Layout, provider: str, progress: Progress) -> None:
    machine = preflight.gather(layout.cache, built=host_provider.is_built(layout.cache))
    choice = preflight.choose_provider(provider, None, machine)
    progress.say(f"provider {choice.provider}: {choice.reason}")
    node = host_provider.prepare(layout, machine, progress)
    node.up()
    workspace.write(layout, kubectl.install(layout.cache, progress))


def main() -> int:
    given = parse(sys.argv[1:])
    layout = Layout(state=given.state.resolve(), cache=cache_directory(os.environ))
    progress = Progress()
    try:
        if given.command == "up":
            up(layout, given.provider, progress)
        elif given.command == "down":
            host_provider.existing(layout, progress).down()
        elif given.command == "images":
            node = host_provider.existing(layout, progress)
            images.build_for_host(layout, node, REPOSITORY, progress)
        elif given.command == "status":
            print(host_provider.existing(layout, progress).problems())
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    return 0


if __name__ == "__main__":
    sys.exit(main())
