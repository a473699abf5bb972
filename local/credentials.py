"""The credentials endpoint that ECS gives its tasks, on the loopback interface."""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import botocore.exceptions

from local import config

Source = Callable[[], dict[str, str]]


def from_session(session: boto3.Session, role_arn: str) -> Source:
    """A source that gives the session's present credentials in the endpoint's format."""

    def give() -> dict[str, str]:
        credentials: Any = session.get_credentials()
        frozen = credentials.get_frozen_credentials()
        expiry = credentials._expiry_time.astimezone().isoformat()
        return {
            "RoleArn": role_arn,
            "AccessKeyId": frozen.access_key,
            "SecretAccessKey": frozen.secret_key,
            "Token": frozen.token,
            "Expiration": expiry,
        }

    return give


class Endpoint:
    """Serves each task its role's credentials; a task proves itself by the token that only it was given."""

    def __init__(self) -> None:
        self._sources: dict[str, Source] = {}
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                endpoint._answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((config.HOST, 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def add(self, source: Source) -> tuple[str, dict[str, str]]:
        """Serve `source`; returns the token and the two variables that lead a task's SDK here."""
        token = secrets.token_urlsafe(24)
        self._sources[token] = source
        return token, {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{config.HOST}:{self._server.server_port}/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        }

    def remove(self, token: str) -> None:
        """Serve it no longer."""
        self._sources.pop(token, None)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        given = request.headers.get("Authorization", "")
        source = next((one for token, one in list(self._sources.items()) if hmac.compare_digest(token, given)), None)
        status, body = 403, {"code": "AccessDenied", "message": "unknown token"}
        if source is not None:
            try:
                status, body = 200, source()
            except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
                status, body = 500, {"code": "Unavailable", "message": type(error).__name__}
        data = json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
