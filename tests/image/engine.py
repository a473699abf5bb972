"""What the image's tests share: the container engine, the image, and containers run as Fargate runs them."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import boto3
import botocore
import pytest
import yaml

from local import config, tls
from plugins.module_utils import mlflow_image

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
BUCKET = "image-tests"
REGION = "eu-west-1"
DATA = "/mlflow"
UID = 10001
# As the task definition says it. The engine gives /tmp its volume, because the image names one.
FARGATE = ("--read-only", "--init", "--user", f"{UID}:{UID}", "--stop-timeout", "30")
# What listens on this machine's loopback interface is reached by no other way with every engine.
NETWORK = ("--network", "host")
_MAJOR = yaml.safe_load((ROOT / "roles/rds/defaults/main.yml").read_text())["rds_engine_version"].split(".")[0]
POSTGRES = f"postgres:{_MAJOR}-alpine"
MARIADB = "mariadb:10.11"


class Unavailable(Exception):
    """Why there can be no container here; a clause without a full stop."""


class Failed(Exception):
    """What the engine said when it failed."""


@dataclass(frozen=True)
class Engine:
    """A container engine by its command, `docker` or `podman` or a path of one."""

    command: str
    # docker or podman, whatever the command is called.
    kind: str = "docker"

    def call(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command with `env` added to this process's own; whatever the exit code."""
        return subprocess.run(
            [self.command, *arguments],
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """The output of the command. Raises Failed with the end of what it said."""
        done = self.call(*arguments, env=env)
        if done.returncode:
            raise Failed(f"{Path(self.command).name} {arguments[0]}: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done.stdout.strip()

    def has(self, image: str) -> bool:
        """Whether the engine holds `image`."""
        return self.call("image", "inspect", image).returncode == 0

    def need(self, image: str) -> None:
        """Pull `image` unless it is here. Raises Unavailable."""
        if not self.has(image):
            done = self.call("pull", "--quiet", image)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
                raise Unavailable(f"{image} is not here and cannot be pulled ({last})")


def find_engine() -> Engine:
    """The engine to test with: $MLFLOW_TEST_ENGINE, else docker, else podman. Raises Unavailable."""
    named = os.environ.get("MLFLOW_TEST_ENGINE")
    for command in [named] if named else ["docker", "podman"]:
        with contextlib.suppress(mlflow_image.ImageError):
            found = mlflow_image.Engine(command)
            return Engine(found.command, "podman" if found.is_podman else "docker")
    raise Unavailable(f"no container engine answers ({named or 'docker or podman'})")


def skip(reason: str) -> NoReturn:
    """Skip the test that calls; where CI=true fail it, for what CI skips nobody sees."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"image: {reason}")
    pytest.skip(f"image: {reason}")


def ready() -> Engine:
    """The engine, with every image that the tests start from. Raises Unavailable."""
    if sys.platform != "linux":
        raise Unavailable("containers that share this machine's network need Linux")
    engine = find_engine()
    for image in (recipe(engine).base_image, POSTGRES, MARIADB):
        engine.need(image)
    return engine


def recipe(engine: Engine, variant: str = "slim") -> mlflow_image.Recipe:
    """What the tests build: from $BASE_IMAGE, else the Dockerfile's own base, for this machine."""
    # AWS's bundle is out of reach of many machines, and no test speaks to RDS: any other that never changes will do.
    bundle = Path(botocore.__file__).parent / "cacert.pem"
    platform = f"linux/{mlflow_image.Engine(engine.command).machine}"
    return mlflow_image.Recipe(ROOT / "docker", os.environ.get("BASE_IMAGE", ""), variant, platform, str(bundle))


def build(engine: Engine, wanted: mlflow_image.Recipe) -> str:
    """The name of the image of `wanted`; what has this content is built once a machine, not once a run."""
    name = f"mlflow-test:{wanted.tag()}"
    if not engine.has(name):
        mlflow_image.build(engine.command, wanted, name)
        # What the content was before is of no more use, unless another run is at it, which the engine knows.
        for other in engine.run("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines():
            if re.fullmatch(r"(localhost/)?mlflow-test:.*", other) and not other.endswith(name):
                engine.call("rmi", other)
    return name


def wait_for(what: str, ready: Callable[[], bool], seconds: float = 120) -> None:
    """Return when `ready` says so. Raises TimeoutError with `what`; anything `ready` raises ends the waiting."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)


@dataclass(frozen=True)
class Container:
    """One that was started, running or not."""

    engine: Engine
    name: str

    def logs(self) -> str:
        """All it wrote, to either stream."""
        done = self.engine.call("logs", self.name)
        return done.stdout + done.stderr

    def exec(self, *command: str, user: str = f"{UID}:{UID}") -> subprocess.CompletedProcess[str]:
        """Run `command` inside, whatever its exit code."""
        return self.engine.call("exec", "--user", user, self.name, *command)

    def inspect(self, template: str) -> str:
        """One field of the engine's record, as a Go template."""
        return self.engine.run("inspect", "--format", template, self.name)

    def running(self) -> bool:
        """Whether it runs."""
        return self.inspect("{{.State.Running}}") == "true"

    def wait(self) -> int:
        """The exit code, when it has ended."""
        return int(self.engine.run("wait", self.name))

    def require(self) -> None:
        """Raise Failed with its log unless it runs."""
        if not self.running():
            raise Failed(f"{self.name} has ended; its log:\n{self.logs()[-4000:]}")


def start(
    engine: Engine, image: str, *options: str, name: str, command: tuple[str, ...] = (), env: Mapping[str, str] = {}
) -> Container:
    """Start a container. The values of `env` reach it through the environment of the engine's command, not argv."""
    variables = [part for variable in env for part in ("--env", variable)]
    engine.run("run", "--detach", "--name", name, *options, *variables, image, *command, env=env)
    return Container(engine, name)


@contextlib.contextmanager
def container(
    engine: Engine, image: str, *options: str, command: tuple[str, ...] = (), env: Mapping[str, str] = {}
) -> Iterator[Container]:
    """`start` under a name of its own; it is removed at the end."""
    name = f"mlflow-test-{secrets.token_hex(5)}"
    try:
        yield start(engine, image, *options, name=name, command=command, env=env)
    finally:
        engine.call("rm", "--force", "--volumes", name)


@contextlib.contextmanager
def volume(engine: Engine, image: str) -> Iterator[str]:
    """A volume whose root belongs to the server's user, as the EFS access point's does; mount it at DATA."""
    name = f"mlflow-test-{secrets.token_hex(5)}"
    engine.run("volume", "create", name)
    try:
        for command in (("chown", f"{UID}:{UID}", DATA), ("chmod", "0750", DATA)):
            options = ("--rm", "--user", "0:0", "--volume", f"{name}:{DATA}", "--entrypoint", command[0])
            engine.run("run", *options, image, *command[1:])
        yield name
    finally:
        engine.call("volume", "rm", "--force", name)


def answers(url: str, seconds: float = 5) -> bool:
    """Whether GET `url` is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def wait_healthy(server: Container, port: int, seconds: float = 300) -> None:
    """Return when the server answers. Raises Failed with its log when it ends first, TimeoutError when it is late."""

    def ready() -> bool:
        server.require()
        return answers(f"http://{HOST}:{port}/health")

    wait_for(f"{server.name} answers on {port}", ready, seconds)


# ---------------------------------------------------------------- what the server needs


@dataclass(frozen=True)
class S3:
    """An S3 with BUCKET in it; `env` is what the server is told, login included."""

    url: str
    env: dict[str, str]

    @property
    def destination(self) -> str:
        """Where the artifacts go."""
        return f"s3://{BUCKET}/artifacts"


@contextlib.contextmanager
def s3() -> Iterator[S3]:
    """moto's S3 on the loopback interface, in a process of its own: two in one process would share their buckets."""
    port = config.free_port()
    command = [sys.executable, "-m", "moto.server", "--host", HOST, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        login = {"AWS_ACCESS_KEY_ID": "image-test-access-key", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20)}
        url = f"http://{HOST}:{port}"
        deadline = time.monotonic() + 60
        while not _listens(port):
            assert process.poll() is None and time.monotonic() < deadline, "moto does not start"
            time.sleep(0.2)
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=login["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=login["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield S3(url, {**login, "AWS_REGION": REGION, "AWS_ENDPOINT_URL_S3": url, "MLFLOW_S3_ENDPOINT_URL": url})
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@dataclass(frozen=True)
class Database:
    """An empty database on a server of its own, which speaks TLS as `localhost`."""

    server: Container
    dialect: str
    port: int
    name: str = "mlflow"
    user: str = "mlflow_app"
    # Every kind of character that a URI, a shell or SQL gives a meaning.
    password: str = field(default_factory=lambda: f"a:b@c/d?e#f%g&h'i\"j\\k l+{secrets.token_hex(8)}$(m)`n`")

    @property
    def env(self) -> dict[str, str]:
        """What the server is told."""
        return {
            "MLFLOW_DB_DIALECT": self.dialect,
            "MLFLOW_DB_HOST": "localhost",
            "MLFLOW_DB_PORT": str(self.port),
            "MLFLOW_DB_DATABASE": self.name,
            "MLFLOW_DB_USERNAME": self.user,
            "MLFLOW_DB_PASSWORD": self.password,
            "MLFLOW_DB_CA_FILE": "/ca.pem",
        }


def _accepts(server: Container, port: int) -> bool:
    server.require()
    return _listens(port)


@contextlib.contextmanager
def _database(
    engine: Engine, image: str, dialect: str, owner: str, prefix: str, arguments: tuple[str, ...], folder: Path
) -> Iterator[Database]:
    """Run `image`; `arguments` may name {port}, `owner` is its user, who alone may read the key in /run/tls."""
    port = config.free_port()
    unborn = Database(Container(engine, ""), dialect, port)
    env = {f"{prefix}_USER": unborn.user, f"{prefix}_PASSWORD": unborn.password}
    env |= {"POSTGRES_DB": unborn.name} if prefix == "POSTGRES" else {}
    env |= {"MARIADB_DATABASE": unborn.name, "MARIADB_RANDOM_ROOT_PASSWORD": "1"} if prefix == "MARIADB" else {}
    prepare = (
        f"mkdir /run/tls && cp /tls/localhost.pem /tls/localhost.key /run/tls && chown -R {owner} /run/tls"
        ' && chmod 0600 /run/tls/localhost.key && exec docker-entrypoint.sh "$@"'
    )
    options = (*NETWORK, "--volume", f"{folder}:/tls:ro", "--entrypoint", "sh")
    command = ("-c", prepare, "sh", *(part.format(port=port) for part in arguments))
    with container(engine, image, *options, command=command, env=env) as server:
        wait_for(f"{image} listens", lambda: _accepts(server, port))
        yield Database(server, dialect, port, password=unborn.password)


def postgres(engine: Engine, folder: Path) -> contextlib.AbstractContextManager[Database]:
    """A PostgreSQL with the certificate in `folder`, which refuses whoever speaks without TLS."""
    arguments = ["postgres", "-p", "{port}", "-c", f"listen_addresses={HOST}", "-c", "ssl=on", "-c", "fsync=off"]
    arguments += ["-c", "ssl_cert_file=/run/tls/localhost.pem", "-c", "ssl_key_file=/run/tls/localhost.key"]
    return _database(engine, POSTGRES, "postgresql", "postgres", "POSTGRES", tuple(arguments), folder)


def mariadb(engine: Engine, folder: Path) -> contextlib.AbstractContextManager[Database]:
    """A MariaDB with the certificate in `folder`, which refuses whoever speaks without TLS."""
    arguments = ["mariadbd", "--port={port}", f"--bind-address={HOST}", "--require-secure-transport=ON"]
    arguments += ["--ssl-cert=/run/tls/localhost.pem", "--ssl-key=/run/tls/localhost.key"]
    return _database(engine, MARIADB, "mysql", "mysql", "MARIADB", tuple(arguments), folder)


def authority(folder: Path) -> tuple[str, ...]:
    """Options that mount the CA of `folder` where a database's `env` says it is."""
    return ("--volume", f"{folder / 'ca.pem'}:/ca.pem:ro")


def server_env(port: int, storage: S3) -> dict[str, str]:
    """What every server is told, whatever its database: no login, one worker."""
    return {
        **storage.env,
        "MLFLOW_HOST": HOST,
        "MLFLOW_PORT": str(port),
        "MLFLOW_AUTH": "none",
        "MLFLOW_ARTIFACTS_DESTINATION": storage.destination,
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{HOST},{HOST}:*,localhost,localhost:*",
    }


@contextlib.contextmanager
def certificates() -> Iterator[Path]:
    """A folder with ca.pem and localhost.{pem,key}, signed by it."""
    with tempfile.TemporaryDirectory(prefix="mlflow-image-") as scratch:
        tls.ensure(Path(scratch, "tls"))
        yield Path(scratch, "tls")
