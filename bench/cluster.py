"""`python -m bench.cluster`: how long people wait on a running cluster, which `make demo` brings up."""

from __future__ import annotations

import statistics
import sys
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config, watch

from codex_api.names import API_VERSION, APPROVAL_PREFIX, GROUP, PLURAL, VERSION

NAMESPACE = "demo"
SESSIONS = 12
PATIENCE_SECONDS = 60
FLOOR_ANNOTATION = "bench.example/floor"


def custom_objects(user: str) -> client.CustomObjectsApi:
    suffix = f"-{user}" if user else ""
    return client.CustomObjectsApi(config.new_client_from_config(f".cluster/kubeconfig{suffix}"))


def manifest(name: str) -> dict[str, Any]:
    example: dict[str, Any] = yaml.safe_load(Path("examples/session.yaml").read_text())
    return {**example, "apiVersion": API_VERSION, "metadata": {"name": name, "namespace": NAMESPACE}}


class Session:
    """One session, made by bob and approved by alice; times are seconds since the epoch, on one clock."""

    def __init__(self, bob: client.CustomObjectsApi, alice: client.CustomObjectsApi) -> None:
        self.name = f"bench-{uuid.uuid4().hex[:8]}"
        self._bob, self._alice = bob, alice
        bob.create_namespaced_custom_object(GROUP, VERSION, NAMESPACE, PLURAL, manifest(self.name))
        self.accepted = time.time()

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = self._bob.get_namespaced_custom_object(GROUP, VERSION, NAMESPACE, PLURAL, self.name)
        return found

    def until(self, ready: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if ready(status := self.read().get("status", {})):
                return status
            time.sleep(0.1)
        raise SystemExit(f"{self.name} did not get there: {self.read().get('status')}")

    def annotate(self, user: client.CustomObjectsApi, key: str, value: str) -> float:
        body = {"metadata": {"annotations": {key: value}}}
        user.patch_namespaced_custom_object(GROUP, VERSION, NAMESPACE, PLURAL, self.name, body)
        return time.time()

    def approve(self, approval: str) -> float:
        return self.annotate(self._alice, APPROVAL_PREFIX + approval, "approve")

    def delete(self) -> None:
        self._bob.delete_namespaced_custom_object(GROUP, VERSION, NAMESPACE, PLURAL, self.name)


def event_time(status: dict[str, Any], kind: str) -> float:
    return next(datetime.fromisoformat(e["time"]).timestamp() for e in status["events"] if e["type"] == kind)


def holds(status: dict[str, Any], condition: str) -> bool:
    return any(entry["type"] == condition and entry["status"] == "True" for entry in status.get("conditions", []))


def floor(session: Session, user: client.CustomObjectsApi) -> float:
    """Return what the API server alone takes until a watcher hears of an annotation: nobody can be quicker."""
    value, heard = uuid.uuid4().hex, 0.0
    version = session.read()["metadata"]["resourceVersion"]
    began = time.time()
    session.annotate(user, FLOOR_ANNOTATION, value)
    stream = watch.Watch().stream(
        user.list_namespaced_custom_object, GROUP, VERSION, NAMESPACE, PLURAL,
        resource_version=version, timeout_seconds=PATIENCE_SECONDS,
    )  # fmt: skip
    for event in stream:
        if event["object"]["metadata"].get("annotations", {}).get(FLOOR_ANNOTATION) == value:
            heard = time.time()
            break
    return heard - began


def measure(bob: client.CustomObjectsApi, alice: client.CustomObjectsApi) -> dict[str, float]:
    session = Session(bob, alice)
    # A pod takes a second or two to start, which is the cluster's time and not that of the approval.
    status = session.until(lambda status: bool(status.get("pendingApprovals")) and holds(status, "SandboxReady"))
    least = floor(session, bob)
    asked = event_time(status, "ExecApprovalRequest")
    approved = session.approve(status["pendingApprovals"][0]["id"])
    done = session.until(lambda status: status.get("phase") in ("Idle", "Completed"))
    session.delete()
    return {
        "annotate → heard by a watcher (floor)": least,
        "session accepted → turn started": event_time(status, "TurnStarted") - session.accepted,
        "session accepted → first reply judged": asked - session.accepted,
        "approval accepted → command begins": event_time(done, "ExecCommandBegin") - approved,
    }


def main() -> None:
    bob, alice = custom_objects("bob"), custom_objects("alice")
    measure(bob, alice)  # the first one warms caches and connections
    runs = [measure(bob, alice) for _ in range(SESSIONS)]
    base = statistics.median(run["annotate → heard by a watcher (floor)"] for run in runs)
    sys.stdout.write(f"{SESSIONS} sessions, one after the other{'':16} median ms    worst ms   x floor\n")
    for what in runs[0]:
        values = [run[what] * 1000 for run in runs]
        middle = statistics.median(values)
        sys.stdout.write(f"{what:48} {middle:9.0f} {max(values):11.0f} {middle / (base * 1000):9.1f}\n")


if __name__ == "__main__":
    main()
