"""Tasks in containers: what the engine is told, with a stand-in for its command."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from local import aws, config, containers, database, runners, up

DIGEST = "sha256:" + "a" * 64
IMAGE = f"000000000000.dkr.ecr.eu-west-1.amazonaws.com/team/app@{DIGEST}"
LOCAL = f"127.0.0.1:4566/team/app@{DIGEST}"
# Writes down its arguments and the password it was given, and does what a test asks for by files beside it.
ENGINE = """#!/bin/sh
here=$(dirname "$0")
case "$1" in
  --version) echo "Docker version 20.10"; exit 0 ;;
  version) echo amd64; exit 0 ;;
esac
printf '%s\\n' "$*" >> "$here/calls"
case "$1" in
  run) printf '%s' "$PASSWORD" > "$here/given"; echo started; exit 3 ;;
  image) test -e "$here/has" && echo sha256:1 ;;
  volume) test "$2" != inspect ;;
  exec) test ! -e "$here/ill" ;;
  info|ps|rm|kill|login|logout|pull|--config) : ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with the engine `docker` in it."""
    program = tmp_path / "docker"
    program.write_text(ENGINE)
    program.chmod(0o755)
    containers.engine.cache_clear()
    yield tmp_path
    containers.engine.cache_clear()


def calls(folder: Path) -> list[str]:
    """The engine's command lines."""
    return (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


def container(folder: Path, **changes: Any) -> containers.Container:
    """A task as the role ecs_service defines it, but for `changes` of its container."""
    spec = {
        "name": "mlflow",
        "image": IMAGE,
        "cpu": 512,
        "memory": 1024,
        "command": ["serve"],
        "readonlyRootFilesystem": True,
        "user": "10001:10001",
        "linuxParameters": {"initProcessEnabled": True},
        "portMappings": [{"containerPort": 5000}],
        "environment": [{"name": "MLFLOW_PORT", "value": "5000"}, {"name": "MLFLOW_DATA_DIR", "value": "/mlflow"}],
        "mountPoints": [
            {"sourceVolume": "tmp", "containerPath": "/tmp"},
            {"sourceVolume": "data", "containerPath": "/mlflow", "readOnly": True},
        ],
        "healthCheck": {"command": ["CMD", "python", "health"], "interval": 30, "timeout": 1},
        **changes,
    }
    volumes = [{"name": "tmp"}, {"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]
    definition = {"containerDefinitions": [spec], "volumes": volumes}
    order = runners.Order("0123456789abcdef", definition, 40001, folder / "scratch")
    return containers.Container(order, str(folder / "docker"))


def ended(task: runners.Runner) -> int:
    """The exit code, waited for."""
    deadline = time.monotonic() + 20
    while (code := task.exit_code()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return code


def test_the_engine_is_told_what_the_definition_says(folder: Path) -> None:
    task = container(folder)
    task._image = LOCAL
    task.start({"AWS_CONTAINER_AUTHORIZATION_TOKEN": "t0ken"}, {"PASSWORD": "s3cr3t"})
    assert ended(task) == 3
    assert task.output.read() == b"started\n"
    (run,) = [call for call in calls(folder) if call.startswith("run ")]
    for words in (
        f"--name {task.name}",
        "--network host",
        "--cpus 0.5",
        "--memory 1024m",
        "--init",
        "--read-only",
        "--user 10001:10001",
        "--volume /tmp ",
        f"--volume {containers.OURS}-efs-fs-1-root:/mlflow:ro",
        f":{containers.CA}:ro",
        f"--env AWS_CA_BUNDLE={containers.CA}",
        "--env MLFLOW_HOST=127.0.0.1",
        "--env MLFLOW_PORT=40001",
        "--env MLFLOW_DATA_DIR=/mlflow",
        "--env PASSWORD",
        "--env AWS_CONTAINER_AUTHORIZATION_TOKEN",
    ):
        assert words in run
    assert run.endswith(f" {LOCAL} serve")
    # By name in the arguments, by value in nothing that others can read.
    assert (folder / "given").read_text() == "s3cr3t"
    assert not any(secret in call for secret in ("s3cr3t", "t0ken") for call in calls(folder))


def test_nothing_is_asked_for_that_the_definition_does_not_say(folder: Path) -> None:
    bare: dict[str, Any] = dict.fromkeys(("cpu", "memory", "readonlyRootFilesystem", "user", "linuxParameters"))
    task = container(folder, **bare, mountPoints=[], entryPoint=["sh", "-c"], command=["true"])
    task._image = LOCAL
    task.start({}, {})
    ended(task)
    (run,) = [call for call in calls(folder) if call.startswith("run ")]
    for word in ("--cpus", "--memory", "--read-only", "--init", "--user", "/mlflow:"):
        assert word not in run
    assert "--entrypoint sh" in run
    assert run.endswith(f"{LOCAL} -c true")


def looked(task: containers.Container) -> bool:
    """The answer of the health check, waited for."""
    deadline = time.monotonic() + 20
    while (found := task.healthy()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_health_is_what_the_command_in_the_container_says(folder: Path) -> None:
    task = container(folder)
    assert task.healthy() is None
    assert looked(task)
    (folder / "ill").touch()
    assert not looked(task)
    assert calls(folder)[0] == f"exec {task.name} python health"
    shell = container(folder, healthCheck={"command": ["CMD-SHELL", "curl x || exit 1"]})
    looked(shell)
    assert calls(folder)[-1] == f"exec {task.name} sh -c curl x || exit 1"
    assert container(folder, healthCheck=None).healthy() is True


def test_a_check_that_hangs_has_failed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "PATIENCE", 1.0)
    (folder / "docker").write_text("#!/bin/sh\ncase $1 in --version) echo docker ;; version) echo amd64 ;; esac\n")
    task = container(folder)
    containers.engine(str(folder / "docker"))
    (folder / "docker").write_text("#!/bin/sh\nexec sleep 60\n")
    began = time.monotonic()
    assert not looked(task)
    assert 0.9 < time.monotonic() - began < 10


class Ecr:
    """ECR with one image, for whoever has every right but `refused`."""

    def __init__(self, refused: str = "", images: bool = True) -> None:
        self.refused = refused
        self.images = images
        self.asked: list[str] = []

    def _answer(self, action: str, answer: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(action)
        if action == self.refused:
            error = {"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}
            raise botocore.exceptions.ClientError(error, action)  # type: ignore[arg-type]
        return answer

    def get_authorization_token(self) -> dict[str, Any]:
        token = base64.b64encode(b"AWS:t0ken").decode()
        data = [{"authorizationToken": token, "proxyEndpoint": "https://127.0.0.1:4566"}]
        return self._answer("GetAuthorizationToken", {"authorizationData": data})

    def batch_get_image(self, repositoryName: str, imageIds: list[dict[str, str]]) -> dict[str, Any]:
        assert (repositoryName, imageIds) == ("team/app", [{"imageDigest": DIGEST}])
        manifest = json.dumps({"config": {"digest": "sha256:config"}})
        return self._answer("BatchGetImage", {"images": [{"imageManifest": manifest}] if self.images else []})

    def get_download_url_for_layer(self, repositoryName: str, layerDigest: str) -> dict[str, Any]:
        assert layerDigest == "sha256:config"
        return self._answer("GetDownloadUrlForLayer", {})


def pull(folder: Path, monkeypatch: pytest.MonkeyPatch, ecr: Ecr) -> containers.Container:
    """A task whose image was pulled from `ecr`."""
    monkeypatch.setattr(aws, "client", lambda service, session: ecr)
    task = container(folder)
    task.pull(None)  # type: ignore[arg-type]
    return task


def test_an_image_of_ecr_is_pulled_from_this_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = pull(folder, monkeypatch, Ecr())
    assert task._image == LOCAL
    assert [call for call in calls(folder) if f"pull --platform linux/amd64 {LOCAL}" in call]
    assert not any("t0ken" in call for call in calls(folder))


def test_an_image_that_is_here_is_not_pulled_but_the_rights_are_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "has").touch()
    ecr = Ecr()
    pull(folder, monkeypatch, ecr)
    assert ecr.asked == ["GetAuthorizationToken", "BatchGetImage", "GetDownloadUrlForLayer"]
    assert not any("pull" in call for call in calls(folder))


@pytest.mark.parametrize("action", ["GetAuthorizationToken", "BatchGetImage", "GetDownloadUrlForLayer"])
def test_a_missing_right_keeps_the_image_away(folder: Path, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    (folder / "has").touch()
    with pytest.raises(runners.CannotStart, match=f"CannotPullContainerError.*{action}"):
        pull(folder, monkeypatch, Ecr(refused=action))


def test_an_image_that_ecr_does_not_have(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(runners.CannotStart, match=f"{DIGEST} is not in the repository team/app"):
        pull(folder, monkeypatch, Ecr(images=False))


def test_an_engine_that_does_not_answer_stops_up_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "podman"
    program.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo podman version 4 && exit\necho cannot connect >&2\nexit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.defpath}")
    monkeypatch.setenv("ENGINE", "podman")
    monkeypatch.setattr(containers.sys, "platform", "linux")
    monkeypatch.setattr(containers, "USED", tmp_path / "engines.json")
    monkeypatch.setattr(up, "check_ground", lambda: None)
    monkeypatch.setattr(up, "only_one", lambda: pytest.fail("it went on"))
    containers.engine.cache_clear()
    with pytest.raises(config.Trouble, match=r"ENGINE=podman: podman does not answer \(cannot connect\)"):
        up.up()
    assert not (tmp_path / "engines.json").exists()


def test_an_engine_needs_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers.sys, "platform", "darwin")
    with pytest.raises(config.Trouble, match="ENGINE=docker needs Linux"):
        containers.require("docker")


def test_who_never_used_an_engine_is_not_asked_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "USED", tmp_path / "engines.json")
    monkeypatch.setattr(containers, "engine", lambda name: pytest.fail("asked"))
    containers.end_tasks()
    containers.end_all()
    containers.remove_all()


def test_a_database_is_known_by_its_socket(tmp_path: Path) -> None:
    found = containers.Database(tmp_path / "db-1", "docker", "16.3")
    assert found.image == "docker.io/library/postgres:16-alpine"
    # The folder that the container's user owns lies in one that is ours alone.
    assert found.socket.parent == found.sockets == database.socket_folder(tmp_path / "db-1") / "run"
    assert found.where() == ""
