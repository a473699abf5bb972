"""A door for browsers and clients in front of each load balancer, which speaks HTTPS where the balancer does.

MiniStack serves all balancers on its one TLS port, told apart by a path prefix. The door makes of that what a person
expects: http(s)://127.0.0.1:<port>/, passed on as the balancer would get it from somebody who typed its real name. So
it changes the Host, and with it what a browser derives from the Host: Origin and Referer (MLflow refuses changing
requests of foreign origins, and must do so here as on AWS), and, on the way back, absolute Location headers. Bodies,
paths and queries pass byte for byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from local import config

LOG = logging.getLogger("local.front")
CHUNK = 65536
LIMIT = 131072
HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade"}
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Balancer:
    """A load balancer as the door sees it: its name, the name its users type, and whether it has an HTTPS listener."""

    name: str
    host: str
    https: bool

    @property
    def suffix(self) -> str:
        """What MiniStack needs behind the host to choose the listener."""
        return ":443" if self.https else ""

    @property
    def origin(self) -> str:
        """The origin of pages that a browser gets from the balancer."""
        return f"{self.scheme}://{self.host}"

    @property
    def scheme(self) -> str:
        """What its users speak to it."""
        return "https" if self.https else "http"


class BadRequest(Exception):
    """The peer does not speak HTTP/1.1."""


@dataclass
class Head:
    """The first lines of a message: the start line's three parts and the headers, all bytes."""

    first: bytes
    second: bytes
    third: bytes
    headers: Headers

    @classmethod
    def parse(cls, raw: bytes) -> Head:
        """Read a head that ends with an empty line. Raises BadRequest."""
        lines = raw[:-4].split(b"\r\n")
        parts = lines[0].split(b" ", 2)
        if len(parts) == 2:
            parts.append(b"")
        if len(parts) != 3:
            raise BadRequest("start line")
        headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon or name != name.strip():
                raise BadRequest("header")
            headers.append((name, value.strip()))
        return cls(parts[0], parts[1], parts[2], headers)

    def get(self, name: bytes) -> bytes | None:
        """The first value of a header, name in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def raw(self) -> bytes:
        """The head as bytes, empty line included."""
        line = b" ".join((self.first, self.second, self.third))
        return b"\r\n".join([line, *(name + b": " + value for name, value in self.headers), b"", b""])


def is_own(host: str, port: int) -> bool:
    """Whether a Host header names the door itself."""
    return host.lower() in {f"{name}:{port}" for name in (config.HOST, "localhost")}


def target_path(balancer: Balancer, target: bytes) -> bytes:
    """The request target behind the gateway's prefix; an absolute-form target is cut to its path first."""
    if not target.startswith(b"/"):
        rest = target.partition(b"://")[2]
        target = b"/" + rest.partition(b"/")[2]
    return b"/_alb/" + balancer.name.encode() + target


def rewrite_request(head: Head, balancer: Balancer, port: int, scheme: str = "http") -> Head:
    """The request as MiniStack must get it; `scheme` is the door's. Raises BadRequest without a Host."""
    given = (head.get(b"host") or b"").decode("latin-1")
    if not given:
        raise BadRequest("Host header")
    own = is_own(given, port)
    name = balancer.host if own else given.rpartition(":")[0] or given
    headers: Headers = [(b"Host", f"{name}{balancer.suffix}".encode("latin-1"))]
    for key, value in head.headers:
        lower = key.lower()
        if lower in HOP_BY_HOP or lower == b"host":
            continue
        if lower in (b"origin", b"referer") and own:
            value = _rename(value, f"{scheme}://{given}", balancer.origin)
        headers.append((key, value))
    headers.append((b"Connection", b"close"))
    return Head(head.first, target_path(balancer, head.second), b"HTTP/1.1", headers)


def _rename(value: bytes, old: str, new: str) -> bytes:
    text = value.decode("latin-1")
    if text == old or text.startswith(old + "/"):
        text = new + text[len(old) :]
    return text.encode("latin-1")


def rewrite_response(head: Head, balancer: Balancer, own_origin: str | None, keep: bool) -> Head:
    """The response as the client must get it; `own_origin` is the door's if the request came to the door's own name."""
    headers: Headers = []
    for key, value in head.headers:
        lower = key.lower()
        if lower in HOP_BY_HOP or lower == b"alt-svc":
            continue
        if lower == b"location" and own_origin:
            for theirs in (f"{balancer.origin}:443", f"http://{balancer.host}:80", f"http://{balancer.host}"):
                value = _rename(value, theirs, own_origin)
            value = _rename(value, balancer.origin, own_origin)
        headers.append((key, value))
    headers.append((b"Connection", b"keep-alive" if keep else b"close"))
    return Head(b"HTTP/1.1", head.second, head.third, headers)


