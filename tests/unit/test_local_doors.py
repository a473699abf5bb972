"""The two doors: TLS before PostgreSQL, and plain HTTP before the load balancers."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from local import agent, config, database, front, tls

TLS_REQUEST = struct.pack("!II", 8, database.SSL_REQUEST)


def startup(user: str) -> bytes:
    """A startup message of protocol 3.0."""
    body = struct.pack("!I", 196608) + f"user\0{user}\0database\0d\0\0".encode()
    return struct.pack("!I", len(body) + 4) + body


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our authority and its certificates."""
    folder = tmp_path_factory.mktemp("state") / "tls"
    tls.ensure(folder, {})
    return folder


@pytest.fixture
def loop() -> Iterator[agent.Loop]:
    """An asyncio loop in a thread."""
    found = agent.Loop()
    yield found
    found.close()


# ---------------------------------------------------------------- PostgreSQL


@pytest.fixture
def door(certificates: Path, loop: agent.Loop, tmp_path: Path) -> Iterator[int]:
    """The port of a door before a server that answers a startup message with the message itself."""
    path = tmp_path / "s"

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve() -> Any:
        return await asyncio.start_unix_server(echo, str(path))

    loop.run(serve())
    found = database.Door(config.free_port(), path, tls.server_context(certificates))
    loop.run(found.open())
    yield found.port
    loop.run(found.close())


def connect(port: int) -> socket.socket:
    """A plain connection to a door."""
    return socket.create_connection((config.HOST, port), timeout=10)


def secured(plain: socket.socket, certificates: Path, name: str = "localhost") -> ssl.SSLSocket:
    """The connection after PostgreSQL's way into TLS, the server's name verified."""
    plain.sendall(TLS_REQUEST)
    assert plain.recv(1) == b"S"
    return tls.client_context(certificates).wrap_socket(plain, server_hostname=name)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_tls_then_all_bytes_pass(door: int, certificates: Path, name: str) -> None:
    with connect(door) as plain, secured(plain, certificates, name) as client:
        client.sendall(startup("mlflow"))
        assert client.recv(1000) == startup("mlflow")
        client.sendall(b"Q and more")
        assert client.recv(1000) == b"Q and more"


def test_another_name_is_not_verified(door: int, certificates: Path) -> None:
    with connect(door) as plain, pytest.raises(ssl.SSLCertVerificationError):
        secured(plain, certificates, "db.example.com")


def test_gss_is_declined_and_tls_follows(door: int, certificates: Path) -> None:
    with connect(door) as plain:
        plain.sendall(struct.pack("!II", 8, database.GSS_REQUEST))
        assert plain.recv(1) == b"N"
        with secured(plain, certificates) as client:
            client.sendall(startup("mlflow"))
            assert client.recv(1000) == startup("mlflow")


def test_plain_connection_is_refused(door: int) -> None:
    with connect(door) as plain:
        plain.sendall(startup("mlflow"))
        answer = plain.makefile("rb").read()
    assert answer.startswith(b"E")
    assert b'user "mlflow", no encryption' in answer
    assert b"C28000\0" in answer
    assert struct.unpack("!I", answer[1:5])[0] == len(answer) - 1


def test_superuser_is_not_let_in(door: int, certificates: Path) -> None:
    with connect(door) as plain, secured(plain, certificates) as client:
        client.sendall(startup(database.SUPERUSER))
        assert b"reserved" in client.makefile("rb").read()


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\n\r\n", struct.pack("!II", 4, 0), b"\0\0"])
def test_junk_is_hung_up_on(door: int, junk: bytes) -> None:
    with connect(door) as plain:
        plain.sendall(junk)
        plain.shutdown(socket.SHUT_WR)
        assert not plain.recv(10).startswith(b"S")


def test_wanted_databases() -> None:
    instance = {
        "DBInstanceIdentifier": "a", "DbiResourceId": "db-1", "Engine": "postgres", "MasterUsername": "u",
        "EngineVersion": "16.3", "DBName": "d", "DBInstanceStatus": "available", "Endpoint": {"Port": 5433},
    }  # fmt: skip
    expected = {"db-1": {"name": "a", "version": "16.3", "port": 5433, "user": "u", "database": "d"}}
    assert database.wanted([instance]) == expected
    others = [{"Engine": "mysql"}, {"Endpoint": {}}, {"DBInstanceStatus": "deleting"}]
    assert database.wanted([{**instance, **other} for other in others]) == {}


def test_sql_quoting() -> None:
    assert database.literal("a'b\\c") == " E'a''b\\\\c'"
    assert database.identifier('a"b') == '"a""b"'


