"""The supervisor's process: reads arguments and environment, builds everything, runs as PID 1 or as a subreaper."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from codex_sandbox.isolation import IsolationWatch, Probe
from codex_sandbox.log import log
from codex_sandbox.process_tree import become_subreaper
from codex_sandbox.server import Server, listen_tcp, listen_unix
from codex_sandbox.supervisor import Supervisor
from codex_sandbox.tls import TlsFiles, server_context

if TYPE_CHECKING:
    from collections.abc import Sequence

OUR_PREFIX = "CODEX_SANDBOX_"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    tls = _tls_files(options)
    if options.listen.startswith("tcp:") and tls is None:
        parser.error("a TCP listener needs --certificate, --key and --ca")
    if options.exit_with_parent and not _can_close(sys.stdin.fileno()):
        parser.error("--exit-with-parent needs a pipe or a socket as standard input")
    asyncio.run(_run(options, tls))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="codex_sandbox", description="Run the commands of one session.")
    add = parser.add_argument
    add("--listen", required=True, metavar="URL", type=_listen_url, help="tcp://ADDRESS:PORT or unix:///PATH")
    add("--session", required=True, metavar="UID", help="uid of the session that this sandbox belongs to")
    add("--generation", required=True, type=int, metavar="N", help="which pod of the session this is")
    add("--workspace", required=True, metavar="FOLDER", type=os.path.abspath, help="where commands start")
    add("--certificate", metavar="FILE", help="PEM; read anew for every connection, like the two that follow")
    add("--key", metavar="FILE", help="PEM")
    add("--ca", metavar="FILE", help="PEM bundle of the authorities that sign workers")
    add(
        "--probe",
        action="append",
        default=[],
        type=_probe,
        metavar="NAME=ADDRESS:PORT",
        help="what must not be reachable from here; the one named api-server is the one known to answer; repeatable",
    )
    add(
        "--expect-unreachable",
        action="store_true",
        help="refuse to start commands until the probes have shown that nothing is reachable",
    )
    add(
        "--exit-with-parent",
        action="store_true",
        help="end, with every command, when standard input closes: a pipe whose other end only the parent holds",
    )
    return parser


def _listen_url(text: str) -> str:
    url = urlsplit(text)
    if not (url.scheme == "unix" and url.path) and not (url.scheme == "tcp" and url.hostname and url.port is not None):
        raise argparse.ArgumentTypeError(f"{text!r} is neither tcp://ADDRESS:PORT nor unix:///PATH")
    return text


def _probe(text: str) -> Probe:
    try:
        return Probe.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _tls_files(options: argparse.Namespace) -> TlsFiles | None:
    if options.certificate and options.key and options.ca:
        return TlsFiles(options.certificate, options.key, options.ca)
    return None


def _listener(listen: str) -> socket.socket:
    url = urlsplit(listen)
    if url.scheme == "unix":
        return listen_unix(url.path)
    return listen_tcp(str(url.hostname), int(url.port or 0))


def _can_close(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _end_with_input(loop: asyncio.AbstractEventLoop, descriptor: int, ending: asyncio.Event) -> None:
    def read() -> None:
        try:
            if os.read(descriptor, 4096):
                return
        except BlockingIOError:
            return
        except OSError:
            # As good as closed.
            pass
        loop.remove_reader(descriptor)
        ending.set()

    loop.add_reader(descriptor, read)


async def _run(options: argparse.Namespace, tls: TlsFiles | None) -> None:
    loop = asyncio.get_running_loop()
    become_subreaper()
    if tls is not None:
        # Unreadable files are reported now rather than by every handshake.
        server_context(tls)
    isolation = IsolationWatch(options.probe)
    supervisor = Supervisor(
        session=options.session,
        generation=options.generation,
        workspace=options.workspace,
        base_environment={name: value for name, value in os.environ.items() if not name.startswith(OUR_PREFIX)},
        isolation=isolation,
        require_isolation=options.expect_unreachable,
    )
    ending = asyncio.Event()
    loop.add_signal_handler(signal.SIGCHLD, supervisor.reap)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    if options.exit_with_parent:
        _end_with_input(loop, sys.stdin.fileno(), ending)
    listener = _listener(options.listen)
    server = Server(supervisor, listener, None if listener.family == socket.AF_UNIX else tls)
    tasks = [asyncio.ensure_future(isolation.run()), asyncio.ensure_future(server.run())]
    log("listening", address=listener.getsockname(), boot_id=supervisor.boot_id, pid=os.getpid())
    try:
        waiting = asyncio.ensure_future(ending.wait())
        await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        # Before anything is killed: what ends with its sandbox was interrupted, it has no exit code to report.
        await server.close()
        remaining = await supervisor.stop_everything()
        log("stopped", remaining=remaining)


if __name__ == "__main__":
    sys.exit(main())
