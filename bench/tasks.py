"""Ten tasks for two agents: what lies in the folder, what the model says, and what must lie there afterwards."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Reply = dict[str, Any]
Tree = Mapping[str, bytes]


@dataclass(frozen=True)
class Task:
    name: str
    replies: list[Reply]
    expected: Tree
    """Content of every file afterwards, by its path."""
    before: Tree = field(default_factory=dict)
    executable: frozenset[str] = frozenset()
    """Files that are executable before, and must be so afterwards where they still exist."""


def lay_out(task: Task, workspace: Path) -> None:
    """Write the files that the task begins with."""
    for name, content in task.before.items():
        path = workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if name in task.executable else 0o644)


def tree(workspace: Path) -> dict[str, tuple[str, bytes]]:
    """Return every file, folder and link below a folder: its mode, and its content or the link's target."""
    found: dict[str, tuple[str, bytes]] = {}
    for folder, folders, files in os.walk(workspace):
        for name in [*folders, *files]:
            path = Path(folder) / name
            status = path.lstat()
            content = b""
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path).encode()
            elif stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            found[str(path.relative_to(workspace))] = (stat.filemode(status.st_mode), content)
    return found


def run(cmd: str, **more: Any) -> Reply:
    return {"name": "exec_command", "arguments": {"cmd": cmd, "login": False, **more}}


def patch(text: str) -> Reply:
    return {"name": "apply_patch", "input": f"*** Begin Patch\n{text}*** End Patch\n"}


def asks(*calls: Reply) -> Reply:
    return {"calls": list(calls)}


def png(width: int = 2, height: int = 2) -> bytes:
    """Return a red picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\xff\0\0" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


DONE: Reply = {"text": "Done."}

CALCULATOR = b"""\
class Adder:
    def run(self, a, b):
        return a - b

    def name(self):
        return "adder"


class Multiplier:
    def run(self, a, b):
        return a - b

    def name(self):
        return "multiplier"
"""

EVERY_KIND_OF_HUNK = patch(
    """\
*** Add File: docs/deep/new.md
+# New
+
+  indented
*** Update File: calculator.py
@@ class Multiplier:
     def run(self, a, b):
-        return a - b
+        return a * b
@@
-        return "multiplier"
+        return "times"
*** Update File: old/name.sh
*** Move to: new/place/name.sh
@@
 #!/bin/sh
-echo old
+echo new
*** Update File: list.txt
@@
 one
-two
+zwei
@@
 four
+four and a half
 five
