"""The sentences about this machine, the endpoint and the AWS login."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import socket
import ssl
import sys
import tempfile
import threading
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore import exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from plugins.action import mlflow_settings as action
from plugins.module_utils.mlflow_settings import Problem


def one(problems: Iterator[Problem]) -> str:
    [problem] = problems
    return str(problem)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No AWS setting of the shell that runs the tests, no configuration file, no metadata service."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy") or name == "REQUESTS_CA_BUNDLE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


# --- machine --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.19.0", "2.20.10", "2.21.5"])
def test_supported_ansible(version: str) -> None:
    assert not list(action.ansible_problems(version))


@pytest.mark.parametrize("version", ["2.18.9", "2.22.0rc1", "3.0.0"])
def test_other_ansible(version: str) -> None:
    assert one(action.ansible_problems(version)).startswith(f"ansible-core is {version}: ")


def test_a_ca_bundle_must_be_there_and_hold_a_certificate(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    missing = f"mlflow_image_ca_bundle is {bundle}: it cannot be read (No such file or directory); give "
    assert one(action.ca_bundle_problems(str(bundle))).startswith(missing)
    bundle.write_text("x")
    assert "it holds no certificate; give a file in PEM form." in one(action.ca_bundle_problems(str(bundle)))
    for place in ("/dev/zero", str(tmp_path), "/tmp/a\0b"):
        assert "it cannot be read (" in one(action.ca_bundle_problems(place))
    bundle.write_text("-----BEGIN CERTIFICATE-----")
    for place in (str(bundle), "", "https://example.org/ca.pem"):
        assert not list(action.ca_bundle_problems(place))


@pytest.mark.parametrize("interpreter", [None, "", "auto", "auto_silent"])
def test_interpreter_must_be_chosen(interpreter: str | None) -> None:
    assert '"{{ ansible_playbook_python }}"' in one(action.interpreter_problems(interpreter))


def fake_python(folder: Path, version: str, code: int) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\necho {version}\nexit {code}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("version", "code", "expected"),
    [("3 10", 0, "it is Python 3.10, and 3.11 is needed"), ("", 2, "it is Python unknown"), ("3 13", 1, "boto3")],
)
def test_other_interpreter(tmp_path: Path, version: str, code: int, expected: str) -> None:
    assert expected in one(action.interpreter_problems(fake_python(tmp_path, version, code)))


def test_interpreter_that_is_not_there() -> None:
    assert "it cannot be run" in one(action.interpreter_problems("/nowhere/python"))


def test_sound_interpreters(tmp_path: Path) -> None:
    assert not list(action.interpreter_problems(sys.executable))
    assert not list(action.interpreter_problems(fake_python(tmp_path, "3 11", 0)))


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(action.disk_problems(tmp_path / "outputs" / "deep"))
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(49 * 1024**2))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    assert one(action.disk_problems(tmp_path)) == (
        f"disk space is {tmp_path}: only 49 MB are free there; free at least 50 MB."
    )


def test_outputs_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outputs").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "outputs")
    assert "it cannot be written" in one(action.disk_problems(tmp_path / "outputs"))


def test_a_checkout_of_which_nothing_can_be_written_is_a_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outputs").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert not list(action.disk_problems(tmp_path / "outputs"))


def test_outputs_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("")
    assert "it cannot be written" in one(action.disk_problems(tmp_path / "outputs"))


# --- region and credentials -----------------------------------------------------------------------------------------


def test_region_comes_from_the_environment_then_the_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert action.region_from_environment() == ""
    (tmp_path / "config").write_text("[default]\nregion = eu-north-1\n")
    assert action.region_from_environment() == "eu-north-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert action.region_from_environment() == "eu-west-1"


def test_shell_with_another_region() -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        sentence = one(action.region_problems("eu-west-1", {name: "us-east-1"}))
        assert sentence.startswith(f"{name} is us-east-1: mlflow_region is eu-west-1; unset {name}")
    assert not list(action.region_problems("eu-west-1", {"AWS_REGION": "eu-west-1"}))
    assert not list(action.region_problems("", {"AWS_REGION": "eu-west-1"}))


def test_no_credentials() -> None:
    assert one(action.login_problems()).startswith(
        "the AWS login is not set: no credentials were found; set AWS_PROFILE"
    )


def test_half_of_the_credentials_does_not_show_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "hunter2")
    sentence = one(action.login_problems())
    assert "AWS_SECRET_ACCESS_KEY is missing" in sentence and "hunter2" not in sentence


def test_unknown_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert one(action.login_problems()).startswith("AWS_PROFILE is nobody: ")


def test_unreadable_configuration(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("no section\n")
    assert one(action.login_problems()).startswith("the AWS login is unreadable: ConfigParseError; ")


def test_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert not list(action.login_problems())


# --- endpoint -------------------------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + built.public_bytes(pem))
    return path


@pytest.fixture
def tls_port(listener: socket.socket, certificate: Path) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def shake_hands() -> None:
        try:
            connection, _ = listener.accept()
            with connection:
                context.wrap_socket(connection, server_side=True).close()
        except OSError:
            return

    threading.Thread(target=shake_hands, daemon=True).start()
    return int(listener.getsockname()[1])


def test_endpoint_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", url)
    sentence = one(action.endpoint_problems())
    assert sentence.startswith(f"AWS_ENDPOINT_URL_ECS is {url}: it cannot be reached (Connection refused); start ")


def test_endpoint_that_stays_silent(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action, "CONNECT_SECONDS", 0.2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{listener.getsockname()[1]}")
    assert "it did not answer within" in one(action.endpoint_problems())


def test_one_sentence_for_one_url(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS"):
        monkeypatch.setenv(name, "127.0.0.1:4566")
    assert one(action.endpoint_problems()).startswith("AWS_ENDPOINT_URL is 127.0.0.1:4566: it is not a URL; ")


def test_endpoint_with_a_password_does_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "ftp://me:hunter2@127.0.0.1")
    assert "hunter2" not in one(action.endpoint_problems())


def test_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://nowhere.invalid")
    assert "does not resolve" in one(action.endpoint_problems())


def test_endpoint_with_an_unknown_ca(tls_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{tls_port}")
    sentence = one(action.endpoint_problems())
    assert "certificate is not trusted" in sentence and "AWS_CA_BUNDLE" in sentence


def test_endpoint_with_its_ca(tls_port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{tls_port}")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    assert not list(action.endpoint_problems())


def test_endpoint_without_tls_behind_https(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    threading.Thread(target=answer, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{listener.getsockname()[1]}")
    assert "it does not speak TLS" in one(action.endpoint_problems())


def test_ca_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere/ca.pem")
    assert one(action.endpoint_problems()).startswith("AWS_CA_BUNDLE is /nowhere/ca.pem: there is no such file; ")


def test_ca_file_without_certificates(tmp_path: Path, tls_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{tls_port}")
    assert one(action.endpoint_problems()).startswith(f"AWS_CA_BUNDLE is {tmp_path / 'ca.pem'}: ")


def test_endpoint_behind_a_proxy_is_left_to_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://nowhere.invalid")
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    assert not list(action.endpoint_problems())


def test_no_endpoint_means_no_connection() -> None:
    assert not list(action.endpoint_problems())


# --- the call -------------------------------------------------------------------------------------------------------


def client_error(code: str) -> exceptions.ClientError:
    return exceptions.ClientError({"Error": {"Code": code, "Message": "signed with hunter2"}}, "GetCallerIdentity")


@pytest.mark.parametrize(
    ("error", "start", "remedy"),
    [
        (
            client_error("ExpiredToken"),
            "the AWS login is expired: sts:GetCallerIdentity answered ExpiredToken",
            "log in again",
        ),
        (client_error("RequestExpired"), "the AWS login is expired: ", "clock"),
        (client_error("InvalidClientTokenId"), "the AWS login is invalid: ", "AWS_PROFILE"),
        (client_error("SignatureDoesNotMatch"), "the AWS login is invalid: ", "clock"),
        (
            client_error("AccessDenied"),
            "the AWS login is refused: sts:GetCallerIdentity answered AccessDenied",
            "login",
        ),
        (
            exceptions.EndpointConnectionError(endpoint_url="x", error="y"),
            "the AWS endpoint is sts.eu-wst-1: ",
            "region",
        ),
        (exceptions.ConnectTimeoutError(endpoint_url="x"), "the AWS endpoint is sts.eu-wst-1: ", "proxy"),
        (exceptions.SSLError(endpoint_url="x", error=OSError("y")), "the AWS endpoint is sts.eu-wst-1: ", "network"),
        (exceptions.ProxyConnectionError(proxy_url="http://me:hunter2@proxy"), "the AWS endpoint is ", "proxy"),
        (exceptions.SSOTokenLoadError(error_msg="x"), "the AWS login is unusable: SSOTokenLoadError", "aws sso login"),
        (
            exceptions.CredentialRetrievalError(provider="p", error_msg="hunter2"),
            "the AWS login is unusable: ",
            "log in",
        ),
        (KeyError("Account"), "the AWS endpoint is sts.eu-wst-1: its answer is no answer of AWS (KeyError)", "region"),
        (client_error("404"), "the AWS endpoint is sts.eu-wst-1: its answer is no answer of AWS (404)", "region"),
    ],
)
def test_failed_call_is_one_sentence_without_secrets(error: Exception, start: str, remedy: str) -> None:
    sentence = str(action.explain(error, "eu-wst-1"))
    assert sentence.startswith(start) and remedy in sentence and "\n" not in sentence and "hunter2" not in sentence


def test_failed_call_names_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://127.0.0.1:1")
    error = exceptions.EndpointConnectionError(endpoint_url="x", error="y")
    assert str(action.explain(error, "eu-west-1")).startswith("AWS_ENDPOINT_URL is https://127.0.0.1:1: ")


def test_environment_is_put_back() -> None:
    before = dict(os.environ)
    with action.environment({"AWS_REGION": "eu-west-9", "PATH": ""}):
        assert (os.environ["AWS_REGION"], os.environ["PATH"]) == ("eu-west-9", "")
    assert dict(os.environ) == before