def framing(head: Head) -> int | None:
    """How the body of a message is delimited: its length, -1 for chunked, None where the head does not say."""
    if b"chunked" in (head.get(b"transfer-encoding") or b"").lower():
        return -1
    length = head.get(b"content-length")
    if length is None:
        return None
    if not length.isdigit():
        raise BadRequest("Content-Length")
    return int(length)


async def _relay_exactly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
    while size:
        data = await reader.read(min(size, CHUNK))
        if not data:
            raise ConnectionError("the sender left in the middle of a body")
        writer.write(data)
        await writer.drain()
        size -= len(data)


async def _relay_chunked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        line = await reader.readuntil(b"\n")
        writer.write(line)
        size = int(line.split(b";")[0].strip(), 16)
        if size:
            await _relay_exactly(reader, writer, size + 2)
            continue
        while (line := await reader.readuntil(b"\n")) not in (b"\r\n", b"\n"):
            writer.write(line)
        writer.write(line)
        await writer.drain()
        return


async def _relay_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
    if size == -1:
        await _relay_chunked(reader, writer)
    else:
        await _relay_exactly(reader, writer, size)


class Front:
    """One door on 127.0.0.1:port; `balancer()` gives what stands behind it now, or None.

    `context` is for the way to the gateway, `own` for that of clients to the door, None for plain HTTP.
    """

    def __init__(
        self,
        port: int,
        upstream: tuple[str, int],
        context: ssl.SSLContext,
        balancer: Callable[[], Balancer | None],
        own: ssl.SSLContext | None = None,
    ) -> None:
        self.port = port
        self.upstream = upstream
        self.context = context
        self.balancer = balancer
        self._own = own
        self._server: asyncio.Server | None = None

    @property
    def scheme(self) -> str:
        """What clients speak to the door."""
        return "https" if self._own else "http"

    @property
    def url(self) -> str:
        """The address that a person opens."""
        return f"{self.scheme}://{config.HOST}:{self.port}"

    async def open(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(self._serve, config.HOST, self.port, limit=LIMIT, ssl=self._own)

    async def close(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, EOFError, asyncio.LimitOverrunError, BadRequest, ValueError) as error:
            LOG.debug("connection ended: %s", error)
        finally:
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass on one request and its response; True if the connection may carry another."""
        try:
            request = Head.parse(await reader.readuntil(b"\r\n\r\n"))
        except BadRequest as error:
            await _answer(writer, 400, f"Bad {error}.")
            return False
        except asyncio.IncompleteReadError:
            return False
        balancer = self.balancer()
        if balancer is None:
            await _answer(writer, 503, "There is no load balancer here yet.")
            return False
        given = (request.get(b"host") or b"").decode("latin-1")
        own_origin = f"{self.scheme}://{given}" if is_own(given, self.port) else None
        keep = b"close" not in (request.get(b"connection") or b"").lower() and request.third == b"HTTP/1.1"
        try:
            size = framing(request)
            outgoing = rewrite_request(request, balancer, self.port, self.scheme)
        except BadRequest as error:
            await _answer(writer, 400, f"Bad {error}.")
            return False
        try:
            up_reader, up_writer = await asyncio.open_connection(*self.upstream, ssl=self.context, limit=LIMIT)
        except OSError:
            await _answer(writer, 502, "The local AWS does not answer: see `make status`.")
            return False
        try:
            up_writer.write(outgoing.raw())
            await up_writer.drain()
            body = asyncio.create_task(_relay_body(reader, up_writer, size or 0))
            try:
                framed = await self._respond(request, balancer, own_origin, keep, up_reader, writer)
                if not body.done():
                    # Answered before the request was read: what is left of it would be taken for the next one.
                    return False
                return keep and framed and body.exception() is None
            finally:
                body.cancel()
                with contextlib.suppress(BaseException):
                    await body
        finally:
            with contextlib.suppress(OSError, RuntimeError, ssl.SSLError):
                up_writer.close()

    async def _respond(
        self,
        request: Head,
        balancer: Balancer,
        own_origin: str | None,
        keep: bool,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Pass on a response; True if its end is marked, so that the connection can go on."""
        while True:
            try:
                response = Head.parse(await reader.readuntil(b"\r\n\r\n"))
            except EOFError:
                await _answer(writer, 502, "The local AWS closed the connection: see `make status`.")
                return False
            if not response.second.startswith(b"1"):
                break
            writer.write(response.raw())
            await writer.drain()
        empty = request.first == b"HEAD" or response.second in (b"204", b"304")
        size = 0 if empty else framing(response)
        framed = size is not None
        writer.write(rewrite_response(response, balancer, own_origin, keep and framed).raw())
        await writer.drain()
        if size is not None:
            await _relay_body(reader, writer, size)
            return True
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        return False


async def _answer(writer: asyncio.StreamWriter, status: int, text: str) -> None:
    body = (text + "\n").encode()
    head = f"HTTP/1.1 {status} Local\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    writer.write((head + "Connection: close\r\n\r\n").encode() + body)
    await writer.drain()
