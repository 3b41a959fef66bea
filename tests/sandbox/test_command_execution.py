from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from codex_sandbox.digest import environment_hash
from codex_sandbox.errors import SandboxRefused
from codex_sandbox.protocol import MAX_LIVE_PROCESSES, MAX_OUTPUT_BYTES, RefusalCode
from codex_sandbox.testing import LocalSandbox, characters, command

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from codex_sandbox.client import SandboxClient
    from codex_sandbox.protocol import CommandReply


async def refused(request: object) -> str:
    with pytest.raises(SandboxRefused) as caught:
        await request  # type: ignore[misc]
    return caught.value.code


def elapsed_since(begin: float) -> float:
    return asyncio.get_running_loop().time() - begin


async def test_both_streams_arrive_in_order_with_the_exit_code(client: SandboxClient) -> None:
    reply = await client.start(command(client, "t1.s1.c1", "sh", "-c", "echo one; echo two >&2; echo three; exit 3"))
    assert (reply.output, reply.exit_code, reply.signal) == ("one\ntwo\nthree\n", 3, None)
    assert (reply.output_bytes, reply.omitted_bytes, reply.process) == (14, 0, None)
    assert 0 <= reply.wall_time_seconds < 20


@pytest.mark.parametrize(
    ("argv", "directory", "exit_code", "text"),
    [
        (("no-such-command",), ".", 127, "no-such-command: command not found\n"),
        (("./missing",), ".", 127, "./missing: No such file or directory\n"),
        (("true",), "missing", 127, "/missing: No such file or directory\n"),
        (("true",), "file", 126, "/file: Not a directory\n"),
        (("./file",), ".", 126, "./file: Permission denied\n"),
        (("./script",), ".", 126, "./script: Exec format error\n"),
        (("echo", "a\0b"), ".", 126, "echo: embedded null byte\n"),
    ],
)
async def test_what_cannot_be_started_is_reported_as_by_a_shell(
    sandbox: LocalSandbox, client: SandboxClient, argv: tuple[str, ...], directory: str, exit_code: int, text: str
) -> None:
    (sandbox.workspace / "file").write_text("not executable")
    (sandbox.workspace / "script").write_text("no interpreter line")
    (sandbox.workspace / "script").chmod(0o755)
    reply = await client.start(command(client, "t1.s1.c1", *argv, directory=directory))
    assert (reply.exit_code, reply.process) == (exit_code, None)
    assert reply.output.endswith(text)
    assert (await client.start(command(client, "t1.s1.c2", "echo", "fine"))).output == "fine\n"


async def test_a_command_that_cannot_be_started_reports_no_more_than_asked_for(client: SandboxClient) -> None:
    reply = await client.start(command(client, "t1.s1.c1", "x" * 100_000, max_output_bytes=100))
    assert (len(reply.output), reply.omitted_at) == (100, 50)
    assert reply.exit_code in (126, 127)


async def test_directories_are_relative_to_the_workspace(sandbox: LocalSandbox, client: SandboxClient) -> None:
    (sandbox.workspace / "below").mkdir()
    reply = await client.start(command(client, "t1.s1.c1", "pwd", directory="below"))
    assert reply.output == f"{sandbox.workspace}/below\n"
    assert (await client.start(command(client, "t1.s1.c2", "pwd", directory="/"))).output == "/\n"


async def test_commands_see_the_base_environment_and_the_overlay_but_nothing_of_ours() -> None:
    base = {"PATH": os.environ["PATH"], "BASE": "1", "BOTH": "base", "CODEX_SANDBOX_SECRET": "hidden"}
    async with LocalSandbox(environment=base) as sandbox:
        client = await sandbox.client()
        overlay = {"BOTH": "overlay", "OURS": "2"}
        reply = await client.start(command(client, "t1.s1.c1", "env", environment=overlay))
        seen = dict(line.split("=", 1) for line in reply.output.splitlines())
        # What the system's libc or Python adds at the start of the supervisor is in the hash, too.
        added = {name: value for name, value in seen.items() if name in ("LC_CTYPE",)}
        expected = {"PATH": base["PATH"], "BASE": "1", "BOTH": "base", **added}
        assert seen == {**expected, **overlay, "CODEX_CALL_ID": "t1.s1.c1"}
        assert client.hello.environment_hash == environment_hash(expected)


async def test_given_input_is_read_to_its_end(client: SandboxClient) -> None:
    text = "grüße\n" * 50_000
    reply = await client.start(command(client, "t1.s1.c1", "wc", "-c", stdin=text))
    assert reply.output.split() == [str(len(text.encode()))]


