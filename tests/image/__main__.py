"""All that takes a container engine: the scenario `image`, the tests beside this file, `make up ENGINE=docker`.

Without an engine, or a base to build from, one line says so; where CI=true, that is a failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local import config
from plugins.module_utils.mlflow_image import ImageError
from tests import scenario
from tests.image import engine as machine

# The exit code by which tests/run knows.
SKIPPED = 77
SCENARIO = scenario.Scenario("image", ("converge", "destroy"), 40)


@contextlib.contextmanager
def facts(engine: machine.Engine, image: str) -> Iterator[dict[str, Any]]:
    """What the scenario's inventory and its tests are told, for as long as the servers behind it run."""
    mark = secrets.token_hex(4)
    with (
        machine.certificates() as tls,
        machine.s3() as s3,
        machine.postgres(engine, tls) as postgresql,
        machine.mariadb(engine, tls) as mysql,
        machine.volume(engine, image) as volume,
    ):
        environment = machine.server_env(5000, s3)
        del environment["MLFLOW_HOST"], environment["MLFLOW_PORT"]
        containers = {name: f"mlflow-image-{mark}-{name}" for name in ("sqlite", "postgresql", "mysql")}
        try:
            yield {
                "engine": engine.command,
                "kind": engine.kind,
                "image": image,
                "fargate": list(machine.FARGATE),
                "volume": volume,
                "authority": str(tls / "ca.pem"),
                "environment": environment,
                "containers": containers,
                "ports": {name: config.free_port() for name in containers},
                "databases": {"postgresql": postgresql.env, "mysql": mysql.env},
                "servers": {"postgresql": postgresql.server.name, "mysql": mysql.server.name},
                "login": {
                    "MLFLOW_WORKERS": "2",
                    "MLFLOW_AUTH": "basic",
                    "MLFLOW_AUTH_ADMIN_PASSWORD": secrets.token_urlsafe(24),
                    "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
                },
            }
        finally:
            for name in containers.values():
                engine.call("rm", "--force", "--volumes", name)


def run_scenario(engine: machine.Engine, image: str) -> int:
    """Run molecule; 0 when every step and test passed."""
    with tempfile.TemporaryDirectory(prefix="mlflow-scenario-") as scratch, facts(engine, image) as told:
        file, changes = Path(scratch, "facts.json"), Path(scratch, "changes.jsonl")
        config.write_atomic(file, json.dumps(told), 0o600)
        changes.touch()
        shell = {name: value for name, value in os.environ.items() if not name.startswith(scenario.FOREIGN)}
        environment = {
            **config.own_environment(shell),
            "MOLECULE_EPHEMERAL_DIRECTORY": f"{scratch}/molecule",
            "MOLECULE_CHANGES": str(changes),
            "IMAGE_FACTS": str(file),
        }
        return scenario.run(environment, changes, SCENARIO)


def main() -> int:
    """0 when all passed, SKIPPED when nothing could run, else 1."""
    try:
        engine = machine.ready()
    except machine.Unavailable as trouble:
        print(f"SKIPPED: image: {trouble}.")
        return 1 if os.environ.get("CI") == "true" else SKIPPED
    # Else a cancelled run would leave its containers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        image = machine.build(engine, machine.recipe(engine))
    except ImageError as trouble:
        print(f"{trouble}\n{trouble.output}")
        return 1
    code = run_scenario(engine, image)
    tests = [path for path in ("tests/image", "tests/e2e/test_engine.py") if Path(path).exists()]
    return code or subprocess.run(["pytest", "-q", *tests], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
