"""A CodexSession as the API server delivers it, parsed once into what the operator needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from codex_api.rows import SessionSettings
from codex_api.session import SessionSpec
from codex_operator.money import to_millionths

WORKSPACE = "/workspace"


class InvalidSession(ValueError):
    """The object does not fit the resource's models; possible only where CRD and operator differ in age."""


@dataclass(frozen=True)
class SessionObject:
    uid: str
    namespace: str
    name: str
    generation: int
    spec: SessionSpec
    annotations: Mapping[str, str]
    status: Mapping[str, Any]
    deleting: bool = False


def parse_session(body: Mapping[str, Any]) -> SessionObject:
    """Parse an object of the API server; raises InvalidSession naming the field."""
    metadata = body["metadata"]
    try:
        spec = SessionSpec.model_validate(dict(body.get("spec") or {}))
    except ValidationError as error:
        fields = ", ".join(f"spec.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        raise InvalidSession(fields) from error
    return SessionObject(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        generation=metadata.get("generation", 1),
        spec=spec,
        annotations=dict(metadata.get("annotations") or {}),
        status=dict(body.get("status") or {}),
        deleting="deletionTimestamp" in metadata,
    )


def session_settings(spec: SessionSpec, *, isolation_required: bool) -> SessionSettings:
    """Return what is journaled of a spec: policy, limits and model, which nobody can change afterwards."""
    return SessionSettings(
        provider=spec.model.provider_ref.name,
        model=spec.model.name,
        reasoning_effort=spec.model.reasoning_effort,
        approval_policy=spec.approval.policy,
        approval_timeout_seconds=spec.approval.timeout_seconds,
        approval_on_timeout=spec.approval.on_timeout,
        max_steps=spec.limits.max_steps,
        max_tokens=spec.limits.max_tokens,
        turn_timeout_seconds=spec.limits.turn_timeout_seconds,
        max_cost_millionths=None if spec.limits.max_cost is None else to_millionths(spec.limits.max_cost),
        active_deadline_seconds=spec.limits.active_deadline_seconds,
        output_schema=spec.output_schema,
        complete_after_idle_seconds=spec.lifecycle.complete_after_idle_seconds,
        network_mode=spec.sandbox.network.mode,
        isolation_required=isolation_required,
        workspace=WORKSPACE,
    )
