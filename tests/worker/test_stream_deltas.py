"""Text as it streams, for whoever watches in the worker's process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from temporalio.client import Client

from codex_client.model_server.testing import ScriptedModel
from codex_journal.journal import Journal
from codex_worker.assembly import assemble_worker
from codex_worker.delta_batches import DeltaBatches
from codex_worker.deltas import Delta
from codex_worker.providers import Provider, Providers
from codex_worker.testing import SessionDriver


def batches(seen: list[Delta]) -> DeltaBatches:
    return DeltaBatches(seen.append, session="s", turn=1, step=2, attempt="a")


def text(delta: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "delta": delta}


def reasoning(delta: str) -> dict[str, Any]:
    return {"type": "response.reasoning_summary_text.delta", "delta": delta}


async def test_pieces_are_gathered_for_some_milliseconds() -> None:
    seen: list[Delta] = []
    batch = batches(seen)
    for piece in "Hello":
        batch.take(text(piece))
    assert seen == []
    await asyncio.sleep(0.06)
    assert seen == [Delta("s", 1, 2, "a", "text", "Hello")]


async def test_reasoning_and_text_stay_apart_and_the_end_waits_for_nothing() -> None:
    seen: list[Delta] = []
    batch = batches(seen)
    paragraph = {"type": "response.reasoning_summary_part.added"}
    for event in (paragraph, reasoning("Hm."), paragraph, reasoning("Well."), text("Yes."), text(""), text(3), {}):
        batch.take(event)
    batch.close()
    assert [(delta.kind, delta.text) for delta in seen] == [("reasoning", "Hm.\n\nWell."), ("text", "Yes.")]
    await asyncio.sleep(0.04)
    assert len(seen) == 2


async def test_a_watcher_that_fails_costs_nothing_but_itself() -> None:
    told: list[str] = []

    def fail(delta: Delta) -> None:
        told.append(delta.text)
        raise RuntimeError("the screen is gone")

    batch = DeltaBatches(fail, session="s", turn=1, step=1, attempt="a")
    batch.take(text("x"))
    batch.close()
    batch.take(text("y"))
    batch.close()
    assert told == ["x", "y"]


@pytest.mark.temporal
async def test_a_turn_is_streamed_in_batches_and_each_attempt_by_itself(
    client: Client, journal: Journal, model: ScriptedModel, driver: SessionDriver
) -> None:
    seen: list[Delta] = []
    dropped = {"after_events": 30, "times": 1}
    model.script(replies=[{"reasoning": "Hm.", "text": "word " * 60, "token_delay_seconds": 0.002, "fail": dropped}])
    providers = Providers(
        providers={"default": Provider(base_url=model.base_url, api_key="k", default_model="gpt-5.4")}
    )
    worker = assemble_worker(
        client,
        journal,
        task_queue=driver.task_queue,
        providers=providers,
        registry=CollectorRegistry(),
        on_delta=seen.append,
    )
    async with worker:
        await driver.open("Go.")
        end = await driver.wait_for_end()
    attempts = list(dict.fromkeys(delta.attempt for delta in seen))
    assert len(attempts) == 2
    whole = "".join(delta.text for delta in seen if delta.attempt == attempts[1] and delta.kind == "text")
    assert whole == end["last_agent_message"]
    assert "".join(delta.text for delta in seen if delta.attempt == attempts[1] and delta.kind == "reasoning") == "Hm."
    assert len(seen) < 60, "not a call for every token"
    assert {(delta.session, delta.turn, delta.step) for delta in seen} == {(driver.session, 1, 1)}
