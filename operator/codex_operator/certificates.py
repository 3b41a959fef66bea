"""The operator's own certificate authority: issuing, no storage.

A sandbox's certificate can only serve and a worker's can only be a client: with one usage for both, a sandbox's key
would open other sandboxes. The name binds a sandbox's certificate to one generation of one session.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from codex_sandbox.naming import sandbox_server_name

CA_VALIDITY = timedelta(days=3650)
LEAF_VALIDITY = timedelta(days=365)
# Clocks of nodes differ; a certificate that is not valid yet would be refused.
CLOCK_SKEW = timedelta(minutes=5)

CERTIFICATE_FILE = "tls.crt"
KEY_FILE = "tls.key"
CA_FILE = "ca.crt"


class InvalidAuthority(ValueError):
    """The stored authority cannot be used: not PEM, key and certificate do not belong together, or expired."""


@dataclass(frozen=True)
class KeyPair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(name: str, key: ec.EllipticCurvePrivateKey, now: datetime, validity: timedelta) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + validity)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def new_authority(now: datetime | None = None) -> KeyPair:
    """Make a self-signed authority (EC P-256, ten years)."""
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("codex-temporal sandbox authority", key, now, CA_VALIDITY)
    certificate = (
        builder.issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "codex-temporal sandbox authority")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate, key)


def load_authority(certificate_pem: bytes, key_pem: bytes, now: datetime | None = None) -> KeyPair:
    """Read an authority back; raises InvalidAuthority where it could not sign anything that would be believed."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise InvalidAuthority(str(error)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise InvalidAuthority("key and certificate do not belong together")
    if certificate.not_valid_after_utc <= (now or datetime.now(UTC)):
        raise InvalidAuthority(f"the certificate expired at {certificate.not_valid_after_utc:%Y-%m-%d}")
    return KeyPair(certificate, key)


def _leaf(
    authority: KeyPair, name: str, usage: x509.ObjectIdentifier, dns_name: str | None, now: datetime | None
) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = (
        _builder(name, key, now or datetime.now(UTC), LEAF_VALIDITY)
        .issuer_name(authority.certificate.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        .add_extension(issuer_key, critical=False)
    )
    if dns_name:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(dns_name)]), critical=False)
    return KeyPair(builder.sign(authority.key, hashes.SHA256()), key)


def sandbox_files(authority: KeyPair, session: str, generation: int, now: datetime | None = None) -> dict[str, bytes]:
    """Issue a sandbox's certificate: server only, valid for this generation of this session only; PEM by file name."""
    leaf = _leaf(
        authority,
        "codex-temporal sandbox",
        ExtendedKeyUsageOID.SERVER_AUTH,
        sandbox_server_name(session, generation),
        now,
    )
    return _files(authority, leaf)


def worker_files(authority: KeyPair, now: datetime | None = None) -> dict[str, bytes]:
    """Issue the workers' certificate: client only, without any name to serve under; PEM by file name."""
    return _files(authority, _leaf(authority, "codex-temporal worker", ExtendedKeyUsageOID.CLIENT_AUTH, None, now))


def _files(authority: KeyPair, leaf: KeyPair) -> dict[str, bytes]:
    return {
        CERTIFICATE_FILE: leaf.certificate_pem(),
        KEY_FILE: leaf.key_pem(),
        CA_FILE: authority.certificate_pem(),
    }
