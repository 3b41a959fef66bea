"""Helm, and the chart rendered in the forms that the tests look at."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from codex_cluster import kubectl
from codex_cluster.layout import REPOSITORY, cache_directory
from codex_cluster.progress import Progress

Manifest = dict[str, Any]


class Chart:
    """The chart as `helm template` sees it; nothing of the user's own configuration is read."""

    directory = REPOSITORY / "helm" / "codex-temporal"
    images = ("images.app=registry.example/app:1", "images.sandbox=registry.example/sandbox:1")
    trial = (*images, "images.trial=registry.example/trial:1", "trial.enabled=true")
    own_services = (
        *images,
        "temporal.address=temporal.example:7233",
        "database.host=postgres.example",
        "database.secret=journal-passwords",
        "providers.default.baseUrl=https://models.example/v1",
        "providers.default.secretName=model-key",
        "providers.default.defaultModel=gpt-5.4",
    )

    def __init__(self, helm: Path) -> None:
        self._helm = helm

    def helm(self, *arguments: str, values: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        sets = [argument for value in values for argument in ("--set", value)]
        environment = {**os.environ, "KUBECONFIG": os.devnull}
        argv = [str(self._helm), *arguments, *sets]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, env=environment)

    def template(self, *options: str, values: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        namespace = ("--namespace", "codex-system")
        return self.helm("template", "codex", str(self.directory), *namespace, *options, values=values)

    def render(self, values: tuple[str, ...], *options: str) -> list[Manifest]:
        done = self.template(*options, values=values)
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]


@pytest.fixture(scope="session")
def chart() -> Chart:
    return Chart(kubectl.install(cache_directory(os.environ), Progress()) / "helm")


@pytest.fixture(scope="session")
def trial(chart: Chart) -> list[Manifest]:
    return chart.render(chart.trial)


@pytest.fixture(scope="session")
def own_services(chart: Chart) -> list[Manifest]:
    return chart.render(chart.own_services)


@pytest.fixture(params=["trial", "own services"])
def manifests(request: pytest.FixtureRequest, trial: list[Manifest], own_services: list[Manifest]) -> list[Manifest]:
    """Both ways to install: the test runs for each."""
    return trial if request.param == "trial" else own_services
