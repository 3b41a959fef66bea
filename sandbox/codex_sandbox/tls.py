"""Mutual TLS: a sandbox's certificate can only serve, a worker's can only connect.

OpenSSL checks the extended key usage against the role, so that a sandbox's key, which its commands can read, opens
nothing. Both files are read anew for every context: contexts are made per connection and leaves can be rotated.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass


@dataclass(frozen=True)
class TlsFiles:
    """Paths of PEM files: our certificate (chain), its key, and the bundle of authorities we trust."""

    certificate: str
    key: str
    ca: str


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context that accepts only clients with a clientAuth certificate; raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    # A resumed session would skip the check of the certificate.
    context.num_tickets = 0
    context.load_verify_locations(files.ca)
    context.load_cert_chain(files.certificate, files.key)
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context that accepts only the named server with a serverAuth certificate; raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(files.ca)
    context.load_cert_chain(files.certificate, files.key)
    return context
