"""What every request meets before MLflow: its login and its size are decided before the body is read.

MLflow reads most bodies whole before it asks who sends them. uvicorn loads `with_logins` or `without_logins` in place
of MLflow's own app: the entrypoint gives them names in MLflow's group of entry points, `mlflow.app`. MLflow then
believes nobody but this module (`authorize`), so a server that was started without it lets nobody in.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import contextvars
import heapq
import hmac
import importlib
import itertools
import json
import os
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import front
import places

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# The name of the setting is the entrypoint's; MiB.
LIMIT = "MLFLOW_MAX_BODY_MIB"
DEFAULT_LIMIT = 32

# Answered without a login, and with no body. All else asks for one.
PUBLIC = ("/health", "/favicon.ico", "/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info")
PUBLIC_FOLDER = "/static-files/"

# MLflow's own words.
UNKNOWN = (
    "You are not authenticated. Please see https://www.mlflow.org/docs/latest/auth/index.html#authenticating-to-mlflow "
    "on how to authenticate."
)


@dataclass(frozen=True)
class Caller:
    """Who sends a request."""

    name: str
    administrator: bool


# In a server without logins nobody is known, and everybody may do what an administrator may.
EVERYBODY = Caller("", True)

Login = Callable[[Scope], Awaitable[Caller | None]]
# Why this caller may not ask for this address, or None.
Rule = Callable[[Caller, Scope], Awaitable["places.Refusal | None"]]

CALLER: contextvars.ContextVar[Caller | None] = contextvars.ContextVar("caller", default=None)


class Door:
    """An ASGI app around MLflow's. `limit` is in bytes, `prefix` the server's static prefix without a final slash."""

    def __init__(self, app: App, login: Login, rule: Rule, limit: int, prefix: str = "") -> None:
        self._app, self._login, self._rule, self._limit, self._prefix = app, login, rule, limit, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            # MLflow has none.
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        else:
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit: int | None = 0
        caller = None
        if not is_public(scope, self._prefix):
            caller = await self._login(scope)
            if caller is None:
                await refuse_login(send)
                return
            scope = places.unprefixed(scope, self._prefix)
            refused = await self._rule(caller, scope)
            if refused is not None:
                await refuse(send, refused)
                return
            limit = None if places.streams(scope) else self._limit
        if limit is not None and has_body(scope):
            chunks = await read(scope, receive, limit)
            if chunks is None:
                await refuse(send, too_large(limit))
                return
            if not chunks:
                # The client went before its body was whole: nobody is there to answer, and half of it is not done.
                return
            receive = again(chunks, receive)
        token = CALLER.set(caller)
        try:
            await self._app(scope, receive, send)
        finally:
            CALLER.reset(token)


def is_public(scope: Scope, prefix: str) -> bool:
    """Whether an address is answered without a login; a browser's question before a request of another origin is."""
    if scope["method"] == "OPTIONS":
        return True
    path = scope["path"]
    if scope["method"] not in ("GET", "HEAD") or not path.startswith(prefix):
        return False
    rest = path[len(prefix) :]
    return rest in PUBLIC or (rest.startswith(PUBLIC_FOLDER) and ".." not in rest)


def header(scope: Scope, name: bytes) -> bytes:
    """A header's first value, b"" where it is missing; `name` in lower case."""
    return next((value for key, value in scope["headers"] if key == name), b"")


def has_body(scope: Scope) -> bool:
    return header(scope, b"content-length") not in (b"", b"0") or bool(header(scope, b"transfer-encoding"))


async def read(scope: Scope, receive: Receive, limit: int) -> deque[bytes] | None:
    """The whole body in pieces, empty where the client went away; None where it is, or says it is, above `limit`."""
    length = header(scope, b"content-length")
    if length and (not length.isdigit() or int(length) > limit):
        return None
    chunks: deque[bytes] = deque()
    total, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return deque()
        piece = message.get("body", b"")
        more = message.get("more_body", False)
        total += len(piece)
        if total > limit:
            return None
        if piece:
            chunks.append(piece)
    return chunks or deque([b""])


def again(chunks: deque[bytes], receive: Receive) -> Receive:
    """Give the pieces of a body that was read already, then what comes after it."""

    async def given() -> Message:
        if not chunks:
            return await receive()
        piece = chunks.popleft()
        return {"type": "http.request", "body": piece, "more_body": bool(chunks)}

    return given


def too_large(limit: int) -> places.Refusal:
    if not limit:
        return places.Refusal(413, "BAD_REQUEST", "This address takes no body.")
    return places.Refusal(
        413,
        "BAD_REQUEST",
        f"The request's body is larger than {limit >> 20} MiB: send less at once, or store it as an artifact.",
    )


