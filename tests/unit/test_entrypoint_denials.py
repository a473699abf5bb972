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


CASES = {"none": DENIED, "8606fa83a998": DENIED, "a1b2c3d4e5f6": DENIED | LATER, "stopped": DENIED | LATER}
# MLflow takes seconds to load: one process does all.
UPGRADE = (
    f"import sys; sys.path.insert(0, {str(USERS_SCHEMA.parent)!r}); import users_schema\n"
    "for uri in sys.argv[1:]: print('>', uri.rpartition('/')[2]); users_schema.main(uri)"
)


def test_every_denial_is_kept(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in [*CASES, "since"]}
    uris = {name: f"sqlite:///{file}" for name, file in files.items()}
    python(MAKE, *(word for name in files for word in (uris[name], "stopped" if name == "since" else name)))
    assert rights(files["stopped"]) == KEPT
    given = (
        "INSERT INTO role_permissions (role_id, resource_type, resource_pattern, permission) "
        "SELECT role_id, 'experiment', '1', 'READ' FROM user_role_assignments WHERE user_id = 3"
    )
    sql(files["since"], given)
    said = dict(one.split("\n", 1) for one in python("-c", UPGRADE, *uris.values()).split("> ")[1:])
    for name, denied in CASES.items():
        sentence = f"users: {len(denied)} denials (the right NO_PERMISSIONS of older versions) are kept, as DENY.\n"
        assert (name, said[name], rights(files[name])) == (name, sentence, KEPT | denied)
    # A right that was given since the denial was lost stays.
    assert {("experiment", "1", "READ"), ("experiment", "98", "DENY")} <= rights(files["since"])
    assert ("experiment", "1", "DENY") not in rights(files["since"])
    # Once more: nothing is done, and a denial that was taken back since does not return.
    sql(files["none"], "DELETE FROM role_permissions WHERE resource_pattern = 'model' AND permission = 'DENY'")
    again = {name: rights(file) for name, file in files.items()}
    assert "users:" not in python("-c", UPGRADE, *uris.values())
    assert {name: rights(file) for name, file in files.items()} == again


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
