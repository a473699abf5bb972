"""The database's schema: its revisions, those that this image's MLflow knows, and the way from one to the other."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import hashlib
import importlib
import importlib.util
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from contracts import Refusal
from database import Database

# Any constant does, as long as all tasks on one database agree.
LOCK = 0x6D6C666C6F77


class Part(NamedTuple):
    """A part of the schema with revisions of its own; `folder` is that of its migrations in MLflow."""

    name: str
    table: str
    folder: str
    # A table that stands without `table` in a schema from before this part had revisions.
    older: str
    command: tuple[str, ...]


TRACKING = Part("tracking", "alembic_version", "store/db_migrations", "metrics", ("-m", "mlflow", "db", "upgrade"))
USERS = Part(
    "users",
    "alembic_version_auth",
    "server/auth/db/migrations",
    "users",
    (str(Path(__file__).with_name("users_schema.py")),),
)


@dataclass(frozen=True)
class State:
    """Where a part stands: `found` is its revision, "" for no tables, `head` the one that this image works with."""

    part: Part
    found: str
    head: str
    known: frozenset[str]

    @property
    def verdict(self) -> str:
        """missing, current, old or newer."""
        if self.found in ("", self.head):
            return "current" if self.found else "missing"
        return "old" if self.found in self.known else "newer"

    def __str__(self) -> str:
        return f"the {self.part.name} schema is at {self.found or 'nothing'}"


# The revision of tables that stand without one.
UNNUMBERED = "(no revision)"


def parts(users: bool) -> tuple[Part, ...]:
    return (TRACKING, USERS) if users else (TRACKING,)


def revisions(folder: Path) -> tuple[str, frozenset[str]]:
    """Return the head and all revisions of the migrations in `folder`/versions, without running them.

    Raises Refusal where they have no single head.
    """
    parents: dict[str, set[str]] = {}
    for file in folder.glob("versions/*.py"):
        found: dict[str, Any] = {}
        for node in ast.parse(file.read_bytes()).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            if isinstance(target, ast.Name) and target.id in ("revision", "down_revision"):
                found[target.id] = ast.literal_eval(node.value)  # type: ignore[attr-defined]
        if "revision" in found:
            down = found.get("down_revision") or ()
            parents[found["revision"]] = {down} if isinstance(down, str) else set(down)
    heads = set(parents) - {one for several in parents.values() for one in several}
    if len(heads) != 1:
        raise Refusal(
            f"MLflow's migrations in {folder} have {len(heads)} heads: the image is damaged, build it anew.", 1
        )
    return heads.pop(), frozenset({*parents, UNNUMBERED})


def package() -> Path:
    """The folder of MLflow, found without importing it, which takes seconds."""
    spec = importlib.util.find_spec("mlflow")
    if spec is None or not spec.submodule_search_locations:
        raise Refusal(f"MLflow is not installed for {sys.executable}.", 1)
    return Path(spec.submodule_search_locations[0])


@contextlib.contextmanager
def connection(database: Database) -> Iterator[Any]:
    """A connection (SQLAlchemy's) that commits by itself. Raises Refusal where the database cannot be used."""
    sqlalchemy = importlib.import_module("sqlalchemy")
    shown = database.uri.partition("?")[0]
    try:
        engine = sqlalchemy.create_engine(
            database.uri, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.pool.NullPool
        )
        with engine.connect() as connected:
            yield connected
    except (sqlalchemy.exc.SQLAlchemyError, OSError, TypeError, ValueError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".")
        tls = any(word in reason.lower() for word in ("ssl", "certificate", "tls"))
        hint = (
            "MLFLOW_DB_CA_FILE and MLFLOW_DB_TLS decide how TLS is checked"
            if tls
            else "is it up, and is the login right?"
        )
        raise Refusal(f"cannot use the database {shown} ({reason}): {hint}.".replace("?.", "?"), 1) from error


def read(connected: Any, users: bool) -> list[State]:
    """The state of each part, by what the database says."""
    sqlalchemy = importlib.import_module("sqlalchemy")
    tables = sqlalchemy.inspect(connected)
    states = []
    for part in parts(users):
        head, known = revisions(package() / part.folder)
        found = ""
        if tables.has_table(part.table):
            found = ", ".join(
                row[0] for row in connected.execute(sqlalchemy.text(f"SELECT version_num FROM {part.table}"))
            )
        if not found and tables.has_table(part.older):
            found = UNNUMBERED
        states.append(State(part, found, head, known))
    return states


def states(database: Database, users: bool) -> list[State]:
    """As `read`, over a connection of its own; a SQLite file that is not there is not made."""
    if database.sqlite is not None and not database.sqlite.exists():
        return [State(part, "", *revisions(package() / part.folder)) for part in parts(users)]
    with connection(database) as connected:
        return read(connected, users)


def refuse_newer(found: list[State]) -> None:
    """Raise Refusal for a part that this image does not know."""
    for state in found:
        if state.verdict == "newer":
            raise Refusal(
                f"{state}, which MLflow {metadata.version('mlflow')} does not know (its own is {state.head}): run the "
                "image that made it, or restore the backup from before.",
                1,
            )


def check(database: Database, users: bool) -> str:
    """Return a sentence that says all is well. Raises Refusal with one that says what is not."""
    found = states(database, users)
    refuse_newer(found)
    for state in found:
        if state.verdict == "old":
            raise Refusal(f"{state}, this image needs {state.head}: back up the database and run `migrate`.", 1)
        if state.verdict == "missing":
            raise Refusal(f"the {state.part.name} schema is not there: run `migrate`, or `serve` makes it.", 1)
    return f"all is well: {' and '.join(map(str, found))}, as MLflow {metadata.version('mlflow')} needs it."


def prepare(
    database: Database, users: bool, python: str, environment: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Make what is missing before the server starts, one task at a time, and upgrade nothing.

    Two servers that meet an empty database both try to create the same tables, and one of them dies of it. In
    SQLite, which has one server, MLflow makes the tables. Raises Refusal for a schema that is old or newer.
    """
    found = states(database, users)
    refuse_newer(found)
    for state in found:
        if state.verdict == "old":
            raise Refusal(
                f"{state}, this image needs {state.head}, and `serve` upgrades nothing: back up the database, then run "
                "this image once with `migrate`.",
                1,
            )
    if database.sqlite is None and any(state.verdict == "missing" for state in found):
        migrate(database, users, python, environment, say)


def migrate(
    database: Database, users: bool, python: str, environment: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Bring every part to the image's head, one process at a time; `say` is told from where to where.

    Raises Refusal for a schema that is newer than the image, and where a migration fails.
    """
    with locked(database):
        found = states(database, users)
        refuse_newer(found)
        for state in found:
            if state.verdict == "current":
                say(f"{state}, nothing to do.")
                continue
            say(f"{state} and goes to {state.head}.")
            command = [python, *state.part.command, database.uri]
            if subprocess.run(command, env=dict(environment), stderr=subprocess.STDOUT, check=False).returncode:
                raise Refusal(
                    f"the migration of the {state.part.name} schema from {state.found or 'nothing'} to {state.head} "
                    "failed, see the messages above: restore the backup before the next attempt.",
                    1,
                )
        left = [state for state in states(database, users) if state.verdict != "current"]
        if left:
            raise Refusal(f"{left[0]} after the migration, not at {left[0].head}: see the messages above.", 1)


@contextlib.contextmanager
def locked(database: Database) -> Iterator[None]:
    """Hold the lock of the database's migrations; waits for whoever has it."""
    if database.sqlite is not None:
        # The database itself would be locked against the migration, which runs in a process of its own.
        path = database.sqlite.with_name(f"{database.sqlite.name}.migration-lock")
        try:
            with path.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise Refusal(f"cannot lock {path} ({error.strerror}): check the folder's owner.", 1) from error
        return
    with connection(database) as connected:
        if database.uri.startswith("postgresql"):
            connected.exec_driver_sql("SELECT pg_advisory_lock(%s)", (LOCK,))
        else:
            # These locks are the whole server's and their names short.
            name = hashlib.sha256(f"{LOCK} {connected.engine.url.database}".encode()).hexdigest()[:40]
            if connected.exec_driver_sql("SELECT GET_LOCK(%s, 3600)", (name,)).scalar() != 1:
                raise Refusal("another migration of this database has run for an hour: look after it.", 1)
        yield


def leave_wal(database: Path) -> None:
    """Take an existing SQLite file out of WAL mode, in which MLflow's own import from a file store leaves it.

    WAL needs shared memory, which a network file system does not have. Bytes 18 and 19 of the file tell the mode
    (https://www.sqlite.org/fileformat.html).
    """
    try:
        with database.open("rb") as file:
            header = file.read(20)
        if header[18:20] == b"\x02\x02":
            connected = sqlite3.connect(database, timeout=20)
            connected.execute("PRAGMA journal_mode=DELETE")
            connected.close()
    except FileNotFoundError:
        return
    except (OSError, sqlite3.Error) as error:
        raise Refusal(f"cannot use the database {database} ({error}): check its owner.", 1) from error
