"""`make up ENGINE=...` in a scratch clone: the image that production runs, built, in containers, rolled and broken."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from plugins.module_utils import mlflow_image
from tests.e2e.test_up import ROOT, ask, client, environment, make, run_make
from tests.image.engine import POSTGRES, Engine, Unavailable, find_engine, recipe

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"
SECRETS = ("MLFLOW_DB_PASSWORD", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY")
# A server of half a CPU needs half a minute to start, three tasks in a row may fail, and the machine may be busy.
BOUND_SECONDS = 420


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The engine, with the images that everything starts from."""
    try:
        found = find_engine()
        for image in (recipe(found).base_image, POSTGRES):
            found.need(image)
    except Unavailable as reason:
        pytest.skip(f"no stack in containers: {reason}")
    return found


@dataclass
class Stack:
    """The stack that stands in `clone`."""

    clone: Path
    engine: Engine
    env: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.engine.kind}-rds-internal"

    @property
    def url(self) -> str:
        return self.env["MLFLOW_TRACKING_URI"]

    @property
    def login(self) -> str:
        return f"{self.env['MLFLOW_TRACKING_USERNAME']}:{self.env['MLFLOW_TRACKING_PASSWORD']}"

    def containers(self, kind: str) -> list[dict[str, Any]]:
        """What the engine says of the stack's containers, `task` or `rds`."""
        listed = self.engine.run("ps", "--format", "{{.ID}} {{.Names}}").splitlines()
        ids = [line.split()[0] for line in listed if f"-{kind}-" in line and line.split()[1].startswith(self.prefix)]
        return list(json.loads(self.engine.run("inspect", *ids))) if ids else []

    @property
    def prefix(self) -> str:
        """How the names of this clone's containers and volumes begin."""
        return "mlflow-local-" + hashlib.sha256(str(self.clone / ".local").encode()).hexdigest()[:10]

    def play(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run site.yml as from another shell."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_"))}
        program = self.clone / ".venv/bin/ansible-playbook"
        path = f"{program.parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
        return subprocess.run(
            [str(program), "-i", "inventories/local", "site.yml", *arguments],
            cwd=self.clone,
            env={**kept, **self.env, "PATH": path},
            text=True,
            capture_output=True,
            check=False,
        )

    def service(self) -> dict[str, Any]:
        """What ECS says of the service."""
        found = client(self.env, "ecs").describe_services(cluster=self.name, services=[self.name])
        return dict(found["services"][0])

    def revision(self) -> str:
        """family:revision that the service runs."""
        return str(self.service()["taskDefinition"]).rpartition("/")[2]


