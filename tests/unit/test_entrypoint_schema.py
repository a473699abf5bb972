"""Schema revisions: which ones the image knows, what each state of a database leads to, and the locks."""

from __future__ import annotations

import contextlib
import importlib
import sqlite3
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docker"))
contracts = importlib.import_module("contracts")
database = importlib.import_module("database")
schema = importlib.import_module("schema")
users_schema = importlib.import_module("users_schema")

POSTGRESQL = database.Database("postgresql+psycopg://writer@db.example.com/tracking")
MYSQL = database.Database("mysql+pymysql://writer@db.example.com/tracking?read_default_file=/x")


@pytest.fixture(autouse=True)
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MLflow's migrations: t1 <- t2 <- t3 for experiments, u1 <- u2 for users."""
    folder = tmp_path / "mlflow"
    for part, chain in ((schema.TRACKING, ("t1", "t2", "t3")), (schema.USERS, ("u1", "u2"))):
        versions = folder / part.folder / "versions"
        versions.mkdir(parents=True)
        for down, name in zip((None, *chain), chain, strict=False):
            text = f'"""{name}"""\nimport nothing.of.this\n\nrevision: str = {name!r}\ndown_revision = {down!r}\n'
            (versions / f"{name}_x.py").write_text(text)
    monkeypatch.setattr(schema, "package", lambda: folder)
    monkeypatch.setattr(schema.metadata, "version", lambda name: "3.17.2")
    return folder


class _Alchemy:
    """Stands for SQLAlchemy on a database server: `tables` maps a table to its revisions."""

    def __init__(self, tables: dict[str, list[str]]) -> None:
        self.tables = tables
        self.statements: list[tuple[str, Any]] = []
        self.failure: Exception | None = None
        self.lock: int | None = 1
        self.text, self.pool = str, types.SimpleNamespace(NullPool=None)
        self.exc = types.SimpleNamespace(SQLAlchemyError=RuntimeError)
        self.engine = types.SimpleNamespace(url=types.SimpleNamespace(database="tracking"))

    def create_engine(self, uri: str, isolation_level: str, poolclass: Any) -> _Alchemy:
        return self

    @contextlib.contextmanager
    def connect(self) -> Iterator[_Alchemy]:
        if self.failure:
            raise self.failure
        yield self
        self.statements.append(("close", None))

    def inspect(self, connected: Any) -> _Alchemy:
        return self

    def has_table(self, name: str) -> bool:
        return name in self.tables

    def execute(self, statement: str) -> list[tuple[str]]:
        return [(one,) for one in self.tables[statement.rpartition(" ")[2]]]

    def exec_driver_sql(self, statement: str, values: tuple[Any, ...]) -> Any:
        self.statements.append((statement, values))
        return types.SimpleNamespace(scalar=lambda: self.lock)


EMPTY: dict[str, list[str]] = {}
OLD = {"metrics": [], "alembic_version": ["t2"], "users": [], "alembic_version_auth": ["u1"]}
HEAD = {"metrics": [], "alembic_version": ["t3"], "users": [], "alembic_version_auth": ["u2"]}
NEWER = HEAD | {"alembic_version": ["t4"]}
OLD_USERS = HEAD | {"alembic_version_auth": ["u1"]}
UNNUMBERED_USERS = {"metrics": [], "alembic_version": ["t3"], "users": []}
NO_USERS = {"metrics": [], "alembic_version": ["t3"]}


@pytest.fixture
def alchemy(monkeypatch: pytest.MonkeyPatch) -> _Alchemy:
    fake = _Alchemy(EMPTY)
    monkeypatch.setattr(schema.importlib, "import_module", lambda name: fake)
    return fake


