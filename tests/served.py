"""The server as the container starts it, as a process of this machine: docker/entrypoint.py, SQLite, moto's S3."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
import requests

from local import config
from tests.image import engine

ENTRYPOINT = config.ROOT / "docker" / "entrypoint.py"
ADMIN = ("admin", "administrators-password")

needs_server = pytest.mark.skipif(not config.SERVER_PYTHON.is_file(), reason="no .venv-server: run `make venv`")


@dataclass(frozen=True)
class Served:
    """A running server; `storage` is the bucket that its artifacts are in, `folder` the one of its database."""

    process: psutil.Process
    url: str
    storage: engine.S3
    folder: Path
    log: Path

    def call(self, who: tuple[str, str] | None, method: str, path: str, **more: Any) -> requests.Response:
        """Send a request as `who`, (name, password), or nobody."""
        return requests.request(method, f"{self.url}{path}", auth=who, timeout=60, **more)

    def post(self, who: tuple[str, str] | None, path: str, **fields: Any) -> requests.Response:
        """POST /api/2.0/mlflow/<path> with `fields` as JSON."""
        return self.call(who, "POST", f"/api/2.0/mlflow/{path}", json=fields)

    def made(self, who: tuple[str, str], path: str, **fields: Any) -> Any:
        """As `post`, and the answer, which is to be right."""
        answer = self.post(who, path, **fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def objects(self, prefix: str = "") -> list[str]:
        """The keys in the bucket."""
        s3 = boto3.client("s3", endpoint_url=self.storage.url, **self._login())
        found = s3.list_objects_v2(Bucket=engine.BUCKET, Prefix=prefix)
        return [one["Key"] for one in found.get("Contents", [])]

    def _login(self) -> dict[str, str]:
        env = self.storage.env
        return {
            "region_name": env["AWS_REGION"],
            "aws_access_key_id": env["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": env["AWS_SECRET_ACCESS_KEY"],
        }

    def memory(self) -> int:
        """Resident bytes of the server's processes."""
        total = 0
        for one in (self.process, *self.process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
        return total


def environment(folder: Path, port: int, storage: engine.S3, **more: str) -> dict[str, str]:
    """What the entrypoint is given, without anything of this process's own MLflow or AWS."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_", "PYTHON"))}
    return {
        **kept,
        **engine.server_env(port, storage),
        "TMPDIR": str(folder),
        "MLFLOW_AUTH": "basic",
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "not-a-secret-of-anything",
        "MLFLOW_DATA_DIR": str(folder),
        **more,
    }


def run(folder: Path, command: str, storage: engine.S3, **more: str) -> subprocess.CompletedProcess[str]:
    """Run one command of the entrypoint to its end."""
    return subprocess.run(
        [config.SERVER_PYTHON, ENTRYPOINT, command],
        env=environment(folder, 1, storage, **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@contextlib.contextmanager
def served(folder: Path, storage: engine.S3, **more: str) -> Iterator[Served]:
    """A server with its data in `folder`, once it answers."""
    port = config.free_port()
    log = folder / "server.log"
    with log.open("ab") as out:
        process = psutil.Popen(
            [config.SERVER_PYTHON, ENTRYPOINT, "serve"],
            env=environment(folder, port, storage, **more),
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    url = f"http://{engine.HOST}:{port}"
    prefix = more.get("MLFLOW_STATIC_PREFIX", "")
    try:
        deadline = time.monotonic() + 180
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{url}{prefix}/health", timeout=5).ok:
                    break
            time.sleep(0.3)
        yield Served(process, url, storage, folder, log)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except psutil.TimeoutExpired:
            for one in (*process.children(recursive=True), process):
                one.kill()
