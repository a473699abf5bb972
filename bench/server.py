"""The server as the image starts it, in processes of this machine, on a real PostgreSQL that speaks TLS."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench import machine
from local import config, tls
from local import database as local_database

ENTRYPOINT = config.ROOT / "docker" / "entrypoint.py"
START_SECONDS = 240
ADMIN = "admin"
API = "/api/2.0/mlflow"
RIGHTS = "/api/3.0/mlflow/users/permissions"


class Failed(Exception):
    """A server that did not start; with the end of its log."""


@dataclass
class Postgres:
    """A PostgreSQL behind a door that speaks TLS only; `env` is what the entrypoint is told of it."""

    server: local_database.Server
    port: int
    certificates: Path
    password: str = field(default_factory=lambda: secrets.token_hex(12))
    user: str = "mlflow"

    @property
    def env(self) -> dict[str, str]:
        """The variables of docker/entrypoint.py."""
        return {
            "MLFLOW_DB_DIALECT": "postgresql",
            "MLFLOW_DB_HOST": "localhost",
            "MLFLOW_DB_PORT": str(self.port),
            "MLFLOW_DB_DATABASE": self.user,
            "MLFLOW_DB_USERNAME": self.user,
            "MLFLOW_DB_PASSWORD": self.password,
            "MLFLOW_DB_CA_FILE": str(self.certificates / "ca.pem"),
        }

    def start(self) -> None:
        """Start the server, and make the user and an empty database where they are missing."""
        self.server.start()
        self.server.apply(self.user, self.password, self.user)

    def empty(self) -> None:
        """Drop the database with all that is connected to it, and make it anew."""
        self.server.sql(f"DROP DATABASE {self.user} WITH (FORCE);")
        self.server.apply(self.user, self.password, self.user)

    def connections(self) -> int:
        """How many clients are connected to the database."""
        return int(self.server.sql(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{self.user}';"))


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """A PostgreSQL with its data in `folder`, stopped at the end."""
    certificates = folder / "tls"
    tls.ensure(certificates)
    made = Postgres(local_database.Server(folder / "postgres"), config.free_port(), certificates)
    door = local_database.Door(made.port, made.server.socket, tls.server_context(certificates))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        made.start()
        asyncio.run_coroutine_threadsafe(door.open(), loop).result(10)
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(door.close(), loop).result(10)
        made.server.stop()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@dataclass
class Server:
    """A server that runs, or has run; `password` is that of its administrator."""

    process: subprocess.Popen[bytes]
    port: int
    password: str
    log_file: Path

    def log(self) -> str:
        """All it wrote so far."""
        return self.log_file.read_text(errors="replace")

    def cpu(self) -> float:
        """CPU seconds of the server with its workers so far."""
        own = psutil.Process(self.process.pid)
        return sum(machine.cpu_of(each.pid) for each in (own, *own.children(recursive=True)))

    def worker_of(self, client: Client) -> int:
        """The process at the other end of the client's connection, which has sent a request before."""
        port = client.connection.sock.getsockname()[1]
        own = psutil.Process(self.process.pid)
        for each in (own, *own.children(recursive=True)):
            if any(one.raddr and one.raddr.port == port for one in each.net_connections("tcp")):
                return int(each.pid)
        raise Failed(f"no process of the server has the connection from port {port}")

    def clients_of_each_worker(self, workers: int, most: int = 200) -> list[Client]:
        """One connection to each of so many workers, without a login."""
        found: dict[int, Client] = {}
        for _ in range(most):
            client = self.client(user="")
            client.ask("GET", "/health")
            found.setdefault(self.worker_of(client), client)
            if len(found) == workers:
                return list(found.values())
        raise Failed(f"{most} connections reached {len(found)} of {workers} workers")

    def client(self, user: str = ADMIN, password: str | None = None) -> Client:
        """A client with a connection of its own; an empty user sends no login."""
        return Client(self.port, user, self.password if password is None else password)

    def wait_until_healthy(self, seconds: float = START_SECONDS) -> None:
        """Return when /health answers. Raises Failed when the server ends first or is late."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Failed(f"the server ended with {self.process.returncode}:\n{self.log()[-3000:]}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.client(user="").ask("GET", "/health")[0] == 200:
                    return
            time.sleep(0.2)
        raise Failed(f"the server did not answer within {seconds:.0f} s:\n{self.log()[-3000:]}")

    def stop(self) -> None:
        """End it as ECS does; what is left after 30 s is killed."""
        family = [self.process.pid]
        with contextlib.suppress(psutil.Error):
            family += [each.pid for each in psutil.Process(self.process.pid).children(recursive=True)]
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        for pid in family:
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()
        self.process.wait(10)


class Client:
    """One connection that is kept, so that all its requests reach one worker."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.connection = http.client.HTTPConnection(config.HOST, port, timeout=120)
        self.headers: dict[str, str] = {}
        self.answered: http.client.HTTPMessage | None = None
        self.login(user, password)

    def login(self, user: str, password: str) -> Client:
        """Send this login from now on, or none for an empty user; over the same connection."""
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.headers = {"Content-Type": "application/json"} | ({"Authorization": f"Basic {login}"} if user else {})
        return self

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """(status, text) of one request; `answered` has the headers."""
        data = None if body is None else json.dumps(body).encode()
        self.connection.request(method, path, body=data, headers=self.headers)
        answer = self.connection.getresponse()
        self.answered = answer.headers
        return answer.status, answer.read().decode(errors="replace")

    def get(self, path: str) -> int:
        """The status of a GET below the REST API."""
        return self.ask("GET", f"{API}/{path}")[0]

    def do(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """The answer of a call below the REST API. Raises Failed unless its status is 200."""
        status, text = self.ask(method, f"{API}/{path}", body)
        if status != 200:
            raise Failed(f"{method} {path}: {status} {text[:300]}")
        answer: dict[str, Any] = json.loads(text or "{}")
        return answer

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def environment(database: Mapping[str, str], port: int, password: str, **own: str) -> dict[str, str]:
    """What the entrypoint is told: login on, one worker, this database; `own` goes before all of it."""
    hosts = f"{config.HOST},{config.HOST}:*"
    return {
        "PATH": "/usr/bin:/bin",
        "MLFLOW_HOST": config.HOST,
        "MLFLOW_PORT": str(port),
        "MLFLOW_AUTH": "basic",
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a key of tests and figures",
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://no-such-bucket/artifacts",
        "MLFLOW_SERVER_ALLOWED_HOSTS": hosts,
        "AWS_REGION": config.REGION,
        **database,
        **own,
    }


def plain(database: Mapping[str, str], env: Mapping[str, str], folder: Path) -> tuple[list[str], dict[str, str]]:
    """Command and environment of MLflow's own server: its defaults, its own login where MLFLOW_AUTH is basic."""
    uri = "postgresql+psycopg://{MLFLOW_DB_USERNAME}@{MLFLOW_DB_HOST}:{MLFLOW_DB_PORT}/{MLFLOW_DB_DATABASE}"
    uri = uri.format(**database)
    words = ["-m", "mlflow", "server", "--host", config.HOST, "--port", env["MLFLOW_PORT"], "--workers", "1"]
    words += ["--backend-store-uri", uri, "--artifacts-destination", env["MLFLOW_ARTIFACTS_DESTINATION"]]
    driver = {"PGPASSWORD": database["MLFLOW_DB_PASSWORD"], "PGSSLMODE": "verify-full"}
    driver |= {"PGSSLROOTCERT": database["MLFLOW_DB_CA_FILE"], "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    if env["MLFLOW_AUTH"] == "basic":
        ini = folder / "basic_auth.ini"
        ini.write_text(f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {uri}\n")
        words += ["--app-name", "basic-auth"]
        driver |= {"MLFLOW_AUTH_CONFIG_PATH": str(ini), "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN}
    return [str(config.SERVER_PYTHON), *words], {**env, **driver, "MLFLOW_DISABLE_TELEMETRY": "true"}


def launch(folder: Path, database: Mapping[str, str], password: str = "", *, ours: bool = True, **own: str) -> Server:
    """Start the entrypoint with a log in `folder`; `own` are more of its variables. The caller stops it.

    Without `ours` it is MLflow's own server in place of the entrypoint's.
    """
    password = password or secrets.token_hex(12)
    port = config.free_port()
    folder.mkdir(parents=True, exist_ok=True)
    scratch, log = folder / f"tmp-{port}", folder / f"server-{port}.log"
    scratch.mkdir()
    env = environment(database, port, password, **{"TMPDIR": str(scratch), "HOME": str(scratch), **own})
    command = [str(config.SERVER_PYTHON), str(ENTRYPOINT), "serve"]
    if not ours:
        command, env = plain(database, env, scratch)
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=env,
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    return Server(process, port, password, log)


@contextlib.contextmanager
def running(
    folder: Path, database: Mapping[str, str], password: str = "", *, ours: bool = True, **own: str
) -> Iterator[Server]:
    """`launch`, healthy; stopped at the end."""
    server = launch(folder, database, password, ours=ours, **own)
    try:
        server.wait_until_healthy()
        yield server
    finally:
        server.stop()