@pytest.fixture
def ran(alchemy: _Alchemy, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The migrations that were run; each brings its part to the head."""
    found: list[str] = []

    def run(command: list[str], env: dict[str, str], **given: Any) -> Any:
        assert command[-1] in (POSTGRESQL.uri, MYSQL.uri) or command[-1].startswith("sqlite:")
        assert env == {"A": "b"}
        part = schema.TRACKING if command[1:5] == ["-m", "mlflow", "db", "upgrade"] else schema.USERS
        assert part is schema.TRACKING or Path(command[1]).is_file()
        found.append(part.name)
        alchemy.tables = alchemy.tables | {part.table: [schema.revisions(schema.package() / part.folder)[0]]}
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    return found


def prepare(found: Any = POSTGRESQL, users: bool = True) -> list[str]:
    said: list[str] = []
    schema.prepare(found, users, "python", {"A": "b"}, said.append)
    return said


def migrate(found: Any = POSTGRESQL, users: bool = True) -> list[str]:
    said: list[str] = []
    schema.migrate(found, users, "python", {"A": "b"}, said.append)
    return said


def test_revisions_are_read_without_running_them(mlflow: Path) -> None:
    head, known = schema.revisions(mlflow / schema.TRACKING.folder)
    assert (head, known) == ("t3", {"t1", "t2", "t3", schema.UNNUMBERED})


def test_two_heads_are_a_damaged_image(mlflow: Path) -> None:
    (mlflow / schema.TRACKING.folder / "versions" / "other.py").write_text(
        'revision = "t9"\ndown_revision = ("t1", "t2")\n'
    )
    with pytest.raises(contracts.Refusal, match="2 heads"):
        schema.revisions(mlflow / schema.TRACKING.folder)


@pytest.mark.parametrize(
    ("tables", "users", "words"),
    [
        (
            HEAD,
            True,
            "all is well: the tracking schema is at t3 and the users schema is at u2, as MLflow 3.17.2 needs it.",
        ),
        (NO_USERS, False, "all is well: the tracking schema is at t3, as MLflow 3.17.2 needs it."),
        (EMPTY, True, "the tracking schema is not there: run `migrate`"),
        (NO_USERS, True, "the users schema is not there: run `migrate`"),
        (OLD, True, "the tracking schema is at t2, this image needs t3: back up the database and run `migrate`."),
        (OLD_USERS, True, "the users schema is at u1, this image needs u2"),
        (OLD_USERS, False, "all is well"),
        (UNNUMBERED_USERS, True, "the users schema is at (no revision), this image needs u2"),
        (NEWER, True, "the tracking schema is at t4, which MLflow 3.17.2 does not know (its own is t3)"),
    ],
)
def test_check(tables: dict[str, list[str]], users: bool, words: str, alchemy: _Alchemy) -> None:
    alchemy.tables = tables
    if words.startswith("all"):
        assert schema.check(POSTGRESQL, users).startswith(words)
        return
    with pytest.raises(contracts.Refusal) as caught:
        schema.check(POSTGRESQL, users)
    assert str(caught.value).startswith(words) and caught.value.code == 1


@pytest.mark.parametrize(
    ("tables", "users", "expected"),
    [
        (EMPTY, True, ["tracking", "users"]),
        (EMPTY, False, ["tracking"]),
        (NO_USERS, True, ["users"]),
        (NO_USERS, False, []),
        (HEAD, True, []),
        (OLD_USERS, False, []),
    ],
)
def test_serve_makes_what_is_missing(
    tables: dict[str, list[str]], users: bool, expected: list[str], alchemy: _Alchemy, ran: list[str]
) -> None:
    alchemy.tables = tables
    prepare(users=users)
    assert ran == expected
    assert any("lock" in statement for statement, _ in alchemy.statements) == bool(expected)


@pytest.mark.parametrize("tables", [OLD, OLD_USERS, UNNUMBERED_USERS, NEWER])
def test_serve_upgrades_nothing(tables: dict[str, list[str]], alchemy: _Alchemy, ran: list[str]) -> None:
    alchemy.tables = tables
    with pytest.raises(contracts.Refusal) as caught:
        prepare()
    assert caught.value.code == 1
    assert ("`migrate`" in str(caught.value)) == (tables is not NEWER)
    assert ran == []


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        (OLD, ["tracking", "users"]),
        (OLD_USERS, ["users"]),
        (UNNUMBERED_USERS, ["users"]),
        (EMPTY, ["tracking", "users"]),
        (HEAD, []),
    ],
)
def test_migrate(tables: dict[str, list[str]], expected: list[str], alchemy: _Alchemy, ran: list[str]) -> None:
    alchemy.tables = tables
    said = migrate()
    assert ran == expected
    assert len(said) == 2
    assert [sentence.endswith("nothing to do.") for sentence in said] == [
        name not in expected for name in ("tracking", "users")
    ]
    if tables is OLD:
        assert said[0] == "the tracking schema is at t2 and goes to t3."


def test_migrate_refuses_a_newer_schema(alchemy: _Alchemy, ran: list[str]) -> None:
    alchemy.tables = NEWER
    with pytest.raises(contracts.Refusal, match="does not know"):
        migrate()
    assert ran == []


def test_migration_that_fails_or_does_nothing_is_told(
    alchemy: _Alchemy, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alchemy.tables = OLD
    for code, words in ((1, "from t2 to t3 failed"), (0, "is at t2 after the migration, not at t3")):
        monkeypatch.setattr(subprocess, "run", lambda *given, code=code, **more: types.SimpleNamespace(returncode=code))
        with pytest.raises(contracts.Refusal, match=words) as caught:
            migrate()
        assert caught.value.code == 1


@pytest.mark.parametrize(("found", "function"), [(POSTGRESQL, "pg_advisory_lock"), (MYSQL, "GET_LOCK")])
def test_lock_is_held_to_the_end(found: Any, function: str, alchemy: _Alchemy, ran: list[str]) -> None:
    alchemy.tables = OLD
    migrate(found)
    names = [statement for statement, _ in alchemy.statements]
    assert function in names[0] and names[-1] == "close"
    assert len(names) == 4, "the lock's own connection, and one each to read before and after"


def test_lock_that_cannot_be_had(alchemy: _Alchemy, ran: list[str]) -> None:
    alchemy.lock = 0
    with pytest.raises(contracts.Refusal, match="another migration"):
        migrate(MYSQL)
    assert ran == []


WAITER = """
import sys
sys.path.insert(0, sys.argv[1])
import database, schema
print("waits", flush=True)
with schema.locked(database.Database(sys.argv[2])):
    print("has it", flush=True)
"""


def test_lock_of_a_file(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    folder = str(Path(schema.__file__).parent)
    with schema.locked(database.Database(uri)):
        command = [sys.executable, "-c", WAITER, folder, uri]
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == "waits\n"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.3)
    assert other.communicate(timeout=10)[0] == "has it\n"


def test_sqlite_that_is_not_there_is_not_made(tmp_path: Path, alchemy: _Alchemy, ran: list[str]) -> None:
    found = database.Database(f"sqlite:///{tmp_path}/mlflow.db")
    before = set(tmp_path.iterdir())
    prepare(found)
    with pytest.raises(contracts.Refusal, match="not there"):
        schema.check(found, True)
    assert (set(tmp_path.iterdir()), alchemy.statements, ran) == (before, [], [])


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (RuntimeError("no\n\troute."), "(no route): is it up"),
        (OSError("SSL: certificate verify failed"), "MLFLOW_DB_TLS"),
        (TypeError("unexpected keyword argument 'x'"), "'x'"),
    ],
)
def test_unreachable_database_is_one_sentence(failure: Exception, words: str, alchemy: _Alchemy) -> None:
    alchemy.failure = failure
    with pytest.raises(contracts.Refusal) as caught:
        prepare(MYSQL)
    sentence = str(caught.value)
    assert sentence.startswith("cannot use the database mysql+pymysql://writer@db.example.com/tracking (")
    assert words in sentence and "\n" not in sentence and caught.value.code == 1


@pytest.mark.parametrize(("dialect", "expected"), [("mysql", "fk_seats_user_id"), ("postgresql", "fk_user_id")])
def test_foreign_keys_of_mysql_have_names_of_their_own(dialect: str, expected: str) -> None:
    constraints = [types.SimpleNamespace(name="fk_user_id"), types.SimpleNamespace(name="unique_x")]
    table = types.SimpleNamespace(name="seats", constraints=constraints)
    connected = types.SimpleNamespace(dialect=types.SimpleNamespace(name=dialect))
    users_schema.name_apart(table, connected, checkfirst=False)
    assert [one.name for one in constraints] == [expected, "unique_x"]


def _database(path: Path, mode: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode={mode}")
    connection.execute("CREATE TABLE runs (id)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_no_wal(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "mlflow.db"
    _database(path, mode)
    schema.leave_wal(path)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    connection.close()


def test_wal_of_nothing_creates_nothing(tmp_path: Path) -> None:
    schema.leave_wal(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_wal_in_use_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    _database(path, "WAL")
    other = sqlite3.connect(path)
    other.execute("SELECT * FROM runs").fetchall()
    original = sqlite3.connect
    with pytest.MonkeyPatch.context() as patch, pytest.raises(contracts.Refusal, match="cannot use the database"):
        patch.setattr(sqlite3, "connect", lambda file, timeout: original(file, timeout=0))
        schema.leave_wal(path)
    other.close()
