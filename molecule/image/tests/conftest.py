"""What the scenario's tests share: the facts, the servers as testinfra's hosts, and a guard against running nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

from tests.image import engine as machine

FEWEST = 40
STORAGES = ("sqlite", "postgresql", "mysql")
FACTS: dict[str, Any] = json.loads(Path(os.environ["IMAGE_FACTS"]).read_text())


def pytest_collection_finish(session: pytest.Session) -> None:
    """Molecule is green when it finds no test; this is not."""
    if len(session.items) < FEWEST and not session.config.option.keyword:
        raise pytest.UsageError(f"{len(session.items)} tests collected, at least {FEWEST} are expected")


@pytest.fixture(scope="session")
def facts() -> dict[str, Any]:
    """What tests/image/__main__.py told the scenario."""
    return FACTS


@pytest.fixture(scope="session")
def engine() -> machine.Engine:
    """The engine that runs the servers."""
    return machine.Engine(FACTS["engine"], FACTS["kind"])


def server(storage: str, user: str = "10001") -> Host:
    """testinfra's view into the server on `storage`, by docker's or podman's backend."""
    return testinfra.get_host(f"{FACTS['kind']}://{user}@{FACTS['containers'][storage]}")


@pytest.fixture(scope="session")
def image() -> Host:
    """One of the servers: what is in the image is the same in all."""
    return server("sqlite")


@pytest.fixture(scope="session")
def all_of_it() -> Host:
    """The same as root, who may look into every folder."""
    return server("sqlite", "root")


@pytest.fixture(scope="session", params=STORAGES)
def storage(request: pytest.FixtureRequest) -> str:
    """Each storage once."""
    return str(request.param)


@pytest.fixture(scope="session")
def port(storage: str) -> int:
    """Where it is reached from this machine."""
    return int(FACTS["ports"][storage])


@pytest.fixture(scope="session")
def container(engine: machine.Engine, storage: str, port: int) -> machine.Container:
    """Each server once, as soon as it answers."""
    found = machine.Container(engine, FACTS["containers"][storage])
    machine.wait_healthy(found, port)
    return found


@pytest.fixture(scope="session")
def running(container: machine.Container, storage: str) -> Host:
    """The same server, from inside."""
    return server(storage)
