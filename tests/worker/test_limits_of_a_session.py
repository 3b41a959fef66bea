"""Money and time: each limit ends a turn with its own name, and what was spent stands in the journal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from temporalio.client import Client

from codex_api.rows import Delivery, ItemPayload, MessagePayload, RowKind, SessionSettings, UsagePayload
from codex_api.session import ApprovalPolicy
from codex_api.workflow_payloads import ModelCallInput
from codex_client.model_server.testing import ScriptedModel, shell
from codex_journal.journal import Journal
from codex_journal.rows import NewRow
from codex_sandbox.testing import LocalSandbox
from codex_worker.activities import model as model_activities
from codex_worker.providers import ModelSettings, Prices, Provider, Providers
from codex_worker.reply import reply_claim
from codex_worker.sandboxes import Sandboxes
from codex_worker.testing import OpenSession, RunningWorker, SessionDriver, make_worker
from codex_worker.transcript import Transcript

pytestmark = pytest.mark.temporal

PRICES = Prices(input=Decimal(1), cached_input=Decimal("0.1"), output=Decimal(10))


@pytest.fixture
def settings() -> SessionSettings:
    return SessionSettings(isolation_required=False, approval_policy=ApprovalPolicy.NEVER)


@pytest.fixture
async def priced_worker(
    client: Client, journal: Journal, model: ScriptedModel, task_queue: str
) -> AsyncIterator[RunningWorker]:
    models = {"scripted": ModelSettings(prices=PRICES)}
    provider = Provider(base_url=model.base_url, api_key="k", default_model="scripted", models=models)
    providers = Providers(providers={"default": provider})
    async with make_worker(client, journal, task_queue=task_queue, base_url="", providers=providers) as worker:
        yield worker


async def test_the_cost_limit_ends_the_turn_before_the_next_call(
    priced_worker: RunningWorker,
    driver: SessionDriver,
    sandbox: LocalSandbox,
    model: ScriptedModel,
    open_session: OpenSession,
) -> None:
    driver.settings = driver.settings.model_copy(update={"max_cost_millionths": 3000})
    used = {"usage": {"input": 1000, "cached": 0, "output": 100}}
    model.script(replies=[shell("echo one") | used, shell("echo two") | used, {"text": "Done."}])
    await open_session("Go.")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnAborted", "CostLimitReached")
    assert "0.004 of its 0.003" in end["message"]
    assert len(model.requests) == 2
    assert [row.payload["cost_millionths"] for row in await driver.rows(RowKind.USAGE)] == [2000, 2000]
    # 1,000 millionths are left for the second call, less what its input costs at least.
    assert 16 <= model.requests[1].body["max_output_tokens"] < 100
    assert len(await driver.outputs()) == 2, "every call has an output, or the next request is refused"


async def test_a_failed_attempt_counts_too(
    priced_worker: RunningWorker, driver: SessionDriver, model: ScriptedModel
) -> None:
    driver.settings = driver.settings.model_copy(update={"max_cost_millionths": 4000})
    model.script(replies=[{"text": "A long answer. " * 20, "fail": {"after_events": 20, "times": 1}}])
    await driver.open("Go.")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnAborted", "CostLimitReached")
    usages = [row.payload for row in await driver.rows(RowKind.USAGE)]
    assert [usage["estimated"] for usage in usages] == [True]
    assert 2000 < usages[0]["cost_millionths"] < 4000


async def test_a_cost_limit_without_a_price_fails_and_names_the_cure(
    worker: RunningWorker, driver: SessionDriver, model: ScriptedModel
) -> None:
    driver.settings = driver.settings.model_copy(update={"max_cost_millionths": 1_000_000})
    await driver.open("Go.")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnFailed", "ModelPriceUnknown")
    assert "models.scripted.prices" in end["message"]
    assert model.requests == []


async def test_without_prices_and_limit_the_cost_is_unknown_and_nothing_ends(
    worker: RunningWorker, driver: SessionDriver
) -> None:
    await driver.open("Go.")
    assert (await driver.wait_for_end())["type"] == "TurnComplete"
    assert [row.payload["cost_millionths"] for row in await driver.rows(RowKind.USAGE)] == [None]


async def test_a_first_call_whose_input_costs_more_than_the_limit_is_not_made(
    priced_worker: RunningWorker, driver: SessionDriver, model: ScriptedModel
) -> None:
    driver.settings = driver.settings.model_copy(update={"max_cost_millionths": 10_000})
    await driver.open("word " * 10_000)
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnAborted", "CostLimitReached")
    assert model.requests == []


@pytest.mark.parametrize(
    ("answered", "end"),
    [(4500, ("TurnAborted", "TokenLimitReached")), (10, ("TurnFailed", "ModelResponseIncomplete"))],
)
async def test_a_reply_that_was_cut_short_names_who_cut_it(
    answered: int, end: tuple[str, str], worker: RunningWorker, driver: SessionDriver, model: ScriptedModel
) -> None:
    driver.settings = driver.settings.model_copy(update={"max_tokens": 5000})
    # The provider counts less input than was estimated: something is left even where the budget cut the answer.
    usage = {"input": 100, "output": answered}
    model.script(replies=[{"text": "0123456789", "usage": usage, "fail": {"incomplete": "max_output_tokens"}}])
    await driver.open("word " * 1000)
    found = await driver.wait_for_end()
    assert (found["type"], found["reason"]) == end
    sent = model.requests[0].body
    assert 16 <= sent["max_output_tokens"] <= 5000 - len(str(sent["input"])) // 4


async def test_a_reply_that_an_older_attempt_journaled_counts_though_it_used_up_the_budget(
    worker: RunningWorker, driver: SessionDriver, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.settings = driver.settings.model_copy(update={"max_tokens": 5000})

    async def meanwhile(_: Sandboxes, session: str, transcript: Transcript, step: ModelCallInput) -> None:
        item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "In time."}]}
        usage = UsagePayload(model="scripted", input_tokens=4000, output_tokens=1000)
        rows = [
            NewRow(RowKind.ITEM, ItemPayload(item=item).model_dump(), step.turn, step.step),
            NewRow(RowKind.USAGE, usage.model_dump(), step.turn, step.step),
        ]
        for row in (await driver.journal.append(session, reply_claim(step.turn, step.step), rows)).rows:
            transcript.apply(row)

    monkeypatch.setattr(model_activities, "project_documents", meanwhile)
    await driver.open("Go.")
    end = await driver.wait_for_end()
    assert (end["type"], end.get("last_agent_message")) == ("TurnComplete", "In time.")
    assert model.requests == []


async def closed_reason(driver: SessionDriver) -> str:
    (row,) = await driver.rows(RowKind.SESSION_CLOSED)
    return str(row.payload["reason"])


async def test_the_deadline_ends_a_running_turn_kills_its_processes_and_closes_the_session(
    worker: RunningWorker, driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    driver.settings = driver.settings.model_copy(update={"active_deadline_seconds": 3})
    model.script(replies=[shell("sleep 60"), {"text": "Done."}])
    await open_session("Go.")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnAborted", "DeadlineExceeded")
    await driver.handle.result()
    assert await closed_reason(driver) == "DeadlineExceeded"
    assert (await (await sandbox.client()).health()).live_processes == 0


async def test_the_deadline_does_not_wait_for_a_person(
    worker: RunningWorker, driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    changes = {"active_deadline_seconds": 3, "turn_timeout_seconds": 1, "approval_policy": ApprovalPolicy.UNTRUSTED}
    driver.settings = driver.settings.model_copy(update=changes)
    model.script(replies=[shell("touch x"), {"text": "Done."}])
    await open_session("Go.")
    await driver.wait_for("ExecApprovalRequest")
    end = await driver.wait_for_end()
    assert (end["type"], end["reason"]) == ("TurnAborted", "DeadlineExceeded")
    await driver.handle.result()
    assert await closed_reason(driver) == "DeadlineExceeded"


async def test_the_deadline_closes_an_idle_session(worker: RunningWorker, driver: SessionDriver) -> None:
    driver.settings = driver.settings.model_copy(update={"active_deadline_seconds": 2})
    await driver.open("Go.")
    assert (await driver.wait_for_end())["type"] == "TurnComplete"
    await driver.handle.result()
    assert await closed_reason(driver) == "DeadlineExceeded"


async def test_a_session_that_is_met_after_its_deadline_is_closed_at_once(
    client: Client, journal: Journal, driver: SessionDriver, model: ScriptedModel
) -> None:
    driver.settings = driver.settings.model_copy(update={"active_deadline_seconds": 0})
    await driver.open("Go.")
    async with make_worker(client, journal, task_queue=driver.task_queue, base_url=model.base_url):
        await driver.handle.result()
    assert await closed_reason(driver) == "DeadlineExceeded"
    assert model.requests == []


async def test_an_idle_session_answers_a_message_whose_signal_got_lost_before_it_completes(
    worker: RunningWorker, driver: SessionDriver
) -> None:
    driver.settings = driver.settings.model_copy(update={"complete_after_idle_seconds": 2})
    await driver.open("Go.")
    await driver.wait_for_end(1)
    message = MessagePayload(key="lost", text="Still there?", delivery=Delivery.QUEUE)
    await driver.journal.append(
        driver.session, "message/lost", [NewRow(RowKind.MESSAGE, message.model_dump(mode="json"))]
    )
    assert (await driver.wait_for_end(2))["type"] == "TurnComplete"
    await driver.handle.result()
    assert await closed_reason(driver) == "SessionCompleted"