async def test_a_command_that_ignores_its_input_does_not_hang(client: SandboxClient) -> None:
    reply = await client.start(command(client, "t1.s1.c1", "true", stdin="x" * 1_000_000))
    assert reply.exit_code == 0


async def test_without_input_a_command_reads_nothing(client: SandboxClient) -> None:
    reply = await client.start(command(client, "t1.s1.c1", "cat"))
    assert (reply.output, reply.exit_code) == ("", 0)


async def test_a_command_yields_and_its_rest_is_read_later(sandbox: LocalSandbox, client: SandboxClient) -> None:
    script = "echo early; until [ -e go ]; do sleep 0.05; done; echo late; exit 4"
    first = await client.start(command(client, "t1.s1.c1", "sh", "-c", script, yield_time_ms=1000))
    assert (first.output, first.exit_code) == ("early\n", None)
    assert first.process is not None
    empty = await client.write(characters(client, "t1.s1.c2", first.process, yield_time_ms=0))
    assert (empty.output, empty.process) == ("", first.process)
    (sandbox.workspace / "go").touch()
    last = await client.write(characters(client, "t1.s1.c3", first.process))
    assert (last.output, last.exit_code, last.process) == ("late\n", 4, None)
    assert await refused(client.write(characters(client, "t1.s1.c4", first.process))) == RefusalCode.UNKNOWN_PROCESS


async def test_characters_for_a_command_without_a_terminal_are_refused(client: SandboxClient) -> None:
    started = await client.start(command(client, "t1.s1.c1", "sleep", "30", yield_time_ms=50))
    assert started.process is not None
    write = characters(client, "t1.s1.c2", started.process, "y\n")
    assert await refused(client.write(write)) == RefusalCode.STDIN_CLOSED


async def test_input_for_a_process_of_an_earlier_life_reaches_no_process_of_this_one(client: SandboxClient) -> None:
    earlier = await client.start(command(client, "t1.s1.c1", "cat", tty=True, yield_time_ms=50))
    assert earlier.process is not None
    async with LocalSandbox() as restarted:
        later = await restarted.client()
        await later.start(command(later, "t1.s1.c1", "cat", tty=True, yield_time_ms=50))
        write = characters(later, "t1.s1.c2", earlier.process, "y\n")
        assert await refused(later.write(write)) == RefusalCode.UNKNOWN_PROCESS


async def test_a_terminal_takes_input_and_control_characters(
    client: SandboxClient, read_until: Callable[[SandboxClient, CommandReply, str], Awaitable[str]]
) -> None:
    script = "tty; stty size; echo $TERM; echo ready; read name; echo hello $name; exec sleep 60"
    started = await client.start(command(client, "t1.s1.c1", "sh", "-c", script, tty=True, yield_time_ms=0))
    assert started.process is not None
    first = await read_until(client, started, "ready")
    device, size, term = first.split("\r\n")[:3]
    assert (device[:8], size, term) == ("/dev/pts", "24 80", "dumb")
    echoed = await client.write(characters(client, "t1.s1.c2", started.process, "Ada\n", yield_time_ms=0))
    await read_until(client, echoed, "hello Ada\r\n")
    interrupted = await client.write(characters(client, "t1.s1.c3", started.process, "\x03"))
    assert (interrupted.signal, interrupted.exit_code) == ("SIGINT", 130)


async def test_twenty_thousand_lines_keep_their_head_and_tail(client: SandboxClient) -> None:
    reply = await client.start(command(client, "t1.s1.c1", "seq", "1", "20000", max_output_bytes=10_000))
    whole = "".join(f"{number}\n" for number in range(1, 20_001))
    assert reply.output_bytes == len(whole)
    assert reply.omitted_bytes == len(whole) - 10_000
    assert reply.omitted_at == 5000
    assert reply.output == whole[:5000] + whole[-5000:]


