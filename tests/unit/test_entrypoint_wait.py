"""The entrypoint's wait for a database: which reasons it waits out, how long, and what it says."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docker"))
contracts = importlib.import_module("contracts")
database = importlib.import_module("database")
database_wait = importlib.import_module("database_wait")
entrypoint = importlib.import_module("entrypoint")

POSTGRESQL = database.Database("postgresql+psycopg://writer@db.example.com/tracking?sslmode=require")

LATER = [
    'connection failed: connection to server at "10.0.0.1", port 5432 failed: Connection refused',
    "connection timeout expired",
    "failed to resolve host 'db.example.com': [Errno -2] Name or service not known",
    "connection failed: FATAL: the database system is starting up",
    "connection failed: FATAL: the database system is shutting down",
    "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
    "FATAL:  sorry, too many clients already",
    "connection failed: server closed the connection unexpectedly",
    "SSL SYSCALL error: EOF detected",
    "(2003, \"Can't connect to MySQL server on 'db.example.com' ([Errno 111] Connection refused)\")",
    "(2013, 'Lost connection to MySQL server during query')",
    "(1040, 'Too many connections')",
]
NEVER = [
    'FATAL:  password authentication failed for user "writer"',
    'FATAL:  database "tracking" does not exist',
    "SSL error: certificate verify failed",
    'server certificate for "other" does not match host name "db.example.com"',
    "no pg_hba.conf entry for host, no encryption",
    "(1045, \"Access denied for user 'writer'\")",
    "(1049, \"Unknown database 'tracking'\")",
]


class Clock:
    """Time that only `sleep` and the attempts let pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def attempts(monkeypatch: pytest.MonkeyPatch, *reasons: str) -> list[str]:
    """Let the connection fail for these reasons, the last one for ever unless it is empty; the list of those met."""
    met: list[str] = []

    @contextlib.contextmanager
    def connection(found: Any) -> Iterator[None]:
        reason = reasons[min(len(met), len(reasons) - 1)]
        met.append(reason)
        if reason:
            error = Exception("wrapped")
            error.orig = reason  # type: ignore[attr-defined]
            raise contracts.Refusal("cannot use the database", 1) from error
        yield

    monkeypatch.setattr(database_wait, "schema", SimpleNamespace(connection=connection))
    return met


@pytest.mark.parametrize("reason", LATER)
def test_what_may_end_by_itself_is_waited_for_and_said_once(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    met, clock, said = attempts(monkeypatch, reason, reason, reason, ""), Clock(), []
    database_wait.wait(POSTGRESQL, 120, said.append, clock, clock.sleep)
    assert len(met) == 4 and clock.now > 1000
    assert said == [
        "the database postgresql+psycopg://writer@db.example.com/tracking does not answer yet: "
        "waiting up to 120 seconds for it."
    ]


@pytest.mark.parametrize("reason", NEVER)
def test_what_stays_wrong_is_refused_at_once(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    met, said = attempts(monkeypatch, reason), []
    with pytest.raises(contracts.Refusal):
        database_wait.wait(POSTGRESQL, 120, said.append)
    assert (len(met), said) == (1, [])


def test_the_default_is_more_than_a_minute_and_ends_before_ecs_kills_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts(monkeypatch, LATER[0])
    clock, said = Clock(), []
    with pytest.raises(contracts.Refusal):
        database_wait.wait(POSTGRESQL, entrypoint.DATABASE_WAIT_SECONDS, said.append, clock, clock.sleep)
    assert 60 < clock.now - 1000 < 150
    assert len(said) == 1


def test_a_database_that_answers_costs_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    met, said = attempts(monkeypatch, ""), []
    database_wait.wait(POSTGRESQL, 120, said.append)
    assert (len(met), said) == (1, [])


def test_a_file_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    met = attempts(monkeypatch, LATER[0])
    database_wait.wait(database.Database("sqlite:////data/mlflow.db"), 120, print)
    assert met == []
