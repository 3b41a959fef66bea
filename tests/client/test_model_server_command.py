"""The command as a person starts it: its own process, its own port, its exit codes."""

import asyncio
import re
import signal
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession

SCRIPT = "conversations:\n  - match: always\n    replies: [{text: hello, delay_seconds: 0}]\n"


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "codex_client", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_prints_its_address_answers_and_ends_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT)
    process = await start("model-server", "--script", str(script), "--port", "0", "--require-key", "secret")
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
    found = re.fullmatch(r"model server listening on (http://127\.0\.0\.1:\d+/v1)\n", line)
    assert found, line
    async with ClientSession(headers={"Authorization": "Bearer secret"}) as session:
        async with session.post(f"{found[1]}/responses", json={"model": "m", "input": "x"}) as answer:
            assert (await answer.json())["output"][0]["content"][0]["text"] == "hello"
        process.send_signal(number)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    await process.communicate()


async def test_a_script_with_a_mistake_is_an_exit_code_and_a_line(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("conversations:\n  - match: always\n")
    process = await start("model-server", "--script", str(script))
    output, error = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert error.decode() == f"{script}:2: conversations[0].replies: Field required\n"
    assert output == b""


async def test_an_address_in_use_is_said(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT)
    holder = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = holder.sockets[0].getsockname()[1]
    process = await start("model-server", "--script", str(script), "--port", str(port))
    _, error = await asyncio.wait_for(process.communicate(), 30)
    holder.close()
    await holder.wait_closed()
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in error.decode()


async def test_help_imports_no_server() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from codex_client.__main__ import app;"
        "result = CliRunner().invoke(app, ['--help']); assert 'model-server' in result.output, result.output;"
        "assert result.exit_code == 0; heavy = {'aiohttp', 'pydantic', 'yaml', 'openai'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE)
    _, error = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, error.decode()
