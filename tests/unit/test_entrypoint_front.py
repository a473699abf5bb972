"""What stands before the server's own layers: the host's spelling, cookies, HSTS."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docker"))
front = importlib.import_module("front")

Headers = list[tuple[bytes, bytes]]


def exchange(https: bool, asked: Headers, answered: Headers, kind: str = "http") -> tuple[Headers, Headers]:
    """The headers that an app behind the front sees, and those that the client gets."""
    seen: list[Any] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": answered})
        await send({"type": "http.response.body", "body": b"x"})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(front.Front(app, https)({"type": kind, "headers": asked}, None, send))
    assert sent[1] == {"type": "http.response.body", "body": b"x"}
    return seen[0]["headers"], sent[0]["headers"]


@pytest.mark.parametrize("host", [b"TEAM-A-1.elb.Example", b"team-A-1.elb.example:443", b"team-a-1.elb.example"])
def test_a_host_is_the_same_in_any_spelling(host: bytes) -> None:
    other = (b"x-name", b"As Written")
    assert exchange(True, [(b"host", host), other], [])[0] == [(b"host", host.lower()), other]


@pytest.mark.parametrize(
    ("https", "given", "expected"),
    [
        (True, b"session=a; HttpOnly; Path=/", b"session=a; HttpOnly; Path=/; SameSite=Lax; Secure"),
        (False, b"session=a; HttpOnly; Path=/", b"session=a; HttpOnly; Path=/; SameSite=Lax"),
        (True, b"session=a; secure; samesite=Strict", b"session=a; secure; samesite=Strict"),
        # A value that only looks like an attribute.
        (True, b"Secure=SameSite", b"Secure=SameSite; SameSite=Lax; Secure"),
    ],
)
def test_cookies(https: bool, given: bytes, expected: bytes) -> None:
    answer = exchange(https, [], [(b"Set-Cookie", given), (b"set-cookie", given)])[1]
    assert [value for name, value in answer if name.lower() == b"set-cookie"] == [expected, expected]


def test_hsts_only_where_there_is_https_and_once() -> None:
    value = b"max-age=31536000"
    assert exchange(True, [], [(b"a", b"b")])[1] == [(b"a", b"b"), (b"strict-transport-security", value)]
    assert exchange(True, [], [(b"Strict-Transport-Security", b"max-age=1")])[1] == [
        (b"strict-transport-security", value)
    ]
    assert exchange(False, [], [(b"a", b"b")])[1] == [(b"a", b"b")]


def test_what_is_no_request_passes() -> None:
    headers = [(b"host", b"A")]
    assert exchange(True, headers, headers, kind="lifespan") == (headers, headers)


@pytest.mark.parametrize(("scheme", "expected"), [("https", True), ("http", False), (None, False)])
def test_the_scheme_comes_from_the_environment(
    scheme: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(front.SCHEME, raising=False)
    if scheme:
        monkeypatch.setenv(front.SCHEME, scheme)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(front.around(app)({"type": "http", "headers": []}, None, send))
    assert bool(sent[0]["headers"]) is expected
