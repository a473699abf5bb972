"""No request without a login can hurt: the real server's memory, and its other clients, while fifty come at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import flood, served
from tests.image import engine

pytestmark = served.needs_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[served.Served]:
    folder: Path = tmp_path_factory.mktemp("server")
    with engine.s3() as storage, served.served(folder, storage, MLFLOW_MAX_BODY_MIB="1") as one:
        yield one


def test_fifty_requests_without_login_cost_no_memory(server: served.Served) -> None:
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    # What a first request of each kind loads is not theirs.
    for who in (served.ADMIN, None, ("admin", "wrong")):
        server.call(who, "GET", path)
    address = urlsplit(server.url)
    idle = server.memory()
    threads, answers = flood.flood(str(address.hostname), int(address.port or 0))
    seen: list[int] = []

    def watch() -> None:
        while any(thread.is_alive() for thread in threads):
            seen.append(server.memory())
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    meanwhile = 0
    while watcher.is_alive():
        assert server.call(served.ADMIN, "GET", path).status_code == 200
        meanwhile += 1
    assert len(seen) > 20
    assert (max(seen) - idle) >> 20 < 50
    assert meanwhile > 3
    assert len(answers) > flood.AT_ONCE / 2 and set(answers) <= {401, 413}, answers
    assert server.call(None, "GET", "/health").status_code == 200


def test_uploads_stream_and_other_bodies_are_limited(server: served.Served) -> None:
    number = server.made(served.ADMIN, "experiments/create", name="large")["experiment_id"]
    large = b"x" * (8 << 20)
    path = f"/api/2.0/mlflow-artifacts/artifacts/{number}/run/artifacts/large.bin"
    assert server.call(served.ADMIN, "PUT", path, data=large).ok
    assert server.call(served.ADMIN, "GET", path).content == large
    for body in (large, iter([large[: 1 << 20], b"x"])):
        answer = server.call(served.ADMIN, "POST", "/api/2.0/mlflow/runs/log-batch", data=body)
        assert (answer.status_code, answer.json()["error_code"]) == (413, "BAD_REQUEST")
        assert "larger than 1 MiB" in answer.json()["message"]
