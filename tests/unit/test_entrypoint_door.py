"""What a request meets before MLflow, on an app that is not: login and size are decided before the body is read."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest

from local import image

sys.path.insert(0, str(Path(__file__).parents[2] / "docker"))
door = importlib.import_module("door")
places = importlib.import_module("places")

LIMIT = 100
ADA = door.Caller("ada", False)


class Sent:
    """A request that is sent in pieces, the app that it may reach, and what became of both."""

    def __init__(self, method: str = "POST", path: str = "/api/2.0/mlflow/runs/log-batch", **more: Any) -> None:
        self.pieces: list[bytes] = more.get("pieces", [])
        headers = {name: str(value) for name, value in more.get("headers", {}).items()}
        if self.pieces and "content-length" not in headers and "transfer-encoding" not in headers:
            headers["content-length"] = str(sum(map(len, self.pieces)))
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": more.get("query", b""),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        self.leaves: bool = more.get("leaves", False)
        self.known: bool = more.get("known", True)
        self.prefix: str = more.get("prefix", "")
        self.asked = 0
        self.seen: list[Any] = []
        self.answers: list[Any] = []

    async def receive(self) -> Any:
        self.asked += 1
        if self.asked > len(self.pieces) or (self.leaves and self.asked == len(self.pieces)):
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": self.pieces[self.asked - 1], "more_body": self.asked < len(self.pieces)}

    async def send(self, message: Any) -> None:
        self.answers.append(message)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more and self.pieces:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.seen.append((door.CALLER.get(), scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def login(self, scope: Any) -> Any:
        return ADA if self.known else None

    async def rule(self, caller: Any, scope: Any) -> Any:
        return await places.Rules(lambda: False, None, self.prefix).of_address(caller, scope)

    def go(self) -> Sent:
        asyncio.run(door.Door(self.app, self.login, self.rule, LIMIT, self.prefix)(self.scope, self.receive, self.send))
        return self

    @property
    def status(self) -> int:
        return int(self.answers[0]["status"])

    @property
    def message(self) -> str:
        return str(json.loads(self.answers[1]["body"])["message"])


@pytest.mark.parametrize("headers", [{}, {"transfer-encoding": "chunked"}, {"content-length": 1}])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/2.0/mlflow/runs/log-batch"),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/x/artifacts/f"),
        ("POST", "/v1/traces"),
        ("POST", "/graphql"),
        ("GET", "/"),
        ("POST", "/health"),
        ("PUT", "/static-files/main.js"),
        ("GET", "/health/"),
        ("GET", "//health"),
        ("GET", "/./health"),
        ("GET", "/HEALTH"),
        ("GET", "/healthy"),
        ("GET", "/static-files/../api/2.0/mlflow/experiments/search"),
        ("GET", "/prefix/health"),
        ("GET", "/nothing"),
    ],
)
def test_nobody_gets_in_and_no_body_is_read(method: str, path: str, headers: dict[str, Any]) -> None:
    sent = Sent(method, path, headers=headers, pieces=[b"x" * 50] * 50, known=False).go()
    assert (sent.status, sent.asked, sent.seen) == (401, 0, [])
    assert (b"www-authenticate", b'Basic realm="mlflow"') in sent.answers[0]["headers"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/health"),
        ("HEAD", "/health"),
        ("GET", "/static-files/main.js"),
        ("GET", "/api/3.0/mlflow/server-info"),
        ("OPTIONS", "/api/2.0/mlflow/runs/log-batch"),
    ],
)
def test_public_addresses_take_no_body(method: str, path: str) -> None:
    assert Sent(method, path, known=False).go().seen == [(None, path, b"")]
    for headers in ({}, {"transfer-encoding": "chunked"}, {"content-length": 1}):
        sent = Sent(method, path, headers=headers, pieces=[b"x" * 50], known=False).go()
        assert (sent.status, sent.seen, sent.message) == (413, [], "This address takes no body.")


def test_public_addresses_follow_the_static_prefix() -> None:
    assert Sent("GET", "/prefix/health", known=False, prefix="/prefix").go().seen
    assert Sent("GET", "/health", known=False, prefix="/prefix").go().status == 401


@pytest.mark.parametrize("pieces", [[b"x" * LIMIT], [b"x" * 10] * 10, [b"x", b"", b"y"], [b""]])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_within_the_limit_arrives_whole(pieces: list[bytes], chunked: bool) -> None:
    sent = Sent(pieces=pieces, headers={"transfer-encoding": "chunked"} if chunked else {}).go()
    assert sent.seen == [(ADA, "/api/2.0/mlflow/runs/log-batch", b"".join(pieces))]
    assert door.CALLER.get() is None


def test_a_length_above_the_limit_is_refused_before_the_body_is_read() -> None:
    sent = Sent(pieces=[b"x"] * 200).go()
    assert (sent.status, sent.asked, sent.seen) == (413, 0, [])
    assert sent.message.startswith("The request's body is larger than 0 MiB: send less")


@pytest.mark.parametrize("headers", [{"transfer-encoding": "chunked"}, {"content-length": 5}])
def test_a_body_of_unknown_or_wrong_length_is_counted_as_it_comes(headers: dict[str, Any]) -> None:
    sent = Sent(pieces=[b"x" * 30] * 50, headers=headers).go()
    assert (sent.status, sent.asked, sent.seen) == (413, 4, [])


@pytest.mark.parametrize("length", ["-1", "1e9", "", " 7", "0x10"])
def test_a_length_that_is_none_is_refused_or_ignored(length: str) -> None:
    sent = Sent(pieces=[b"x" * 300], headers={"content-length": length, "transfer-encoding": "chunked"}).go()
    assert (sent.status, sent.seen) == (413, [])


def test_half_a_body_is_not_done() -> None:
    sent = Sent(pieces=[b"x" * 10, b"y"], headers={"content-length": 50}, leaves=True).go()
    assert (sent.seen, sent.answers) == ([], [])


def test_artifacts_stream_without_limit() -> None:
    path = "/api/2.0/mlflow-artifacts/artifacts/1/x/artifacts/f"
    sent = Sent("PUT", path, pieces=[b"x" * 50] * 50).go()
    assert sent.seen == [(ADA, path, b"x" * 2500)]


def test_artifacts_stream_below_a_static_prefix() -> None:
    path = "/ajax-api/2.0/mlflow-artifacts/artifacts/1/f"
    sent = Sent("PUT", f"/prefix{path}", pieces=[b"x" * 50] * 50, prefix="/prefix").go()
    assert [one[1] for one in sent.seen] == [path]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/2.0/mlflow-artifacts/artifacts/1/f"),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/"),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts"),
        ("PUT", "/api/2.0/mlflow-artifacts/mpu/create/1/f"),
        ("PUT", "//api/2.0/mlflow-artifacts/artifacts/1/f"),
        ("PUT", "/api/3.0/mlflow-artifacts/artifacts/1/f"),
        ("POST", "/ajax-api/2.0/mlflow/upload-artifact"),
    ],
)
def test_nothing_else_streams(method: str, path: str) -> None:
    assert Sent(method, path, pieces=[b"x" * 50] * 50).go().status == 413


@pytest.mark.parametrize(
    ("path", "query", "word"),
    [
        ("1/x/a", b"b.txt", "question mark"),
        ("1/x/a%41.txt", b"", "'1/x/aA.txt'"),
        ("1/x/a%2fb.txt", b"", "'1/x/a/b.txt'"),
    ],
)
def test_a_file_under_another_name_is_refused(path: str, query: bytes, word: str) -> None:
    sent = Sent("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{path}", query=query, pieces=[b"x"]).go()
    assert (sent.status, sent.seen, word in sent.message) == (400, [], True)


@pytest.mark.parametrize("name", ["100%.txt", "a%b c", "%", "%4", "ä%zz", "a b;c&d"])
def test_a_file_under_its_own_name_is_not(name: str) -> None:
    assert Sent("PUT", f"/api/2.0/mlflow-artifacts/artifacts/1/{name}", pieces=[b"x"]).go().seen


def test_the_assistant_is_for_nobody_here() -> None:
    for path in ("/ajax-api/3.0/mlflow/assistant/config", "/ajax-api/3.0/mlflow/assistant"):
        assert Sent("GET", path).go().status == 403


def test_websockets_are_closed_and_the_lifespan_is_passed_on() -> None:
    sent = Sent()
    sent.scope = {"type": "websocket", "path": "/"}
    assert sent.go().answers == [{"type": "websocket.close", "code": 1008}]
    sent = Sent()
    sent.scope["type"] = "lifespan"
    assert sent.go().seen[0][0] is None


def basic(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (basic(b"ada:secret"), ("ada", "secret")),
        (basic("ada:gehéim€:x".encode()), ("ada", "gehéim€:x")),
        (basic(b"ada:x").replace(b"Basic", b"bAsIc"), ("ada", "x")),
        (basic(b":"), ("", "")),
        (basic(b"ada"), None),
        (basic(b"\xff:x"), None),
        (b"Basic", None),
        (b"Basic !!", None),
        (b"Bearer x", None),
        (b"", None),
    ],
)
def test_credentials(header: bytes, expected: Any) -> None:
    assert door.credentials(header) == expected


class Auth:
    """MLflow's logins: `ada` has the password `right`; counts the checks that are under way at once."""

    def __init__(self, cache: dict[Any, Any] | None = None) -> None:
        self._USER_AUTH_CACHE, self._USER_AUTH_CACHE_LOCK = cache, threading.Lock()
        self.checks = self.now = self.most = 0
        self.store = types.SimpleNamespace(get_user=lambda name: types.SimpleNamespace(username=name, is_admin=False))

    def _auth_cache_key(self, name: str, password: str) -> Any:
        return name, password

    def _authenticate_cached(self, name: str, password: str) -> Any:
        self.checks, self.now = self.checks + 1, self.now + 1
        self.most = max(self.most, self.now)
        time.sleep(0.005)
        self.now -= 1
        user = types.SimpleNamespace(username=name, is_admin=name == "admin")
        if password != "right":
            return None
        if self._USER_AUTH_CACHE is not None:
            self._USER_AUTH_CACHE[name, password] = user
        return user


