"""`python -m bench.commands`: how long the two commands take, side by side; only the ratios mean something."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.agents import Agent, CodexCli, OurCommand, homes

from codex_client.model_server.testing import ScriptedModel, shell
from codex_worker.testing import installed_program

REPETITIONS = 5
CALLS = (0, 1, 10)
WORKER_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Timing:
    first_request: float
    """From the start of the process to the model's first request."""
    total: float


@dataclass(frozen=True)
class Median:
    agent: str
    calls: int
    first_request: float
    total: float


async def timed(agent: Agent, model: ScriptedModel, calls: int) -> Timing:
    """Time one run with so many commands one after the other; the model answers without delay."""
    model.script(replies=[*([shell("true")] * calls), {"text": "Done."}])
    model.server.requests.clear()
    with tempfile.TemporaryDirectory(dir=agent.home) as folder:
        finished = await agent.run(Path(folder), "Go.", model.base_url)
    if finished.exit_code != 0 or len(model.requests) != calls + 1:
        raise RuntimeError(f"{agent.name} failed: {finished.failure or finished}")
    return Timing(model.requests[0].time - finished.began_at, finished.seconds)


@asynccontextmanager
async def running_worker(agent: OurCommand, base_url: str) -> AsyncIterator[None]:
    """Keep `codex-temporal worker` running, as somebody does who starts many sessions."""
    process = await asyncio.create_subprocess_exec(
        installed_program("codex-temporal"),
        "worker",
        env=agent.variables(base_url),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(WORKER_PATIENCE_SECONDS):
            while not list((agent.home / "state").rglob("worker.json")):
                if process.returncode is not None:
                    raise RuntimeError("the worker did not start")
                await asyncio.sleep(0.1)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def medians(agents: list[Agent], model: ScriptedModel) -> list[Median]:
    """Measure the agents in turn, so that what else the machine does meets all of them."""
    for agent in agents:
        await timed(agent, model, 1)  # a home that was never used costs more once
    timings: dict[tuple[str, int], list[Timing]] = {}
    for _ in range(REPETITIONS):
        for calls in CALLS:
            for agent in agents:
                timings.setdefault((agent.name, calls), []).append(await timed(agent, model, calls))
    return [
        Median(
            name,
            calls,
            statistics.median(timing.first_request for timing in measured),
            statistics.median(timing.total for timing in measured),
        )
        for (name, calls), measured in timings.items()
    ]


def show(rows: list[Median], base_name: str) -> None:
    base = {row.calls: row for row in rows if row.agent == base_name}
    out = sys.stdout
    out.write(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors; medians of {REPETITIONS}\n")
    out.write(f"{'':34} {'calls':>5} {'first request s':>16} {'whole run s':>12} {'ratios':>14}\n")
    for row in rows:
        ratios = f"{row.first_request / base[row.calls].first_request:.2f}x {row.total / base[row.calls].total:.2f}x"
        out.write(f"{row.agent:34} {row.calls:5} {row.first_request:16.2f} {row.total:12.2f} {ratios:>14}\n")
    first, last = min(CALLS), max(CALLS)
    for name in dict.fromkeys(row.agent for row in rows):
        total = {row.calls: row.total for row in rows if row.agent == name}
        out.write(f"{name:34} {(total[last] - total[first]) * 1000 / (last - first):6.0f} ms for each further call\n")


async def main() -> None:
    with homes("codex", "cold", "warm") as (codex_home, cold_home, warm_home):
        codex = CodexCli("Codex CLI 0.147", codex_home)
        cold = OurCommand("codex-temporal", cold_home)
        warm = OurCommand("codex-temporal, worker running", warm_home)
        async with ScriptedModel(replies=[{"text": "Done."}]) as model, running_worker(warm, model.base_url):
            show(await medians([codex, cold, warm], model), codex.name)


if __name__ == "__main__":
    asyncio.run(main())
