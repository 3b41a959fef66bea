"""What a session's pods say about its sandbox. Pure functions over pod objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from codex_api import conditions
from codex_api.names import ANNOTATION_SPEC_HASH, LABEL_GENERATION
from codex_operator.display import one_line
from codex_operator.observations import SandboxObservation
from codex_operator.sandbox_objects import MAIN_CONTAINER

Pod = Mapping[str, Any]

MESSAGE_BYTES = 1024
ENDED_PHASES = frozenset({"Succeeded", "Failed"})
PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
# Where the image's own python3 is missing or cannot run: the runtime cannot start it, or a shell says so.
UNUSABLE_EXIT_CODES = frozenset({126, 127, 128})
UNUSABLE_REASONS = frozenset({"StartError", "ContainerCannotRun", "RunContainerError"})


@dataclass(frozen=True)
class SandboxPods:
    """A session's own pods, sorted out."""

    current: Pod | None
    """Newest pod that lives and is not being deleted."""
    ended: tuple[Pod, ...]
    """Pods that failed; to be removed."""
    newest_generation: int
    """0 where there is no pod at all, not even a dying one."""


def is_own(pod: Pod, session_uid: str) -> bool:
    """Tell whether a pod was made by an operator for this session; its name alone proves nothing."""
    metadata = pod["metadata"]
    owned = any(
        owner.get("controller") and owner.get("uid") == session_uid for owner in metadata.get("ownerReferences") or ()
    )
    return owned and bool((metadata.get("annotations") or {}).get(ANNOTATION_SPEC_HASH))


def generation_of(pod: Pod) -> int:
    """Return the generation in the pod's label, 0 where it is no number."""
    label = (pod["metadata"].get("labels") or {}).get(LABEL_GENERATION, "")
    return int(label) if label.isdecimal() else 0


def sort_out(pods: Iterable[Pod], session_uid: str) -> SandboxPods:
    own = sorted((pod for pod in pods if is_own(pod, session_uid)), key=generation_of)
    staying = [pod for pod in own if "deletionTimestamp" not in pod["metadata"]]
    living = [pod for pod in staying if (pod.get("status") or {}).get("phase") not in ENDED_PHASES]
    return SandboxPods(
        current=living[-1] if living else None,
        ended=tuple(pod for pod in staying if (pod.get("status") or {}).get("phase") in ENDED_PHASES),
        newest_generation=generation_of(own[-1]) if own else 0,
    )


def _container(pod: Pod, name: str) -> Mapping[str, Any]:
    statuses: list[Mapping[str, Any]] = [
        *((pod.get("status") or {}).get("containerStatuses") or ()),
        *((pod.get("status") or {}).get("initContainerStatuses") or ()),
    ]
    return next((status for status in statuses if status.get("name") == name), {})


def pod_address(pod: Pod) -> str | None:
    """Return the pod's IP once its main container runs; readiness may follow later, the worker retries quickly."""
    running = "running" in (_container(pod, MAIN_CONTAINER).get("state") or {})
    ip: str | None = (pod.get("status") or {}).get("podIP")
    return ip if running and ip else None


def _image_of(pod: Pod) -> str:
    return next((c["image"] for c in pod["spec"]["containers"] if c["name"] == MAIN_CONTAINER), "?")


def _image_problem(pod: Pod) -> str | None:
    """Return why an image of the pod cannot be used, with the cure."""
    statuses = (pod.get("status") or {}).get("initContainerStatuses") or ()
    for status in (*statuses, _container(pod, MAIN_CONTAINER)):
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in PULL_REASONS:
            return (
                f"image {status.get('image') or _image_of(pod)} cannot be pulled ({waiting['reason']}: "
                f"{waiting.get('message', '')}); check its name, "
                "or give the namespace's default service account an imagePullSecret"
            )
    main = _container(pod, MAIN_CONTAINER)
    ended = [(main.get(state) or {}).get("terminated") for state in ("state", "lastState")]
    if any(e and (e.get("exitCode") in UNUSABLE_EXIT_CODES or e.get("reason") in UNUSABLE_REASONS) for e in ended):
        detail = next((e.get("message", "") for e in ended if e), "")
        return f"image {_image_of(pod)} cannot run python3 ({detail}); use an image that contains python3 3.9 or newer"
    return None


def _unschedulable(pod: Pod) -> str | None:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return (
                f"no node takes the pod ({condition.get('message', condition.get('reason', ''))}); "
                "lower spec.sandbox.resources in a new session, or add nodes"
            )
    return None


def _is_ready(pod: Pod) -> bool:
    pod_conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in pod_conditions)


def observe(pod: Pod) -> SandboxObservation:
    """Return what a pod's status says of the sandbox, with the cure where something is wrong."""
    name, generation = pod["metadata"]["name"], generation_of(pod)

    def observation(reason: str, message: str, *, ready: bool = False) -> SandboxObservation:
        return SandboxObservation(ready, reason, one_line(message, MESSAGE_BYTES), name, generation)

    if _is_ready(pod):
        return observation(conditions.REASON_SANDBOX_RUNNING, f"pod {name} is running", ready=True)
    if problem := _image_problem(pod):
        return observation(conditions.REASON_SANDBOX_IMAGE, problem)
    if problem := _unschedulable(pod):
        return observation(conditions.REASON_SANDBOX_UNSCHEDULABLE, problem)
    waiting = (_container(pod, MAIN_CONTAINER).get("state") or {}).get("waiting") or {}
    if waiting.get("reason") == "CrashLoopBackOff":
        last = (_container(pod, MAIN_CONTAINER).get("lastState") or {}).get("terminated") or {}
        said = f"{last.get('reason', 'it ended')}, exit code {last.get('exitCode', '?')}"
        return observation(
            conditions.REASON_SANDBOX_LOST,
            f"the supervisor in pod {name} keeps ending ({said}); see kubectl logs {name}",
        )
    detail = (
        waiting.get("message") or waiting.get("reason") or (pod.get("status") or {}).get("phase") or "being created"
    )
    return observation(conditions.REASON_SANDBOX_STARTING, f"pod {name} is starting ({detail})")