def login(logins: Any, path: str = "/", **headers: bytes) -> Any:
    scope = {"path": path, "headers": [(name.replace("_", "-").encode(), value) for name, value in headers.items()]}
    return logins(scope)


def test_passwords_are_checked_one_at_a_time() -> None:
    auth = Auth()

    async def many() -> list[Any]:
        logins = door.Logins(auth, "")
        return await asyncio.gather(*(login(logins, authorization=basic(b"ada:wrong")) for _ in range(20)))

    assert asyncio.run(many()) == [None] * 20
    assert (auth.checks, auth.most) == (20, 1)


def test_who_was_right_before_does_not_wait_behind_who_tries() -> None:
    auth = Auth()

    async def many() -> int:
        logins = door.Logins(auth, "")
        assert await login(logins, authorization=basic(b"ada:right")) == ADA
        tries = [asyncio.create_task(login(logins, authorization=basic(b"ada:wrong"))) for _ in range(20)]
        await asyncio.sleep(0)
        assert await login(logins, authorization=basic(b"ada:right")) == ADA
        left = sum(not one.done() for one in tries)
        await asyncio.gather(*tries)
        assert await login(logins, authorization=basic(b"ada:right")) == ADA
        return left

    assert asyncio.run(many()) > 15


def test_who_gives_up_while_waiting_blocks_nobody() -> None:
    async def three() -> list[str]:
        turns, done = door.Turns(), []

        async def one(name: str, preferred: bool) -> None:
            async with turns.turn(preferred):
                await asyncio.sleep(0.01)
                done.append(name)

        tasks = [asyncio.create_task(one(name, name == "c")) for name in "abcd"]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await one("e", False)
        return done

    assert asyncio.run(three()) == ["a", "c", "d", "e"]


