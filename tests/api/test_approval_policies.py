"""Who may decide what: the chart's policies on a real API server that records approvers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.apiserver

ID = "t1-c2-mfrggzdfmztwq2lknnwg23tpoa"
OTHER = "t1-c3-aaaaaaaaaaaaaaaaaaaaaaaaaa"
KEY = f"approval.codex-temporal.dev/{ID}"
STAMP = f"approved-by.codex-temporal.dev/{ID}"
BUILDER = "system:serviceaccount:default:builder"


def annotate(name: str, *annotations: str) -> tuple[str, ...]:
    return ("annotate", "cxs", name, *annotations)


@pytest.mark.parametrize(
    "value", ["approve", "abort", "deny", "deny: it would delete the volume", "answer: use the other volume"]
)
def test_an_approver_decides_and_the_api_server_writes_down_who(cluster: Any, value: str) -> None:
    name = cluster.session(ID)
    cluster.kubectl(*annotate(name, f"{KEY}={value}"), user="alice")
    annotations = cluster.annotations(name)
    assert (annotations[KEY], annotations[STAMP]) == (value, "alice")


def test_two_commands_are_decided_at_once_or_one_by_one(cluster: Any) -> None:
    other_key = f"approval.codex-temporal.dev/{OTHER}"
    name = cluster.session(ID, OTHER)
    cluster.kubectl(*annotate(name, f"{other_key}=deny"), user="carol")
    cluster.kubectl(*annotate(name, f"{KEY}=approve"), user="alice")
    annotations = cluster.annotations(name)
    assert annotations[STAMP] == "alice"
    assert annotations[f"approved-by.codex-temporal.dev/{OTHER}"] == "carol"
    both = cluster.session(ID, OTHER)
    cluster.kubectl(*annotate(both, f"{KEY}=approve", f"{other_key}=deny"), user="alice")
    assert cluster.annotations(both)[f"approved-by.codex-temporal.dev/{OTHER}"] == "alice"


def test_a_user_without_the_verb_may_not_approve_and_learns_what_is_missing(cluster: Any) -> None:
    name = cluster.session(ID)
    message = cluster.refused(*annotate(name, f"{KEY}=approve"), user="bob")
    assert "user bob may not approve" in message
    assert "codex-approver" in message
    assert KEY not in cluster.annotations(name)


def test_the_owner_of_a_session_has_no_right_to_approve_it_by_that(cluster: Any) -> None:
    name = cluster.session(ID, user="bob")
    assert "user bob may not approve" in cluster.refused(*annotate(name, f"{KEY}=deny"), user="bob")


def test_no_service_account_approves_whatever_its_rights(cluster: Any) -> None:
    cluster.kubectl(
        "create", "clusterrolebinding", "builder", "--clusterrole=cluster-admin", "--serviceaccount=default:builder"
    )
    name = cluster.session(ID)
    assert "service accounts may not approve" in cluster.refused(*annotate(name, f"{KEY}=approve"), user=BUILDER)


def test_an_unknown_id_is_refused_by_name(cluster: Any) -> None:
    name = cluster.session(ID)
    message = cluster.refused(*annotate(name, f"approval.codex-temporal.dev/{OTHER}=approve"), user="alice")
    assert f"no pending approval for approval.codex-temporal.dev/{OTHER}: see status.pendingApprovals" in message
    idle = cluster.session()
    assert "no pending approval" in cluster.refused(*annotate(idle, f"{KEY}=approve"), user="alice")


def test_an_id_that_is_no_longer_pending_is_refused(cluster: Any) -> None:
    name = cluster.session(ID)
    cluster.report(name, [])
    assert "no pending approval" in cluster.refused(*annotate(name, f"{KEY}=approve"), user="alice")


@pytest.mark.parametrize(
    "value",
    [
        *("yes", "approve-session", "Approve", "approve ", "", "deny:", "deny: ", "deny:because", "deny: " + "x" * 257),
        *("answer", "answer:", "answer: ", "answer:   ", "answer:yes", "Answer: yes", "answer: " + "x" * 2049),
    ],
)
def test_a_value_that_means_nothing_is_refused(cluster: Any, value: str) -> None:
    name = cluster.session(ID)
    message = cluster.refused(*annotate(name, f"{KEY}={value}"), user="alice")
    assert "the value must be approve, abort, deny, 'deny: reason'" in message
    assert "or 'answer: text' (at most 2,048 characters)" in message


def test_a_value_of_two_lines_is_refused(cluster: Any) -> None:
    name = cluster.session(ID)
    patch = json.dumps({"metadata": {"annotations": {KEY: "deny: no\napprove"}}})
    assert "the value must be" in cluster.refused("patch", "cxs", name, "--type=merge", "-p", patch, user="alice")


@pytest.mark.parametrize(
    "value", ["answer: PostgreSQL", "answer: ja: größer", "answer: " + "é" * 2048, "answer: one\ntwo", "deny", "abort"]
)
def test_a_question_is_answered_in_words(cluster: Any, value: str) -> None:
    name = cluster.session(ID, kind="Question")
    patch = json.dumps({"metadata": {"annotations": {KEY: value}}})
    cluster.kubectl("patch", "cxs", name, "--type=merge", "-p", patch, user="alice")
    annotations = cluster.annotations(name)
    assert (annotations[KEY], annotations[STAMP]) == (value, "alice")


def test_a_question_cannot_be_approved_and_the_cure_is_named(cluster: Any) -> None:
    name = cluster.session(ID, kind="Question")
    message = cluster.refused(*annotate(name, f"{KEY}=approve"), user="alice")
    assert "this is a question, so it cannot be approved: answer it with the value 'answer: text'" in message
    assert KEY not in cluster.annotations(name)


@pytest.mark.parametrize("value", ["answer: yes", "deny"])
def test_who_may_not_approve_may_not_answer_either(cluster: Any, value: str) -> None:
    name = cluster.session(ID, kind="Question")
    assert "user bob may not approve" in cluster.refused(*annotate(name, f"{KEY}={value}"), user="bob")


def test_an_answer_cannot_be_changed(cluster: Any) -> None:
    name = cluster.session(ID, kind="Question")
    cluster.kubectl(*annotate(name, f"{KEY}=answer: yes"), user="alice")
    message = cluster.refused(*annotate(name, "--overwrite", f"{KEY}=answer: no"), user="alice")
    assert "a decision cannot be changed or removed" in message


@pytest.mark.parametrize(
    "prefix",
    [
        "approvals.codex-temporal.dev",
        "approval.codex-temporal.io",
        "approve.codex-temporal.dev",
        "approval.codex-temporal",
    ],
)
def test_a_decision_under_a_mistaken_key_is_refused_and_the_right_key_is_named(cluster: Any, prefix: str) -> None:
    name = cluster.session(ID)
    message = cluster.refused(*annotate(name, f"{prefix}/{ID}=approve"), user="alice")
    assert f"the annotation {prefix}/{ID} decides nothing: the key is {KEY}" in message
    assert not cluster.annotations(name)
    settled = cluster.session()
    message = cluster.refused(*annotate(settled, f"{prefix}/{ID}=approve"), user="alice")
    assert f"the annotation {prefix}/{ID} decides nothing: the key is approval.codex-temporal.dev/ID, with" in message


@pytest.mark.parametrize(
    "key",
    [
        f"codex-temporal.dev/{ID}",
        f"approval.codex-temporal/{ID}.1",
        f"codex-temporal.dev/approval.{ID}",
        f"Approval.codex-temporal.dev/{ID}",
        f"approval.example.com/{ID}",
        f"{ID}.example.com/approval",
        ID,
    ],
)
def test_a_pending_id_anywhere_but_behind_the_right_prefix_is_refused(cluster: Any, key: str) -> None:
    name = cluster.session(OTHER, ID)
    for user in ("bob", "alice"):
        message = cluster.refused(*annotate(name, f"{key}=approve"), user=user)
        assert message.rstrip().endswith(f"the annotation {key} decides nothing: the key is {KEY}")
    assert not cluster.annotations(name)


def test_a_note_about_what_is_decided_already_is_nobodys_business(cluster: Any) -> None:
    name, note = cluster.session(OTHER), f"note.example.com/{ID}"
    cluster.kubectl(*annotate(name, f"{note}=alice was right"), user="bob")
    assert cluster.annotations(name) == {note: "alice was right"}


def test_a_note_that_was_there_before_its_id_was_pending_stays_and_can_go(
    cluster: Any, pending_approval: Callable[..., dict[str, Any]]
) -> None:
    name = cluster.session()
    note = f"note.example.com/{ID}"
    cluster.kubectl(*annotate(name, f"{note}=x"), user="bob")
    cluster.report(name, [pending_approval(ID)])
    cluster.kubectl(*annotate(name, "--overwrite", f"{note}=y"), user="bob")
    cluster.kubectl(*annotate(name, f"{KEY}=approve"), user="alice")
    assert cluster.annotations(name) == {note: "y", KEY: "approve", STAMP: "alice"}
    cluster.kubectl(*annotate(name, f"{note}-"), user="bob")
    assert cluster.annotations(name) == {KEY: "approve", STAMP: "alice"}


def test_a_thousand_annotations_of_others_are_judged_within_the_api_servers_budget(cluster: Any) -> None:
    name = cluster.session(*(f"t1-c{number}-{number}mfrggzdfmztwq2lknnwg23tpo" for number in range(7)), ID)
    notes = {f"approvals.of.other.people.example.com/note-{number:04}-{'x' * 20}": "y" for number in range(1000)}
    patch = json.dumps({"metadata": {"annotations": {**notes, KEY: "approve"}}})
    cluster.kubectl("patch", "cxs", name, "--type=merge", "-p", patch, user="alice")
    annotations = cluster.annotations(name)
    assert (len(annotations), annotations[STAMP]) == (1002, "alice")
    wrong = json.dumps({"metadata": {"annotations": {f"codex-temporal.dev/{ID}": "deny"}}})
    message = cluster.refused("patch", "cxs", name, "--type=merge", "-p", wrong, user="alice")
    assert f"the key is {KEY}" in message


@pytest.mark.parametrize(
    "key", ["approval.example.com/by", "approvals.codex.example.com/x", "approved", "example.com/approval"]
)
def test_other_peoples_keys_about_approving_are_left_alone(cluster: Any, key: str) -> None:
    name = cluster.session(ID)
    cluster.kubectl(*annotate(name, f"{key}=yes"), user="bob")
    assert cluster.annotations(name) == {key: "yes"}


def test_what_is_not_shown_whole_cannot_be_approved_but_denied(cluster: Any) -> None:
    name = cluster.session(truncated=[ID])
    message = cluster.refused(*annotate(name, f"{KEY}=approve"), user="alice")
    assert "too long to be shown whole" in message
    cluster.kubectl(*annotate(name, f"{KEY}=deny"), user="alice")
    question = cluster.session(truncated=[ID], kind="Question")
    cluster.kubectl(*annotate(question, f"{KEY}=answer: the first"), user="alice")


def test_nobody_changes_his_mind(cluster: Any) -> None:
    name = cluster.session(ID)
    cluster.kubectl(*annotate(name, f"{KEY}=deny"), user="alice")
    for user in ("alice", "carol", "admin"):
        for change in (f"{KEY}=approve", f"{KEY}-"):
            message = cluster.refused(*annotate(name, "--overwrite", change), user=user)
            assert "a decision cannot be changed or removed" in message
    assert cluster.annotations(name)[KEY] == "deny"


def test_a_replaced_object_keeps_its_decisions(cluster: Any) -> None:
    name = cluster.session(ID)
    cluster.kubectl(*annotate(name, f"{KEY}=approve"), user="alice")
    session = cluster.get(name)
    session["metadata"]["annotations"] = {}
    message = cluster.refused("replace", "-f", "-", user="alice", stdin=json.dumps(session))
    assert "a decision cannot be changed or removed" in message


@pytest.mark.parametrize(
    "annotations",
    [
        [f"{STAMP}=carol"],
        [f"{STAMP}=bob"],
        [f"approved-by.codex-temporal.dev/{OTHER}=alice"],
    ],
)
def test_a_stamp_without_a_decision_is_refused(cluster: Any, annotations: list[str]) -> None:
    name = cluster.session(ID)
    for user in ("bob", "alice", "admin"):
        message = cluster.refused(*annotate(name, *annotations), user=user)
        assert "written by the API server only" in message


def test_a_decision_with_a_stamp_in_another_name_is_refused(cluster: Any) -> None:
    name = cluster.session(ID)
    message = cluster.refused(*annotate(name, f"{KEY}=approve", f"{STAMP}=carol"), user="alice")
    assert "written by the API server only" in message
    assert KEY not in cluster.annotations(name)


def test_a_stamp_is_neither_changed_nor_removed_later(cluster: Any) -> None:
    name = cluster.session(ID)
    cluster.kubectl(*annotate(name, f"{KEY}=approve"), user="alice")
    for user in ("alice", "carol", "admin"):
        for change in (f"{STAMP}=carol", f"{STAMP}-"):
            message = cluster.refused(*annotate(name, "--overwrite", change), user=user)
            assert "written by the API server only" in message


@pytest.mark.parametrize("verb", ["create", "apply", "server-side apply"])
@pytest.mark.parametrize("key", [KEY, STAMP, "kopf.codex-temporal.dev/last-handled-configuration"])
def test_a_new_object_carries_no_decision(
    cluster: Any, session_manifest: Callable[..., str], verb: str, key: str
) -> None:
    command = {"create": ["create"], "apply": ["apply"], "server-side apply": ["apply", "--server-side"]}[verb]
    text = session_manifest("decided-before", annotations={key: "approve"})
    for user in ("bob", "carol", "admin"):
        message = cluster.refused(*command, "-f", "-", user=user, stdin=text)
        assert "a new session cannot carry decisions" in message


def test_a_session_made_anew_under_the_same_name_has_no_old_approval(
    cluster: Any, session_manifest: Callable[..., str], pending_approval: Callable[..., dict[str, Any]]
) -> None:
    name = cluster.session(ID)
    cluster.kubectl(*annotate(name, f"{KEY}=approve"), user="alice")
    kept = cluster.get(name)
    cluster.kubectl("delete", "cxs", name, user="bob")
    for field in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
        kept["metadata"].pop(field, None)
    assert "a new session cannot carry" in cluster.refused("create", "-f", "-", user="bob", stdin=json.dumps(kept))
    cluster.kubectl("create", "-f", "-", user="bob", stdin=session_manifest(name))
    cluster.report(name, [pending_approval(ID)])
    assert KEY not in cluster.annotations(name)


@pytest.mark.parametrize("way", ["merge patch", "json patch", "apply", "server-side apply", "replace"])
def test_every_way_to_write_an_annotation_is_judged(cluster: Any, way: str) -> None:
    name = cluster.session(ID)
    session = cluster.get(name)
    whole = json.dumps({**session, "metadata": {**session["metadata"], "annotations": {KEY: "approve"}}})
    part = yaml.safe_dump(
        {
            "apiVersion": session["apiVersion"],
            "kind": session["kind"],
            "metadata": {"name": name, "annotations": {KEY: "approve"}},
            "spec": {"prompt": session["spec"]["prompt"]},
        }
    )
    merge = json.dumps({"metadata": {"annotations": {KEY: "approve"}}})
    operations = json.dumps([{"op": "add", "path": "/metadata/annotations", "value": {KEY: "approve"}}])
    command, stdin = {
        "merge patch": (("patch", "cxs", name, "--type=merge", "-p", merge), None),
        "json patch": (("patch", "cxs", name, "--type=json", "-p", operations), None),
        "apply": (("apply", "-f", "-"), part),
        "server-side apply": (("apply", "--server-side", "--force-conflicts", "-f", "-"), part),
        "replace": (("replace", "-f", "-"), whole),
    }[way]
    assert "may not approve" in cluster.refused(*command, user="bob", stdin=stdin)
    cluster.kubectl(*command, user="carol", stdin=stdin)
    assert cluster.annotations(name)[STAMP] == "carol"


def test_annotating_the_status_subresource_decides_nothing(cluster: Any) -> None:
    name = cluster.session(ID)
    patch = json.dumps({"metadata": {"annotations": {KEY: "approve"}}})
    command = ("patch", "cxs", name, "--subresource=status", "--type=merge", "-p", patch)
    for user in ("bob", "alice"):
        assert "forbidden" in cluster.refused(*command, user=user)
    assert "the status of a session is written by the operator only" in cluster.refused(*command, user="admin")
    assert KEY not in cluster.annotations(name)


def test_a_status_is_not_written_by_hand_not_even_by_an_administrator(
    cluster: Any, pending_approval: Callable[..., dict[str, Any]]
) -> None:
    name = cluster.session(ID)
    patch = json.dumps({"status": {"pendingApprovals": [pending_approval(OTHER)]}})
    command = ("patch", "cxs", name, "--subresource=status", "--type=merge", "-p", patch)
    for user in ("bob", "alice"):
        assert "forbidden" in cluster.refused(*command, user=user)
    assert "written by the operator only" in cluster.refused(*command, user="admin")
    assert [pending["id"] for pending in cluster.get(name)["status"]["pendingApprovals"]] == [ID]


def test_an_ordinary_update_cannot_bring_its_own_pending_approvals(
    cluster: Any, pending_approval: Callable[..., dict[str, Any]]
) -> None:
    name = cluster.session(ID)
    session = cluster.get(name)
    session["status"]["pendingApprovals"] = [pending_approval(OTHER)]
    session["metadata"]["annotations"] = {f"approval.codex-temporal.dev/{OTHER}": "approve"}
    assert "no pending approval" in cluster.refused("replace", "-f", "-", user="carol", stdin=json.dumps(session))


def test_the_operators_notes_are_its_own(cluster: Any) -> None:
    name = cluster.session()
    note = "kopf.codex-temporal.dev/progress"
    cluster.kubectl(*annotate(name, f"{note}=1"), user=cluster.operator)
    for user in ("bob", "alice", "admin"):
        for change in (f"{note}=2", f"{note}-", "kopf.codex-temporal.dev/other=1"):
            assert "belong to the operator" in cluster.refused(*annotate(name, "--overwrite", change), user=user)


def test_the_operator_clears_away_decided_annotations(cluster: Any) -> None:
    name = cluster.session(ID)
    cluster.kubectl(*annotate(name, f"{KEY}=approve"), user="alice")
    cluster.kubectl(*annotate(name, f"{KEY}-", f"{STAMP}-"), user=cluster.operator)
    assert not cluster.annotations(name)


def test_sessions_that_never_ask_need_the_verb_bypass(cluster: Any, session_manifest: Callable[..., str]) -> None:
    text = session_manifest("never-asks", approval={"policy": "Never"})
    for user in ("bob", "alice"):
        message = cluster.refused("create", "-f", "-", user=user, stdin=text)
        assert "approval.policy Never" in message or "cannot create resource" in message
    assert "codex-approval-bypass" in cluster.refused("create", "-f", "-", user="bob", stdin=text)
    cluster.kubectl("create", "-f", "-", user="carol", stdin=text)
    # Whoever may use the session may go on with it: only its creation was a question of that right.
    cluster.kubectl("label", "cxs", "never-asks", "team=a", user="bob")
    cluster.kubectl(
        "patch", "cxs", "never-asks", "--type=merge", "-p", '{"spec":{"operatingMode":"Cancelled"}}', user="bob"
    )


def test_other_annotations_and_labels_are_nobodys_business(cluster: Any) -> None:
    name = cluster.session(ID)
    cluster.kubectl(*annotate(name, "team.example/owner=bob"), user="bob")
    cluster.kubectl("label", "cxs", name, "team=a", user="bob")
    metadata = cluster.get(name)["metadata"]
    assert (metadata["annotations"], metadata["labels"]) == ({"team.example/owner": "bob"}, {"team": "a"})
    cluster.kubectl(*annotate(name, "team.example/owner-"), user="bob")
    assert cluster.annotations(name) == {}


@pytest.mark.parametrize("count", [900, 991, 1000])
def test_a_thousand_annotations_block_neither_a_decision_by_the_operator_nor_the_deletion(
    cluster: Any, count: int
) -> None:
    name = cluster.session(ID)
    finalizer = json.dumps({"metadata": {"finalizers": ["codex-temporal.dev/workflow"]}})
    cluster.kubectl("patch", "cxs", name, "--type=merge", "-p", finalizer, user=cluster.operator)
    cluster.kubectl(*annotate(name, f"{KEY}=approve"), user="alice")
    many = json.dumps({"metadata": {"annotations": {f"example.com/note-{n}": "x" * 20 for n in range(count)}}})
    cluster.kubectl("patch", "cxs", name, "--type=merge", "-p", many, user="bob")
    cluster.kubectl("delete", "cxs", name, "--wait=false", user="bob")
    # As kopf does it: notes and finalizer in one patch.
    release = json.dumps({"metadata": {"finalizers": None, "annotations": {"kopf.codex-temporal.dev/progress": "1"}}})
    cluster.kubectl("patch", "cxs", name, "--type=merge", "-p", release, user=cluster.operator)
    assert "not found" in cluster.refused("get", "cxs", name, user="bob")


def test_removing_a_finalizer_is_never_blocked(cluster: Any) -> None:
    name = cluster.session(ID)
    finalizer = json.dumps({"metadata": {"finalizers": ["codex-temporal.dev/workflow"]}})
    cluster.kubectl("patch", "cxs", name, "--type=merge", "-p", finalizer, user=cluster.operator)
    cluster.kubectl(*annotate(name, f"{KEY}=approve"), user="alice")
    cluster.kubectl("delete", "cxs", name, "--wait=false", user="bob")
    cluster.kubectl("patch", "cxs", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}', user="bob")
    assert "not found" in cluster.refused("get", "cxs", name, user="bob")


def test_a_name_with_odd_characters_is_stamped_as_it_is(cluster: Any) -> None:
    user = "https://issuer.example/users#Ünï'\"code"
    cluster.kubectl("create", "rolebinding", "odd-name", "--clusterrole=codex-approver", f"--user={user}")
    name = cluster.session(ID)
    cluster.kubectl(*annotate(name, f"{KEY}=approve"), user=user)
    assert cluster.annotations(name)[STAMP] == user
