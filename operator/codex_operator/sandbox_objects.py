"""Manifests of a session's sandbox: pod, Secret of its certificate, NetworkPolicy. Pure functions, no I/O."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from codex_api.names import ANNOTATION_SPEC_HASH, API_VERSION, KIND, LABEL_GENERATION, LABEL_SESSION_UID
from codex_api.session import NetworkMode, Resources
from codex_operator.session_object import WORKSPACE, SessionObject

Manifest = dict[str, Any]

NAME_LIMIT = 63
USER_ID = 10001
MAIN_CONTAINER = "sandbox"
INIT_CONTAINER = "supervisor"
HOME = "/home/codex"
TLS_DIRECTORY = "/etc/codex/tls"
SUPERVISOR = "/opt/codex/supervisor.pyz"
COPIED_SUPERVISOR_DIRECTORY = "/opt/codex-supervisor"
GRACE_SECONDS = 5
# A name server that never answers: without a network a look-up fails at once instead of after ten seconds.
NO_NAME_SERVER = "127.0.0.1"

# Addresses that are not the internet: private, shared, loopback, link-local (the metadata service), reserved.
NOT_INTERNET_V4 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
NOT_INTERNET_V6 = ("::1/128", "64:ff9b::/96", "fc00::/7", "fe80::/10", "ff00::/8")


@dataclass(frozen=True)
class SandboxSettings:
    """What the administrator decides about sandboxes."""

    image: str
    supervisor_image: str
    port: int
    system_namespace: str
    worker_selector: Mapping[str, str]
    probes: tuple[str, ...] = ()
    """``name=host:port`` of addresses that a sandbox may not reach."""
    resources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Default ``requests`` and ``limits``."""


def sandbox_name(session_name: str, uid: str, suffix: str = "") -> str:
    """Return ``codex-<session>-<8 hex of the uid's hash><suffix>``, at most 63 characters, a DNS label."""
    hashed = hashlib.sha256(uid.encode()).hexdigest()[:8]
    tail = f"-{hashed}{suffix}"
    head = f"codex-{session_name.replace('.', '-')}"[: NAME_LIMIT - len(tail)].rstrip("-")
    return head + tail


def pod_name(session: SessionObject, generation: int) -> str:
    return sandbox_name(session.name, session.uid, f"-g{generation}")


def secret_name(session: SessionObject, generation: int) -> str:
    return f"{pod_name(session, generation)}-tls"


def labels(session: SessionObject, generation: int | None = None) -> dict[str, str]:
    common = {
        "app.kubernetes.io/name": "codex-sandbox",
        "app.kubernetes.io/managed-by": "codex-temporal",
        LABEL_SESSION_UID: session.uid,
    }
    return common if generation is None else {**common, LABEL_GENERATION: str(generation)}


def owner_reference(session: SessionObject) -> Manifest:
    """Return the reference by which the cluster's garbage collector removes what a deleted session leaves."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": session.name,
        "uid": session.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _metadata(session: SessionObject, name: str, generation: int | None = None) -> Manifest:
    return {
        "name": name,
        "namespace": session.namespace,
        "labels": labels(session, generation),
        "ownerReferences": [owner_reference(session)],
    }


def tls_secret(session: SessionObject, generation: int, files: Mapping[str, bytes]) -> Manifest:
    """Return the Secret with a sandbox's own certificate: ``tls.crt``, ``tls.key``, ``ca.crt``."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(session, secret_name(session, generation), generation),
        "type": "kubernetes.io/tls",
        "immutable": True,
        "data": {name: base64.b64encode(content).decode() for name, content in files.items()},
    }


def _container_security() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _amounts(resources: Resources | None, kind: str) -> dict[str, str]:
    amounts = getattr(resources, kind, None)
    return amounts.model_dump(by_alias=True, exclude_none=True) if amounts else {}


def merged_resources(defaults: Mapping[str, Mapping[str, str]], wanted: Resources | None) -> Manifest:
    """Lay a session's own amounts over the defaults.

    Where a session sets only a limit, that is the request too: a default request above it would be refused.
    """
    limits, requests = _amounts(wanted, "limits"), _amounts(wanted, "requests")
    merged = {
        "requests": {**defaults.get("requests", {}), **limits, **requests},
        "limits": {**defaults.get("limits", {}), **limits},
    }
    return {kind: amounts for kind, amounts in merged.items() if amounts}


def _supervisor_command(
    session: SessionObject, generation: int, settings: SandboxSettings, supervisor: str
) -> list[str]:
    command = ["python3", supervisor, "--listen", f"tcp://0.0.0.0:{settings.port}"]
    command += ["--certificate", f"{TLS_DIRECTORY}/tls.crt", "--key", f"{TLS_DIRECTORY}/tls.key"]
    command += ["--ca", f"{TLS_DIRECTORY}/ca.crt", "--session", session.uid, "--generation", str(generation)]
    command += ["--workspace", WORKSPACE]
    for probe in settings.probes:
        command += ["--probe", probe]
    return command


