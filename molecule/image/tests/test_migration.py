"""From the schema of an older MLflow to the image's: refused, upgraded, served, and nothing lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local import config
from plugins.module_utils import mlflow_image
from tests.image import engine as machine

# With SQLAlchemy and PostgreSQL's driver of its time: today's are not what it knows. The rest it shares with the image.
OLD = ("mlflow==3.1.4", "mlflow-skinny==3.1.4", "sqlalchemy==2.0.45", "psycopg2-binary==2.9.11")
WRITE = """
import json, os
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=os.environ["OLD_URI"])
run = client.create_run(client.create_experiment("old", artifact_location="mlflow-artifacts:/old"))
client.log_metric(run.info.run_id, "loss", 0.5, step=3)
client.log_param(run.info.run_id, "depth", "7")
client.set_tag(run.info.run_id, "kind", "old")
client.set_terminated(run.info.run_id)
client.create_registered_model("old-model")
print("run", run.info.run_id)
"""
READ = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient()
run = client.get_run(sys.argv[1])
print(json.dumps([run.data.metrics, run.data.params, run.data.tags["kind"], run.info.status,
                  client.get_experiment_by_name("old").name, client.get_registered_model("old-model").name]))
"""


@pytest.fixture(scope="session")
def old_mlflow(engine: machine.Engine, facts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the older release, for the image's Python."""
    folder = tmp_path_factory.mktemp("old")
    builder = mlflow_image.Engine(engine.command)
    platform = f"linux/{builder.machine}"
    python = builder.python(facts["image"], platform)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(folder)]
    options = ["--no-deps", "--no-compile", "--only-binary", ":all:"]
    options += mlflow_image.wheel_options(python, mlflow_image.MACHINES[platform])
    subprocess.run([*pip, *options, *OLD], check=True)
    # pytest makes its folders for their owner alone.
    folder.chmod(0o755)
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, engine: machine.Engine, facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An empty database: `options` and `env` of a container that uses it, `old` the variables for the old release."""
    options = [*machine.FARGATE, *machine.NETWORK, "--volume", f"{facts['authority']}:/ca.pem:ro"]
    common = facts["environment"] | {"MLFLOW_HOST": machine.HOST}
    if request.param == "sqlite":
        with machine.volume(engine, facts["image"]) as volume:
            yield {
                "options": [*options, "--volume", f"{volume}:{machine.DATA}"],
                "env": common | {"MLFLOW_DATA_DIR": machine.DATA},
                "old": {"OLD_URI": f"sqlite:///{machine.DATA}/mlflow.db"},
            }
        return
    env = common | facts["databases"]["postgresql"] | {"MLFLOW_DB_DATABASE": "old"}
    server = machine.Container(engine, facts["servers"]["postgresql"])
    user, port = env["MLFLOW_DB_USERNAME"], env["MLFLOW_DB_PORT"]
    assert server.exec("createdb", "-p", port, "-U", user, "old", user="postgres").returncode == 0
    # Users come new with this release: migrate makes their tables, too.
    login = {name: value for name, value in facts["login"].items() if name != "MLFLOW_WORKERS"}
    yield {
        "options": options,
        "env": env | login,
        "old": {
            "OLD_URI": f"postgresql://{user}@localhost:{port}/old",
            "PGPASSWORD": env["MLFLOW_DB_PASSWORD"],
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": "/ca.pem",
        },
    }


def test_an_older_schema(
    engine: machine.Engine, facts: dict[str, Any], place: dict[str, Any], old_mlflow: Path, tmp_path: Path
) -> None:
    def once(*command: str, options: tuple[str, ...] = (), env: dict[str, str] | None = None) -> tuple[int, str]:
        told = place["env"] if env is None else env
        with machine.container(
            engine, facts["image"], *place["options"], *options, command=command, env=told
        ) as container:
            return container.wait(), container.logs().strip()

    old = ("--volume", f"{old_mlflow}:/old:ro", "--env", "PYTHONPATH=/old", "--entrypoint", "python")
    code, log = once("-c", WRITE, options=old, env=place["old"])
    assert code == 0, log
    (run,) = re.findall("^run ([0-9a-f]{32})$", log, re.MULTILINE)

    code, log = once("serve")
    assert code == 1
    assert len(log.splitlines()) == 1 and "migrate" in log, log
    code, log = once("check")
    assert code == 1
    assert len(log.splitlines()) == 1 and "migrate" in log, log

    code, log = once("migrate")
    assert code == 0, log
    code, log = once("check")
    assert code == 0 and "all is well" in log, log
    code, log = once("migrate")
    assert code == 0 and "nothing to do" in log, log

    port = config.free_port()
    env = place["env"] | {"MLFLOW_PORT": str(port)}
    with machine.container(engine, facts["image"], *place["options"], env=env) as server:
        machine.wait_healthy(server, port)
        client = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))},
            "MLFLOW_TRACKING_URI": f"http://{machine.HOST}:{port}",
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": facts["login"]["MLFLOW_AUTH_ADMIN_PASSWORD"],
        }
        python = str(machine.ROOT / ".venv-server/bin/python")
        done = subprocess.run([python, "-c", READ, run], env=client, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == [
            {"loss": 0.5}, {"depth": "7"}, "old", "FINISHED", "old", "old-model",
        ]  # fmt: skip

        # SIGTERM ends it well within what ECS grants, by itself.
        begin = time.monotonic()
        engine.run("stop", "--time", "30", server.name)
        assert time.monotonic() - begin < 25
        assert server.inspect("{{.State.ExitCode}}") in ("0", "143")
