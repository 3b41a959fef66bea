"""Where objects live in the Kubernetes API."""

from __future__ import annotations

from codex_api.names import API_VERSION, PLURAL

ALL_SESSIONS = f"/apis/{API_VERSION}/{PLURAL}"
NAMESPACES = "/api/v1/namespaces"


def sessions(namespace: str) -> str:
    return f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}"


def session(namespace: str, name: str) -> str:
    return f"{sessions(namespace)}/{name}"


def session_status(namespace: str, name: str) -> str:
    return f"{session(namespace, name)}/status"


def pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def pod(namespace: str, name: str) -> str:
    return f"{pods(namespace)}/{name}"


def secrets(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets"


def secret(namespace: str, name: str) -> str:
    return f"{secrets(namespace)}/{name}"


def events(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/events"


def network_policy(namespace: str, name: str) -> str:
    return f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/{name}"