@@
-last
+the very last
*** End of File
*** Delete File: unwanted.txt
"""
)
EVERY_KIND_OF_HUNK_TASK = Task(
    "a patch with every kind of hunk",
    before={
        "calculator.py": CALCULATOR,
        "old/name.sh": b"#!/bin/sh\necho old\n",
        "list.txt": b"one\ntwo\nthree\nfour\nfive\nlast\nsix\nlast\n",
        "unwanted.txt": b"x\n",
        "untouched.txt": b"as it was\n",
    },
    executable=frozenset({"calculator.py"}),
    replies=[asks(EVERY_KIND_OF_HUNK), DONE],
    expected={
        "calculator.py": CALCULATOR[:80] + CALCULATOR[80:].replace(b"a - b", b"a * b").replace(b"multiplier", b"times"),
        "new/place/name.sh": b"#!/bin/sh\necho new\n",
        "list.txt": b"one\nzwei\nthree\nfour\nfour and a half\nfive\nlast\nsix\nthe very last\n",
        "docs/deep/new.md": b"# New\n\n  indented\n",
        "untouched.txt": b"as it was\n",
    },
)

HEREDOC_TASK = Task(
    "patches sent as shell heredocs",
    before={"a.txt": b"one\ntwo\n", "sub/b.txt": b"eins\nzwei\n"},
    replies=[
        asks(
            run(
                "apply_patch <<'EOF'\n*** Begin Patch\n*** Update File: a.txt\n@@\n-two\n+2 $HOME `id`\n"
                "*** End Patch\nEOF"
            )
        ),
        asks(
            run(
                "cd sub && apply_patch <<'PATCH'\n*** Begin Patch\n*** Update File: b.txt\n@@ eins\n-zwei\n+drei\n"
                "*** Add File: c.txt\n+new\n*** End Patch\nPATCH"
            )
        ),
        DONE,
    ],
    expected={"a.txt": b"one\n2 $HOME `id`\n", "sub/b.txt": b"eins\ndrei\n", "sub/c.txt": b"new\n"},
)

COMMANDS_TASK = Task(
    "commands that write files",
    before={"data.csv": b"b,2\na,1\nc,3\n"},
    replies=[
        asks(run("sort data.csv > sorted.csv && wc -l < sorted.csv")),
        asks(run("mkdir -p out/bin && printf '#!/bin/sh\\necho run\\n' > out/bin/tool && chmod 750 out/bin/tool")),
        asks(run("./tool > ../result.txt; pwd; ln -s bin/tool ../link", workdir="out/bin")),
        asks(run("printf 'to stderr, without an end' >&2; rm data.csv")),
        DONE,
    ],
    expected={
        "sorted.csv": b"a,1\nb,2\nc,3\n",
        "out/bin/tool": b"#!/bin/sh\necho run\n",
        "out/result.txt": b"run\n",
        "out/link": b"bin/tool",
    },
)

TERMINAL_TASK = Task(
    "a program in a terminal that is spoken to",
    replies=[
        asks(
            run(
                "read -p 'Name? ' name; echo \"Hello, $name\" | tee greeting.txt; test -t 0",
                tty=True,
                yield_time_ms=500,
            )
        ),
        asks({"name": "write_stdin", "arguments": '{"session_id": {{last_process}}, "chars": "World\\n"}'}),
        asks(run("while [ ! -e go ]; do sleep 0.05; done; echo went > gone.txt", yield_time_ms=250)),
        asks(
            run("touch go; sleep 0.3"),
            {
                "name": "write_stdin",
                "arguments": '{"session_id": {{last_process}}, "chars": "", "yield_time_ms": 5000}',
            },
        ),
        asks({"name": "write_stdin", "arguments": '{"session_id": 424242, "chars": "x"}'}),
        DONE,
    ],
    expected={"greeting.txt": b"Hello, World\n", "go": b"", "gone.txt": b"went\n"},
)

PARALLEL_TASK = Task(
    "calls side by side",
    replies=[
        asks(
            run("sleep 0.3; echo first > 1.txt; echo one"),
            run("echo second > 2.txt; echo two"),
            run("sleep 0.1; echo third > 3.txt; echo three"),
        ),
        asks(patch("*** Add File: 4.txt\n+fourth\n"), run("cat 1.txt 2.txt 3.txt")),
        DONE,
    ],
    expected={"1.txt": b"first\n", "2.txt": b"second\n", "3.txt": b"third\n", "4.txt": b"fourth\n"},
)

WRONG_CALLS_TASK = Task(
    "calls that make no sense, then one that does",
    replies=[
        asks(
            {"name": "exec_command", "arguments": '{"cmd": "echo x > x.txt'},
            {"name": "exec_command", "arguments": {"command": "echo x > x.txt"}},
            {"name": "exec_command", "arguments": {"cmd": 3}},
            {"name": "browse_web", "arguments": {"url": "example.org"}},
            {"name": "wish", "input": "three of them"},
        ),
        asks(patch("*** Change File: a.txt\n+x\n"), {"name": "apply_patch", "input": "no patch at all"}),
        asks(run("echo recovered > state.txt")),
        DONE,
    ],
    expected={"state.txt": b"recovered\n"},
)

PICTURE_TASK = Task(
    "a plan, and a picture looked at",
    before={"red.png": png(), "words.txt": b"no picture\n"},
    replies=[
        asks(
            {
                "name": "update_plan",
                "arguments": {
                    "explanation": "Begin.",
                    "plan": [{"step": "Look", "status": "in_progress"}, {"step": "Write", "status": "pending"}],
                },
            }
        ),
        asks({"name": "view_image", "arguments": {"path": "red.png"}}),
        asks({"name": "view_image", "arguments": {"path": "missing.png"}}),
        asks({"name": "view_image", "arguments": {"path": "words.txt"}}),
        asks(run("echo red > colour.txt")),
        DONE,
    ],
    expected={"red.png": png(), "words.txt": b"no picture\n", "colour.txt": b"red\n"},
)

LINE_ENDINGS_TASK = Task(
    "files with other line endings",
    before={
        "windows.txt": b"one\r\ntwo\r\nthree\r\n",
        "unfinished.txt": b"one\ntwo",
        "spaces.txt": b"def f():  \n    return 1\t\n",
        "typographic.txt": "say \u201chello\u201d \u2013 now\nend\n".encode(),
        "mixed.txt": b"a\r\nb\nc\r\n",
    },
    replies=[
        asks(patch("*** Update File: windows.txt\n@@\n one\n-two\n+zwei\n three\n")),
        asks(patch("*** Update File: unfinished.txt\n@@\n one\n-two\n+zwei\n*** End of File\n")),
        asks(patch("*** Update File: spaces.txt\n@@\n def f():\n-    return 1\n+    return 2\n")),
        asks(patch('*** Update File: typographic.txt\n@@\n-say "hello" - now\n+said\n end\n')),
        asks(patch("*** Update File: mixed.txt\n@@\n-b\n+B\n")),
        DONE,
    ],
    expected={
        # Lines that the patch names are written as it names them, the others stay as they were.
        "windows.txt": b"one\nzwei\nthree\n",
        "mixed.txt": b"a\r\nB\nc\r\n",
        "unfinished.txt": b"one\nzwei\n",
        "spaces.txt": b"def f():\n    return 2\n",
        "typographic.txt": b"said\nend\n",
    },
)

REPAIR_TASK = Task(
    "what fails, and is put right",
    before={"add.py": b"def add(a, b):\n    return a - b\n", "check.sh": b"#!/bin/sh\ngrep -q 'a + b' add.py\n"},
    executable=frozenset({"check.sh"}),
    replies=[
        asks(run("./check.sh; code=$?; echo checked; exit $code")),
        asks(patch("*** Update File: add.py\n@@\n-    return a * b\n+    return a + b\n")),
        asks(patch("*** Add File: half.txt\n+x\n*** Update File: missing.py\n@@\n-a\n+b\n")),
        asks(patch("*** Delete File: missing.txt\n")),
        asks(patch("*** Update File: add.py\n@@ def add(a, b):\n-    return a - b\n+    return a + b\n")),
        asks(run("./check.sh && echo good > result.txt")),
        asks(run("this-program-does-not-exist")),
        asks(run("kill -9 $$")),
        DONE,
    ],
    expected={
        "add.py": b"def add(a, b):\n    return a + b\n",
        "check.sh": b"#!/bin/sh\ngrep -q 'a + b' add.py\n",
        "result.txt": b"good\n",
    },
)

LARGE_OUTPUT_TASK = Task(
    "output that is too long",
    replies=[
        asks(run("seq 1 30000 | tee numbers.txt")),
        asks(run("seq 1 3000", max_output_tokens=100)),
        asks(run("head -c 200000 /dev/zero | tr '\\0' x > line.txt; cat line.txt")),
        asks(run("printf 'caf\\303\\251 \\377\\376 end\\n'")),
        DONE,
    ],
    expected={
        "numbers.txt": "".join(f"{number}\n" for number in range(1, 30001)).encode(),
        "line.txt": b"x" * 200_000,
    },
)

TASKS = [
    EVERY_KIND_OF_HUNK_TASK,
    HEREDOC_TASK,
    COMMANDS_TASK,
    TERMINAL_TASK,
    PARALLEL_TASK,
    WRONG_CALLS_TASK,
    PICTURE_TASK,
    LINE_ENDINGS_TASK,
    REPAIR_TASK,
    LARGE_OUTPUT_TASK,
]
