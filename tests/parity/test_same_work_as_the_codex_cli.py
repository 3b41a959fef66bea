"""The same model drives the Codex CLI and this product through ten tasks: the same files, and nearly the same words."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench.agents import Agent, CodexCli, Finished, OurCommand, told
from bench.tasks import TASKS, Task, lay_out, tree

from codex_client.model_server.testing import ScriptedModel

pytestmark = pytest.mark.temporal

# What no two runs have in common.
CHANGING = [
    (re.compile(r"^Chunk ID: [0-9a-f]+$", re.MULTILINE), "Chunk ID: …"),
    (re.compile(r"^Wall time: [0-9.]+ seconds$", re.MULTILINE), "Wall time: … seconds"),
    (re.compile(r"^Process running with session ID \d+$", re.MULTILINE), "Process running with session ID …"),
]


@dataclass(frozen=True)
class Difference:
    """Two wordings of one thing, as regular expressions for the whole output."""

    theirs: str
    ours: str


HEREDOC = Difference("Wall time: … seconds\nOutput:\n(Exit code: 0\n.*)", "(Exit code: 0\n.*)")
"""A patch in a shell command is answered as a patch, once."""
WRONG_TYPE = Difference("failed to parse function arguments: .*", "failed to parse function arguments: `cmd` .*")
SHELL_NAME = Difference(
    "(.*)Original token count: 17\nOutput:\n/bin/(bash: .*)", "(.*)Original token count: 16\nOutput:\n(bash: .*)"
)
"""Here the shell is found on PATH."""
RAW_BYTES = Difference("(.*)Original token count: 4\n(.*)", "(.*)Original token count: 5\n(.*)")
"""Theirs counts the bytes as they came, ours those of the text that the model reads."""

DIFFERENT = {
    ("patches sent as shell heredocs", 0): HEREDOC,
    ("patches sent as shell heredocs", 1): HEREDOC,
    ("calls that make no sense, then one that does", 0): Difference(
        "failed to parse function arguments: EOF while .*", "failed to parse function arguments: not JSON: .*"
    ),
    ("calls that make no sense, then one that does", 1): Difference(
        "(failed to parse function arguments: missing field `cmd`) at line .*",
        "(failed to parse function arguments: missing field `cmd`)",
    ),
    ("calls that make no sense, then one that does", 2): WRONG_TYPE,
    ("a plan, and a picture looked at", 2): Difference(
        "unable to locate image at (`.*`): .*", "unable to read image at (`.*`): .*"
    ),
    ("a plan, and a picture looked at", 3): Difference(
        ".*image content omitted because it could not be processed.*",
        "unable to process image at .*: it is none of PNG, .*",
    ),
    ("what fails, and is put right", 3): Difference(
        "(apply_patch verification failed: Failed to) read (.*)",
        "(apply_patch verification failed: Failed to) delete file (.*)",
    ),
    ("what fails, and is put right", 6): SHELL_NAME,
    ("output that is too long", 3): RAW_BYTES,
}


async def work(agent: Agent, task: Task, workspace: Path) -> tuple[Finished, list[Any]]:
    """Return how the agent ended, and what its tools told the model."""
    workspace.mkdir()
    lay_out(task, workspace)
    async with ScriptedModel(replies=task.replies) as model:
        finished = await agent.run(workspace, "Do it.", model.base_url)
        assert finished.exit_code == 0, (agent.name, finished)
        assert [request.status for request in model.requests] == [200] * len(task.replies), agent.name
        return finished, [alike(output, workspace) for output in told(model)]


def alike(output: Any, workspace: Path) -> Any:
    if not isinstance(output, str):
        return output
    for pattern, replacement in CHANGING:
        output = pattern.sub(replacement, output)
    output = output.replace(str(workspace), "<workspace>")
    return output.removesuffix("\n") if output.startswith("apply_patch verification failed") else output


def same(their_output: Any, our_output: Any, difference: Difference | None) -> bool:
    """Whether two outputs agree; with a difference: whether they show it, and agree in what its groups match."""
    if difference is None:
        return bool(their_output == our_output)
    theirs = re.fullmatch(difference.theirs, str(their_output), re.DOTALL)
    ours = re.fullmatch(difference.ours, str(our_output), re.DOTALL)
    return theirs is not None and ours is not None and theirs.groups() == ours.groups()


@pytest.mark.parametrize("task", TASKS, ids=[task.name for task in TASKS])
async def test_both_leave_the_same_files_and_tell_the_model_the_same(
    task: Task, codex_cli: CodexCli, our_command: OurCommand, tmp_path: Path
) -> None:
    # Names of one length: tools count the bytes of what they say.
    theirs, ours = tmp_path / "workspace-1", tmp_path / "workspace-2"
    (their_end, their_words), (our_end, our_words) = await asyncio.gather(
        work(codex_cli, task, theirs), work(our_command, task, ours)
    )
    assert tree(ours) == tree(theirs)
    files = {name: content for name, (mode, content) in tree(ours).items() if not mode.startswith("d")}
    assert files == dict(task.expected)
    assert our_end.last_message == their_end.last_message == "Done."
    assert len(our_words) == len(their_words)
    for number, (their_output, our_output) in enumerate(zip(their_words, our_words, strict=True)):
        difference = DIFFERENT.get((task.name, number))
        assert same(their_output, our_output, difference), (number, their_output, our_output)


async def test_a_forced_delete_without_approvals_runs_here_and_is_refused_there(
    codex_cli: CodexCli, our_command: OurCommand, tmp_path: Path
) -> None:
    command = {"name": "exec_command", "arguments": {"cmd": "rm -f old.txt", "login": False}}
    task = Task("a forced delete", [{"calls": [command]}, {"text": "Done."}], {}, {"old.txt": b"x"})
    theirs, ours = tmp_path / "workspace-1", tmp_path / "workspace-2"
    _, (refusal,) = await work(codex_cli, task, theirs)
    await work(our_command, task, ours)
    assert "rm -f style commands are not permitted" in refusal
    assert (list(tree(theirs)), list(tree(ours))) == (["old.txt"], [])


def test_every_listed_difference_is_of_a_task() -> None:
    assert {name for name, _ in DIFFERENT} <= {task.name for task in TASKS}