def test_a_database_recovers_from_a_crash_while_it_was_made(tmp_path: Path) -> None:
    server = database.Server(tmp_path / "db")
    (server.data / "base").mkdir(parents=True)
    (tmp_path / "db.new.left").mkdir()
    # The number of a process that is not PostgreSQL, as after a restart of the machine.
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n")
    assert server.pid() is None
    server.stop()
    server.start()
    try:
        assert server.pid()
        assert server.sql("SELECT 1;").strip() == "1"
        assert not list(tmp_path.glob("db.new.*"))
    finally:
        server.stop()
    assert server.pid() is None


def test_socket_names_stay_short(tmp_path: Path) -> None:
    assert database.socket_folder(Path("/c/.local/rds/db")) == Path("/c/.local/rds/db.sock")
    far = tmp_path / ("x" * 120) / "db"
    assert len(str(database.socket_folder(far) / ".s.PGSQL.5432")) < 100
    assert database.socket_folder(far) != database.socket_folder(far.parent / "other")


# ---------------------------------------------------------------- HTTP

INTERNAL = front.Balancer("alb", "alb-1.elb.amazonaws.com", https=False)
PUBLIC = front.Balancer("alb", "mlflow.local.test", https=True)


def request(*lines: str) -> front.Head:
    """A request head from its lines."""
    return front.Head.parse("\r\n".join([*lines, "", ""]).encode())


@pytest.mark.parametrize(
    ("balancer", "given", "expected"),
    [
        (INTERNAL, "127.0.0.1:5001", "alb-1.elb.amazonaws.com"),
        (INTERNAL, "localhost:5001", "alb-1.elb.amazonaws.com"),
        (INTERNAL, "LOCALHOST:5001", "alb-1.elb.amazonaws.com"),
        (PUBLIC, "127.0.0.1:5001", "mlflow.local.test:443"),
        (INTERNAL, "127.0.0.1:9", "127.0.0.1"),
        (INTERNAL, "evil.example", "evil.example"),
        (INTERNAL, "evil.example:8080", "evil.example"),
        (PUBLIC, "mlflow.local.test", "mlflow.local.test:443"),
        (PUBLIC, "mlflow.local.test:443", "mlflow.local.test:443"),
    ],
)
def test_host(balancer: front.Balancer, given: str, expected: str) -> None:
    head = front.rewrite_request(request("GET / HTTP/1.1", f"Host: {given}"), balancer, 5001)
    assert [value for name, value in head.headers if name.lower() == b"host"] == [expected.encode()]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/", "/_alb/alb/"),
        ("/a%2Fb/%C3%BC?x=1&y=%20&z", "/_alb/alb/a%2Fb/%C3%BC?x=1&y=%20&z"),
        ("//double//", "/_alb/alb//double//"),
        ("http://127.0.0.1:5001/a?b", "/_alb/alb/a?b"),
        ("http://127.0.0.1:5001", "/_alb/alb/"),
    ],
)
def test_path_byte_for_byte(target: str, expected: str) -> None:
    head = front.rewrite_request(request(f"GET {target} HTTP/1.1", "Host: x"), INTERNAL, 5001)
    assert head.second == expected.encode()


@pytest.mark.parametrize(
    ("balancer", "host", "name", "given", "expected"),
    [
        (INTERNAL, "127.0.0.1:5001", "Origin", "http://127.0.0.1:5001", "http://alb-1.elb.amazonaws.com"),
        (PUBLIC, "localhost:5001", "Origin", "http://localhost:5001", "https://mlflow.local.test"),
        (PUBLIC, "localhost:5001", "Referer", "http://localhost:5001/a?b", "https://mlflow.local.test/a?b"),
        (PUBLIC, "localhost:5001", "Origin", "http://evil.example", "http://evil.example"),
        (PUBLIC, "localhost:5001", "Origin", "http://localhost:50010", "http://localhost:50010"),
        (PUBLIC, "mlflow.local.test", "Origin", "http://mlflow.local.test", "http://mlflow.local.test"),
    ],
)
def test_origin_follows_the_host(balancer: front.Balancer, host: str, name: str, given: str, expected: str) -> None:
    head = front.rewrite_request(request("POST / HTTP/1.1", f"Host: {host}", f"{name}: {given}"), balancer, 5001)
    assert head.get(name.lower().encode()) == expected.encode()