def test_an_answer_that_is_kept_waits_for_no_check() -> None:
    auth = Auth({})

    async def twice() -> list[Any]:
        logins = door.Logins(auth, "")
        first = await login(logins, authorization=basic(b"admin:right"))
        async with logins._turns.turn(True):
            return [first, await asyncio.wait_for(login(logins, authorization=basic(b"admin:right")), 5)]

    assert asyncio.run(twice()) == [door.Caller("admin", True)] * 2
    assert auth.checks == 1


def test_the_gateway_has_a_header_and_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MLFLOW_INTERNAL_GATEWAY_AUTH_TOKEN", "token-of-the-jobs")

    async def ask(path: str, **headers: bytes) -> Any:
        return await login(door.Logins(Auth(), "/p"), path, **headers)

    ours, theirs = basic(b"ada:right"), b"Bearer key"
    assert asyncio.run(ask("/p/gateway/x", x_mlflow_authorization=ours, authorization=theirs)) == ADA
    assert asyncio.run(ask("/p/gateway/x", x_mlflow_authorization=b"", authorization=ours)) == ADA
    assert asyncio.run(ask("/p/graphql", x_mlflow_authorization=ours, authorization=theirs)) is None
    job = basic(b"ada:token-of-the-jobs")
    assert asyncio.run(ask("/p/gateway/x", authorization=job)) == ADA
    assert asyncio.run(ask("/p/graphql", authorization=job)) is None
    assert asyncio.run(ask("/gateway/x", authorization=job)) is None
    monkeypatch.setenv("_MLFLOW_INTERNAL_GATEWAY_AUTH_TOKEN", "")
    assert asyncio.run(ask("/p/gateway/x", authorization=basic(b"ada:"))) is None


