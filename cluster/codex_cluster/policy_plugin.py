"""A chained CNI plugin: holds a new pod back until the policy agent has programmed its rules.

Run as a program by containerd; standard library only. It passes the previous plugin's result on.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

WAIT_SECONDS = 15.0
TRY_AGAIN_LATER = 11


def ask(path: str, request: dict[str, str]) -> dict[str, Any]:
    """Send the agent one line and read one line."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(WAIT_SECONDS)
        connection.connect(path)
        connection.sendall(json.dumps(request).encode() + b"\n")
        reply: dict[str, Any] = json.loads(connection.makefile().readline())
    return reply


def pod_request(arguments: str, result: dict[str, Any]) -> dict[str, str]:
    """Namespace, name and IPv4 address from CNI_ARGS and the previous plugin's result."""
    named = dict(pair.split("=", 1) for pair in arguments.split(";") if "=" in pair)
    address = next(ip["address"] for ip in result["ips"] if ":" not in ip["address"])
    return {
        "namespace": named["K8S_POD_NAMESPACE"],
        "name": named["K8S_POD_NAME"],
        "address": address.partition("/")[0],
    }


def main() -> int:
    command = os.environ["CNI_COMMAND"]
    if command == "VERSION":
        print(json.dumps({"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]}))
        return 0
    configuration = json.load(sys.stdin)
    if command != "ADD":
        return 0
    result = configuration["prevResult"]
    try:
        reply = ask(configuration["socket"], pod_request(os.environ.get("CNI_ARGS", ""), result))
    except OSError as error:
        reply = {"ok": False, "error": repr(error)}
    if not reply["ok"]:
        message = "the network policy agent does not answer for this pod"
        print(json.dumps({"cniVersion": "1.0.0", "code": TRY_AGAIN_LATER, "msg": message, "details": str(reply)}))
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
