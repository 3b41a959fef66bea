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
        path = directory / f"{name}.key"
        path.touch(mode=0o600)
        path.write_bytes(self.key)


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
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
        builder = (
            _builder(subject, self.certificate.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        signed = builder.sign(self.key, hashes.SHA256())
        return Leaf(signed.public_bytes(serialization.Encoding.PEM), private_pem(key))


def new_authority(name: str = "codex-cluster") -> Authority:
    """A self-signed authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    certificate = (
        _builder(subject, subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
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
    (directory / "service-account.key").touch(mode=0o600)
    (directory / "service-account.key").write_bytes(new_service_account_key())
    return authority


def kubeconfig(server: str, authority: bytes, leaf: Leaf, user: str, cluster: str = "codex") -> str:
    """A kubeconfig that needs no other file; JSON, which is YAML."""

    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    credentials = {"client-certificate-data": encoded(leaf.certificate), "client-key-data": encoded(leaf.key)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": cluster, "cluster": {"server": server, "certificate-authority-data": encoded(authority)}}
        ],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    }
    return json.dumps(document, indent=2) + "\n"


def write_kubeconfig(path: Path, server: str, authority: Authority, user: str, groups: Sequence[str]) -> None:
    """Issue a client certificate and write it as a kubeconfig that only its owner can read."""
    text = kubeconfig(server, authority.pem, authority.issue(user, groups), user)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


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