def experiment(number: str, location: str) -> Any:
    return types.SimpleNamespace(experiment_id=number, artifact_location=location)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("team/a/run/artifacts", ["7"]),
        ("team/a", ["7"]),
        ("team", ["7", "8"]),
        ("team/ab", []),
        ("tea", []),
        ("other", []),
    ],
)
def test_whose_folder_a_path_is(path: str, expected: list[str]) -> None:
    located = [
        experiment("7", "mlflow-artifacts:/team/a"),
        experiment("8", "mlflow-artifacts://host:1/team/b/"),
        experiment("9", "s3://bucket/other"),
        experiment("10", ""),
    ]
    assert places.overlapping(dict(places.own_locations(located)), path) == expected


def test_an_experiment_at_the_root_has_every_path() -> None:
    assert places.overlapping(dict(places.own_locations([experiment("7", "mlflow-artifacts:/")])), "x") == ["7"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (rb'{"a": "\u0000"}', True),
        (rb'{"a": "\\\u0000"}', True),
        (rb'{"a": "\\u0000"}', False),
        (rb'{"a": "u0000"}', False),
        (b"", False),
    ],
)
def test_a_nul_is_seen(body: bytes, expected: bool) -> None:
    assert places.has_nul(body) is expected
    if body:
        assert ("\0" in json.loads(body)["a"]) is expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"trace": {"trace_info": {"tags": {"mlflow.artifactLocation": "s3://x", "a": "b"}}}}, ["s3://x"]),
        ({"tags": [{"key": "mlflow.trace.archiveLocation", "value": "y"}, {"key": "a", "value": "b"}]}, ["y"]),
        ({"tags": {"a": "mlflow.artifactLocation"}}, []),
        (None, []),
        ("mlflow.artifactLocation", []),
    ],
)
def test_tags_that_move_a_trace_are_found(given: Any, expected: list[str]) -> None:
    assert [value for _, value in places.place_tags(given)] == expected


@pytest.mark.parametrize(
    ("location", "expected"),
    [("/tmp/x", True), ("x", True), ("file:///x", True), ("FILE:/x", True), ("s3://b/x", False), ("dbfs:/x", False)],
)
def test_what_is_on_the_servers_disk(location: str, expected: bool) -> None:
    assert places.is_local(location) is expected


def test_the_local_stack_and_the_container_run_these_files(tmp_path: Path) -> None:
    """The entrypoint of either does not start without them."""
    source = Path(door.__file__).parent
    authority = tmp_path / "ca.pem"
    authority.write_text("authority")
    folder = image.pull(image.publish(source, tmp_path / "registry", authority), tmp_path / "registry")
    for name in ("entrypoint.py", "door.py", "places.py", "users_schema.py"):
        assert (folder / name).read_bytes() == (source / name).read_bytes()
    assert "COPY *.py rds-ca.pem /build/program/" in (source / "Dockerfile").read_text().splitlines()
