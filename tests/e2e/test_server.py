"""The entrypoint's server on a real PostgreSQL: what a remembered login keeps alive, many clients, a late database."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench import logins
from bench import server as machine

CACHE_SECONDS = 45
OLD, NEW = "first-password-1", "second-password-2"
PASSWORD = secrets.token_hex(12)
CLIENTS = 100
SPANS = {"Content-Type": "application/x-protobuf"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[machine.Postgres]:
    """A PostgreSQL; the first server makes the schema."""
    with machine.postgres(tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "servers"


Workers = dict[str, machine.Client]


@pytest.fixture(scope="module")
def workers(database: machine.Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """A connection to each worker: `here` and `beside` are of one task, `elsewhere` is of another."""
    own = {"MLFLOW_AUTH_CACHE_SECONDS": str(CACHE_SECONDS)}
    place = tmp_path_factory.mktemp("tasks")
    with (
        machine.running(place, database.env, PASSWORD, MLFLOW_WORKERS="2", **own) as first,
        machine.running(place, database.env, PASSWORD, **own) as second,
    ):
        here, beside = first.clients_of_each_worker(2)
        (elsewhere,) = second.clients_of_each_worker(1)
        yield {"here": here, "beside": beside, "elsewhere": elsewhere}


def statuses(workers: Workers, user: str, password: str, method: str, path: str, body: object = None) -> dict[str, int]:
    """What each worker answers to this login."""
    return {name: each.login(user, password).ask(method, path, body)[0] for name, each in workers.items()}


def reads(workers: Workers, user: str, password: str, experiment: str) -> dict[str, int]:
    return statuses(workers, user, password, "GET", f"{machine.API}/experiments/get?experiment_id={experiment}")


def traces(workers: Workers, user: str, password: str, experiment: str) -> dict[str, int]:
    """400 where the login may write traces, for there is none in the request; else 403 or 401."""
    answers = {}
    for name, each in workers.items():
        each.login(user, password).headers |= SPANS | {"x-mlflow-experiment-id": experiment}
        answers[name] = each.ask("POST", "/v1/traces")[0]
    return answers


def everywhere(status: int) -> dict[str, int]:
    return {"here": status, "beside": status, "elsewhere": status}


def test_what_a_remembered_login_keeps_alive_and_how_long(workers: Workers) -> None:
    def admin() -> machine.Client:
        return workers["here"].login(machine.ADMIN, PASSWORD)

    for user in ("ann", "bob", "eve"):
        admin().do("POST", "users/create", username=user, password=OLD)
    admin().do("PATCH", "users/update-admin", username="eve", is_admin=True)
    experiment = str(admin().do("POST", "experiments/create", name="remembered")["experiment_id"])
    begin = time.monotonic()
    for user in ("ann", "bob", "eve"):
        assert reads(workers, user, OLD, experiment) == everywhere(200)
    warm = time.monotonic()

    # A right is read from the database in every request.
    right = {"username": "ann", "resource_type": "experiment", "resource_id": experiment}
    assert admin().ask("POST", f"{machine.RIGHTS}/grant", {**right, "permission": "DENY"})[0] == 200
    assert reads(workers, "ann", OLD, experiment) == everywhere(403)
    assert admin().ask("POST", f"{machine.RIGHTS}/revoke", right)[0] == 200
    assert reads(workers, "ann", OLD, experiment) == everywhere(200)

    # A new password is right everywhere at once; the old one goes on in workers that did not make the change.
    admin().do("PATCH", "users/update-password", username="ann", password=NEW)
    stale = {"here": 401, "beside": 200, "elsewhere": 200}
    assert reads(workers, "ann", OLD, experiment) == stale
    assert reads(workers, "ann", NEW, experiment) == everywhere(200)

    # Who is no administrator any more is none in any worker.
    assert traces(workers, "eve", OLD, experiment) == everywhere(400)
    admin().do("PATCH", "users/update-admin", username="eve", is_admin=False)
    assert traces(workers, "eve", OLD, experiment) == everywhere(403)
    create = ("POST", f"{machine.API}/users/create", {"username": "eves", "password": OLD})
    assert statuses(workers, "eve", OLD, *create) == everywhere(403)

    # A deleted user can do nothing, but the old password opens a new user of the same name.
    admin().do("DELETE", "users/delete", username="bob")
    assert reads(workers, "bob", OLD, experiment) == {"here": 401, "beside": 404, "elsewhere": 404}
    assert traces(workers, "bob", OLD, experiment) == everywhere(401)
    admin().do("POST", "users/create", username="bob", password=NEW)
    assert reads(workers, "bob", OLD, experiment) == stale
    assert time.monotonic() - begin < CACHE_SECONDS, "this machine was too slow to say anything"

    # What was used all the time ends with the rest.
    time.sleep(max(0.0, warm + CACHE_SECONDS + 1 - time.monotonic()))
    for user in ("ann", "bob"):
        assert reads(workers, user, OLD, experiment) == everywhere(401)
    assert traces(workers, "eve", OLD, experiment) == everywhere(403)


@pytest.mark.parametrize("cache", ["0", "60"])
def test_a_hundred_clients_at_once_lose_nothing(database: machine.Postgres, folder: Path, cache: str) -> None:
    """Without the cache is the harder case: MLflow holds a connection while it computes the password's hash."""
    with machine.running(folder, database.env, PASSWORD, MLFLOW_AUTH_CACHE_SECONDS=cache) as server:
        name = f"many-{cache}"
        experiment = server.client().do("POST", "experiments/create", name=name)["experiment_id"]
        together = threading.Barrier(CLIENTS)

        def one(_: int) -> int:
            client = server.client()
            together.wait()
            return client.ask("POST", f"{machine.API}/runs/create", {"experiment_id": experiment})[0]

        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(one, range(CLIENTS)))
        assert sorted(set(answers)) == [200], f"{server.log()[-2000:]}"
        found = server.client().do("POST", "runs/search", experiment_ids=[experiment], max_results=1000)
        assert len(found["runs"]) == CLIENTS
        # What a thread of the server needs, and no more.
        assert database.connections() <= 60


