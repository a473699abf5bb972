"""The server in its container does all that its clients ask of it, and the image holds what it says and no more."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from local import config
from tests import flood
from tests.image import engine as machine
from tests.image import sweep
from tests.image.conftest import Server

# What the image leaves out by file, not by package: none of it may be what something asks for.
_AWS_SERVICES = ("s3", "sts", "sso", "sso-oidc", "signin", "bedrock-runtime")
_INVENTORY = """
import json
from importlib import metadata
names = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in metadata.distributions()}
print(json.dumps(sorted(f"{name}=={version}" for name, version in names.items())))
"""
_CLIENTS = """
import json, re
from pathlib import Path
import boto3, mlflow
root = Path(mlflow.__file__).parent
named = set()
for part in ("store", "server", "gateway", "utils", "tracking", "webhooks"):
    for file in (root / part).rglob("*.py"):
        if "sagemaker" not in file.name:
            named |= set(re.findall(r'client\\(\\s*(?:service_name=)?"([a-z0-9-]+)"', file.read_text()))
known = set(boto3.session.Session().get_available_services())
print(json.dumps({"named": sorted(named - {"databricks", "openai"}), "known": sorted(known)}))
"""
_COMPILED = """
import importlib.util, pathlib, sys
import mlflow.server.fastapi_app, mlflow.server.auth
late = []
for name, module in list(sys.modules.items()):
    file = getattr(module, "__file__", None) or ""
    if file.startswith("/opt/mlflow/") and file.endswith(".py"):
        cached = pathlib.Path(importlib.util.cache_from_source(file))
        # Bytes 4 to 8 tell how Python validates it: 1 is by content, unchecked.
        if not cached.is_file() or cached.read_bytes()[4:8] != b"\\x01\\0\\0\\0":
            late.append(name)
print(len(sys.modules), late)
"""


@pytest.fixture(scope="module")
def results(server: Server) -> dict[str, dict[str, Any]]:
    """What each check of the sweep came to, by name."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_", "PYTHON"))}
    done = subprocess.run(
        [config.SERVER_PYTHON, sweep.__file__],
        env={**kept, **server.env},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stderr
    return {line["check"]: line for line in lines}


@pytest.mark.parametrize("check", sweep.checks())
def test_sweep(check: str, results: dict[str, dict[str, Any]]) -> None:
    assert results[check]["error"] is None, results[check]["error"]


def inside(server: Server, program: str) -> str:
    """What a program says in the container."""
    done = server.container.exec("python", "-W", "ignore", "-c", program)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_the_sweep_left_no_error_in_the_log(results: dict[str, dict[str, Any]], server: Server) -> None:
    log = server.container.logs()
    assert "No module named" not in log
    assert "Traceback" not in log


def test_the_list_of_packages_is_what_is_installed(server: Server) -> None:
    sbom = json.loads(server.container.exec("cat", "/opt/mlflow/sbom.cdx.json").stdout)
    assert (sbom["bomFormat"], sbom["specVersion"] >= "1.5") == ("CycloneDX", True)
    listed = sorted(f"{one['name'].lower().replace('_', '-')}=={one['version']}" for one in sbom["components"])
    assert listed == json.loads(inside(server, _INVENTORY))


def test_the_packages_are_those_of_the_lock(server: Server) -> None:
    lock = (Path(config.ROOT) / "docker/requirements-slim.txt").read_text()
    pinned = {line.split(" ")[0] for line in lock.splitlines() if line[:1].isalnum()}
    installed = set(json.loads(inside(server, _INVENTORY)))
    assert installed <= pinned, installed - pinned
    for name in (Path(config.ROOT) / "docker/excluded.txt").read_text().splitlines():
        assert not [one for one in installed if one.startswith(f"{name}==")], name


def test_boto3_knows_the_services_that_mlflow_calls(server: Server) -> None:
    services = json.loads(inside(server, _CLIENTS))
    assert set(_AWS_SERVICES) == set(services["known"])
    # IAM and ECR are asked by commands that deploy models to SageMaker.
    assert set(services["named"]) <= set(services["known"]) | {"iam", "ecr", "sagemaker"}, services["named"]


def test_every_module_was_compiled_before(server: Server) -> None:
    count, _, late = inside(server, _COMPILED).partition(" ")
    assert int(count) > 1000
    assert late == "[]"


def test_no_compiler_no_pip_no_tests(server: Server) -> None:
    found = server.container.exec("sh", "-c", "ls /opt/mlflow/venv/bin; command -v gcc cc make; true").stdout.split()
    assert "mlflow" in found
    assert not {"pip", "gcc", "cc", "make"} & {Path(name).name for name in found}
    tests = server.container.exec("find", "/opt/mlflow/venv/lib", "-type", "d", "-name", "tests").stdout
    assert tests == ""


_MEMORY = """
from pathlib import Path
total = 0
for file in Path("/proc").glob("[0-9]*/status"):
    for line in file.read_text().splitlines():
        if line.startswith("VmRSS:"):
            total += int(line.split()[1])
print(total >> 10)
"""


def test_fifty_requests_without_login_do_not_end_a_small_task(engine: machine.Engine, image: str) -> None:
    """In the memory of a `small` task."""
    port = config.free_port()
    with machine.s3() as storage, machine.volume(engine, image) as volume:
        env = machine.server_env(port, storage) | {"MLFLOW_AUTH": "basic", "MLFLOW_DATA_DIR": machine.DATA}
        env |= {"MLFLOW_AUTH_ADMIN_PASSWORD": "administrators-password", "MLFLOW_FLASK_SERVER_SECRET_KEY": "0" * 32}
        options = (*machine.FARGATE, *machine.NETWORK, "--volume", f"{volume}:{machine.DATA}", "--memory", "1024m")
        with machine.container(engine, image, *options, env=env) as container:
            machine.wait_healthy(container, port)
            server = Server(container, f"http://{machine.HOST}:{port}", "admin", env["MLFLOW_AUTH_ADMIN_PASSWORD"])
            address = f"{server.url}/api/2.0/mlflow/experiments/search?max_results=1"
            login = (server.username, server.password)
            assert requests.get(address, auth=login, timeout=30).ok
            idle = int(inside(server, _MEMORY))
            threads, answers = flood.flood(machine.HOST, port)
            most = idle
            while any(thread.is_alive() for thread in threads):
                most = max(most, int(inside(server, _MEMORY)))
                assert requests.get(address, auth=login, timeout=30).ok
            # The program that reads the memory counts itself, both times.
            assert most - idle < 50
            assert len(answers) > flood.AT_ONCE / 2 and set(answers) <= {401, 413}
