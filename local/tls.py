"""A certificate authority of our own, and the certificates that everything on this machine serves."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from local import config

SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
LIFETIME = datetime.timedelta(days=825)


def system_bundle(env: Mapping[str, str], state: Path) -> str:
    """The PEM text of the authorities this machine trusts: what `env` names, else the system's, else botocore's.

    A bundle inside `state` is our own of an earlier run and is passed over.
    """
    named = [env[name] for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE") if env.get(name)]
    for candidate in (*named, ssl.get_default_verify_paths().cafile, *SYSTEM_BUNDLES):
        if not candidate or not os.path.isfile(candidate):
            continue
        if state.resolve() not in Path(candidate).resolve().parents:
            return Path(candidate).read_text()
    import botocore

    return (Path(botocore.__file__).parent / "cacert.pem").read_text()


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    config.write_atomic(path, pem)


def _write_public(path: Path, pem: str) -> None:
    """A container, whose user is another, reads it, too."""
    config.write_atomic(path, pem, 0o644)


def _builder(subject: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + LIFETIME)
    )


def _make_authority(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = "MLflow on this machine"
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    certificate = (
        _builder(name, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(own, critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_key(folder / "ca.key", key)
    _write_public(folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM).decode())


def _make_certificate(folder: Path, stem: str, names: Sequence[str]) -> None:
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = []
    for name in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(names[0], authority.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        # OpenSSL's strict mode, the default from Python 3.13 on, asks for both key identifiers.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        .sign(signer, hashes.SHA256())
    )
    _write_key(folder / f"{stem}.key", key)
    _write_public(folder / f"{stem}.pem", certificate.public_bytes(serialization.Encoding.PEM).decode())


def ensure(folder: Path = config.TLS, env: Mapping[str, str] | None = None) -> None:
    """Make what is missing in `folder`: ca.pem, ca-bundle.pem, localhost.{pem,key} and the public name's pair."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "ca.pem").exists():
        _make_authority(folder)
    for stem, names in (
        ("localhost", ("localhost", config.HOST)),
        (config.PUBLIC_DOMAIN, (config.PUBLIC_DOMAIN,)),
    ):
        if not (folder / f"{stem}.pem").exists():
            _make_certificate(folder, stem, names)
    bundle = folder / "ca-bundle.pem"
    if not bundle.exists():
        own = (folder / "ca.pem").read_text()
        _write_public(bundle, system_bundle(os.environ if env is None else env, folder.parent) + "\n" + own)


def server_context(folder: Path = config.TLS) -> ssl.SSLContext:
    """TLS for a server that calls itself localhost."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "localhost.pem", folder / "localhost.key")
    return context


def front_context(folder: Path = config.TLS) -> ssl.SSLContext:
    """TLS for a load balancer's door: localhost's certificate, or the public name's for whoever asks by that name."""
    context, public = server_context(folder), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    public.load_cert_chain(folder / f"{config.PUBLIC_DOMAIN}.pem", folder / f"{config.PUBLIC_DOMAIN}.key")

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name == config.PUBLIC_DOMAIN:
            connection.context = public

    context.sni_callback = choose
    return context


def client_context(folder: Path = config.TLS) -> ssl.SSLContext:
    """TLS for a client that trusts our authority and nobody else."""
    return ssl.create_default_context(cafile=str(folder / "ca.pem"))
