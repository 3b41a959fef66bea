"""Wait until the API server enforces the approval policies and records approvers.

Some seconds pass between the creation of a policy (or of the kind it is about) and its effect. A new session that
carries a decision is always refused; the reason given tells how far the API server is. It is asked as a dry run:
nothing is created.
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
IN_EFFECT = "a new session cannot carry decisions"
TIMEOUT_SECONDS = 300.0
PAUSE_SECONDS = 0.5
NAME = "codex-installing"
PROBE = {
    "apiVersion": "codex-temporal.dev/v1alpha1",
    "kind": "CodexSession",
    "metadata": {"name": NAME, "annotations": {f"approval.codex-temporal.dev/{NAME}": "approve"}},
    "spec": {"prompt": "Never created: a dry run that shows whether the approval policies are in effect."},
}


def ask() -> str:
    """Return what the API server says to a new session that carries a decision."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    namespace = (ACCOUNT / "namespace").read_text().strip()
    token = (ACCOUNT / "token").read_text().strip()
    request = urllib.request.Request(
        f"https://{host}:{port}/apis/codex-temporal.dev/v1alpha1/namespaces/{namespace}/codexsessions?dryRun=All",
        data=json.dumps(PROBE).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    try:
        with urllib.request.urlopen(request, context=trusted, timeout=10):  # noqa: S310
            return "the approval policies are not in effect yet"
    except urllib.error.HTTPError as error:
        return error.read().decode("utf-8", "replace")
    except OSError as error:
        return f"the API server cannot be reached: {error}"


def main() -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    said = ""
    while IN_EFFECT not in (answer := ask()):
        if answer != said:
            sys.stderr.write(f"waiting: {answer[:500]}\n")
            said = answer
        if time.monotonic() > deadline:
            sys.exit(f"the approval policies are not in effect after {TIMEOUT_SECONDS:.0f} s: {answer[:500]}")
        time.sleep(PAUSE_SECONDS)
    sys.stderr.write("the approval policies are in effect\n")


if __name__ == "__main__":
    main()
