"""Each example that the documentation names, run as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from codex_cluster.layout import REPOSITORY

pytestmark = pytest.mark.cluster

EXAMPLES = sorted(path for path in (REPOSITORY / "examples").glob("*.yaml") if "kind: CodexSession" in path.read_text())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_comes_to_its_end(kube, path: Path) -> None:
    kube("apply", "-f", str(path), user="alice")
    name = yaml.safe_load(path.read_text())["metadata"]["name"]
    answered: set[str] = set()

    def over(status) -> bool:
        for pending in status.get("pendingApprovals", []):
            if pending["id"] not in answered:
                answered.add(pending["id"])
                question = pending["kind"] == "Question"
                kube.annotate(name, pending["id"], "answer: PostgreSQL" if question else "approve")
        return status.get("phase") in ("Idle", "Completed")

    status = kube.until(name, over)
    assert status["lastMessage"]
    assert not any(event["type"] == "TurnFailed" for event in status["events"])
