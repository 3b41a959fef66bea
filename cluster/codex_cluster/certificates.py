"""The cluster's certificate authority, its leaves, its service-account key and kubeconfig files."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=365)
CLOCK_SKEW = datetime.timedelta(minutes=5)
CLUSTER = "codex"
DEVELOPERS = "dev"

USERS: Mapping[str, tuple[str, ...]] = {
    "admin": ("system:masters",),
    "alice": (DEVELOPERS,),
    "bob": (DEVELOPERS,),
}
"""People who may log in, and their groups."""


@dataclass(frozen=True)
class Leaf:
    """One certificate with its key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, directory: Path, name: str) -> None:
        """Write NAME.crt and NAME.key, the key readable by the owner only."""
        (directory / f"{name}.crt").write_bytes(self.certificate)
        write_private(directory / f"{name}.key", self.key)


@dataclass(frozen=True)
class Authority:
    """A certificate authority that signs client and server certificates."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, common_name: str, groups: Sequence[str] = (), hosts: Sequence[str] = ()) -> Leaf:
        """Sign a certificate: CN is the user, O are its groups, `hosts` are DNS names or addresses of a server."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(common_name, groups)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
        builder = (
            _builder(subject, self.certificate.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            # Python 3.13 refuses a certificate that does not name its authority's key.
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        signed = builder.sign(self.key, hashes.SHA256())
        return Leaf(signed.public_bytes(serialization.Encoding.PEM), private_pem(key))


def new_authority(name: str = CLUSTER) -> Authority:
    """A self-signed authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    certificate = (
        _builder(subject, subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """PKCS#8 without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def new_service_account_key() -> bytes:
    """The key that signs service-account tokens; the API server derives the public half itself."""
    return private_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def write_control_plane(directory: Path, hosts: Sequence[str]) -> Authority:
    """Write ca.crt, ca.key, api-server.{crt,key} and service-account.key; returns the authority."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = new_authority()
    Leaf(authority.pem, private_pem(authority.key)).write(directory, "ca")
    authority.issue("kube-apiserver", hosts=hosts).write(directory, "api-server")
    write_private(directory / "service-account.key", new_service_account_key())
    return authority


def signing_request(user: str, groups: Sequence[str]) -> tuple[bytes, bytes]:
    """A new key and a certificate request for it, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(_subject(user, groups)).sign(key, hashes.SHA256())
    return private_pem(key), request.public_bytes(serialization.Encoding.PEM)


def encoded(data: bytes) -> str:
    """Base64, as Kubernetes wants it."""
    return base64.b64encode(data).decode()


def decoded(text: str) -> bytes:
    """The inverse of `encoded`."""
    return base64.b64decode(text)


def kubeconfig(cluster: Mapping[str, str], leaf: Leaf, user: str) -> str:
    """A kubeconfig that needs no other file; `cluster` holds server and authority. JSON, which is YAML."""
    credentials = {"client-certificate-data": encoded(leaf.certificate), "client-key-data": encoded(leaf.key)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CLUSTER, "cluster": dict(cluster)}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": CLUSTER, "context": {"cluster": CLUSTER, "user": user}}],
        "current-context": CLUSTER,
    }
    return json.dumps(document, indent=2) + "\n"


def write_kubeconfig(path: Path, server: str, authority: Authority, user: str, groups: Sequence[str]) -> None:
    """Issue a client certificate and write it as a kubeconfig that only its owner can read."""
    cluster = {"server": server, "certificate-authority-data": encoded(authority.pem)}
    write_private(path, kubeconfig(cluster, authority.issue(user, groups), user).encode())


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, never readable by others in between."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)


def _subject(user: str, groups: Sequence[str]) -> x509.Name:
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
