"""Whoever builds it, the image is the same: docker's classic builder, BuildKit and podman."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.module_utils import mlflow_image
from tests.image import engine as machine

# Name, kind, mode, owner and size of all that the Dockerfile makes.
LISTING = ("find", "/opt/mlflow", "-printf", r"%P %y %m %U:%G %s %l\n")
FIELDS = "{{json .Config.User}} {{json .Config.Entrypoint}} {{json .Config.Cmd}} {{json .Config.WorkingDir}}"


def content(engine: machine.Engine, image: str) -> tuple[list[str], str]:
    """What is in the image, and how it is run."""
    options = ("--rm", "--network", "none", "--entrypoint", LISTING[0])
    listed = engine.run("run", *options, image, *LISTING[1:]).splitlines()
    # The size of a folder is the file system's business.
    files = sorted(line if " d " not in line else line.rpartition(" d ")[0] for line in listed)
    return files, engine.run("image", "inspect", "--format", FIELDS, image)


def buildkit(engine: machine.Engine) -> str:
    """A docker command that has BuildKit: the one in use, or another one beside it."""
    for command in (engine.command, "/usr/bin/docker"):
        if machine.Engine(command).call("build", "--help", env={"DOCKER_BUILDKIT": "1"}).returncode == 0:
            return command
    machine.skip("no docker here has BuildKit")


@pytest.fixture(params=["classic", "BuildKit", "podman"])
def builder(
    request: pytest.FixtureRequest, engine: machine.Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> machine.Engine:
    """An engine whose `build` uses this builder, with the base image in it."""
    if request.param != "podman":
        if engine.kind != "docker":
            pytest.skip(f"{request.param} is docker's")
        monkeypatch.setenv("DOCKER_BUILDKIT", "0" if request.param == "classic" else "1")
        return engine if request.param == "classic" else machine.Engine(buildkit(engine))
    command = shutil.which("podman")
    if not command:
        machine.skip("podman is not installed")
    podman = machine.Engine(command, "podman")
    base = machine.recipe(engine).base_image
    if not podman.has(base):
        file = str(tmp_path / "base.tar")
        engine.run("save", "--output", file, base)
        podman.run("load", "--input", file)
    return podman


@pytest.fixture
def built(builder: machine.Engine) -> Iterator[str]:
    """The image that it builds."""
    name = "mlflow-test-build:1"
    mlflow_image.build(builder.command, machine.recipe(builder), name)
    yield name
    builder.call("rmi", name)


def test_every_builder_makes_the_same(
    builder: machine.Engine, built: str, engine: machine.Engine, image: str, tmp_path: Path
) -> None:
    wanted, got = content(engine, image), content(builder, built)
    assert len(wanted[0]) > 5000
    assert got == wanted
    with machine.container(builder, built, "--read-only", "--network", "none", command=("version",)) as one:
        assert one.wait() == 0, one.logs()
        assert one.logs().startswith("mlflow 3."), one.logs()
