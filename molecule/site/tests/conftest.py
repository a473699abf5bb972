"""What the tests of the scenario share: clients of an independent reader, and a guard against running nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import boto3
import pytest

STACKS = ("rds-internal", "rds-public", "efs-internal", "efs-public")
FEWEST = {"standing": 15 * len(STACKS), "apart": 5, "gone": 4 * len(STACKS) + 1}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that asks for a `stack` once for each of the four."""
    if "stack" in metafunc.fixturenames:
        metafunc.parametrize("stack", [f"mol-{name}" for name in STACKS])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Molecule is green when it finds no test; this is not."""
    for folder, fewest in FEWEST.items():
        found = sum(1 for item in session.items if f"/{folder}/" in str(item.path))
        if 0 < found < fewest or not session.items:
            raise pytest.UsageError(f"{found} tests collected from {folder}, at least {fewest} are expected")


@pytest.fixture(scope="session")
def aws() -> Callable[[str], Any]:
    """A client by service name, one a session."""
    clients: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in clients:
            clients[service] = boto3.client(
                service,
                aws_access_key_id=os.environ["OWNER_ACCESS_KEY"],
                aws_secret_access_key=os.environ["OWNER_SECRET_KEY"],
                aws_session_token="",
            )
        return clients[service]

    return client


@pytest.fixture(scope="session")
def account(aws: Callable[[str], Any]) -> str:
    """The account's number."""
    return str(aws("sts").get_caller_identity()["Account"])
