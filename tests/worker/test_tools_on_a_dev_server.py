"""Every tool in whole turns: real Temporal, real journal, real supervisor and patch program, the scripted model."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from codex_api.approvals import DecisionKind
from codex_api.rows import RowKind, SessionSettings
from codex_api.session import ApprovalPolicy
from codex_client.model_server.testing import ScriptedModel, shell, shell_call
from codex_journal.journal import Journal
from codex_journal.rows import Appended, NewRow
from codex_sandbox.protocol import MAX_LIVE_PROCESSES
from codex_sandbox.testing import LocalSandbox, command
from codex_worker.testing import OpenSession, SessionDriver, wait_until

pytestmark = [pytest.mark.temporal, pytest.mark.usefixtures("worker")]

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
QUESTION = {
    "id": "db",
    "header": "Database",
    "question": "Which one?",
    "options": [{"label": "SQLite", "description": "one file"}, {"label": "PostgreSQL", "description": "a server"}],
}


@pytest.fixture
def settings() -> SessionSettings:
    return SessionSettings(isolation_required=False, approval_policy=ApprovalPolicy.ON_REQUEST)


def patch(body: str) -> str:
    return f"*** Begin Patch\n{body}*** End Patch\n"


def custom(text: str) -> dict[str, Any]:
    return {"name": "apply_patch", "input": text}


async def results(driver: SessionDriver) -> list[dict[str, Any]]:
    rows = await driver.journal.conversation(driver.session)
    return [row.payload for row in rows if row.kind is RowKind.TOOL_RESULT]


async def test_a_freeform_patch_changes_the_workspace_and_tells_the_diff_of_the_turn(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    (sandbox.workspace / "old.txt").write_text("one\ntwo\nthree\n")
    first = patch("*** Add File: new/a.txt\n+hello\n*** Update File: old.txt\n@@\n one\n-two\n+2\n")
    second = patch("*** Update File: new/a.txt\n*** Move to: b.txt\n@@\n-hello\n+goodbye\n")
    model.script(replies=[{"calls": [custom(first)]}, {"calls": [custom(second)]}, {"text": "Done."}])
    await open_session("Edit.")
    assert (await driver.wait_for_end())["type"] == "TurnComplete"
    assert (sandbox.workspace / "old.txt").read_text() == "one\n2\nthree\n"
    assert (sandbox.workspace / "b.txt").read_text() == "goodbye\n"
    assert not (sandbox.workspace / "new" / "a.txt").exists()
    told = await results(driver)
    assert [result["item"]["type"] for result in told] == ["custom_tool_call_output"] * 2
    assert told[0]["item"]["output"].startswith("Exit code: 0\nWall time: ")
    assert "Success. Updated the following files:\nA new/a.txt\nM old.txt" in told[0]["item"]["output"]
    assert [change["kind"] for change in told[0]["changes"]] == ["add", "update"]
    assert told[1]["changes"] == [{"path": "new/a.txt", "kind": "update", "move_path": "b.txt"}]
    diffs = await driver.events("TurnDiff")
    assert len(diffs) == 2
    assert "+goodbye" in diffs[-1]["unified_diff"]
    assert "+2" in diffs[-1]["unified_diff"]
    assert await driver.events("ExecApprovalRequest") == []


async def test_a_patch_sent_as_a_shell_heredoc_is_applied_and_answered_as_a_function(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    (sandbox.workspace / "lib").mkdir()
    script = f"cd lib && apply_patch <<'EOF'\n{patch('*** Add File: a.txt' + chr(10) + '+$HOME' + chr(10))}EOF\n"
    model.script(replies=[shell(script), {"text": "Done."}])
    await open_session("Edit.")
    await driver.wait_for_end()
    assert (sandbox.workspace / "lib" / "a.txt").read_text() == "$HOME\n"
    [told] = await results(driver)
    assert told["item"]["type"] == "function_call_output"
    assert "A a.txt" in told["item"]["output"]


async def test_a_patch_that_does_not_fit_changes_nothing_and_the_turn_goes_on(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    (sandbox.workspace / "a.txt").write_text("one\n")
    text = patch("*** Add File: new.txt\n+x\n*** Update File: a.txt\n@@\n-nine\n+ten\n")
    model.script(replies=[{"calls": [custom(text)]}, {"text": "{{last_output}}"}])
    await open_session("Edit.")
    end = await driver.wait_for_end()
    assert "Failed to find expected lines" in end["last_agent_message"]
    assert sorted(path.name for path in sandbox.workspace.iterdir()) == ["a.txt"]
    assert await driver.events("TurnDiff") == []
    [told] = await results(driver)
    assert told["exit_code"] == 1


async def test_serial_and_parallel_calls_of_one_reply_keep_their_order(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    started = asyncio.get_running_loop().time()
    model.script(
        replies=[
            {
                "calls": [
                    shell_call("sleep 1; echo first > log.txt"),
                    shell_call("sleep 1; echo beside"),
                    custom(patch("*** Update File: log.txt\n@@\n first\n+second\n")),
                    shell_call("cat log.txt"),
                    {"name": "update_plan", "arguments": {"plan": [{"step": "a", "status": "completed"}]}},
                ]
            },
            {"text": "Done."},
        ]
    )
    await open_session("In order.")
    await driver.wait_for_end()
    outputs = await driver.outputs()
    assert outputs[3].endswith("first\nsecond\n")
    assert outputs[4] == "Plan updated"
    rows = [row for row in await driver.rows(RowKind.TOOL_RESULT) if row.payload["call_id"] in ("t1.s1.c0", "t1.s1.c1")]
    assert abs((rows[0].at - rows[1].at).total_seconds()) < 0.9
    assert asyncio.get_running_loop().time() - started < 30


async def test_what_comes_after_an_asked_patch_waits_for_its_decision(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    calls = [
        shell_call("echo before"),
        custom(patch("*** Add File: .env\n+KEY=1\n")),
        shell_call("cat .env"),
        custom(patch("*** Update File: .env\n@@\n-KEY=1\n+KEY=2\n")),
        shell_call("cat .env"),
    ]
    model.script(replies=[{"calls": calls}, {"text": "Done."}])
    await open_session("Write it.")
    first, second = await driver.wait_for("ExecApprovalRequest", 2)
    await asyncio.sleep(0.5)
    assert [row.payload["call_id"] for row in await driver.rows(RowKind.TOOL_RESULT)] == ["t1.s1.c0"]
    await driver.decide(second["approval_id"], DecisionKind.APPROVE)
    await asyncio.sleep(0.5)
    assert not (sandbox.workspace / ".env").exists()
    await driver.decide(first["approval_id"], DecisionKind.APPROVE)
    await driver.wait_for_end()
    outputs = await driver.outputs()
    assert outputs[2].endswith("KEY=1\n")
    assert outputs[4].endswith("KEY=2\n")


async def test_a_refused_patch_holds_up_nothing_behind_it(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    calls = [
        custom(patch("*** Add File: .env\n+KEY=1\n")),
        custom(patch("*** Add File: a.txt\n+x\n")),
        shell_call("rm -f a.txt"),
    ]
    model.script(replies=[{"calls": calls}, {"text": "Done."}])
    await open_session("Write it.")
    first, second = await driver.wait_for("ExecApprovalRequest", 2)
    await driver.decide(first["approval_id"], DecisionKind.DENY, "no secrets")
    await wait_until((sandbox.workspace / "a.txt").exists)
    await driver.decide(second["approval_id"], DecisionKind.APPROVE)
    await driver.wait_for_end()
    outputs = await driver.outputs()
    assert "rejected by user: no secrets" in outputs[0]
    assert not (sandbox.workspace / "a.txt").exists()
    assert (await results(driver))[0]["item"]["type"] == "custom_tool_call_output"


async def test_a_lost_acknowledgement_of_a_patch_applies_it_once(
    driver: SessionDriver,
    sandbox: LocalSandbox,
    model: ScriptedModel,
    open_session: OpenSession,
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (sandbox.workspace / "a.txt").write_text("one\n")
    append = journal.append
    failures: list[str] = []

    async def failing_once(session: str, claim: str, rows: list[NewRow]) -> Appended:
        if claim.endswith("/result") and not failures:
            failures.append(claim)
            raise ConnectionError("the journal is away")
        return await append(session, claim, rows)

    monkeypatch.setattr(journal, "append", failing_once)
    model.script(
        replies=[{"calls": [custom(patch("*** Update File: a.txt\n@@\n-one\n+one\n+two\n"))]}, {"text": "Done."}]
    )
    await open_session("Edit.")
    await driver.wait_for_end()
    assert failures == ["t1.s1.c0/result"]
    assert (sandbox.workspace / "a.txt").read_text() == "one\ntwo\n"
    assert "Success" in (await driver.outputs())[0]


async def test_the_model_sees_a_picture_of_the_workspace(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    (sandbox.workspace / "a.png").write_bytes(PNG)
    (sandbox.workspace / "folder").mkdir()
    names = ["a.png", "missing.png", "folder"]
    calls = [{"name": "view_image", "arguments": {"path": name}} for name in names]
    model.script(replies=[{"calls": calls}, {"text": "Done."}])
    await open_session("Look.")
    assert (await driver.wait_for_end())["type"] == "TurnComplete"
    seen, missing, folder = [result["item"]["output"] for result in await results(driver)]
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert seen == [{"type": "input_image", "image_url": url, "detail": "high"}]
    assert "unable to read image at" in missing
    assert "unable to read image at" in folder
    assert await driver.rows(RowKind.TOOL_INTENT) == []


async def test_a_person_answers_a_question_of_the_model(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    ask = {"name": "request_user_input", "arguments": {"questions": [QUESTION]}}
    model.script(replies=[{"calls": [ask]}, {"calls": [ask]}, {"text": "Done."}])
    await open_session("Choose.")
    first = (await driver.wait_for("ExecApprovalRequest"))[0]
    await driver.decide(first["approval_id"], DecisionKind.ANSWER, "SQLite, please")
    second = (await driver.wait_for("ExecApprovalRequest", 2))[1]
    await driver.decide(second["approval_id"], DecisionKind.DENY)
    await driver.wait_for_end()
    answered, declined = await results(driver)
    assert json.loads(answered["item"]["output"]) == {"answers": {"db": {"answers": ["SQLite, please"]}}}
    assert answered["outcome"] == "answered"
    assert declined["item"]["output"] == "The user declined to answer"


async def test_an_answer_to_a_command_is_a_refusal_whose_words_the_model_reads(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    model.script(replies=[shell("rm -f x"), {"text": "{{last_output}}"}])
    await open_session("Delete it.")
    asked = (await driver.wait_for("ExecApprovalRequest"))[0]
    await driver.decide(asked["approval_id"], DecisionKind.ANSWER, "use git rm")
    assert "rejected by user: use git rm" in (await driver.wait_for_end())["last_agent_message"]
    assert await driver.rows(RowKind.TOOL_INTENT) == []


async def test_a_session_full_of_running_commands_says_so(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    client = await sandbox.client()
    for index in range(MAX_LIVE_PROCESSES):
        await client.start(command(client, f"t0.s0.c{index}", "sleep", "120", yield_time_ms=0))
    model.script(replies=[shell("true"), {"text": "{{last_output}}"}])
    await open_session("One more.")
    end = await driver.wait_for_end()
    assert "64 commands are running, which is the most a session may have" in end["last_agent_message"]


async def test_calls_nobody_can_run_are_answered_and_the_turn_goes_on(
    driver: SessionDriver, sandbox: LocalSandbox, model: ScriptedModel, open_session: OpenSession
) -> None:
    calls = [
        {"name": "browse", "arguments": {"url": "x"}},
        {"name": "browse", "input": "x"},
        custom("no patch"),
        {"name": "apply_patch", "arguments": "{"},
        {"name": "update_plan", "arguments": {"plan": 3}},
        {"name": "view_image", "arguments": {}},
        shell_call("true", sandbox_permissions="root"),
    ]
    model.script(replies=[{"calls": calls}, {"text": "Done."}])
    await open_session("Try.")
    assert (await driver.wait_for_end())["last_agent_message"] == "Done."
    outputs = await driver.outputs()
    assert outputs[:2] == ["unsupported call: browse", "unsupported custom tool call: browse"]
    assert outputs[2].startswith("apply_patch verification failed: invalid patch")
    assert all(output.startswith("failed to parse function arguments: ") for output in outputs[3:])
    assert await driver.rows(RowKind.TOOL_INTENT) == []