@pytest.fixture(scope="module")
def stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, once brought up; gone afterwards."""
    clone = tmp_path_factory.mktemp("engine") / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    for name in (".venv", ".venv-server"):
        (clone / name).symlink_to(ROOT / name)
    found = Stack(clone, engine)
    try:
        # At the highest verbosity, for what follows asks whether a secret is in it.
        done = run_make(clone, "up", f"ENGINE={engine.kind}", ANSIBLE_VERBOSITY="4")
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        assert re.search(r"mlflow-local +: ok=\d+ +changed=[1-9]", output)
        assert "nested artifact folder up and down, bytes compared" in output
        found.env = environment(clone)
        assert found.env["MLFLOW_TRACKING_PASSWORD"] not in output
        yield found
    finally:
        make(clone, "clean")
    for words in (("ps", "--all", "--format", "{{.Names}}"), ("volume", "ls", "--format", "{{.Name}}")):
        assert found.prefix not in engine.run(*words)


class Load:
    """Clients that ask and write without a pause, each in a thread; a context manager. `failed` must stay empty."""

    def __init__(self, stack: Stack, clients: int = 3) -> None:
        self.stack = stack
        self.answered = 0
        self.failed: list[str] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(at,)) for at in range(clients)]

    def _work(self, at: int) -> None:
        body = {"key": f"load-{at}", "value": "x"}
        while not self._end.is_set():
            for path, method, content in ((SEARCH, "GET", None), (self._tag, "POST", {**self._target, **body})):
                try:
                    status, text = ask(self.stack.url, path, self.stack.login, method, content)
                except OSError as error:
                    status, text = 0, repr(error)
                if status == 200:
                    self.answered += 1
                else:
                    self.failed.append(f"{method} {path}: {status} {text[:200]}")

    def __enter__(self) -> Load:
        path = "/api/2.0/mlflow/experiments/create"
        name = f"load-{time.time()}"
        status, text = ask(self.stack.url, path, self.stack.login, "POST", {"name": name})
        assert status == 200, text
        self._target = json.loads(text)
        self._tag = "/api/2.0/mlflow/experiments/set-experiment-tag"
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


def wait_until(what: str, done: Callable[[], Any], seconds: float = BOUND_SECONDS) -> Any:
    """The first true answer of `done`."""
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.5)
    return found


def test_the_container_is_as_the_task_definition_says(stack: Stack) -> None:
    (task,) = stack.containers("task")
    (database,) = stack.containers("rds")
    outputs = json.loads((stack.clone / f"outputs/{stack.name}.json").read_text())
    reference = outputs["image_digest"]
    definition = client(stack.env, "ecs").describe_task_definition(taskDefinition=outputs["task_definition"])
    (spec,) = definition["taskDefinition"]["containerDefinitions"]
    assert re.fullmatch(r"\d+\.dkr\.ecr\.[\w-]+\.amazonaws\.com/.+@sha256:[0-9a-f]{64}", spec["image"])
    assert reference in spec["image"]

    # Read-only, uid 10001, within its limits; nothing of it answers another machine.
    assert task["HostConfig"]["ReadonlyRootfs"] is True
    # The limits are the task's; the one container in it has none of its own.
    assert task["HostConfig"]["NanoCpus"] == int(definition["taskDefinition"]["cpu"]) * 10**9 // 1024
    assert task["HostConfig"]["Memory"] == int(definition["taskDefinition"]["memory"]) << 20
    shell = ["exec", task["Id"], "sh", "-c"]
    assert stack.engine.run(*shell, "id -u; touch /opt/mlflow/x /x 2>/dev/null || echo refused; touch /tmp/x") == (
        "10001\nrefused"
    )
    port = re.search(r'"MLFLOW_PORT=(\d+)"', json.dumps(task["Config"]["Env"]))
    assert port
    listening = {one.laddr.ip for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == int(port[1])}
    assert listening == {"127.0.0.1"}
    assert database["HostConfig"]["NetworkMode"] == "none"

    # No secret is where everybody of this machine can read it: in a command line.
    values = [one.partition("=")[2] for one in task["Config"]["Env"] if one.partition("=")[0] in SECRETS]
    assert len(values) == len(SECRETS)
    told = json.dumps([task["Path"], task["Args"], task["Config"]["Cmd"], task["Config"]["Entrypoint"]])
    lines = [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
    assert any(task["Name"].strip("/") in line for line in lines)
    for value in values:
        assert value not in told
        assert not any(value in line for line in lines)


def test_a_second_up_finds_nothing_to_do(stack: Stack) -> None:
    output = make(stack.clone, "up", f"ENGINE={stack.engine.kind}")
    assert re.search(r"mlflow-local +: ok=\d+ +changed=0 ", output)
    assert "healthy" in make(stack.clone, "status")


def test_a_task_may_not_pull_without_the_right(stack: Stack) -> None:
    iam = client(stack.env, "iam")
    role = f"mlflow-{stack.name}-{stack.env['AWS_REGION']}-execution"
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    less = [one for one in document["Statement"] if one["Sid"] != "Image"]
    assert len(less) == len(document["Statement"]) - 1
    ecs = client(stack.env, "ecs")
    try:
        iam.put_role_policy(
            RoleName=role, PolicyName=policy, PolicyDocument=json.dumps({**document, "Statement": less})
        )
        ecs.update_service(cluster=stack.name, service=stack.name, desiredCount=2)
        wait_until("CannotPull in the status", lambda: "CannotPullContainerError" in make(stack.clone, "status"), 60)
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))
        ecs.update_service(cluster=stack.name, service=stack.name, desiredCount=1)


def test_a_rolling_update_fails_no_request(stack: Stack) -> None:
    before = stack.revision()
    old = {one["Id"] for one in stack.containers("task")}
    with Load(stack) as load:
        done = stack.play("-e", "mlflow_size=medium")
    assert done.returncode == 0, done.stdout + done.stderr
    assert stack.revision() != before
    assert old.isdisjoint(one["Id"] for one in stack.containers("task"))
    assert load.failed == []
    assert load.answered > 20


def broken_image(stack: Stack) -> str:
    """An image in the stack's own repository whose program ends at once, by its name for ECS."""
    ecr = client(stack.env, "ecr")
    engine = mlflow_image.Engine(stack.engine.command)
    login = ecr.get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(login["authorizationToken"]).decode().partition(":")
    (task,) = stack.containers("task")
    name = f"{login['proxyEndpoint'].partition('://')[2]}/{stack.name}:broken"
    file = f'FROM {task["Image"]}\nENTRYPOINT ["python", "-c", "raise SystemExit(\'this image is broken\')"]\n'
    engine.run("build", "--tag", name, "-", doing="build", input=file)
    before = dict(os.environ)
    # podman knows the local registry by it.
    os.environ["SSL_CERT_FILE"] = stack.env["SSL_CERT_FILE"]
    try:
        with engine.login(login["proxyEndpoint"], user, password) as registry:
            registry.push(name)
    finally:
        os.environ.clear()
        os.environ.update(before)
    images = ecr.describe_images(repositoryName=stack.name, imageIds=[{"imageTag": "broken"}])["imageDetails"]
    repository = ecr.describe_repositories(repositoryNames=[stack.name])["repositories"][0]["repositoryUri"]
    return f"{repository}@{images[0]['imageDigest']}"


