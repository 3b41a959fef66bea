"""What can go wrong between a worker and a sandbox.

SandboxError
├── SandboxUnreachable        no connection, no handshake or no hello in time
├── SandboxConnectionLost     the connection ended under open requests: reconnect and repeat, which attaches
├── SandboxIdentityMismatch   somebody else answers: wrong certificate, session or generation
├── SandboxProtocolError      the other side broke the protocol; the connection is closed
└── SandboxRefused            the supervisor understood the request and refused it, with a code
"""

from __future__ import annotations


class SandboxError(Exception):
    """Base of all errors of this package."""


class SandboxUnreachable(SandboxError):
    """The sandbox could not be reached, or did not greet in time."""


class SandboxConnectionLost(SandboxError):
    """The connection ended; what was requested may have happened. Repeating a request by its call id is safe."""


class SandboxIdentityMismatch(SandboxError):
    """The answering side is not the sandbox that was asked for."""


class SandboxProtocolError(SandboxError):
    """The other side sent something that the protocol does not allow."""


class SandboxRefused(SandboxError):
    """The supervisor refused one request; the connection stays usable.

    `code` is one of the constants of `codex_sandbox.protocol.RefusalCode`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
