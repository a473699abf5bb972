"""`make up` in a scratch clone, as a new user would; what stands is read with HTTP and boto3, not from its output."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
MINE = ("AWS_", "MLFLOW_", "ANSIBLE_", "MAKE", "MFLAGS", "LOCAL_STATE", "STORAGE", "EXPOSURE", "ENGINE", "PORT")


def run_make(clone: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run make in the clone with nothing of this process's AWS."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(MINE)} | extra
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=clone, env=environment, text=True, capture_output=True, check=False)


def make(clone: Path, *arguments: str, fails: bool = False, **extra: str) -> str:
    """Run make as it must end; its output, standard error last."""
    done = run_make(clone, *arguments, **extra)
    output = done.stdout + done.stderr
    assert (done.returncode != 0) is fails, output
    assert "Traceback" not in output, output
    return output


def environment(clone: Path) -> dict[str, str]:
    """What `make -s env` exports; every line must be an export."""
    done = run_make(clone, "-s", "env")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    words = [shlex.split(line) for line in lines]
    assert all(len(pair) == 2 and pair[0] == "export" for pair in words), lines
    return dict(pair[1].split("=", 1) for pair in words)


def ask(
    url: str, path: str, login: str = "", method: str = "GET", body: object = None, ca: str = "", **headers: str
) -> tuple[int, str]:
    """(status, text) of one request; `login` is user:password, `ca` the file of authorities, or this machine's."""
    if login:
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url + path, data=data, method=method, headers=headers)
    try:
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca or None))
        with urllib.request.build_opener(urllib.request.ProxyHandler({}), tls).open(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def client(env: dict[str, str], service: str) -> Any:
    """A boto3 client with what `make env` says, as another shell would have it."""
    return boto3.client(
        service,
        endpoint_url=env.get(f"AWS_ENDPOINT_URL_{service.upper()}", env["AWS_ENDPOINT_URL"]),
        region_name=env["AWS_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        config=Config(proxies={}),
        verify=env["AWS_CA_BUNDLE"],
    )


def servers(clone: Path) -> list[psutil.Process]:
    """The MLflow servers that run from the clone's images."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if (process.info["environ"] or {}).get("AWS_CONTAINER_CREDENTIALS_FULL_URI") and str(clone) in str(process.info)
    ]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clone of what is committed, with the environments of this checkout, which `make test` has just made."""
    folder = tmp_path_factory.mktemp("e2e") / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    for name in (".venv", ".venv-server"):
        (folder / name).symlink_to(ROOT / name)
    yield folder
    make(folder, "clean")


def test_the_whole_way(clone: Path) -> None:
    # At the highest verbosity, for what follows asks whether a secret is in it.
    done = run_make(clone, "up", ANSIBLE_VERBOSITY="4")
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert re.search(r"mlflow-local +: ok=\d+ +changed=[1-9]", output)
    url, user, password_hint = done.stdout.strip().splitlines()[-3:]
    env = environment(clone)
    login = f"{env['MLFLOW_TRACKING_USERNAME']}:{env['MLFLOW_TRACKING_PASSWORD']}"
    assert env["MLFLOW_TRACKING_URI"] in url
    assert env["MLFLOW_TRACKING_USERNAME"] in user
    secrets = client(env, "secretsmanager")
    for name in ("admin", "database", "flask"):
        text = secrets.get_secret_value(SecretId=f"mlflow/local-rds-internal/{name}")["SecretString"]
        value = json.loads(text)["password"] if text.startswith("{") else text
        assert len(value) >= 32
        assert value not in output, f"the secret {name} is in the output"
    assert "make -s env" in password_hint

    # The login is asked for, the page is MLflow's, and a name that nobody derived is refused.
    where = env["MLFLOW_TRACKING_URI"]
    search = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert ask(where, search)[0] == 401
    assert ask(where, search, login="admin:wrong-password-1")[0] == 401
    assert ask(where, search, login=login)[0] == 200
    assert "<title>MLflow</title>" in ask(where, "/", login=login)[1]
    assert ask(where, search, login=login, Host="evil.example")[0] == 403

    # The server runs as its task role, from the revision that the play registered, and knows no other key.
    (process, *_) = servers(clone)
    theirs = process.environ()
    assert env["AWS_SECRET_ACCESS_KEY"] not in str(theirs)
    assert theirs["AWS_CONTAINER_CREDENTIALS_FULL_URI"].startswith("http://127.0.0.1:")
    outputs = json.loads((clone / "outputs/local-rds-internal.json").read_text())
    found = client(env, "ecs").describe_services(cluster="local-rds-internal", services=["local-rds-internal"])
    assert found["services"][0]["taskDefinition"] == outputs["task_definition"]
    for line in servers(clone):
        assert env["MLFLOW_TRACKING_PASSWORD"] not in " ".join(line.cmdline())

    # It is there again after `down`, with its data, and the play has nothing to change.
    created, text = ask(where, "/api/2.0/mlflow/experiments/create", login, "POST", {"name": "survives"})
    assert created == 200, text
    assert "healthy" in make(clone, "status")
    make(clone, "down")
    assert servers(clone) == []
    output = make(clone, "up")
    assert re.search(r"mlflow-local +: ok=\d+ +changed=0 ", output)
    assert environment(clone)["MLFLOW_TRACKING_URI"] == where
    assert ask(where, "/api/2.0/mlflow/experiments/get-by-name?experiment_name=survives", login=login)[0] == 200


def test_the_other_storage_and_exposure(clone: Path) -> None:
    output = make(clone, "up", "STORAGE=efs", "EXPOSURE=public")
    assert re.search(r"mlflow-local +: ok=\d+ +changed=[1-9]", output)
    env = environment(clone)
    login = f"{env['MLFLOW_TRACKING_USERNAME']}:{env['MLFLOW_TRACKING_PASSWORD']}"
    where, ca = env["MLFLOW_TRACKING_URI"], env["SSL_CERT_FILE"]
    assert where.startswith("https://127.0.0.1:")
    # Each client has a variable of its own for what it trusts.
    assert env["SSL_CERT_FILE"] == env["REQUESTS_CA_BUNDLE"] == env["CURL_CA_BUNDLE"]
    assert f"MLFLOW:   {where}".casefold() in output.casefold()
    assert ask(where, "/api/2.0/mlflow/experiments/search?max_results=1", login=login, ca=ca)[0] == 200
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(where, "/health")
    outputs = json.loads((clone / "outputs/local-efs-public.json").read_text())
    assert outputs["tracking_url"] == "https://mlflow.local.test"
    assert list((clone / ".local/efs").glob(f"{outputs['efs_file_system_id']}/*/mlflow.db"))


def test_nobody_else_reads_what_lies_there(clone: Path) -> None:
    state = clone / ".local"
    # Where PostgreSQL has to run as another user, it may walk through.
    assert state.stat().st_mode & 0o066 == 0
    secret = list((state / "aws/state").glob("*.json"))
    assert secret
    for path in (*secret, state / "aws", state / "run", state / "logs", state / "current.json"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_bad_words_get_one_sentence(clone: Path) -> None:
    output = make(clone, "up", "STORAGE=floppy", fails=True)
    assert "STORAGE=floppy is not one of rds, efs" in output


def test_nothing_is_left_after_clean(clone: Path) -> None:
    make(clone, "clean")
    assert not (clone / ".local").exists()
    assert servers(clone) == []
    left = [p for p in psutil.process_iter(["cmdline"]) if str(clone) in " ".join(p.info["cmdline"] or [])]
    assert left == []
    assert "Nothing runs here" in make(clone, "down")
