"""The action plugin server_answer against servers of this machine, over HTTP and HTTPS."""

from __future__ import annotations

import base64
import datetime
import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.utils.display import Display
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from plugins.action import server_answer

DOMAIN, BALANCER = "mlflow.example.com", "team-a-1.eu-west-1.elb.amazonaws.com"
PASSWORD = "only-for-this-test"
SECRET = "mlflow/team-a/admin"


class Server(http.server.ThreadingHTTPServer):
    """Answers from `answers`, (status, body), the last one for ever; writes down (path, headers, name asked in TLS)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, bytes]] = [(200, b'{"experiments": []}')]
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.names: list[str | None] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append((self.path, dict(self.headers)))
        status, body = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        yield made
        made.shutdown()


@pytest.fixture
def secure(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server behind TLS, with a certificate for DOMAIN that this machine trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, DOMAIN)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(DOMAIN)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.sni_callback = lambda _, asked, __: server.names.append(asked)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    return server


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Which name resolves to which addresses."""
    known: dict[str, set[str]] = {BALANCER: {"192.0.2.1", "192.0.2.2"}}
    monkeypatch.setattr(server_answer, "resolve", lambda name: known.get(name, set()))
    return known


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown while it waits."""
    shown: list[str] = []
    monkeypatch.setattr(Display, "display", lambda _, text, *__, **___: shown.append(text))
    return shown


@pytest.fixture
def run(names: dict[str, set[str]], lines: list[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the action; every connection ends at 127.0.0.1."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(server_answer, "PAUSE_SECONDS", 0.01)
    connect = server_answer.connect
    # Where a connection was wanted to, before it was turned to this machine.
    monkeypatch.setattr(
        server_answer, "connect", lambda where: connect(where._replace(address=run_to.pop() if run_to else "127.0.0.1"))
    )
    run_to: list[str] = []

    def call(**arguments: Any) -> dict[str, Any]:
        given = {"name": "team-a", "host": DOMAIN, "load_balancer": BALANCER, "timeout": 0, **arguments}
        action = server_answer.ActionModule.__new__(server_answer.ActionModule)
        action._task = SimpleNamespace(args=given, check_mode=False, async_val=0, diff=False, environment=[])
        action._loader = action._templar = None
        monkeypatch.setattr(server_answer.ActionBase, "run", lambda *_, **__: {})
        monkeypatch.setattr(action, "validate_argument_spec", lambda spec: (None, with_defaults(spec, given)))
        found = SimpleNamespace(run=lambda terms, **_: [PASSWORD] if terms == [f"{SECRET}.password"] else [])
        monkeypatch.setattr(server_answer.lookup_loader, "get", lambda *_, **__: found)
        return action.run(task_vars={})

    return call


def with_defaults(spec: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """`given` as Ansible completes it by `spec`."""
    assert set(given) <= set(spec)
    return {name: given.get(name, option.get("default")) for name, option in spec.items()}


def port(server: Server) -> int:
    """Where the server listens."""
    return int(server.server_address[1])


def test_the_load_balancer_is_asked_for_a_domain_that_does_not_resolve(run: Run, secure: Server) -> None:
    answer = run(url=f"https://{DOMAIN}:{port(secure)}", secret=SECRET)
    assert answer["msg"] == (
        f"team-a answers at https://{BALANCER}:{port(secure)} for host {DOMAIN}. From here {DOMAIN} does not resolve "
        f"to the load balancer. Make the DNS record: CNAME, or in Route 53 alias, {DOMAIN} -> {BALANCER}."
    )
    assert answer["record"] == {"name": DOMAIN, "value": BALANCER}
    assert secure.names == [DOMAIN]
    [(path, headers)] = secure.asked
    assert path == "/api/2.0/mlflow/experiments/search?max_results=1"
    assert headers["Host"] == DOMAIN
    assert base64.b64decode(headers["Authorization"].split()[1]).decode() == f"admin:{PASSWORD}"
    assert PASSWORD not in json.dumps(answer)


@pytest.mark.parametrize("addresses", [{"192.0.2.2"}, {"192.0.2.1", "192.0.2.2"}])
def test_a_domain_that_resolves_is_asked_itself(
    run: Run, names: dict[str, set[str]], secure: Server, addresses: set[str]
) -> None:
    names[DOMAIN] = addresses
    answer = run(url=f"https://{DOMAIN}:{port(secure)}")
    assert answer["msg"] == f"team-a answers at https://{DOMAIN}:{port(secure)} for host {DOMAIN}."
    assert (answer["record"], "Authorization" in secure.asked[0][1]) == (None, False)


def test_a_domain_that_resolves_elsewhere_needs_its_record(
    run: Run, names: dict[str, set[str]], secure: Server
) -> None:
    names[DOMAIN] = {"198.51.100.7"}
    assert run(url=f"https://{DOMAIN}:{port(secure)}")["record"]["value"] == BALANCER


def test_without_a_domain_there_is_no_record(run: Run, server: Server) -> None:
    answer = run(url=f"http://{BALANCER}:{port(server)}", host=BALANCER)
    assert (answer["record"], server.asked[0][1]["Host"]) == (None, BALANCER)


def test_another_address_is_asked_as_given(run: Run, secure: Server) -> None:
    answer = run(url=f"https://127.0.0.1:{port(secure)}")
    assert f"answers at https://127.0.0.1:{port(secure)} for host {DOMAIN}" in answer["msg"]
    assert secure.names == [DOMAIN]


def test_a_certificate_of_another_name_is_refused(run: Run, secure: Server) -> None:
    answer = run(url=f"https://other.example.com:{port(secure)}", host="other.example.com")
    assert answer["failed"] is True
    assert "has a certificate that is not good for other.example.com: Hostname mismatch" in answer["msg"]
    assert "mlflow_certificate_arn" in answer["msg"]
    assert secure.asked == []


def test_a_certificate_that_nobody_trusts_is_refused(run: Run, secure: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "self-signed certificate" in run(url=f"https://{DOMAIN}:{port(secure)}")["msg"]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (301, "it redirects to HTTPS; write mlflow_verify_url with https."),
        (
            401,
            f"the login of the secret {SECRET} is refused; whoever has changed the password has to put it there, too.",
        ),
        (403, "the host name is not among the allowed ones; run site.yml, which allows it."),
        (404, "read the log group /mlflow/team-a."),
        (502, "no task answers; read the log group /mlflow/team-a."),
        (503, "no task is healthy, or its database is out of reach; read the log group /mlflow/team-a."),
    ],
)
def test_each_bad_status_has_its_remedy(run: Run, server: Server, status: int, sentence: str) -> None:
    server.answers = [(status, b"")]
    answer = run(url=f"http://{DOMAIN}:{port(server)}", secret=SECRET)
    where = f"http://{BALANCER}:{port(server)}"
    assert answer["msg"] == f"team-a answers {status}, at {where} for host {DOMAIN}: {sentence}"
    assert answer["failed"] is True
    assert PASSWORD not in json.dumps(answer)


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]"])
def test_a_page_of_somebody_else_is_no_answer(run: Run, server: Server, body: bytes) -> None:
    server.answers = [(200, body)]
    assert "answers, but not like MLflow" in run(url=f"http://{DOMAIN}:{port(server)}")["msg"]


def test_nobody_there_is_one_sentence(run: Run, server: Server) -> None:
    closed = port(server)
    server.shutdown()
    server.server_close()
    answer = run(url=f"http://{DOMAIN}:{closed}")
    assert answer["msg"] == (
        f"team-a cannot be reached: Connection refused, at http://{BALANCER}:{closed} for host {DOMAIN}: set "
        "mlflow_verify_url to where it can be reached from here, or mlflow_verify to false."
    )


def test_it_asks_again_and_says_so(run: Run, server: Server, lines: list[str]) -> None:
    server.answers = [(503, b""), (502, b""), (200, b"{}")]
    answer = run(url=f"http://{DOMAIN}:{port(server)}", timeout=60, secret=SECRET)
    assert "failed" not in answer
    assert len(server.asked) == 3
    assert lines == [
        f"team-a: waiting for an answer (http://{BALANCER}:{port(server)} answers 503), 0 s of at most 1 min"
    ]


def test_a_proxy_is_honoured(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{port(server)}")
    monkeypatch.setattr(server_answer, "proxy_bypass", lambda _: False)
    assert "failed" not in run(url=f"http://{DOMAIN}")
    [(path, headers)] = server.asked
    assert path.startswith("http://127.0.0.1/api/2.0/mlflow/")
    assert headers["Host"] == DOMAIN


def test_names_are_resolved() -> None:
    assert "127.0.0.1" in server_answer.resolve("localhost")
    assert server_answer.resolve("no-such-name.invalid") == set()
