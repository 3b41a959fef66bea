"""What a person sees when something is missing or broken, and that nothing is lost once it is mended."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cluster


def condition(status, kind: str):
    none = {"status": "Unknown", "reason": ""}
    return next((found for found in status.get("conditions", []) if found["type"] == kind), none)


def test_an_unknown_provider_is_a_condition_that_names_the_cure(kube) -> None:
    kube.create("lost", "Only say hello.", model={"providerRef": {"name": "nowhere"}})
    status = kube.until("lost", lambda status: condition(status, "Ready")["reason"] == "ProviderUnknown")
    assert "nowhere" in condition(status, "Ready")["message"]
    assert "ProviderUnknown" in kube("get", "cxs", "lost")


def test_a_missing_secret_is_a_condition_and_the_session_goes_on_when_it_is_there(kube, add_key) -> None:
    kube.create("keyless", "Only say hello.", model={"providerRef": {"name": "keyed"}})
    status = kube.until("keyless", lambda status: condition(status, "Ready")["reason"] == "ProviderSecretMissing")
    assert condition(status, "Ready")["status"] == "False"
    add_key()
    # The kubelet brings a Secret that came late into the worker's volume, in up to a minute.
    kube.until("keyless", lambda status: condition(status, "Idle")["status"] == "True")
    assert kube.status("keyless")["lastMessage"] == "Hello from the cluster."


def test_a_model_that_answers_garbage_ends_the_turn_with_a_typed_event(kube) -> None:
    kube.create("garbage", "Answer garbage.")
    kube.wait("garbage", "Idle")
    status = kube.status("garbage")
    assert condition(status, "Idle")["reason"] == "ModelResponseInvalid"
    assert any(event["type"] == "TurnFailed" for event in status["events"])


def test_an_image_that_cannot_be_pulled_is_a_condition(kube) -> None:
    kube.create("pull", "Write the result.", sandbox={"image": "registry.invalid/nothing:1"})
    status = kube.until("pull", lambda status: condition(status, "SandboxReady")["reason"] == "SandboxImageUnusable")
    assert "registry.invalid/nothing:1" in condition(status, "SandboxReady")["message"]
