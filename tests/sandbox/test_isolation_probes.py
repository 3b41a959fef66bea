"""What a sandbox says about its own network, seen on loopback listeners."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from codex_sandbox.errors import SandboxRefused
from codex_sandbox.isolation import Probe, judge
from codex_sandbox.testing import LocalSandbox, command

if TYPE_CHECKING:
    from collections.abc import Iterator

# Broadcast: a TCP connection fails at once and no packet leaves the machine.
UNREACHABLE = "255.255.255.255:443"


@contextmanager
def listener() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def accepts_once() -> Iterator[str]:
    """Yield an address that answers the first connection; later ones time out, as behind a dropping filter."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def never_answers() -> Iterator[str]:
    with accepts_once() as address:
        host, port = address.split(":")
        with socket.create_connection((host, int(port))):
            yield address


def closed_port() -> str:
    with listener() as address:
        return address


def probing(**targets: str) -> list[str]:
    return [part for name, target in targets.items() for part in ("--probe", f"{name.replace('_', '-')}={target}")]


async def test_silence_everywhere_is_isolation() -> None:
    with never_answers() as silent:
        async with LocalSandbox(options=probing(api_server=silent, internet=UNREACHABLE)) as sandbox:
            report = (await sandbox.client()).hello.isolation
    assert (report.isolated, report.reached) == (True, ())
    assert report.probes == {"api-server": "timeout", "internet": "unreachable"}
    assert report.checked_at is not None


async def test_one_open_connection_breaks_the_isolation() -> None:
    with never_answers() as silent, listener() as open_address:
        async with LocalSandbox(options=probing(api_server=silent, database=open_address)) as sandbox:
            report = (await sandbox.client()).hello.isolation
    assert (report.isolated, report.reached) == (False, ("database",))
    assert report.probes == {"api-server": "timeout", "database": "connected"}


async def test_a_refused_connection_counts_as_reached() -> None:
    with never_answers() as silent:
        async with LocalSandbox(options=probing(api_server=silent, temporal=closed_port())) as sandbox:
            report = (await sandbox.client()).hello.isolation
    assert (report.isolated, report.reached, report.probes["temporal"]) == (False, ("temporal",), "refused")


async def test_without_the_api_servers_probe_silence_proves_nothing() -> None:
    async with LocalSandbox(options=probing(internet=UNREACHABLE)) as sandbox:
        assert (await sandbox.client()).hello.isolation.isolated is None


async def test_without_probes_nothing_is_claimed(sandbox: LocalSandbox) -> None:
    report = (await sandbox.client()).hello.isolation
    assert (report.isolated, report.checked_at, report.probes) == (None, None, {})


async def test_commands_wait_until_the_network_is_closed() -> None:
    with accepts_once() as address:
        options = [*probing(api_server=address), "--expect-unreachable"]
        async with LocalSandbox(options=options) as sandbox:
            client = await sandbox.client()
            assert client.hello.isolation.probes == {"api-server": "connected"}
            start = command(client, "t1.s1.c1", "echo", "now")
            with pytest.raises(SandboxRefused, match=r"not_isolated.*api-server"):
                await client.start(start)
            async with asyncio.timeout(10):
                while not (await client.health()).isolation.isolated:
                    await asyncio.sleep(0.1)
            assert (await client.start(start)).output == "now\n"


async def test_the_hello_waits_only_for_the_first_round() -> None:
    with never_answers() as silent:
        async with LocalSandbox(options=probing(api_server=silent)) as sandbox:
            await sandbox.client()
            begin = asyncio.get_running_loop().time()
            await sandbox.client()
            assert asyncio.get_running_loop().time() - begin < 0.9


def test_a_probe_names_an_address_and_a_port() -> None:
    assert Probe.parse("api-server=10.96.0.1:443") == Probe("api-server", "10.96.0.1", 443)
    assert Probe.parse("dns=[fd00::10]:53") == Probe("dns", "fd00::10", 53)


@pytest.mark.parametrize("text", ["", "x", "x=1.2.3.4", "=1.2.3.4:5", "x=1.2.3.4:0", "x=1.2.3.4:99999", "x=a.b:443"])
def test_a_broken_probe_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the ipaddress module words one of them
        Probe.parse(text)


def test_no_probe_may_connect_and_the_api_servers_must_be_among_them() -> None:
    assert judge({"api-server": "timeout", "dns": "unreachable"}, 1.0).isolated is True
    assert judge({"api-server": "refused"}, 1.0).isolated is False
    assert judge({"api-server": "timeout", "dns": "connected"}, 1.0).isolated is False
    assert judge({"dns": "timeout"}, 1.0).isolated is None
