"""Probes of a sandbox: names become addresses, whatever form they were given in."""

from __future__ import annotations

import pytest

from codex_operator.probe_addresses import ProbeAddresses
from codex_operator.settings import Settings


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("temporal=localhost:7233", {"temporal=127.0.0.1:7233", "temporal=[::1]:7233"}),
        ("temporal=http://127.0.0.1:7233", {"temporal=127.0.0.1:7233"}),
        ("database=10.0.0.2:5432", {"database=10.0.0.2:5432"}),
        ("metadata=[fd00::1]:80", {"metadata=[fd00::1]:80"}),
    ],
)
async def test_a_probe_is_given_to_the_sandbox_as_an_address(given: str, expected: set[str]) -> None:
    (resolved,) = await ProbeAddresses([given]).resolved()
    assert resolved in expected


async def test_a_name_without_an_address_is_left_out() -> None:
    assert await ProbeAddresses(["gone=name.invalid:1", "database=10.0.0.2:5432"]).resolved() == (
        "database=10.0.0.2:5432",
    )


def test_the_api_server_is_probed_wherever_its_address_is_known() -> None:
    given = {"database_url": "x", "sandbox_image": "x", "supervisor_image": "x", "sandbox_probes": "database=db:5432"}
    inside = Settings(**given, kubernetes_service_host="fd00::1", kubernetes_service_port=6443)
    assert inside.probes == ("api-server=[fd00::1]:6443", "database=db:5432")
    outside = Settings(**given, kubernetes_service_host="")
    assert outside.probes == ("database=db:5432",)


@pytest.mark.parametrize(
    ("address", "target"),
    [("http://localhost:7233", "localhost:7233"), ("temporal.example:7233", "temporal.example:7233")],
)
def test_temporals_address_may_be_an_url_or_not(address: str, target: str) -> None:
    settings = Settings(temporal_address=address, database_url="x", sandbox_image="x", supervisor_image="x")
    assert settings.temporal_target == target
