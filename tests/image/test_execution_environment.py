"""AWX's execution environment: built from its definition, and a stack converged in it as a job of AWX does."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from packaging.requirements import Requirement

from bench import sides
from local import config
from plugins.module_utils import mlflow_image
from tests.image import engine as machine

ROOT = Path(__file__).resolve().parents[2]
# What ansible-builder adds by itself.
BUILDERS_OWN = ("bindep", "pyyaml", "packaging", "dumb-init==1.2.5")
# A job has no home folder, and can write neither its image nor the project.
JOB = ("--rm", "--read-only", "--tmpfs", "/tmp", "--env", "HOME=/nonexistent", "--workdir", "/runner/project")


def pins(python: str) -> list[str]:
    """What requirements.txt installs for such a Python."""
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    wanted = [Requirement(line) for line in lines]
    fitting = [one for one in wanted if not one.marker or one.marker.evaluate({"python_version": python})]
    return [f"{one.name}{one.specifier}" for one in fitting]


def offline(context: Path, python: dict[str, str]) -> list[str]:
    """Give the context all packages, since the build has no network: (the versions of core and runner)."""
    recipe = context / "Containerfile"
    text = recipe.read_text()
    match = re.search(r'ANSIBLE_INSTALL_REFS="\S+ (\S+)"', text)
    assert match
    installed = [next(pin for pin in pins(python["python_version"]) if pin.startswith("ansible-core")), match[1]]
    wheels = context / "_build" / "wheels"
    options = mlflow_image.wheel_options(python, "x86_64")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--only-binary",
        ":all:",
        "--dest",
        str(wheels),
        *options,
    ]
    subprocess.run([*pip, *pins(python["python_version"]), *installed, *BUILDERS_OWN], check=True)
    from_here = "USER root\nCOPY _build/wheels /wheels\nENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels\n"
    recipe.write_text(text.replace("USER root\n", from_here, 1))
    return installed


@pytest.fixture(scope="module")
def environment(engine: machine.Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image's name."""
    base, name = f"mlflow-test-ee-base:{config.free_port()}", f"mlflow-test-ee:{config.free_port()}"
    context = tmp_path_factory.mktemp("ee")
    builder = [
        str(Path(sys.executable).with_name("ansible-builder")),
        "create",
        "--file",
        "awx/execution-environment.yml",
    ]
    told = ["--context", str(context), "--output-filename", "Containerfile"]
    subprocess.run([*builder, *told], cwd=ROOT, check=True, capture_output=True)
    # The definition names the interpreter of the official image, which a stand-in has elsewhere.
    (context / "Base").write_text(
        "ARG FROM\nFROM $FROM\nRUN test -x /usr/local/bin/python3 || python3 -m venv /usr/local\n"
    )
    below = machine.recipe(engine).base_image
    python = mlflow_image.Engine(engine.command).python(below, "linux/amd64")
    refs = " ".join(offline(context, python))
    offline_build = ("build", "--network", "none")
    try:
        engine.run(
            *offline_build, "--file", f"{context}/Base", "--build-arg", f"FROM={below}", "--tag", base, str(context)
        )
        arguments = ("--build-arg", f"EE_BASE_IMAGE={base}", "--build-arg", f"ANSIBLE_INSTALL_REFS={refs}")
        engine.run(*offline_build, "--file", f"{context}/Containerfile", *arguments, "--tag", name, str(context))
        yield name
    finally:
        engine.call("image", "rm", "--force", name, base)


def job(engine: machine.Engine, image: str, *command: str, **env: str) -> str:
    """Run a command in the environment, as AWX runs a job; what it says."""
    variables = [word for name, value in env.items() for word in ("--env", f"{name}={value}")]
    project = ("--volume", f"{ROOT}:/runner/project:ro", "--network", "host")
    done = engine.call("run", *JOB, *project, *variables, image, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def test_knows_playbooks_and_modules(engine: machine.Engine, environment: str) -> None:
    assert "playbook: site.yml" in job(
        engine, environment, "ansible-playbook", "-i", "inventories/dev", "site.yml", "--syntax-check"
    )
    said = job(
        engine, environment, "ansible-doc", "-t", "module", "amazon.aws.s3_bucket", "awx.awx.job_template", "ecr_image"
    )
    for name in ("s3_bucket", "job_template", "ecr_image"):
        assert name in said


def test_converges_a_stack(engine: machine.Engine, environment: str, tmp_path: Path) -> None:
    play = ("ansible-playbook", "-i", "bench/inventory", "site.yml")
    with sides.Cloud(tmp_path / "aws") as cloud:
        env = sides.AWS | {"AWS_ENDPOINT_URL": cloud.url}
        said = job(engine, environment, *play, **env)
        assert "failed=0" in said
        clusters = boto3.client(
            "ecs", endpoint_url=cloud.url, region_name=sides.REGION, **credentials()
        ).list_clusters()
        assert [arn.rpartition("/")[2] for arn in clusters["clusterArns"]] == [sides.STACK]
        said = job(engine, environment, *play, "-e", "mlflow_full_run=true", **env)
        assert "changed=0" in said


def credentials() -> dict[str, str]:
    """The keys, as boto3 names them."""
    return {
        "aws_access_key_id": sides.AWS["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": sides.AWS["AWS_SECRET_ACCESS_KEY"],
    }
