"""Two workers that both believe the step is theirs: one compaction counts, and what the other cost is kept."""

from __future__ import annotations

import asyncio
import uuid

from prometheus_client import CollectorRegistry

from codex_api.rows import POSITION_ADMISSION, POSITION_ITEM, Delivery, MessagePayload, RowKind, SessionSettings
from codex_api.workflow_payloads import ModelCallInput
from codex_client.model_server.testing import ScriptedModel
from codex_journal.journal import Journal
from codex_journal.rows import NewRow, SessionRecord
from codex_worker.activities.attempts import ModelAttempts
from codex_worker.activities.compacting import Compactor
from codex_worker.items import user_message_item
from codex_worker.metrics import WorkerMetrics
from codex_worker.providers import Provider, Providers
from codex_worker.request import target_of
from codex_worker.responses.client import ResponsesModel
from codex_worker.transcript import Transcript, Transcripts

ANSWER = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "One."}]}


async def session_after_a_step(journal: Journal) -> SessionRecord:
    session = str(uuid.uuid4())
    message = MessagePayload(key="prompt", text="Go.", delivery=Delivery.QUEUE)
    rows = [NewRow(RowKind.SESSION_OPENED, {}), NewRow(RowKind.MESSAGE, message.model_dump(mode="json"))]
    record = await journal.create_session(session, "test", "default", "test", SessionSettings(), rows)
    await journal.append(
        session, "t1/started", [NewRow(RowKind.EVENT, {"type": "TurnStarted", "turn": 1, "message": 2})]
    )
    reply = [
        NewRow(RowKind.ADMISSION, {"message": 2, "item": user_message_item("Go.")}, 1, 1, POSITION_ADMISSION),
        NewRow(RowKind.ITEM, {"item": ANSWER}, 1, 1, POSITION_ITEM),
    ]
    await journal.append(session, "t1.s1/reply", reply)
    return record


async def test_of_two_compactions_of_a_step_one_counts(journal: Journal, model: ScriptedModel) -> None:
    script = {
        "match": "always",
        "compaction": {"text": "It went well.", "delay_seconds": 0.1},
        "replies": [{"text": "x"}],
    }
    model.script(conversations=[script])
    record = await session_after_a_step(journal)
    providers = Providers(providers={"default": Provider(base_url=model.base_url, api_key="k")})
    responses = ResponsesModel()

    async def compact() -> Transcript:
        transcripts = Transcripts(journal)
        attempts = ModelAttempts(journal, responses, WorkerMetrics(CollectorRegistry()))
        transcript = await transcripts.load(record.session)
        step = ModelCallInput(session=record.session, turn=1, step=2, compact=True)
        compactor = Compactor(journal, transcripts, attempts)
        await compactor.compact(record, step, transcript, target_of(providers, record), "requested")
        return await transcripts.load(record.session)

    first, second = await asyncio.gather(compact(), compact())
    await responses.close()
    assert len(await journal.read(record.session, kinds=[RowKind.COMPACTION])) == 1
    assert len(await journal.read(record.session, kinds=[RowKind.USAGE])) == 2
    assert first.items() == second.items()
    assert first.items()[0] == user_message_item("Go.")
    assert not first.can_be_compacted()
    assert first.compactions(1, 2) == 1


async def test_a_reply_that_raced_with_a_compaction_stands_behind_it(journal: Journal, model: ScriptedModel) -> None:
    record = await session_after_a_step(journal)
    reply = [NewRow(RowKind.ITEM, {"item": {**ANSWER, "id": "late"}}, 1, 2, POSITION_ITEM)]
    compaction = {"reason": "limit", "items": [user_message_item("Go."), user_message_item("Summary.")]}
    await journal.append(record.session, "t1.s2/reply", reply)
    await journal.append(record.session, "t1.s2/compaction/1", [NewRow(RowKind.COMPACTION, compaction, 1, 2, -2000)])
    transcript = await Transcripts(journal).load(record.session)
    assert transcript.items() == [*compaction["items"], {**ANSWER, "id": "late"}]
    assert transcript.told == {}
