"""The AGENTS.md chain, read where the workspace is and bounded on both sides."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from codex_sandbox.documents import MAX_BYTES, project_documents
from codex_sandbox.errors import SandboxRefused
from codex_sandbox.fields import FieldError
from codex_sandbox.protocol import ProjectDocuments, RefusalCode
from codex_sandbox.testing import LocalSandbox


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    (tmp_path / "repository" / "a" / "b").mkdir(parents=True)
    return tmp_path / "repository"


def read(workspace: Path) -> list[tuple[str, str]]:
    return project_documents(str(workspace))[0]


def test_the_chain_goes_from_the_repository_down_to_the_workspace(repository: Path) -> None:
    (repository.parent / "AGENTS.md").write_text("not ours")
    (repository / "AGENTS.md").write_text("root")
    (repository / "a" / "b" / "AGENTS.md").write_text("leaf")
    expected = [(str(repository / "AGENTS.md"), "root"), (str(repository / "a" / "b" / "AGENTS.md"), "leaf")]
    assert project_documents(str(repository / "a" / "b")) == (expected, False)
    assert read(repository) == expected[:1]


def test_an_override_replaces_the_document_of_its_own_folder(repository: Path) -> None:
    (repository / "AGENTS.md").write_text("root")
    (repository / "a" / "AGENTS.md").write_text("shared")
    (repository / "a" / "AGENTS.override.md").write_text("mine")
    assert [text for _, text in read(repository / "a")] == ["root", "mine"]


def test_without_a_repository_only_the_workspace_counts(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "AGENTS.md").write_text("above")
    (tmp_path / "below" / "AGENTS.md").write_text("here")
    assert [text for _, text in read(tmp_path / "below")] == ["here"]


def test_a_worktree_whose_marker_is_a_file_counts_as_a_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: elsewhere")
    (tmp_path / "below").mkdir()
    (tmp_path / "AGENTS.md").write_text("root")
    assert [text for _, text in read(tmp_path / "below")] == ["root"]


def test_only_regular_files_with_text_are_documents(repository: Path) -> None:
    os.mkfifo(repository / "AGENTS.md")
    (repository / "a" / "AGENTS.md").mkdir()
    (repository / "a" / "b" / "AGENTS.md").write_text(" \n")
    assert read(repository / "a" / "b") == []
    (repository / "a" / "b" / "real.md").write_text("linked")
    (repository / "a" / "b" / "AGENTS.override.md").symlink_to("real.md")
    assert [text for _, text in read(repository / "a" / "b")] == ["linked"]


def test_all_documents_together_stay_below_the_limit(repository: Path) -> None:
    (repository / "AGENTS.md").write_text("x" * (MAX_BYTES - 3))
    (repository / "a" / "AGENTS.md").write_text("ää")
    (repository / "a" / "b" / "AGENTS.md").write_text("z")
    documents, truncated = project_documents(str(repository / "a" / "b"))
    # Three bytes were left: one character and half of the next.
    assert ([text[:1] + text[-1:] for _, text in documents], truncated) == (["xx", "ää"], True)
    assert documents[1][1] == "ä"


def test_a_document_that_fills_the_limit_exactly_is_whole(repository: Path) -> None:
    (repository / "AGENTS.md").write_text("x" * MAX_BYTES)
    documents, truncated = project_documents(str(repository))
    assert (len(documents[0][1]), truncated) == (MAX_BYTES, False)


async def test_the_client_reads_the_documents_of_the_workspace(repository: Path) -> None:
    (repository / "AGENTS.md").write_bytes(b"caf\xe9 \0 ok")
    async with LocalSandbox(workspace=repository) as sandbox:
        client = await sandbox.client()
        read = await client.project_documents()
        assert read == ProjectDocuments(((str(repository / "AGENTS.md"), "caf\ufffd \0 ok"),), False)


async def test_an_older_supervisor_refuses_the_verb_and_the_connection_stays(
    sandbox: LocalSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await sandbox.client()
    ask = client._request
    monkeypatch.setattr(client, "_request", lambda verb, wire, read: ask(f"{verb}_of_tomorrow", wire, read))
    with pytest.raises(SandboxRefused) as refused:
        await client.project_documents()
    assert refused.value.code == RefusalCode.UNKNOWN_VERB
    monkeypatch.undo()
    assert (await client.project_documents()).documents == ()


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"documents": {}, "truncated": False},
        {"documents": [], "truncated": "no"},
        {"documents": ["x"], "truncated": False},
        {"documents": [{"path": 1, "text": ""}], "truncated": False},
        {"documents": [{"path": "p", "text": None}], "truncated": False},
        {"documents": [{"path": "p" * 4097, "text": ""}], "truncated": False},
        {"documents": [{"path": "p", "text": "x" * 20_000}] * 2, "truncated": False},
        {"documents": [{"path": "p", "text": ""}] * 65, "truncated": False},
    ],
)
def test_a_hostile_reply_is_refused(reply: dict[str, Any]) -> None:
    with pytest.raises(FieldError):
        ProjectDocuments.from_wire(reply)
