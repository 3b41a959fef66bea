from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from codex_sandbox import process_tree
from codex_sandbox.process_tree import ProcessEntry, belonging, descendants, read_call_variable, read_entry

SUPERVISOR = 1
SESSIONS = {10: "t1.s1.c1", 20: "t2.s1.c1"}


def entry(pid: int, parent: int, session: int, start: int = 100) -> ProcessEntry:
    return ProcessEntry(pid, parent, session, session, start, zombie=False)


def of_turn_two(*entries: ProcessEntry, since: int | None = 100, marked: dict[int, str] | None = None) -> list[int]:
    def wanted(call: str) -> bool:
        return call.startswith("t2.")

    found = belonging(entries, SUPERVISOR, SESSIONS, wanted, since, (marked or {}).get)
    return [each.pid for each in found]


def test_a_session_belongs_to_the_call_that_leads_it() -> None:
    assert of_turn_two(entry(10, 1, 10), entry(11, 10, 10), entry(20, 1, 20), entry(21, 20, 20)) == [20, 21]


def test_a_child_in_a_session_of_its_own_belongs_to_its_parent() -> None:
    assert of_turn_two(entry(20, 1, 20), entry(21, 20, 21), entry(22, 21, 22)) == [20, 21, 22]


def test_an_orphan_in_the_old_session_belongs_to_the_ended_call() -> None:
    assert of_turn_two(entry(22, 1, 20), entry(12, 1, 10)) == [22]


def test_an_orphan_is_known_by_its_environment() -> None:
    assert of_turn_two(entry(30, 1, 30, start=1), marked={30: "t2.s1.c1"}) == [30]


def test_an_unexplained_orphan_belongs_to_the_turn_if_it_is_younger() -> None:
    assert of_turn_two(entry(30, 1, 30, start=100), entry(31, 1, 31, start=99)) == [30]
    assert of_turn_two(entry(30, 1, 30, start=100), since=None) == []


def test_another_turns_session_is_never_taken_for_an_unexplained_orphan() -> None:
    assert of_turn_two(entry(11, 1, 10, start=500)) == []


def test_descendants_are_found_without_the_kernels_lists_of_children(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "sleep 300 & setsid sleep 300 & echo $!; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as shell:
        try:
            assert shell.stdout is not None
            last = int(shell.stdout.readline())
            assert process_tree.has_children_files()
            with_lists = {entry.pid for entry in descendants(shell.pid)}
            monkeypatch.setattr(process_tree, "has_children_files", lambda: False)
            assert {entry.pid for entry in descendants(shell.pid)} == with_lists
            assert last in with_lists
            assert len(with_lists) == 2
        finally:
            for entry in descendants(shell.pid):
                os.kill(entry.pid, signal.SIGKILL)
            shell.kill()


def test_a_process_name_cannot_forge_its_line_in_the_process_table() -> None:
    script = "import sys; open('/proc/self/comm', 'w').write('a) Z 1 (b'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"CODEX_CALL_ID": "t9"}
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        line = read_entry(process.pid)
        assert line is not None
        assert (line.pid, line.zombie) == (process.pid, False)
        assert line in descendants(line.parent)
        assert read_call_variable(process.pid) == "t9"
        process.communicate()
    assert read_entry(process.pid) is None
    assert read_call_variable(process.pid) is None