async def test_a_hundred_megabytes_are_bounded_and_counted(sandbox: LocalSandbox, client: SandboxClient) -> None:
    script = "head -c 100000000 /dev/zero | tr '\\0' x"
    start = command(client, "t1.s1.c1", "sh", "-c", script, max_output_bytes=MAX_OUTPUT_BYTES)
    reply = await client.start(start)
    assert (reply.output_bytes, len(reply.output)) == (100_000_000, MAX_OUTPUT_BYTES)
    assert reply.omitted_bytes == 100_000_000 - MAX_OUTPUT_BYTES
    assert sandbox.process is not None
    with open(f"/proc/{sandbox.process.pid}/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    assert peak < 100_000, "kilobytes"


async def test_binary_output_is_reported_and_breaks_nothing(client: SandboxClient) -> None:
    start = command(client, "t1.s1.c1", "head", "-c", "3000000", "/dev/urandom", max_output_bytes=MAX_OUTPUT_BYTES)
    reply = await client.start(start)
    assert reply.output_bytes == 3_000_000
    assert "\ufffd" in reply.output
    nulls = command(client, "t1.s1.c2", "head", "-c", "3000000", "/dev/zero", max_output_bytes=MAX_OUTPUT_BYTES)
    assert (await client.start(nulls)).output == "\0" * MAX_OUTPUT_BYTES


async def test_a_daemon_that_holds_the_output_open_does_not_hold_up_the_reply(client: SandboxClient) -> None:
    begin = asyncio.get_running_loop().time()
    reply = await client.start(command(client, "t1.s1.c1", "sh", "-c", "sleep 30 & echo started"))
    assert elapsed_since(begin) < 10
    assert (reply.output, reply.exit_code) == ("started\n", 0)


async def test_a_daemon_may_write_on_after_its_command_was_reported(
    sandbox: LocalSandbox, client: SandboxClient
) -> None:
    script = "(sleep 0.5; echo still here; echo survived > mark; sleep 30) & echo started"
    await client.start(command(client, "t1.s1.c1", "sh", "-c", script))
    reply = await client.start(command(client, "t1.s1.c2", "sh", "-c", "sleep 1; cat mark"))
    assert reply.output == "survived\n"


async def test_output_of_a_child_just_after_the_end_is_still_read(client: SandboxClient) -> None:
    reply = await client.start(command(client, "t1.s1.c1", "sh", "-c", "(echo child; exec sleep 30) & exit 0"))
    assert reply.output == "child\n"


async def test_a_command_that_closes_its_output_is_waited_for(client: SandboxClient) -> None:
    reply = await client.start(command(client, "t1.s1.c1", "sh", "-c", "exec >&- 2>&-; sleep 0.3; exit 5"))
    assert reply.exit_code == 5
    assert reply.wall_time_seconds > 0.2


async def test_too_many_live_processes_are_refused_until_one_ends(client: SandboxClient) -> None:
    starts = [
        client.start(command(client, f"t1.s1.c{index}", "sleep", "60", yield_time_ms=0))
        for index in range(MAX_LIVE_PROCESSES)
    ]
    replies = await asyncio.gather(*starts)
    numbers = sorted(reply.process or 0 for reply in replies)
    assert numbers == list(range(numbers[0], numbers[0] + MAX_LIVE_PROCESSES))
    assert 0 < numbers[0] < numbers[-1] < 2**31
    one_more = command(client, "t1.s2.c1", "echo", "room again")
    assert await refused(client.start(one_more)) == RefusalCode.TOO_MANY_PROCESSES
    await client.signal("t1.s2.c2", client.hello.boot_id, numbers[0], 9)
    await client.write(characters(client, "t1.s2.c3", numbers[0]))
    assert (await client.start(one_more)).output == "room again\n"


async def test_files_are_read_from_the_workspace(sandbox: LocalSandbox, client: SandboxClient) -> None:
    (sandbox.workspace / "data").write_bytes(bytes(range(256)))
    whole = await client.read_file("data", 1000)
    assert (whole.content, whole.size, whole.truncated) == (bytes(range(256)), 256, False)
    part = await client.read_file(f"{sandbox.workspace}/data", 10)
    assert (part.content, part.size, part.truncated) == (bytes(range(10)), 256, True)


async def test_what_is_no_file_is_refused_without_hanging(sandbox: LocalSandbox, client: SandboxClient) -> None:
    os.mkfifo(sandbox.workspace / "pipe")
    for path in ("missing", "pipe", ".", "/dev/zero", "a\0b"):
        assert await refused(client.read_file(path, 10)) == RefusalCode.UNREADABLE_FILE


async def test_health_tells_time_processes_and_space(client: SandboxClient) -> None:
    await client.start(command(client, "t1.s1.c1", "sleep", "60", yield_time_ms=0))
    health = await client.health()
    assert health.live_processes == 1
    assert 0 < health.uptime_seconds < 60
    assert health.workspace_free_bytes is not None


async def test_unknown_verbs_and_bad_fields_leave_the_connection_usable(client: SandboxClient) -> None:
    for verb, wire in (
        ("dance", {}),
        ("start", {"call_id": "t1.s1.c1"}),
        ("forget", {"call_ids": "t1.s1.c1"}),
        ("read_file", {"path": 3, "max_bytes": 1}),
        ("read_file", {"path": "x", "max_bytes": True}),
    ):
        code = await refused(client._request(verb, wire, lambda result: result))
        assert code in (RefusalCode.UNKNOWN_VERB, RefusalCode.BAD_REQUEST)
    assert (await client.health()).live_processes == 0