async def answer(send: Send, status: int, kind: bytes, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Send a whole response. uvicorn throws away what the client still sends of its body."""
    length = str(len(body)).encode()
    every = [(b"content-type", kind), (b"content-length", length), (b"x-content-type-options", b"nosniff"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": every})
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, refusal: places.Refusal) -> None:
    """Answer in the form that MLflow's clients read."""
    body = json.dumps({"error_code": refusal.code, "message": refusal.sentence}).encode()
    await answer(send, refusal.status, b"application/json", body)


async def refuse_login(send: Send) -> None:
    challenge = (b"www-authenticate", b'Basic realm="mlflow"')
    await answer(send, 401, b"text/plain; charset=utf-8", UNKNOWN.encode(), challenge)


def credentials(text: bytes) -> tuple[str, str] | None:
    """Name and password of an Authorization header, None where it has none."""
    scheme, _, rest = text.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        decoded = base64.b64decode(rest.strip(), validate=True).decode()
    except ValueError:
        return None
    name, colon, password = decoded.partition(":")
    return (name, password) if colon else None


class Turns:
    """One at a time, who is preferred before who is not, else in the order in which they came."""

    def __init__(self) -> None:
        self._busy = False
        self._waiting: list[tuple[bool, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @contextlib.asynccontextmanager
    async def turn(self, preferred: bool) -> AsyncIterator[None]:
        if self._busy:
            ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (not preferred, next(self._numbers), ready))
            try:
                await ready
            except asyncio.CancelledError:
                if ready.done() and not ready.cancelled():
                    self._next()
                raise
        self._busy = True
        try:
            yield
        finally:
            self._next()

    def _next(self) -> None:
        while self._waiting:
            ready = heapq.heappop(self._waiting)[2]
            if not ready.done():
                ready.set_result(None)
                return
        self._busy = False


class Logins:
    """MLflow's check of a password, once a request, and one at a time.

    A check takes 32 MiB of memory and a tenth of a second of CPU: forty at once, for which a wrong password is enough,
    would end a small task. Who had the right password before does not wait behind those who try some.
    """

    # As many logins as are remembered, for no more than their turn.
    MOST = 10000

    def __init__(self, auth: Any, prefix: str) -> None:
        self._auth, self._gateway, self._turns = auth, f"{prefix}/gateway/", Turns()
        self._key = secrets.token_bytes(32)
        self._right: set[bytes] = set()

    async def __call__(self, scope: Scope) -> Caller | None:
        headers = [header(scope, b"authorization")]
        if scope["path"].startswith(self._gateway):
            # There the usual header may be that of a model's provider.
            headers.insert(0, header(scope, b"x-mlflow-authorization"))
        found = credentials(next((text for text in headers if text), b""))
        if found is None:
            return None
        user = self._cached(*found)
        if user is None:
            digest = hmac.digest(self._key, "\0".join(found).encode(), "sha256")
            async with self._turns.turn(digest in self._right):
                user = await asyncio.to_thread(self._check, scope["path"], *found)
            self._remember(digest, user is not None)
        return None if user is None else Caller(user.username, bool(user.is_admin))

    def _remember(self, digest: bytes, right: bool) -> None:
        if not right:
            self._right.discard(digest)
        elif len(self._right) < self.MOST:
            self._right.add(digest)

    def _cached(self, name: str, password: str) -> Any:
        """MLflow's answer of a moment ago, where its configuration keeps answers (`auth_cache_ttl_seconds`)."""
        cache = self._auth._USER_AUTH_CACHE
        if cache is None:
            return None
        with self._auth._USER_AUTH_CACHE_LOCK:
            return cache.get(self._auth._auth_cache_key(name, password))

    def _check(self, path: str, name: str, password: str) -> Any:
        token = os.environ.get("_MLFLOW_INTERNAL_GATEWAY_AUTH_TOKEN", "")
        if token and path.startswith(self._gateway) and hmac.compare_digest(password.encode(), token.encode()):
            # A job of this server, which MLflow itself started.
            return self._auth.store.get_user(name)
        return self._auth._authenticate_cached(name, password)


def authorize() -> Any:
    """MLflow's `authorization_function`: the caller that was let in here, else the answer 401."""
    caller = CALLER.get()
    if caller is None:
        return importlib.import_module("mlflow.server.auth").make_basic_auth_response()
    kind = importlib.import_module("werkzeug.datastructures").Authorization
    return kind("basic", {"username": caller.name, "password": ""})


def settings() -> tuple[int, str]:
    """The limit of a body in bytes and the static prefix."""
    limit = int(os.environ.get(LIMIT) or DEFAULT_LIMIT) << 20
    return limit, os.environ.get("_MLFLOW_STATIC_PREFIX", "").rstrip("/")


async def everybody(scope: Scope) -> Caller:
    return EVERYBODY


def with_logins() -> front.Front:
    """MLflow's app with its logins."""
    limit, prefix = settings()
    auth = importlib.import_module("mlflow.server.auth")
    app = auth.create_app()
    rules = places.Rules(auth.sender_is_admin, auth, prefix)
    rules.install(auth.app)
    return front.around(Door(app, Logins(auth, prefix), rules.of_address, limit, prefix))


def without_logins() -> front.Front:
    """MLflow's app for a server in which nobody is asked who they are."""
    limit, prefix = settings()
    fastapi = importlib.import_module("mlflow.server.fastapi_app")
    rules = places.Rules(lambda: True, None, prefix)
    rules.install(fastapi.flask_app)
    return front.around(Door(fastapi.app, everybody, rules.of_address, limit, prefix))


def entry_points() -> Iterator[tuple[str, str]]:
    """File name and text of what makes `mlflow server --app-name` find this module, in a folder on Python's path."""
    yield "METADATA", "Metadata-Version: 2.1\nName: mlflow-door\nVersion: 1\n"
    yield "entry_points.txt", "[mlflow.app]\nbasic-auth = door:with_logins\nno-auth = door:without_logins\n"
