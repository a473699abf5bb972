"""What every request and answer passes before all else: names of hosts in one spelling, cookies and HSTS for HTTPS."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# The name of the setting is the entrypoint's: https where clients reach the server by HTTPS only, else http.
SCHEME = "MLFLOW_PUBLIC_SCHEME"
# A year, for this name only.
HSTS = (b"strict-transport-security", b"max-age=31536000")


class Front:
    """An ASGI app around another. `https` says whether every client speaks HTTPS to whatever is before the server."""

    def __init__(self, app: App, https: bool) -> None:
        self._app, self._https = app, https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": answered(message.get("headers", ()), self._https)}
            await send(message)

        await self._app({**scope, "headers": asked(scope["headers"])}, receive, marked)


def asked(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """A request's headers with the host in lower case: MLflow compares it by letter, and DNS does not."""
    return [(name, value.lower() if name == b"host" else value) for name, value in headers]


def answered(headers: Iterable[tuple[bytes, bytes]], https: bool) -> Headers:
    """An answer's headers as browsers should get them."""
    found = [(name, cookie(value, https) if name.lower() == b"set-cookie" else value) for name, value in headers]
    if https:
        found = [(name, value) for name, value in found if name.lower() != HSTS[0]] + [HSTS]
    return found


def cookie(value: bytes, https: bool) -> bytes:
    """A cookie that no page of another site makes a browser send, and with `https` none that goes out in clear."""
    attributes = {part.strip().partition(b"=")[0].lower() for part in value.split(b";")[1:]}
    if b"samesite" not in attributes:
        value += b"; SameSite=Lax"
    if https and b"secure" not in attributes:
        value += b"; Secure"
    return value


def around(app: App) -> Front:
    """The app for the scheme that the environment names."""
    return Front(app, os.environ.get(SCHEME) == "https")
