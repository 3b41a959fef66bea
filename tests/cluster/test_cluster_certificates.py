import json
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from codex_cluster import certificates


def parsed(leaf: certificates.Leaf) -> x509.Certificate:
    return x509.load_pem_x509_certificate(leaf.certificate)


def usages(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_users_certificate_carries_name_and_groups_and_can_serve_nothing() -> None:
    certificate = parsed(certificates.new_authority().issue("alice", ("dev", "ops")))
    names = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    assert names == ["dev", "ops"]
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "alice"
    assert usages(certificate) == {ExtendedKeyUsageOID.CLIENT_AUTH}


def test_a_servers_certificate_names_hosts_and_addresses() -> None:
    certificate = parsed(certificates.new_authority().issue("server", hosts=("kubernetes.default", "10.96.0.1")))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["kubernetes.default"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.96.0.1"]


def test_a_kubeconfig_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text("older, readable by all")
    certificates.write_kubeconfig(path, "https://127.0.0.1:1", certificates.new_authority(), "bob", ("dev",))
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1"


def test_a_signing_request_asks_for_the_same_subject() -> None:
    _, request = certificates.signing_request("bob", ("dev",))
    assert x509.load_pem_x509_csr(request).subject.rfc4514_string() == "CN=bob,O=dev"
