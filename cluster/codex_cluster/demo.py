"""The demo: a session on a real cluster, from `kubectl apply` to approval to answer, every command shown."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from typing import Any

import yaml

from codex_cluster import commands
from codex_cluster.deploy import NAMESPACE, deploy, example, kubectl
from codex_cluster.errors import ClusterError
from codex_cluster.layout import Layout
from codex_cluster.progress import Progress

DEMO_NAMESPACE = "demo"
WAIT_SECONDS = 180
MODELS = ("scripted", "openai")
OPENAI_SECRET = "openai"
METRICS = ("codex_model_request_duration_seconds", "codex_approval_wait_seconds")
DEFAULT_OPENAI_MODEL = "gpt-5.4"
ANSWER = "answer: go on with your best judgement"


class Demo:
    """Plays two people: bob starts a session, alice, who may, approves its command."""

    def __init__(self, layout: Layout, progress: Progress) -> None:
        self._layout = layout
        self._progress = progress

    def check(self, model: str) -> None:
        """Raise ClusterError for a model that cannot be used, before minutes are spent on the cluster."""
        if model not in MODELS:
            raise ClusterError(f"MODEL={model} is none of {', '.join(MODELS)}")
        if model == "openai" and not os.environ.get("OPENAI_API_KEY"):
            raise ClusterError("MODEL=openai needs OPENAI_API_KEY; without it: make demo (the scripted model)")

    def run(self, model: str) -> None:
        """Run the whole demo; raises ClusterError with the state of things where it gets stuck."""
        self._deploy(model)
        self._prepare_namespace()
        manifest = yaml.safe_load(example("session.yaml").read_text())
        name = manifest["metadata"]["name"] = f"{manifest['metadata']['name']}-{time.strftime('%H%M%S')}"
        self._say(f"bob, an ordinary user, starts the session {name}")
        self._show("apply", "-f", "-", user="bob", stdin=yaml.safe_dump(manifest, sort_keys=False))
        self._answer_approvals(name)
        session = self._get(name)
        self._say("what it did")
        self._show("get", "cxs", user="bob")
        self._show("describe", "cxs", name, user="bob")
        self._say("the final answer")
        print(session["status"].get("lastMessage", ""), flush=True)
        self._say("what Prometheus sees: model latency and approval wait")
        self._show_metrics()
        self._say_what_next(name)

    def _deploy(self, model: str) -> None:
        values: dict[str, Any] = {}
        if model == "openai":
            self._create_secret(os.environ["OPENAI_API_KEY"])
            values["providers"] = {
                "default": {
                    "baseUrl": os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1"),
                    "secretName": OPENAI_SECRET,
                    "secretKey": "api-key",
                    "defaultModel": os.environ.get("CODEX_MODEL", DEFAULT_OPENAI_MODEL),
                    "namespaces": [DEMO_NAMESPACE],
                }
            }
        self._progress.say(f"model: {model}")
        deploy(self._layout, self._progress, values)

    def _create_secret(self, key: str) -> None:
        self._apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        metadata = {"name": OPENAI_SECRET, "namespace": NAMESPACE}
        self._apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"api-key": key}})

    def _prepare_namespace(self) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self._apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": DEMO_NAMESPACE, "labels": labels}})
        group = "rbac.authorization.k8s.io"
        for role, subject in (
            ("codex-user", {"kind": "Group", "name": "dev", "apiGroup": group}),
            ("codex-approver", {"kind": "User", "name": "alice", "apiGroup": group}),
        ):
            self._apply(
                {
                    "apiVersion": f"{group}/v1",
                    "kind": "RoleBinding",
                    "metadata": {"name": role, "namespace": DEMO_NAMESPACE},
                    "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
                    "subjects": [subject],
                }
            )

    def _answer_approvals(self, name: str) -> None:
        """Approve what is asked, as alice, until the turn is over."""
        deadline = time.monotonic() + WAIT_SECONDS
        answered: set[str] = set()
        while True:
            session = self._get(name)
            for pending in session.get("status", {}).get("pendingApprovals", []):
                if pending["id"] not in answered:
                    answered.add(pending["id"])
                    self._approve(name, pending)
            if condition(session, "Idle") == "True":
                return
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"session {name} did not finish within {WAIT_SECONDS} s; its status: "
                    + json.dumps(session.get("status", {}), indent=2)
                )
            time.sleep(0.2)

    def _approve(self, name: str, pending: dict[str, Any]) -> None:
        question = pending["kind"] == "Question"
        self._say("it asks a question" if question else "it asks before it runs a command")
        self._show("get", "cxs", name, user="bob")
        self._say(f"alice, who may approve, reads it: {pending['command']}")
        self._show(
            "annotate", "cxs", name, f"approval.codex-temporal.dev/{pending['id']}={decision(pending)}", user="alice"
        )

    def _show_metrics(self) -> None:
        """Print the two histograms' sums and counts as the pods report them."""
        pods = commands.output(
            kubectl(
                self._layout, "get", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=worker", "-o", "name"
            )
        ).split()
        for pod in pods:
            path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod.removeprefix('pod/')}:9090/proxy/metrics"
            text = commands.output(kubectl(self._layout, "get", "--raw", path))
            wanted = tuple(f"{metric}_{part}" for metric in METRICS for part in ("count", "sum"))
            for line in text.splitlines():
                if line.startswith(wanted):
                    print(f"  {pod}: {line}", flush=True)

    def _say_what_next(self, name: str) -> None:
        self._say("the cluster stays up; what to type next")
        print(
            f"  . {os.path.relpath(self._layout.state)}/env           # a shell on this cluster\n"
            f"  kubectl get cxs -n {DEMO_NAMESPACE} {name} -o yaml\n"
            f"  kubectl create -n {DEMO_NAMESPACE} -f examples/two-approvals.yaml\n"
            "  make down                 # remove the cluster and all it changed on this machine",
            flush=True,
        )

    def _get(self, name: str) -> dict[str, Any]:
        argv = kubectl(self._layout, "get", "cxs", name, "-n", DEMO_NAMESPACE, "-o", "json", user="bob")
        found: dict[str, Any] = json.loads(commands.output(argv))
        return found

    def _apply(self, manifest: dict[str, Any]) -> None:
        commands.output(kubectl(self._layout, "apply", "-f", "-"), stdin=json.dumps(manifest))

    def _show(self, *arguments: str, user: str, stdin: str | None = None) -> None:
        """Show a command as a person would type it, and what it prints."""
        print(f"$ kubectl {shlex.join(arguments)}    # as {user}", flush=True)
        if stdin:
            print("".join(f"  | {line}\n" for line in stdin.splitlines()), end="", flush=True)
        argv = kubectl(self._layout, *arguments, "-n", DEMO_NAMESPACE, user=user)
        done = subprocess.run(argv, input=stdin, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"kubectl {shlex.join(arguments)} failed as {user}")

    def _say(self, text: str) -> None:
        print(flush=True)
        self._progress.say(text)


def decision(pending: dict[str, Any]) -> str:
    """Return what somebody says who lets everything happen: a question cannot be approved, what is cut only denied."""
    if pending["kind"] == "Question":
        return ANSWER
    return "deny: too long to be shown whole" if pending["truncated"] else "approve"


def condition(session: dict[str, Any], kind: str) -> str:
    """Return the status of a condition, Unknown where it is not there yet."""
    conditions = session.get("status", {}).get("conditions", [])
    return next((found["status"] for found in conditions if found["type"] == kind), "Unknown")
