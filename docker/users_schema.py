"""Bring the users' tables in the database argv[1] to MLflow's head; schema.py runs it as a process of its own.

What MLflow's own migration loses on the way is kept: it drops the rights `NO_PERMISSIONS`, with which a user was shut
out, and gives that user the default right instead.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, NamedTuple
from urllib.parse import quote

# The revision that makes rights of the older tables into roles, and leaves those tables as they are.
ROLES = "e5f6a7b8c9d0"
DROPPED, DENIED = "NO_PERMISSIONS", "DENY"
DEFAULT_WORKSPACE = "default"


class Older(NamedTuple):
    """An older table of rights: the columns that name what the right is on, and its kind in the roles."""

    table: str
    columns: tuple[str, ...]
    kind: str


OLDER = (
    Older("experiment_permissions", ("experiment_id",), "experiment"),
    Older("registered_model_permissions", ("name",), "registered_model"),
    Older("scorer_permissions", ("experiment_id", "scorer_name"), "scorer"),
    Older("gateway_secret_permissions", ("secret_id",), "gateway_secret"),
    Older("gateway_endpoint_permissions", ("endpoint_id",), "gateway_endpoint"),
    Older("gateway_model_definition_permissions", ("model_definition_id",), "gateway_model_definition"),
)


def name_apart(table: Any, connection: Any, **given: Any) -> None:
    """Give a table's foreign key a name of its own: MLflow calls two of them alike, of which MySQL refuses the second.

    https://github.com/mlflow/mlflow/issues/9642
    """
    for constraint in table.constraints:
        if constraint.name == "fk_user_id" and connection.dialect.name == "mysql":
            constraint.name = f"fk_{table.name}_user_id"


def pattern(older: Older, row: Any) -> str:
    """What the right is on, as the roles write it."""
    first, *rest = (str(row[column]) for column in older.columns)
    return "/".join([first, *(quote(one, safe="") for one in rest)])


def keep_denials(connection: Any, migration: Any) -> int:
    """Deny in the roles what the older tables denied, where no other right was given since; returns how many.

    `migration` is MLflow's own module of the revision, for the role that it made for each user.
    """
    sqlalchemy = importlib.import_module("sqlalchemy")
    tables = set(sqlalchemy.inspect(connection).get_table_names())
    kept = 0
    for older in OLDER:
        if older.table not in tables:
            continue
        rows = connection.execute(
            sqlalchemy.text(f"SELECT * FROM {older.table} WHERE permission = :dropped"), {"dropped": DROPPED}
        )
        for row in rows.mappings().all():
            workspace = row.get("workspace") or DEFAULT_WORKSPACE
            role = migration._get_or_create_synthetic_role(connection, row["user_id"], workspace)
            given = {"role": role, "kind": older.kind, "pattern": pattern(older, row), "denied": DENIED}
            where = "role_id = :role AND resource_type = :kind AND resource_pattern = :pattern"
            if connection.execute(sqlalchemy.text(f"SELECT 1 FROM role_permissions WHERE {where}"), given).first():
                continue
            columns = "(role_id, resource_type, resource_pattern, permission)"
            values = "(:role, :kind, :pattern, :denied)"
            connection.execute(sqlalchemy.text(f"INSERT INTO role_permissions {columns} VALUES {values}"), given)
            kept += 1
    return kept


def forget_removed(connection: Any) -> int:
    """Remove the rights on experiments that are gone; returns how many.

    SQLite gives their numbers out again, and the rights would hold for somebody else's experiment.
    """
    sqlalchemy = importlib.import_module("sqlalchemy")
    if connection.dialect.name != "sqlite" or "experiments" not in sqlalchemy.inspect(connection).get_table_names():
        return 0
    number = "substr(resource_pattern, 1, instr(resource_pattern || '/', '/') - 1)"
    gone = (
        "DELETE FROM role_permissions WHERE resource_type IN ('experiment', 'scorer') AND resource_pattern <> '*' "
        f"AND {number} NOT IN (SELECT CAST(experiment_id AS TEXT) FROM experiments)"
    )
    return int(connection.execute(sqlalchemy.text(gone)).rowcount)


def revision(engine: Any) -> str:
    """The revision of the users' tables, "" where they have none."""
    sqlalchemy = importlib.import_module("sqlalchemy")
    with engine.connect() as connection:
        if not sqlalchemy.inspect(connection).has_table("alembic_version_auth"):
            return ""
        found = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version_auth")).scalar()
        return str(found or "")


def main(uri: str) -> None:
    sqlalchemy = importlib.import_module("sqlalchemy")
    script = importlib.import_module("alembic.script").ScriptDirectory
    sqlalchemy.event.listen(sqlalchemy.Table, "before_create", name_apart)
    users = importlib.import_module("mlflow.server.auth.db.utils")
    engine = sqlalchemy.create_engine(uri)
    script = script.from_config(users._get_alembic_config(uri))
    before = {one.revision for one in script.iterate_revisions(ROLES, "base")}
    # Whoever was stopped between the two steps is at the first one's revision.
    if revision(engine) in before | {""}:
        users.migrate_if_needed(engine, ROLES)
        with engine.begin() as connection:
            kept = keep_denials(connection, script.get_revision(ROLES).module)
        if kept:
            print(f"users: {kept} denials (the right {DROPPED} of older versions) are kept, as {DENIED}.", flush=True)
    users.migrate_if_needed(engine, "head")
    with engine.begin() as connection:
        gone = forget_removed(connection)
    if gone:
        print(f"users: {gone} rights on experiments that are gone are removed.", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
