"""What lies in .local is its owner's, and the address of a public stack speaks HTTPS with a certificate of ours."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import agent, config, front, tls, up

PUBLIC = front.Balancer("alb", config.PUBLIC_DOMAIN, https=True)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder as versions before left it: readable by everybody, but for the databases."""
    folder = tmp_path / "state"
    for name in ("aws/state", "run", "rds/db"):
        (folder / name).mkdir(parents=True)
    (folder / "aws/state/secretsmanager.json").write_text("{}")
    (folder / "current.json").write_text("{}")
    (folder / "elsewhere").symlink_to(tmp_path)
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    (folder / "rds/db").chmod(0o700)
    return folder


def test_others_are_locked_out_of_what_stands(state: Path) -> None:
    before = mode(state.parent)
    up.keep_to_owner(state, passage=False)
    closed = {name: mode(state / name) for name in (".", "aws", "run", "rds", "current.json")}
    assert closed == {".": 0o700, "aws": 0o700, "run": 0o700, "rds": 0o700, "current.json": 0o600}
    assert mode(state.parent) == before


def test_a_database_of_another_user_stays_in_reach_and_nothing_else(state: Path) -> None:
    up.keep_to_owner(state, passage=True)
    assert (mode(state), mode(state / "rds"), mode(state / "rds/db")) == (0o711, 0o711, 0o700)
    assert (mode(state / "aws"), mode(state / "run"), mode(state / "current.json")) == (0o700, 0o700, 0o600)


def test_what_is_written_is_the_owners_unless_it_is_public(tmp_path: Path) -> None:
    config.write_json(tmp_path / "a.json", {})
    tls.ensure(tmp_path / "tls", {})
    assert mode(tmp_path / "a.json") == 0o600
    modes = {path.name: mode(path) for path in (tmp_path / "tls").iterdir()}
    assert {modes["ca.key"], modes["localhost.key"]} == {0o600}
    assert {modes["ca.pem"], modes["ca-bundle.pem"], modes["localhost.pem"]} == {0o644}


def test_new_files_of_this_program_are_the_owners(tmp_path: Path) -> None:
    before = config.keep_new_files_to_owner()
    try:
        (tmp_path / "new").write_text("")
        assert mode(tmp_path / "new") == 0o600
    finally:
        os.umask(before)


@pytest.mark.parametrize(("stack", "scheme"), [("local-rds-public", "https"), ("docker-efs-internal", "http")])
def test_the_address_has_the_scheme_of_the_balancer(
    stack: str, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config.Ports, "get", lambda self, purpose: 5001 if purpose == f"front/{stack}" else 0)
    assert config.front_url(stack) == f"{scheme}://127.0.0.1:5001"


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    tls.ensure(tmp_path / "tls", {})
    return tmp_path / "tls"


@pytest.fixture
def door(certificates: Path) -> Iterator[tuple[front.Front, list[bytes]]]:
    """The door of a public balancer, and the heads of the requests that its gateway got."""
    loop, seen = agent.Loop(), []

    async def gateway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        there = f"https://{config.PUBLIC_DOMAIN}/there"
        writer.write(f"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: {there}\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async def serve() -> asyncio.Server:
        return await asyncio.start_server(gateway, config.HOST, 0, ssl=tls.server_context(certificates))

    server = loop.run(serve())
    upstream = server.sockets[0].getsockname()
    context = tls.client_context(certificates)
    made = front.Front(config.free_port(), upstream, context, lambda: PUBLIC, tls.front_context(certificates))
    loop.run(made.open())
    yield made, seen
    loop.run(made.close())
    server.close()
    loop.close()


def test_clients_of_a_public_stack_speak_https(door: tuple[front.Front, list[bytes]], certificates: Path) -> None:
    made, seen = door
    origin = f"https://127.0.0.1:{made.port}"
    assert made.url == origin
    trusting = ssl.create_default_context(cafile=str(certificates / "ca-bundle.pem"))
    client = http.client.HTTPSConnection(config.HOST, made.port, timeout=10, context=trusting)
    client.request("GET", "/x", headers={"Origin": origin})
    answer = client.getresponse()
    assert (answer.status, answer.headers["Location"]) == (302, f"{origin}/there")
    assert f"Origin: https://{config.PUBLIC_DOMAIN}\r\n".encode() in seen[0]
    client.close()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        plain = http.client.HTTPConnection(config.HOST, made.port, timeout=10)
        plain.request("GET", "/")
        plain.getresponse()


@pytest.mark.parametrize("name", ["localhost", config.HOST, config.PUBLIC_DOMAIN])
def test_the_certificate_is_for_the_name_that_is_asked(
    door: tuple[front.Front, list[bytes]], certificates: Path, name: str
) -> None:
    trusting = ssl.create_default_context(cafile=str(certificates / "ca-bundle.pem"))
    with socket.create_connection((config.HOST, door[0].port), timeout=10) as plain:
        # Checks the name, too.
        trusting.wrap_socket(plain, server_hostname=name).close()
