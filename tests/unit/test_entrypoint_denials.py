"""An upgrade keeps what was denied: users of older releases, brought to this one by the real `migrate`."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import config
from tests import served
from tests.image import engine

pytestmark = served.needs_server

MAKE = config.ROOT / "tests" / "older_users.py"
USERS_SCHEMA = config.ROOT / "docker" / "users_schema.py"
BOB = ("bob", "bob-bob-bob")
ADA = ("ada", "ada-ada-ada")
ENV = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}


def python(*words: object) -> str:
    """Run the server's Python; returns what it says on stdout."""
    done = subprocess.run(
        [config.SERVER_PYTHON, "-W", "ignore", *map(str, words)],
        env=ENV,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def sql(file: Path, statement: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        return database.execute(statement).fetchall()


def rights(file: Path) -> set[tuple[object, ...]]:
    """Bob's: kind, what on, right."""
    return set(
        sql(
            file,
            "SELECT resource_type, resource_pattern, permission FROM role_permissions JOIN user_role_assignments "
            "USING (role_id) WHERE user_id = 3",
        )
    )


DENIED = {("experiment", "1", "DENY"), ("experiment", "98", "DENY"), ("registered_model", "model", "DENY")}
DENIED |= {("registered_model", "prompt", "DENY")}
LATER = {("scorer", "1/a%2Fb", "DENY"), ("gateway_secret", "s-1", "DENY")}
KEPT = {("experiment", "2", "EDIT"), ("experiment", "99", "MANAGE")}


@pytest.mark.parametrize(
    ("revision", "denied"),
    [("none", DENIED), ("8606fa83a998", DENIED), ("a1b2c3d4e5f6", DENIED | LATER), ("e5f6a7b8c9d0", DENIED | LATER)],
)
def test_every_denial_is_kept(tmp_path: Path, revision: str, denied: set[tuple[object, ...]]) -> None:
    file = tmp_path / "users.db"
    python(MAKE, f"sqlite:///{file}", "c3d4e5f6a7b8" if revision == "e5f6a7b8c9d0" else revision)
    if revision == "e5f6a7b8c9d0":
        # As a `migrate` that was stopped after MLflow's step, or another release of MLflow, leaves it.
        python("-c", f"import sys\n{ONE_STEP}", f"sqlite:///{file}")
        assert rights(file) == KEPT
    said = python(USERS_SCHEMA, f"sqlite:///{file}")
    assert said == f"users: {len(denied)} denials (the right NO_PERMISSIONS of older versions) are kept, as DENY.\n"
    assert rights(file) == KEPT | denied
    sql(file, "DELETE FROM role_permissions WHERE resource_pattern = 'model' AND permission = 'DENY'")
    assert python(USERS_SCHEMA, f"sqlite:///{file}") == ""
    assert ("registered_model", "model", "DENY") not in rights(file), "what was taken back since comes back"


ONE_STEP = (
    "import sqlalchemy; from mlflow.server.auth.db import utils\n"
    "utils.migrate_if_needed(sqlalchemy.create_engine(sys.argv[1]), 'e5f6a7b8c9d0')"
)


def test_a_right_that_was_given_since_stays(tmp_path: Path) -> None:
    file = tmp_path / "users.db"
    python(MAKE, f"sqlite:///{file}", "c3d4e5f6a7b8")
    python("-c", f"import sys\n{ONE_STEP}", f"sqlite:///{file}")
    sql(
        file,
        "INSERT INTO role_permissions (role_id, resource_type, resource_pattern, permission) "
        "SELECT role_id, 'experiment', '1', 'READ' FROM user_role_assignments WHERE user_id = 3",
    )
    python(USERS_SCHEMA, f"sqlite:///{file}")
    assert ("experiment", "1", "READ") in rights(file)
    assert ("experiment", "1", "DENY") not in rights(file)


@pytest.fixture(scope="module")
def storage() -> Iterator[engine.S3]:
    with engine.s3() as found:
        yield found


def test_who_was_shut_out_is_shut_out_after_the_upgrade(tmp_path: Path, storage: engine.S3) -> None:
    file, uri = tmp_path / "mlflow.db", f"sqlite:///{tmp_path}/mlflow.db"
    python("-m", "mlflow", "db", "upgrade", uri)
    for number, name in ((1, "hers"), (2, "shared")):
        sql(
            file,
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, workspace) VALUES "
            f"({number}, '{name}', 'mlflow-artifacts:/{number}', 'active', 'default')",
        )
    for name in ("model", "prompt"):
        sql(file, f"INSERT INTO registered_models (name, workspace) VALUES ('{name}', 'default')")
    sql(
        file,
        "INSERT INTO registered_model_tags (name, workspace, key, value) "
        "VALUES ('prompt', 'default', 'mlflow.prompt.is_prompt', 'true')",
    )
    python(MAKE, uri, "a1b2c3d4e5f6")
    done = served.run(tmp_path, "migrate", storage)
    assert done.returncode == 0, done.stderr
    assert "users: 6 denials (the right NO_PERMISSIONS of older versions) are kept, as DENY." in done.stdout
    assert "users: 2 rights on experiments that are gone are removed." in done.stdout
    again = served.run(tmp_path, "migrate", storage)
    assert (again.returncode, "denials" in again.stdout, "nothing to do" in again.stdout) == (0, False, True)
    assert ("prompt", "prompt", "DENY") in rights(file)
    with served.served(tmp_path, storage) as server:
        path = "/api/2.0/mlflow"
        assert server.call(ADA, "GET", f"{path}/experiments/get?experiment_id=1").ok
        assert server.call(BOB, "GET", f"{path}/experiments/get?experiment_id=2").ok
        for rest in ("experiments/get?experiment_id=1", "registered-models/get?name=model"):
            assert server.call(BOB, "GET", f"{path}/{rest}").status_code == 403
        assert server.call(BOB, "GET", f"{path}/registered-models/get?name=prompt").status_code == 403
        assert "hers" not in server.call(BOB, "GET", f"{path}/experiments/search?max_results=100").text
        # A number that is given out again has no right that is older than it, whoever's role it is in.
        number = server.made(ADA, "experiments/create", name="gone")["experiment_id"]
        sql(
            file,
            "INSERT INTO role_permissions (role_id, resource_type, resource_pattern, permission) SELECT role_id, "
            f"'experiment', '{number}', 'MANAGE' FROM user_role_assignments WHERE user_id = 3",
        )
        sql(file, f"DELETE FROM experiments WHERE experiment_id = {number}")
        assert server.made(ADA, "experiments/create", name="new")["experiment_id"] == number
        fields = {"experiment_id": number, "new_name": "stolen"}
        assert server.post(BOB, "experiments/update", **fields).status_code == 403
        assert server.post(ADA, "experiments/update", **fields).ok
