"""Bring the users' tables in the database argv[1] to MLflow's head; schema.py runs it as a process of its own."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def name_apart(table: Any, connection: Any, **given: Any) -> None:
    """Give a table's foreign key a name of its own: MLflow calls two of them alike, of which MySQL refuses the second.

    https://github.com/mlflow/mlflow/issues/9642
    """
    for constraint in table.constraints:
        if constraint.name == "fk_user_id" and connection.dialect.name == "mysql":
            constraint.name = f"fk_{table.name}_user_id"


def main(uri: str) -> None:
    sqlalchemy = importlib.import_module("sqlalchemy")
    sqlalchemy.event.listen(sqlalchemy.Table, "before_create", name_apart)
    users = importlib.import_module("mlflow.server.auth.db.utils")
    users.migrate_if_needed(sqlalchemy.create_engine(uri), "head")


if __name__ == "__main__":
    main(sys.argv[1])
