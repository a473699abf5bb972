"""Make the users' tables of an older MLflow: older_users.py DATABASE-URI REVISION ..., run by the server's Python.

REVISION is one of MLflow's own; "none" is the tables of releases before 3.6, which had no revision in their database,
"stopped" those of an upgrade that was stopped after MLflow's step to roles, or that another release has made.
ada and bob (their passwords are their names, three times, with dashes) have rights on the experiments 1, 2 and 99, the
model `model`, and, where there are such tables, a scorer and a secret. Prints nothing.
"""

from __future__ import annotations

import importlib
import sys

FIRST, BEFORE_ROLES, ROLES = "8606fa83a998", "c3d4e5f6a7b8", "e5f6a7b8c9d0"
RIGHTS = {
    "experiment_permissions": "(experiment_id, user_id, permission) VALUES ('1', 2, 'MANAGE'), "
    "('1', 3, 'NO_PERMISSIONS'), ('2', 3, 'EDIT'), ('99', 3, 'MANAGE'), ('98', 3, 'NO_PERMISSIONS')",
    "registered_model_permissions": "(name, user_id, permission) VALUES ('model', 2, 'MANAGE'), "
    "('model', 3, 'NO_PERMISSIONS'), ('prompt', 3, 'NO_PERMISSIONS')",
    "scorer_permissions": "(experiment_id, scorer_name, user_id, permission) VALUES ('1', 'a/b', 3, 'NO_PERMISSIONS')",
    "gateway_secret_permissions": "(secret_id, user_id, permission) VALUES ('s-1', 3, 'NO_PERMISSIONS')",
}


def make(uri: str, revision: str) -> None:
    sqlalchemy = importlib.import_module("sqlalchemy")
    hashed = importlib.import_module("werkzeug.security").generate_password_hash
    users = importlib.import_module("mlflow.server.auth.db.utils")
    engine = sqlalchemy.create_engine(uri)
    users.migrate(engine, {"none": FIRST, "stopped": BEFORE_ROLES}.get(revision, revision))
    with engine.begin() as connection:
        for number, name in enumerate(("admin", "ada", "bob"), 1):
            password = "administrators-password" if name == "admin" else "-".join([name] * 3)
            connection.execute(
                sqlalchemy.text("INSERT INTO users VALUES (:number, :name, :hash, :admin)"),
                {"number": number, "name": name, "hash": hashed(password), "admin": name == "admin"},
            )
        tables = sqlalchemy.inspect(connection).get_table_names()
        for table, rows in RIGHTS.items():
            if table in tables:
                connection.execute(sqlalchemy.text(f"INSERT INTO {table} {rows}"))
        if revision == "none":
            connection.execute(sqlalchemy.text("DROP TABLE alembic_version_auth"))
    if revision == "stopped":
        users.migrate_if_needed(engine, ROLES)


if __name__ == "__main__":
    for place in range(1, len(sys.argv), 2):
        make(sys.argv[place], sys.argv[place + 1])
