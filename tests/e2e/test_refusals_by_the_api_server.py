"""What the API server itself refuses, with a message a person can act on."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.cluster

PREFIX = "approval.codex-temporal.dev/"


@pytest.fixture
def asking(kube) -> tuple[str, str]:
    """A session that waits for a decision, and the approval's id."""
    kube.create("asks", "Try what is forbidden.")
    return "asks", kube.wait_for_approvals("asks")[0]["id"]


def test_a_user_without_the_right_may_not_approve(kube, asking) -> None:
    name, approval = asking
    message = kube.refused("annotate", "cxs", name, f"{PREFIX}{approval}=approve", user="bob")
    assert "may not approve" in message
    assert "bob" in message


def test_a_forged_stamp_is_refused(kube, asking) -> None:
    name, approval = asking
    stamp = f"approved-by.codex-temporal.dev/{approval}=carol"
    message = kube.refused("annotate", "cxs", name, f"{PREFIX}{approval}=approve", stamp, user="alice")
    assert "written by the API server only" in message


def test_a_decision_in_a_new_object_is_refused(kube, asking) -> None:
    _, approval = asking
    manifest = {
        "apiVersion": "codex-temporal.dev/v1alpha1",
        "kind": "CodexSession",
        "metadata": {"name": "sneaky", "annotations": {f"{PREFIX}{approval}": "approve"}},
        "spec": {"prompt": "Only say hello."},
    }
    assert "cannot carry decisions" in kube.refused("create", "-f", "-", user="alice", stdin=json.dumps(manifest))


def test_a_status_written_by_hand_is_refused(kube, asking) -> None:
    name, _ = asking
    patch = ("patch", "cxs", name, "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Completed"}}')
    assert "written by the operator only" in kube.refused(*patch, user="admin")


def test_a_change_of_mind_is_refused(kube, asking) -> None:
    name, approval = asking
    kube.annotate(name, approval, "deny")
    message = kube.refused("annotate", "--overwrite", "cxs", name, f"{PREFIX}{approval}=approve", user="alice")
    assert "cannot be changed" in message or "no pending approval" in message


def test_an_unknown_id_is_refused(kube, asking) -> None:
    name, _ = asking
    assert "no pending approval" in kube.refused("annotate", "cxs", name, f"{PREFIX}t9-c9-xyz=approve", user="alice")


def test_policy_never_needs_the_right_to_bypass(kube) -> None:
    manifest = {
        "apiVersion": "codex-temporal.dev/v1alpha1",
        "kind": "CodexSession",
        "metadata": {"name": "reckless"},
        "spec": {"prompt": "Only say hello.", "approval": {"policy": "Never"}},
    }
    assert "bypass" in kube.refused("create", "-f", "-", user="bob", stdin=json.dumps(manifest))


def test_an_invalid_manifest_is_refused_naming_the_field(kube) -> None:
    manifest = {
        "apiVersion": "codex-temporal.dev/v1alpha1",
        "kind": "CodexSession",
        "metadata": {"name": "wrong"},
        "spec": {"prompt": "x", "limits": {"maxSteps": 0}, "approval": {"policy": "Sometimes"}},
    }
    message = kube.refused("create", "-f", "-", stdin=json.dumps(manifest))
    assert "spec.limits.maxSteps" in message
    assert "spec.approval.policy" in message


def test_an_unknown_field_is_refused(kube) -> None:
    manifest = {
        "apiVersion": "codex-temporal.dev/v1alpha1",
        "kind": "CodexSession",
        "metadata": {"name": "typo"},
        "spec": {"prompt": "x", "aproval": {}},
    }
    assert 'unknown field "spec.aproval"' in kube.refused("create", "-f", "-", stdin=json.dumps(manifest))


def test_a_prompt_cannot_be_changed_and_the_message_names_the_cure(kube) -> None:
    kube.create("fixed", "Only say hello.")
    message = kube.refused("patch", "cxs", "fixed", "--type=merge", "-p", '{"spec":{"prompt":"Something else."}}')
    assert "create a new CodexSession" in message
