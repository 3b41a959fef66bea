"""A cluster that cannot record approvers (no MutatingAdmissionPolicy v1): it is said, and the rest is still checked."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.apiserver

ID = "t1-c2-mfrggzdfmztwq2lknnwg23tpoa"
OTHER = "t1-c3-aaaaaaaaaaaaaaaaaaaaaaaaaa"
KEY = f"approval.codex-temporal.dev/{ID}"
STAMP = f"approved-by.codex-temporal.dev/{ID}"


def test_required_is_refused_with_the_cure(older_cluster: Any) -> None:
    done = older_cluster.install("approval.admission=required")
    assert done.returncode != 0
    assert "this cluster (v1.34.4) serves no MutatingAdmissionPolicy v1" in done.stderr
    assert "approval.admission=auto" in done.stderr


def test_auto_installs_what_there_is_and_warns(older_installed: Any) -> None:
    found = older_installed.kubectl("get", "validatingadmissionpolicies", "-o", "name").split()
    assert len(found) == 3
    again = older_installed.install("approval.admission=auto")
    assert "WHO APPROVED IS NOT RECORDED" in again.stdout


def test_a_decision_is_accepted_without_a_stamp(older_installed: Any) -> None:
    name = older_installed.session(ID)
    older_installed.kubectl("annotate", "cxs", name, f"{KEY}=approve", user="alice")
    annotations = older_installed.annotations(name)
    assert annotations[KEY] == "approve"
    assert STAMP not in annotations


def test_a_forged_stamp_is_still_refused(older_installed: Any) -> None:
    name = older_installed.session(ID)
    for stamps in ((f"{STAMP}=carol",), (f"{KEY}=approve", f"{STAMP}=carol")):
        message = older_installed.refused("annotate", "cxs", name, *stamps, user="alice")
        assert "written by the API server only" in message


@pytest.mark.parametrize(
    ("user", "annotation", "said"),
    [
        ("bob", f"{KEY}=approve", "may not approve"),
        ("alice", f"approval.codex-temporal.dev/{OTHER}=approve", "no pending approval"),
        ("alice", f"{KEY}=yes", "the value must be"),
        ("admin", "kopf.codex-temporal.dev/note=1", "belong to the operator"),
    ],
)
def test_the_other_rules_hold(older_installed: Any, user: str, annotation: str, said: str) -> None:
    name = older_installed.session(ID)
    assert said in older_installed.refused("annotate", "cxs", name, annotation, user=user)


def test_nobody_changes_his_mind_here_either(older_installed: Any) -> None:
    name = older_installed.session(ID)
    older_installed.kubectl("annotate", "cxs", name, f"{KEY}=deny", user="alice")
    message = older_installed.refused("annotate", "cxs", name, "--overwrite", f"{KEY}=approve", user="alice")
    assert "a decision cannot be changed or removed" in message


def test_a_status_and_a_session_that_never_asks_are_guarded_too(older_installed: Any, session_manifest: Any) -> None:
    name = older_installed.session(ID)
    patch = json.dumps({"status": {"pendingApprovals": []}})
    command = ("patch", "cxs", name, "--subresource=status", "--type=merge", "-p", patch)
    assert "written by the operator only" in older_installed.refused(*command, user="admin")
    text = session_manifest("never-asks", approval={"policy": "Never"})
    assert "codex-approval-bypass" in older_installed.refused("create", "-f", "-", user="bob", stdin=text)


def test_columns_and_field_selectors_work_here_too(older_installed: Any) -> None:
    name = older_installed.session(ID)
    chosen = older_installed.kubectl("get", "cxs", "--field-selector=status.phase=AwaitingApproval", user="bob")
    assert ID in next(line for line in chosen.splitlines() if line.startswith(name + " "))
