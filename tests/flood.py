"""Fifty requests at once of nobody, in every way to send a body: fast, slow, chunked, with a wrong length."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

AT_ONCE = 50
# Bytes that the fast ones send each: read whole, they would be a quarter of a gigabyte.
FAST = 8 << 20
SECONDS = 15.0
PATHS = ("/api/2.0/mlflow/runs/log-batch", "/graphql", "/v1/traces", "/signup", "/health", "/ajax-api/2.0/mlflow/x")

HEAD = "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{login}{length}\r\n\r\n"
PIECE = b"x" * 65536


def pieces(kind: str) -> Iterator[bytes]:
    """What a sender of this kind sends after the headers."""
    if kind == "slow":
        for _ in range(int(SECONDS * 4)):
            time.sleep(0.2)
            yield b"x" * 1000
        return
    if kind == "length too large":
        yield b"x"
        time.sleep(SECONDS / 2)
        return
    for _ in range(FAST // len(PIECE)):
        yield b"%x\r\n%s\r\n" % (len(PIECE), PIECE) if kind == "chunked" else PIECE


LENGTHS = {
    "fast": f"Content-Length: {FAST}",
    "slow": f"Content-Length: {FAST}",
    "chunked": "Transfer-Encoding: chunked",
    "length too small": "Content-Length: 10",
    "length too large": f"Content-Length: {300 << 20}",
}


def send(host: str, port: int, number: int, answers: list[int]) -> None:
    """Send one request, every other one with a password that is wrong."""
    kind = list(LENGTHS)[number % len(LENGTHS)]
    login = base64.b64encode(b"admin:wrong-password").decode()
    head = HEAD.format(
        path=PATHS[number % len(PATHS)],
        host=f"{host}:{port}",
        length=LENGTHS[kind],
        login=f"Authorization: Basic {login}\r\n" if number % 2 else "",
    )
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=SECONDS) as connection:
        connection.sendall(head.encode())
        with contextlib.suppress(OSError):
            for piece in pieces(kind):
                connection.sendall(piece)
        # The answer is there before the body's end.
        connection.settimeout(SECONDS)
        first = connection.recv(64).split(b" ")
        answers.append(int(first[1]) if len(first) > 1 else 0)


def flood(host: str, port: int) -> tuple[list[threading.Thread], list[int]]:
    """Start them all; the statuses that are answered are added to the list as they come."""
    answers: list[int] = []
    threads = [threading.Thread(target=send, args=(host, port, number, answers)) for number in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    return threads, answers