def _supervisor_copy(settings: SandboxSettings) -> Manifest:
    copy = f"import shutil; shutil.copyfile({SUPERVISOR!r}, {COPIED_SUPERVISOR_DIRECTORY + '/supervisor.pyz'!r})"
    return {
        "name": INIT_CONTAINER,
        "image": settings.supervisor_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", copy],
        "securityContext": _container_security(),
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": [{"name": "supervisor", "mountPath": COPIED_SUPERVISOR_DIRECTORY}],
    }


def _main_container(session: SessionObject, generation: int, settings: SandboxSettings, *, copied: bool) -> Manifest:
    mounts = [
        {"name": "workspace", "mountPath": WORKSPACE},
        {"name": "home", "mountPath": HOME},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the path inside the sandbox
        {"name": "tls", "mountPath": TLS_DIRECTORY, "readOnly": True},
    ]
    if copied:
        mounts.append({"name": "supervisor", "mountPath": COPIED_SUPERVISOR_DIRECTORY, "readOnly": True})
    supervisor = f"{COPIED_SUPERVISOR_DIRECTORY}/supervisor.pyz" if copied else SUPERVISOR
    return {
        "name": MAIN_CONTAINER,
        "image": session.spec.sandbox.image or settings.image,
        "imagePullPolicy": "IfNotPresent",
        "command": _supervisor_command(session, generation, settings, supervisor),
        "workingDir": WORKSPACE,
        "env": [{"name": "HOME", "value": HOME}, {"name": "LANG", "value": "C.UTF-8"}],
        "ports": [{"name": "supervisor", "containerPort": settings.port, "protocol": "TCP"}],
        "readinessProbe": {"tcpSocket": {"port": "supervisor"}, "periodSeconds": 1, "failureThreshold": 3},
        "resources": merged_resources(settings.resources, session.spec.sandbox.resources),
        "securityContext": _container_security(),
        "volumeMounts": mounts,
    }


def _volumes(session: SessionObject, generation: int, *, copied: bool) -> list[Manifest]:
    # Mode 0440 and the pod's fsGroup: readable by the supervisor's user and by nobody else.
    tls = {"secretName": secret_name(session, generation), "defaultMode": 0o440}
    volumes: list[Manifest] = [{"name": name, "emptyDir": {}} for name in ("workspace", "home", "tmp")]
    volumes.append({"name": "tls", "secret": tls})
    if copied:
        volumes.append({"name": "supervisor", "emptyDir": {"sizeLimit": "16Mi"}})
    return volumes


def _pod_spec(session: SessionObject, generation: int, settings: SandboxSettings) -> Manifest:
    # The supervisor is in its own image already; copying it there would only delay the start.
    copied = (session.spec.sandbox.image or settings.image) != settings.supervisor_image
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostNetwork": False,
        "hostPID": False,
        "hostIPC": False,
        "shareProcessNamespace": False,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_supervisor_copy(settings)] if copied else [],
        "containers": [_main_container(session, generation, settings, copied=copied)],
        "volumes": _volumes(session, generation, copied=copied),
    }
    if session.spec.sandbox.network.mode is NetworkMode.NONE:
        spec["dnsPolicy"] = "None"
        spec["dnsConfig"] = {"nameservers": [NO_NAME_SERVER]}
    if session.spec.sandbox.runtime_class_name:
        spec["runtimeClassName"] = session.spec.sandbox.runtime_class_name
    return spec


def spec_hash(spec: Mapping[str, Any]) -> str:
    """Return the hash that marks a pod as made by an operator from this spec."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]


def sandbox_pod(session: SessionObject, generation: int, settings: SandboxSettings) -> Manifest:
    """Return the pod of one generation of a session's sandbox; it passes PodSecurity ``restricted``."""
    spec = _pod_spec(session, generation, settings)
    metadata = _metadata(session, pod_name(session, generation), generation)
    metadata["annotations"] = {
        ANNOTATION_SPEC_HASH: spec_hash(spec),
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "kubectl.kubernetes.io/default-container": MAIN_CONTAINER,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _internet_egress() -> list[Manifest]:
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    return [
        {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": list(NOT_INTERNET_V4)}}]},
        {"to": [{"ipBlock": {"cidr": "::/0", "except": list(NOT_INTERNET_V6)}}]},
        {
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
            "ports": dns,
        },
    ]


def network_policy(session: SessionObject, settings: SandboxSettings) -> Manifest:
    """Return the one policy that selects a session's pods: nothing goes in or out but what is named here."""
    workers = {
        # Both selectors in ONE element: as two elements they would mean "or".
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.system_namespace}},
        "podSelector": {"matchLabels": dict(settings.worker_selector)},
    }
    internet = session.spec.sandbox.network.mode is NetworkMode.INTERNET
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(session, sandbox_name(session.name, session.uid)),
        "spec": {
            "podSelector": {"matchLabels": {LABEL_SESSION_UID: session.uid}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [workers], "ports": [{"protocol": "TCP", "port": settings.port}]}],
            "egress": _internet_egress() if internet else [],
        },
    }