@pytest.mark.parametrize(
    ("balancer", "given", "expected"),
    [
        (PUBLIC, "https://mlflow.local.test/a?b", "http://127.0.0.1:5001/a?b"),
        (PUBLIC, "https://mlflow.local.test:443/a", "http://127.0.0.1:5001/a"),
        (PUBLIC, "http://mlflow.local.test/a", "http://127.0.0.1:5001/a"),
        (INTERNAL, "http://alb-1.elb.amazonaws.com:80/", "http://127.0.0.1:5001/"),
        (INTERNAL, "/relative", "/relative"),
        (INTERNAL, "https://elsewhere.example/", "https://elsewhere.example/"),
    ],
)
def test_location_comes_back(balancer: front.Balancer, given: str, expected: str) -> None:
    answer = request("HTTP/1.1 302 Found", f"Location: {given}")
    head = front.rewrite_response(answer, balancer, "http://127.0.0.1:5001", keep=True)
    assert head.get(b"location") == expected.encode()
    assert front.rewrite_response(answer, balancer, None, keep=True).get(b"location") == given.encode()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def pair(certificates: Path, loop: agent.Loop) -> Iterator[Callable[[Handler], int]]:
    """Given what the gateway does with a connection, the port of a front before it."""
    doors = []

    def make(handler: Handler) -> int:
        async def serve() -> Any:
            context = tls.server_context(certificates)
            return await asyncio.start_server(handler, config.HOST, config.free_port(), ssl=context, limit=2**21)

        upstream = loop.run(serve()).sockets[0].getsockname()
        context = tls.client_context(certificates)
        found = front.Front(config.free_port(), upstream, context, lambda: INTERNAL)
        loop.run(found.open())
        doors.append(found)
        return found.port

    yield make
    for one in doors:
        loop.run(one.close())


def answering(seen: Future[bytes], answer: bytes) -> Handler:
    """A gateway that keeps the request's head and a framed body, and gives `answer`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = front.framing(front.Head.parse(head))
        body = await (reader.readuntil(b"\r\n0\r\n\r\n") if size == -1 else reader.readexactly(size or 0))
        if not seen.done():
            seen.set_result(head + body)
        writer.write(answer)
        await writer.drain()
        writer.close()

    return handle


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", b"hello"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
def test_answers_in_every_framing(pair: Callable[[Handler], int], answer: bytes, expected: bytes) -> None:
    port = pair(answering(Future(), answer))
    client = http.client.HTTPConnection(config.HOST, port, timeout=10)
    for _ in range(2):
        client.request("GET", "/x")
        assert client.getresponse().read() == expected
    client.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_passes(pair: Callable[[Handler], int], chunked: bool) -> None:
    seen: Future[bytes] = Future()
    port = pair(answering(seen, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"))
    body = bytes(range(256)) * 2000
    client = http.client.HTTPConnection(config.HOST, port, timeout=10)
    parts = [body[:1000], body[1000:]]
    client.request("PUT", "/x", body=iter(parts) if chunked else body, encode_chunked=chunked)
    assert client.getresponse().read() == b"ok"
    raw = seen.result(10).partition(b"\r\n\r\n")[2]
    assert raw == (b"3E8\r\n" + parts[0] + b"\r\n7CC18\r\n" + parts[1] + b"\r\n0\r\n\r\n" if chunked else body)
    client.close()


def test_a_stream_arrives_before_it_ends(pair: Callable[[Handler], int]) -> None:
    go_on = threading.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await writer.drain()
        await asyncio.to_thread(go_on.wait, 10)
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")
        await writer.drain()
        writer.close()

    client = http.client.HTTPConnection(config.HOST, pair(handle), timeout=10)
    client.request("GET", "/")
    response = client.getresponse()
    assert response.read1(5) == b"first"
    go_on.set()
    assert response.read() == b"last"
    client.close()


def test_a_request_without_host_is_refused(pair: Callable[[Handler], int]) -> None:
    port = pair(answering(Future(), b""))
    with connect(port) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert plain.makefile("rb").read().startswith(b"HTTP/1.1 400 ")


def test_no_gateway_is_one_sentence(certificates: Path, loop: agent.Loop) -> None:
    there: list[front.Balancer | None] = [None]
    upstream = (config.HOST, config.free_port())
    found = front.Front(config.free_port(), upstream, tls.client_context(certificates), lambda: there[0])
    loop.run(found.open())
    for status in (503, 502):
        client = http.client.HTTPConnection(config.HOST, found.port, timeout=10)
        client.request("GET", "/")
        assert client.getresponse().status == status
        client.close()
        there[0] = INTERNAL
    loop.run(found.close())
