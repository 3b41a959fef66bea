"""Tools that run nothing: plans, pictures and questions, from their arguments to what the model reads."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_api.approvals import Decision, DecisionKind, approval_id
from codex_api.rows import Classification, SessionSettings
from codex_api.session import ApprovalPolicy
from codex_sandbox.protocol import FileContent
from codex_worker.gate import NotAllowed, require_allowed, told_instead
from codex_worker.tools.call_context import CallContext
from codex_worker.tools.exec_command import BadArguments, parse_arguments
from codex_worker.tools.prepare import PreparedCall, prepare_reply
from codex_worker.tools.request_user_input import RequestUserInputArguments, answers_text
from codex_worker.tools.update_plan import UpdatePlanArguments
from codex_worker.tools.view_image import MAX_IMAGE_BYTES, NotAnImage, ViewImageArguments, image_output

SESSION = "uid-1"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
QUESTION = {
    "id": "db",
    "header": "Database",
    "question": "Which one?",
    "options": [{"label": "SQLite", "description": "one file"}, {"label": "PostgreSQL", "description": ""}],
}


def prepared(name: str, arguments: Any, policy: ApprovalPolicy = ApprovalPolicy.UNTRUSTED) -> PreparedCall:
    context = CallContext(session=SESSION, turn=1, step=1, settings=SessionSettings(approval_policy=policy), nonce="n")
    item = {"type": "function_call", "name": name, "call_id": "c", "arguments": json.dumps(arguments)}
    [call] = prepare_reply([item], context)
    return call


def test_a_plan_is_kept_as_it_was_sent_and_runs_unasked_in_its_turn() -> None:
    plan = [{"step": "Read", "status": "completed"}, {"step": "Write", "status": "in_progress"}]
    call = prepared("update_plan", {"plan": plan, "explanation": None}).payload
    assert (call.classification, call.serial) == (Classification.AUTOMATIC, True)
    assert call.arguments == {"plan": plan, "explanation": ""}
    assert call.preview == "[x] Read⏎[>] Write"
    require_allowed(call, session=SESSION, policy=ApprovalPolicy.UNTRUSTED, decision=None)


@pytest.mark.parametrize("plan", [None, "x", [{"step": "a"}], [{"step": "a", "status": "done"}], [1]])
def test_a_plan_in_another_form_is_malformed(plan: Any) -> None:
    assert prepared("update_plan", {"plan": plan}).payload.classification is Classification.MALFORMED


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0 jfif", "image/jpeg"),
        (b"GIF89a...", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_a_picture_is_told_by_its_first_bytes(content: bytes, kind: str) -> None:
    [part] = image_output("/workspace/a", FileContent(content, len(content), False), "high")
    data = base64.b64encode(content).decode()
    assert part == {"type": "input_image", "image_url": f"data:{kind};base64,{data}", "detail": "high"}


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (FileContent(b"<svg/>", 6, False), "unable to process image at `/x.png`"),
        (FileContent(b"", 0, False), "unable to process image"),
        (FileContent(PNG, 10_000_000, True), "10000000 bytes"),
        (FileContent(PNG + b"\0" * MAX_IMAGE_BYTES, MAX_IMAGE_BYTES + 28, False), "make it smaller"),
    ],
)
def test_what_cannot_be_shown_is_said(file: FileContent, problem: str) -> None:
    with pytest.raises(NotAnImage, match=problem):
        image_output("/x.png", file, "high")


def test_a_picture_is_named_from_the_workspace_and_may_be_seen_unasked() -> None:
    call = prepared("view_image", {"path": "shots/../a.png"}).payload
    assert (call.classification, call.serial) == (Classification.AUTOMATIC, False)
    assert call.arguments == {"path": "/workspace/a.png", "detail": "high"}
    for arguments in ({"path": ""}, {"path": "a", "detail": "low"}, {"path": "a\u202eb"}, {}):
        assert prepared("view_image", arguments).payload.classification is Classification.MALFORMED


def test_a_question_asks_under_every_policy_but_never() -> None:
    for policy in (ApprovalPolicy.UNTRUSTED, ApprovalPolicy.ON_REQUEST):
        call = prepared("request_user_input", {"questions": [QUESTION]}, policy).payload
        assert call.classification is Classification.ASK
        assert call.preview == "Database: Which one? (1) SQLite - one file (2) PostgreSQL"
        assert call.arguments == {"questions": [QUESTION]}
    nobody = prepared("request_user_input", {"questions": [QUESTION]}, ApprovalPolicy.NEVER)
    assert nobody.payload.classification is Classification.FORBIDDEN
    assert nobody.output is not None
    assert "nobody can be asked" in nobody.output["output"]


@pytest.mark.parametrize("questions", [[], [QUESTION] * 4, [{"id": "a"}], [{**QUESTION, "question": " "}], "x"])
def test_a_question_in_another_form_is_malformed(questions: Any) -> None:
    call = prepared("request_user_input", {"questions": questions})
    assert call.payload.classification is Classification.MALFORMED


def test_a_question_too_long_to_be_shown_is_told_to_become_shorter() -> None:
    options = [{"label": "x" * 300, "description": ""}] * 10
    call = prepared("request_user_input", {"questions": [{**QUESTION, "options": options}]})
    assert (call.payload.classification, call.payload.truncated) == (Classification.FORBIDDEN, True)
    assert call.output is not None
    assert "The question was not asked" in call.output["output"]
    assert "Ask in at most 2048 bytes: fewer or shorter questions" in call.output["output"]
    assert "file" not in call.output["output"]


@pytest.mark.parametrize(
    ("ids", "words", "answers"),
    [
        (["a"], "SQLite; and quickly", {"a": ["SQLite; and quickly"]}),
        (["a", "b"], "one ; two", {"a": ["one"], "b": ["two"]}),
        (["a", "b"], "only this", {"a": ["only this"], "b": ["only this"]}),
        (["a", "b"], "1;2;3 ", {"a": ["1;2;3"], "b": ["1;2;3"]}),
        (["a", "b"], "  ", {"a": [], "b": []}),
        (["a", "b"], "; two", {"a": [], "b": ["two"]}),
    ],
)
def test_an_answer_is_given_to_its_questions(ids: list[str], words: str, answers: dict[str, list[str]]) -> None:
    text = answers_text({"questions": [{"id": identity} for identity in ids]}, words)
    assert json.loads(text) == {"answers": {identity: {"answers": given} for identity, given in answers.items()}}


@pytest.mark.parametrize(
    ("kind", "runs"),
    [
        (DecisionKind.ANSWER, True),
        (DecisionKind.APPROVE, False),
        (DecisionKind.DENY, False),
        (DecisionKind.EXPIRE, False),
    ],
)
def test_only_an_answer_lets_a_question_return(kind: DecisionKind, runs: bool) -> None:
    call = prepared("request_user_input", {"questions": [QUESTION]}).payload
    decision = Decision(call.approval_id, kind, "SQLite", "alice")
    if runs:
        require_allowed(call, session=SESSION, policy=ApprovalPolicy.UNTRUSTED, decision=decision)
        return
    with pytest.raises(NotAllowed):
        require_allowed(call, session=SESSION, policy=ApprovalPolicy.UNTRUSTED, decision=decision)


def test_a_question_nobody_approved_may_not_be_changed() -> None:
    call = prepared("request_user_input", {"questions": [QUESTION]}).payload
    assert call.approval_id == approval_id(SESSION, call.nonce, call.digest, 1, 1)
    forged = call.model_copy(update={"arguments": {"questions": [{**QUESTION, "question": "Another?"}]}})
    with pytest.raises(NotAllowed, match="digest"):
        require_allowed(
            forged,
            session=SESSION,
            policy=ApprovalPolicy.UNTRUSTED,
            decision=Decision(call.approval_id, DecisionKind.ANSWER, "yes"),
        )


@pytest.mark.parametrize(
    ("tool", "arguments", "kind", "told", "outcome"),
    [
        ("request_user_input", {"questions": [QUESTION]}, DecisionKind.DENY, "declined to answer: later", "denied"),
        ("request_user_input", {"questions": [QUESTION]}, DecisionKind.APPROVE, "declined to answer", "denied"),
        ("request_user_input", {"questions": [QUESTION]}, DecisionKind.EXPIRE, "within 3600 seconds", "expired"),
        ("exec_command", {"cmd": "make"}, DecisionKind.ANSWER, "rejected by user: later", "denied"),
        ("exec_command", {"cmd": "make"}, DecisionKind.DENY, "rejected by user: later", "denied"),
        ("exec_command", {"cmd": "make"}, DecisionKind.EXPIRE, "nobody answered within 3600", "expired"),
        ("exec_command", {"cmd": "make"}, None, "not allowed to run", "refused"),
    ],
)
def test_the_model_is_told_what_a_person_said_instead(
    tool: str, arguments: dict[str, Any], kind: DecisionKind | None, told: str, outcome: str
) -> None:
    call = prepared(tool, arguments).payload
    decision = Decision(call.approval_id, kind, "later") if kind is not None else None
    text, said = told_instead(call, SessionSettings(), decision)
    assert told in text
    assert said == outcome


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["plan", "questions", "path"]), inner),
    max_leaves=8,
)


@given(st.text() | json_values.map(json.dumps))
def test_arguments_are_read_or_refused_and_nothing_else(text: str) -> None:
    for model in (UpdatePlanArguments, ViewImageArguments, RequestUserInputArguments):
        try:
            parse_arguments(model, text)
        except BadArguments as error:
            assert str(error)  # noqa: PT017  (both endings are right)
