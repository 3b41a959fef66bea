from pathlib import Path

import pytest

from codex_cluster import dockerfile, images
from codex_cluster.errors import ClusterError

DOCKERFILE = """\
ARG BASE_IMAGE=docker.io/library/python:3.13-slim
FROM ${BASE_IMAGE} AS build
COPY pyproject.toml constraints.txt ./
COPY --chown=0:0 worker/ \\
     operator/ /src/
RUN --mount=type=bind,source=tools,target=/tools --mount=type=cache,target=/root/.cache pip install /src
FROM ${BASE_IMAGE} AS app
# COPY nothing /here
COPY --from=build /opt/venv /opt/venv
FROM ${BASE_IMAGE} AS sandbox
COPY sandbox /sandbox
FROM app AS trial
COPY --from=sandbox /sandbox /sandbox
COPY trial.sh /
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    for name in (
        "pyproject.toml",
        "constraints.txt",
        "trial.sh",
        "worker/a.py",
        "operator/b.py",
        "sandbox/c.py",
        "tools/d",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {target for target in before if before[target] != after[target]}


def test_a_target_takes_the_paths_of_all_stages_below_it() -> None:
    stages = dockerfile.parse(DOCKERFILE)
    assert dockerfile.context_paths(stages, "sandbox") == ["sandbox"]
    assert dockerfile.context_paths(stages, "app") == [
        "constraints.txt",
        "operator/",
        "pyproject.toml",
        "tools",
        "worker/",
    ]
    assert set(dockerfile.context_paths(stages, "trial")) == {
        *dockerfile.context_paths(stages, "app"),
        "sandbox",
        "trial.sh",
    }


@pytest.mark.parametrize(
    ("path", "targets"),
    [
        ("worker/a.py", {"app", "trial"}),
        ("sandbox/c.py", {"sandbox", "trial"}),
        ("trial.sh", {"trial"}),
        ("README.md", set()),
        ("worker/__pycache__/a.pyc", set()),
    ],
)
def test_a_changed_file_renames_exactly_the_images_that_hold_it(context: Path, path: str, targets: set[str]) -> None:
    before = images.tags(context, "base:1")
    (context / path).parent.mkdir(exist_ok=True)
    (context / path).write_text("changed")
    assert changed(before, images.tags(context, "base:1")) == targets


def test_a_new_file_in_a_copied_folder_counts(context: Path) -> None:
    before = images.tags(context, "base:1")
    (context / "worker" / "new.py").write_text("")
    assert changed(before, images.tags(context, "base:1")) == {"app", "trial"}


def test_another_base_image_renames_all(context: Path) -> None:
    assert changed(images.tags(context, "base:1"), images.tags(context, "base:2")) == set(images.TARGETS)


def test_a_missing_target_is_named(context: Path) -> None:
    (context / "Dockerfile").write_text(DOCKERFILE.replace("AS trial", "AS other"))
    with pytest.raises(ClusterError, match="lacks the targets trial"):
        images.tags(context, "base:1")


def test_without_a_dockerfile_the_error_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"there is no .*/Dockerfile"):
        images.tags(tmp_path, "base:1")
