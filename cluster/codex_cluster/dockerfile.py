"""Which files decide a Dockerfile target's content; pure.

Understands stages, FROM a stage, COPY and ADD (also from a stage) and bind mounts of RUN. Arguments inside paths are
not expanded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

BIND_MOUNT = re.compile(r"--mount=(\S*)")


@dataclass
class Stage:
    """One build stage."""

    base: str
    paths: list[str] = field(default_factory=list)
    """Paths of the build context, as written."""
    stages: list[str] = field(default_factory=list)
    """Other stages it copies from."""


def parse(text: str) -> dict[str, Stage]:
    """Stages by lower-case name; an unnamed one gets its number."""
    stages: dict[str, Stage] = {}
    current = Stage("")
    for line in _instructions(text):
        keyword, _, rest = line.partition(" ")
        match keyword.upper():
            case "FROM":
                words = [word for word in rest.split() if not word.startswith("--")]
                current = Stage(words[0].lower())
                stages[words[2].lower() if len(words) > 2 else str(len(stages))] = current
            case "COPY" | "ADD":
                _copy(rest, current)
            case "RUN":
                _mounts(rest, current)
    return stages


def context_paths(stages: dict[str, Stage], target: str) -> list[str]:
    """Sorted paths that a target and the stages below it take from the build context. Raises KeyError without it."""
    waiting, seen, paths = [target.lower()], set(), set()
    while waiting:
        name = waiting.pop()
        stage = stages[name]
        seen.add(name)
        paths.update(stage.paths)
        waiting += [other for other in (stage.base, *stage.stages) if other in stages and other not in seen]
    return sorted(paths)


def _copy(rest: str, stage: Stage) -> None:
    words = rest.split()
    options = [word for word in words if word.startswith("--")]
    origin = next((option.removeprefix("--from=").lower() for option in options if option.startswith("--from=")), None)
    if origin is not None:
        stage.stages.append(origin)
        return
    sources = [word for word in words if not word.startswith(("--", "<<"))][:-1]
    stage.paths += sources


def _mounts(rest: str, stage: Stage) -> None:
    for options in BIND_MOUNT.findall(rest):
        values = dict(option.partition("=")[::2] for option in options.split(","))
        if values.get("type", "bind") != "bind":
            continue
        if "from" in values:
            stage.stages.append(values["from"].lower())
        else:
            stage.paths.append(values.get("source") or values.get("src") or ".")


def _instructions(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]