def test_a_remembered_login_takes_at_most_a_fifth_of_the_cpu(database: machine.Postgres, folder: Path) -> None:
    costs = {}
    for name in (logins.REMEMBERED, logins.DEFAULT):
        side = logins.SIDES[name]
        with machine.running(folder, database.env, PASSWORD, ours=side.ours, **side.own) as server:
            run = logins.kinds("0", "")["experiments/get"]
            costs[name] = logins.cost(server, run, 30, 2).cpu
    assert costs[logins.REMEMBERED] <= costs[logins.DEFAULT] / 5


def test_behind_https(database: machine.Postgres, folder: Path) -> None:
    own = {
        "MLFLOW_PUBLIC_SCHEME": "https",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "team-A-1.elb.example,team-A-1.elb.example:*,127.0.0.1:*",
        "FORWARDED_ALLOW_IPS": "10.42.0.0/20,10.42.16.0/20",
        "MLFLOW_DEFAULT_PERMISSION": "NO_PERMISSIONS",
    }
    with machine.running(folder, database.env, PASSWORD, **own) as server:

        def ask(method: str, path: str, body: object = None, login: bool = True, **headers: str) -> tuple[int, str]:
            client = server.client(machine.ADMIN if login else "")
            client.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
            status, _ = client.ask(method, path, body)
            assert client.answered is not None
            assert client.answered["Strict-Transport-Security"] == "max-age=31536000"
            assert "Server" not in client.answered
            return status, "; ".join(client.answered.get_all("Set-Cookie", []))

        # Names are those of DNS, in any spelling, and no others.
        search = f"{machine.API}/experiments/search?max_results=1"
        for host in ("TEAM-A-1.elb.example", "team-A-1.elb.example:443", "team-a-1.elb.example"):
            assert ask("GET", search, Host=host)[0] == 200
        assert ask("GET", search, Host="team-a-2.elb.example")[0] == 403
        assert ask("GET", search, login=False)[0] == 401

        # Pages of the server's own come by HTTPS.
        runs = ("POST", f"{machine.API}/runs/search", {"experiment_ids": ["0"]})
        assert ask(*runs, Host="team-a-1.elb.example", Origin="https://team-a-1.elb.example")[0] == 200
        assert ask(*runs, Host="team-a-1.elb.example", Origin="http://team-a-1.elb.example")[0] == 403

        # The one cookie is that of the form for new users.
        status, cookie = ask("GET", "/signup")
        assert (status, "session=" in cookie) == (200, True)
        assert {"Secure", "HttpOnly", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}

        # Who is not the load balancer says nothing of others: the log has who it was.
        ask("GET", "/health", X_Forwarded_For="203.0.113.9")
        assert "203.0.113.9" not in server.log()

        # What nobody has given is denied, and what one has made is theirs.
        admin = server.client()
        admin.do("POST", "users/create", username="newcomer", password=OLD)
        theirs = admin.do("POST", "experiments/create", name="of the administrator")["experiment_id"]
        newcomer = server.client("newcomer", OLD)
        assert newcomer.get(f"experiments/get?experiment_id={theirs}") == 403
        found = newcomer.do("POST", "experiments/search", max_results=1000)
        assert found.get("experiments", []) == []
        own_one = newcomer.do("POST", "experiments/create", name="of the newcomer")["experiment_id"]
        assert newcomer.do("POST", "runs/create", experiment_id=own_one)["run"]


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing, as a database that wakes up."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as taken:
        yield taken.getsockname()[1]


def test_the_entrypoint_waits_for_a_database_that_is_down(database: machine.Postgres, folder: Path) -> None:
    database.server.stop()
    server = machine.launch(folder, database.env, PASSWORD)
    try:
        # A failed start took three seconds.
        time.sleep(12)
        assert server.process.poll() is None, server.log()
        database.server.start()
        server.wait_until_healthy()
        assert server.client().get("experiments/get?experiment_id=0") == 200
        assert server.log().count("does not answer yet: waiting up to 120 seconds") == 1
        assert database.password not in server.log()
    finally:
        database.server.start()
        server.stop()


@pytest.mark.parametrize("kind", ["silent", "refused"])
def test_the_entrypoint_ends_when_the_wait_is_over(database: machine.Postgres, folder: Path, kind: str) -> None:
    with silent() as port:
        closed, seconds = {"silent": (port, "12"), "refused": (1, "4")}[kind]
        env = database.env | {"MLFLOW_DB_PORT": str(closed), "MLFLOW_DB_WAIT_SECONDS": seconds}
        server = machine.launch(folder, env, PASSWORD)
        try:
            assert server.process.wait(60) == 1
        finally:
            server.stop()
    waits, ends = server.log().strip().splitlines()
    assert f"does not answer yet: waiting up to {seconds} seconds" in waits
    assert "cannot use the database" in ends


def test_a_wrong_password_is_not_waited_for(database: machine.Postgres, folder: Path) -> None:
    begin = time.monotonic()
    server = machine.launch(folder, database.env | {"MLFLOW_DB_PASSWORD": "wrong"}, PASSWORD)
    try:
        assert server.process.wait(60) == 1
    finally:
        server.stop()
    assert time.monotonic() - begin < 60
    (line,) = server.log().strip().splitlines()
    assert "password authentication failed" in line