def test_a_broken_image_is_rolled_back_and_nobody_notices(stack: Stack) -> None:
    before = stack.revision()
    broken = broken_image(stack)
    running = {one["Id"] for one in stack.containers("task")}
    start = time.monotonic()
    with Load(stack) as load:
        done = stack.play("-e", "mlflow_size=medium", "-e", f"mlflow_image={broken}")
    assert done.returncode != 0
    assert time.monotonic() - start < BOUND_SECONDS
    said = re.sub(r"\s+", " ", done.stdout + done.stderr)
    assert f"ECS went back to {before}" in said
    assert "did not become healthy" in said
    assert load.failed == []

    # ECS's circuit breaker went back by itself; the reason is in the log, and the old task was never touched.
    service = stack.service()
    assert stack.revision() == before
    assert [one["rolloutState"] for one in service["deployments"] if one["status"] == "PRIMARY"] == ["COMPLETED"]
    assert "FAILED" in [one["rolloutState"] for one in service["deployments"]]
    assert running == {one["Id"] for one in stack.containers("task")}
    events = client(stack.env, "logs").filter_log_events(logGroupName=f"/mlflow/{stack.name}")["events"]
    assert any("this image is broken" in event["message"] for event in events)

    # With the setting as it was, all is well, and then nothing is left to do.
    done = stack.play("-e", "mlflow_size=medium")
    assert done.returncode == 0, done.stdout + done.stderr
    done = stack.play("-e", "mlflow_size=medium")
    assert re.search(r"changed=0 ", done.stdout), done.stdout


def slow_upload(stack: Stack, port: int, host: str, path: str, pieces: list[bytes], pause: float) -> int:
    """The status of an upload straight to the task, its pieces `pause` seconds apart."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
    connection.putrequest("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{path}", skip_host=True)
    connection.putheader("Host", host)
    connection.putheader("Authorization", "Basic " + base64.b64encode(stack.login.encode()).decode())
    connection.putheader("Content-Length", str(sum(map(len, pieces))))
    connection.endheaders()
    for piece in pieces:
        connection.send(piece)
        time.sleep(pause)
    return connection.getresponse().status


def test_sigterm_lets_a_running_upload_finish(stack: Stack) -> None:
    (task,) = stack.containers("task")
    variables = dict(one.split("=", 1) for one in task["Config"]["Env"])
    host = variables["MLFLOW_SERVER_ALLOWED_HOSTS"].partition(",")[0]
    status, text = ask(stack.url, "/api/2.0/mlflow/experiments/create", stack.login, "POST", {"name": "slow"})
    assert status == 200, text
    experiment = json.loads(text)["experiment_id"]
    body = {"experiment_id": experiment, "start_time": 0}
    status, text = ask(stack.url, "/api/2.0/mlflow/runs/create", stack.login, "POST", body)
    assert status == 200, text
    path = f"{experiment}/{json.loads(text)['run']['info']['run_id']}/artifacts/slow.bin"
    pieces = [bytes([at]) * 65536 for at in range(10)]
    answers: list[int] = []
    port = int(variables["MLFLOW_PORT"])
    upload = threading.Thread(
        target=lambda: answers.append(slow_upload(stack, port, host, path, pieces, pause=1.0)), daemon=True
    )
    ecs = client(stack.env, "ecs")
    upload.start()
    try:
        time.sleep(2)
        # The agent takes the target away, waits two seconds and sends SIGTERM, in the middle of the upload.
        ecs.update_service(cluster=stack.name, service=stack.name, desiredCount=0)
        start = time.monotonic()
        wait_until("the task has stopped", lambda: not stack.containers("task"), 60)
        assert time.monotonic() - start < 35
        upload.join(timeout=30)
        assert answers == [200]
    finally:
        ecs.update_service(cluster=stack.name, service=stack.name, desiredCount=1)
    wait_until("the server is back", lambda: ask(stack.url, SEARCH, stack.login)[0] == 200)
    artifact = stack.url, f"/api/2.0/mlflow-artifacts/artifacts/{path}", stack.login
    assert ask(*artifact) == (200, b"".join(pieces).decode("latin-1"))


def test_down_stops_all_and_up_finds_the_data(stack: Stack) -> None:
    created, text = ask(stack.url, "/api/2.0/mlflow/experiments/create", stack.login, "POST", {"name": "survives"})
    assert created == 200, text
    prefix = stack.prefix
    make(stack.clone, "down")
    assert prefix not in stack.engine.run("ps", "--all", "--format", "{{.Names}}")
    make(stack.clone, "up", f"ENGINE={stack.engine.kind}")
    found = ask(stack.url, "/api/2.0/mlflow/experiments/get-by-name?experiment_name=survives", login=stack.login)
    assert found[0] == 200


def test_an_engine_that_is_none_gets_one_sentence(stack: Stack) -> None:
    output = make(stack.clone, "up", "ENGINE=lorry", fails=True)
    assert "ENGINE=lorry is not one of docker, podman" in output
