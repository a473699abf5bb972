"""Tasks and databases in containers, for stacks whose name begins with an engine's: the engine's command, nothing else.

All containers and volumes carry the label of this checkout, so that an agent that died leaves nothing unknown.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import os
import re
import secrets as random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3

from local import aws, config, database, runners, taskdef
from plugins.module_utils import mlflow_image
from plugins.module_utils.mlflow_image import ImageError

OURS = "mlflow-local-" + hashlib.sha256(str(config.STATE).encode()).hexdigest()[:10]
LABEL = "mlflow.local"
USED = config.STATE / "engines.json"
CA = "/run/local-aws/ca-bundle.pem"
# Seconds for a health command, where ECS gives it fewer: this machine's cores may be busy with something else.
PATIENCE = 45.0
ECR = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/(?P<name>.+)@(?P<digest>sha256:[0-9a-f]{64})")


@functools.cache
def engine(name: str) -> mlflow_image.Engine:
    """The engine, asked once whether it answers. Raises ImageError."""
    return mlflow_image.Engine(name)


def require(name: str) -> None:
    """Raise Trouble where the engine cannot run a stack on this machine, and remember that it is used."""
    if sys.platform != "linux":
        raise config.Trouble(f"ENGINE={name} needs Linux, where containers share this machine's network: leave it out.")
    try:
        engine(name)
    except ImageError as error:
        raise config.Trouble(f"ENGINE={name}: {error}") from None
    config.write_json(USED, {**config.read_json(USED), name: True})


def each_used(work: Callable[[mlflow_image.Engine], None]) -> None:
    """Do `work` with every engine that was ever used here; an engine that fails is complained of."""
    for name in sorted(config.read_json(USED)):
        try:
            work(engine(name))
        except (ImageError, OSError) as error:
            config.complain(f"{error} What it holds of this checkout is named {OURS}-*.")


def _ids(chosen: mlflow_image.Engine, *words: str) -> list[str]:
    return chosen.run(*words, doing="list what is there").split()


def _containers(chosen: mlflow_image.Engine, kind: str) -> list[str]:
    return _ids(chosen, "ps", "--all", "--quiet", "--filter", f"label={LABEL}={OURS}-{kind}")


def _end(kind: str, patience: int) -> Callable[[mlflow_image.Engine], None]:
    def work(chosen: mlflow_image.Engine) -> None:
        found = _containers(chosen, kind)
        if found:
            chosen.run("stop", "--time", str(patience), *found, doing="stop containers")
            # One that was started with --rm may be gone already.
            with contextlib.suppress(ImageError):
                chosen.run("rm", "--force", "--volumes", *found, doing="remove containers")

    return work


def end_tasks() -> None:
    """End the tasks of an agent that died without ending them."""
    each_used(_end("task", 10))


def end_all() -> None:
    """End tasks and databases; the volumes stay."""
    each_used(_end("task", 10))
    each_used(_end("database", 60))


def remove_all() -> None:
    """Remove the volumes, and the images that came through the local registry."""

    def work(chosen: mlflow_image.Engine) -> None:
        volumes = _ids(chosen, "volume", "ls", "--quiet", "--filter", f"label={LABEL}={OURS}")
        if volumes:
            chosen.run("volume", "rm", *volumes, doing="remove volumes")
        host = config.aws_url().partition("://")[2]
        listed = chosen.run("images", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}", doing="list")
        for line in listed.splitlines():
            name, tag, digest = line.split()
            if name.startswith(f"{host}/"):
                reference = f"{name}@{digest}" if tag == "<none>" else f"{name}:{tag}"
                with contextlib.suppress(ImageError):
                    chosen.run("rmi", reference, doing=f"remove {reference}")

    each_used(work)


def _make_volume(chosen: mlflow_image.Engine, name: str) -> bool:
    """Make the volume; False where it stands."""
    try:
        chosen.run("volume", "inspect", name, doing=f"find the volume {name}")
    except ImageError:
        chosen.run("volume", "create", "--label", f"{LABEL}={OURS}", name, doing=f"make the volume {name}")
        return True
    return False


# ---------------------------------------------------------------- tasks


class Container(runners.Runner):
    """A task's container. The engine's `run` stays in front of it: its output and exit code are the container's."""

    def __init__(self, order: runners.Order, name: str) -> None:
        super().__init__(order)
        self.name = f"{OURS}-task-{order.id[:8]}"
        self._engine = name
        self._image = ""
        self._probe: subprocess.Popen[bytes] | None = None
        self._probe_ends = 0.0
        self._check: Mapping[str, Any] = order.spec.get("healthCheck") or {}
        # ECS waits for its first look as long as between any two; nobody here wants to wait for half a minute.
        self.pace = (2.0, float(self._check.get("interval") or 30))

    def pull(self, execution: boto3.Session) -> None:
        """Pull the image; from ECR as the execution role, by way of the local registry's own address."""
        reference = self.order.spec["image"]
        found = ECR.fullmatch(reference)
        try:
            if found:
                self._image = self._pull_from_ecr(found["name"], found["digest"], execution)
            else:
                self._image = reference
                if not self._has(reference):
                    self._run("pull", reference, doing=f"pull {reference}", seconds=mlflow_image.LONG_SECONDS)
        except (ImageError, *aws.AwsError) as error:
            raise runners.CannotStart(f"CannotPullContainerError: {error}") from None

    def _pull_from_ecr(self, name: str, digest: str, execution: boto3.Session) -> str:
        ecr = aws.client("ecr", execution)
        login = ecr.get_authorization_token()["authorizationData"][0]
        answer = ecr.batch_get_image(repositoryName=name, imageIds=[{"imageDigest": digest}])
        if not answer["images"]:
            raise runners.CannotStart(f"CannotPullContainerError: {digest} is not in the repository {name}")
        # The engine asks for no layer that it has; on Fargate nothing has been pulled before.
        layer = json.loads(answer["images"][0]["imageManifest"]).get("config", {}).get("digest", digest)
        ecr.get_download_url_for_layer(repositoryName=name, layerDigest=layer)
        address = login["proxyEndpoint"]
        local = f"{address.partition('://')[2]}/{name}@{digest}"
        if not self._has(local):
            user, _, password = base64.b64decode(login["authorizationToken"]).decode().partition(":")
            machine = (self.order.definition.get("runtimePlatform") or {}).get("cpuArchitecture") or "X86_64"
            with engine(self._engine).login(address, user, password) as registry:
                registry.pull(local, mlflow_image.PLATFORMS[machine.lower()])
        return local

    def _has(self, reference: str) -> bool:
        try:
            engine(self._engine).id(reference)
        except ImageError:
            return False
        return True

    def _run(self, *words: str, doing: str, **options: Any) -> str:
        return engine(self._engine).run(*words, doing=doing, **options)

    def start(self, credentials: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        """Start the container."""
        hidden = {**credentials, **secrets}
        try:
            command = [*self._options(), *self._mounts(), *self._variables(hidden), self._image, *self._words()]
            self.order.scratch.mkdir(parents=True, exist_ok=True)
            # By name alone in its arguments, where everybody could read them; the engine takes the values from here.
            self._process = self._spawn([engine(self._engine).command, "run", *command], {**os.environ, **hidden})
        except (ImageError, *aws.AwsError) as error:
            raise runners.CannotStart(str(error)) from None

    def _options(self) -> list[str]:
        spec, definition = self.order.spec, self.order.definition
        options = ["--rm", "--name", self.name, "--label", f"{LABEL}={OURS}-task", "--pull", "never"]
        # Of this machine's network, so that it can listen on the loopback interface: nothing here answers anybody else.
        options += ["--network", "host", "--log-driver", "none"]
        if units := spec.get("cpu") or definition.get("cpu"):
            options += ["--cpus", f"{int(units) / 1024:g}"]
        if mebibytes := spec.get("memory") or definition.get("memory"):
            options += ["--memory", f"{mebibytes}m"]
        if (spec.get("linuxParameters") or {}).get("initProcessEnabled"):
            options.append("--init")
        if spec.get("readonlyRootFilesystem"):
            options.append("--read-only")
            if engine(self._engine).is_podman:
                # It would make folders writable that are not on ECS.
                options.append("--read-only-tmpfs=false")
        for option, key in (("--user", "user"), ("--workdir", "workingDirectory")):
            if spec.get(key):
                options += [option, str(spec[key])]
        if spec.get("entryPoint"):
            options += ["--entrypoint", spec["entryPoint"][0]]
        return options

    def _mounts(self) -> list[str]:
        found = [f"{config.TLS / 'ca-bundle.pem'}:{CA}:ro"]
        for mount in taskdef.volumes(self.order.definition):
            mode = ":ro" if mount.read_only else ""
            # Without a source it is a volume that ends with the container; it takes the owner of the image's folder.
            source = f"{self._file_system(mount.file_system, mount.access_point)}:" if mount.file_system else ""
            found.append(f"{source}{mount.path}{mode}")
        return [word for mount in found for word in ("--volume", mount)]

    def _file_system(self, system: str, point: str) -> str:
        """The volume that stands for an EFS access point, made as the access point says."""
        name = f"{OURS}-efs-{system}-{point or 'root'}"
        if _make_volume(engine(self._engine), name) and point:
            found = aws.client("efs").describe_access_points(AccessPointId=point)["AccessPoints"][0]
            wanted = (found.get("RootDirectory") or {}).get("CreationInfo")
            if wanted:
                order = f"chown {wanted['OwnerUid']}:{wanted['OwnerGid']} /data && chmod {wanted['Permissions']} /data"
                alone = ["run", "--rm", "--pull", "never", "--network", "none", "--user", "0:0", "--entrypoint", "sh"]
                self._run(*alone, "--volume", f"{name}:/data", self._image, "-c", order, doing="prepare a file system")
        return name

    def _variables(self, hidden: Mapping[str, str]) -> list[str]:
        shown = {
            **config.network_environment(CA),
            **config.no_proxy({}),
            "MLFLOW_HOST": config.HOST,
            **taskdef.environment(self.order.definition, self.order.port, {}),
        }
        given = [f"{name}={value}" for name, value in shown.items() if name not in hidden]
        return [word for variable in (*given, *hidden) for word in ("--env", variable)]

    def _words(self) -> list[str]:
        spec = self.order.spec
        return [*(spec.get("entryPoint") or [])[1:], *(spec.get("command") or [])]

    def healthy(self) -> bool | None:
        """Whether the definition's health command, run in the container, ends well."""
        if self._probe is None:
            words = self._check.get("command") or []
            if not words:
                return True
            command = words[1:] if words[0] == "CMD" else ["sh", "-c", words[1]]
            self._probe = subprocess.Popen(
                [engine(self._engine).command, "exec", self.name, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._probe_ends = time.monotonic() + max(float(self._check.get("timeout") or 5), PATIENCE)
            return None
        code = self._probe.poll()
        if code is None and time.monotonic() < self._probe_ends:
            return None
        self._drop_probe()
        return code == 0

    def _drop_probe(self) -> None:
        if self._probe is not None:
            self._probe.kill()
            self._probe.wait()
            self._probe = None

    def terminate(self) -> None:
        """Send SIGTERM to the container."""
        self._quietly("kill", "--signal", "TERM", self.name)

    def kill(self) -> None:
        """Kill and remove the container."""
        self._drop_probe()
        self._quietly("rm", "--force", "--volumes", self.name)

    def _quietly(self, *words: str) -> None:
        # A container that is gone is as it should be; anything else shows as a task that does not end.
        with contextlib.suppress(ImageError):
            self._run(*words, doing=f"end {self.name}")

    def where(self) -> str:
        """The container."""
        return f"{self._engine} {self.name}"


# ---------------------------------------------------------------- databases


class Database(database.Server):
    """PostgreSQL as in RDS's container: the official image, its data in a volume, its socket in a folder of ours."""

    def __init__(self, data: Path, name: str, version: str) -> None:
        super().__init__(data)
        self._engine = name
        self.name = f"{OURS}-rds-{data.name}"
        # In full, for podman knows no default registry.
        self.image = f"docker.io/library/postgres:{version.partition('.')[0]}-alpine"
        # The container's user owns the inner folder, the outer one is ours alone.
        self._private, self.sockets = self.sockets, self.sockets / "run"
        self._ready = data / "ready"

    def _call(self, *words: str, doing: str, **options: Any) -> str:
        try:
            return engine(self._engine).run(*words, doing=doing, **options)
        except ImageError as error:
            raise RuntimeError(str(error)) from None

    def where(self) -> str:
        """The container, or "" when the server does not run."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
            except OSError:
                return ""
        return f"{self._engine} {self.name}"

    def start(self) -> None:
        """Start the container unless it runs, and wait until it serves."""
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._private.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._private.chmod(0o700)
        if not self.sockets.exists():
            self.sockets.mkdir()
            # The container's user makes it its own, and whoever has come through the outer folder may come through.
            self.sockets.chmod(0o755)
        if self.where() and self._serves():
            return
        self._remove()
        if not self._ready.exists():
            # What an interrupted start left in the volume looks like a database and is none.
            volumes = ("volume", "rm", "--force", self.name)
            self._call(*volumes, doing="remove a half-made volume")
        _make_volume(engine(self._engine), self.name)
        self._launch()
        self._wait()
        self._ready.touch()

    def _launch(self) -> None:
        if not self.passfile.exists() or not self._ready.exists():
            entry = f"*:*:*:{database.SUPERUSER}:{random.token_hex(24)}\n"
            config.write_atomic(self.passfile, entry)
            self._own(self.passfile)
        # The door brings strangers to this socket: who comes through it is asked for a password, as everybody else.
        access = self._private / "pg_hba.conf"
        # The container's user reads it.
        config.write_atomic(access, "local all all scram-sha-256\n", 0o644)
        variables = {
            "POSTGRES_USER": database.SUPERUSER,
            "POSTGRES_PASSWORD": self.passfile.read_text().strip().rpartition(":")[2],
            "PGDATA": "/data/pgdata",
        }
        options = ["--detach", "--name", self.name, "--label", f"{LABEL}={OURS}-database", "--network", "none"]
        options += ["--stop-signal", "SIGINT", "--volume", f"{self.name}:/data"]
        options += ["--volume", f"{self.sockets}:/var/run/postgresql", "--volume", f"{access}:/run/pg_hba.conf:ro"]
        options += [word for variable in variables for word in ("--env", variable)]
        # The server of its first start, which only makes the database, listens nowhere: so the two are told apart.
        settings = ["-c", "hba_file=/run/pg_hba.conf", "-c", "listen_addresses=localhost"]
        settings += ["-c", "unix_socket_directories=/var/run/postgresql"]
        command = [engine(self._engine).command, "run", *options, self.image, "postgres", *settings]
        done = subprocess.run(
            command,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=mlflow_image.LONG_SECONDS,
        )
        if done.returncode:
            raise RuntimeError(f"{self._engine} could not run {self.image}: {mlflow_image.last_line(done.stderr)}")

    def _serves(self) -> bool:
        try:
            return bool(self.sql("SHOW listen_addresses;").strip())
        except RuntimeError:
            return False

    def _wait(self) -> None:
        deadline = time.monotonic() + 120
        while not self._serves():
            state = self._call("inspect", "--format", "{{.State.Running}}", self.name, doing=f"find {self.name}")
            if state.strip() != "true" or time.monotonic() > deadline:
                log = self._call("logs", "--tail", "5", self.name, doing=f"read the log of {self.name}")
                raise RuntimeError(f"{self.image} does not start: {mlflow_image.last_line(log)}")
            time.sleep(0.3)

    def _remove(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._call("rm", "--force", "--volumes", self.name, doing=f"remove {self.name}")

    def stop(self) -> None:
        """Stop the server with its data flushed; clients are cut off."""
        if self.where():
            try:
                self._call("stop", "--time", "60", self.name, doing=f"stop {self.name}")
            except RuntimeError as error:
                database.LOG.error("%s", error)
        self._remove()
