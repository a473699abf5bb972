"""Whatever somebody changes by hand, one run makes a fresh account of it again, or fails and names it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from bench import sides
from tests.paths import account, by_hand, runs, values, walk
from tests.paths.conftest import TRIED

# Two tasks, so that scaling has something to do.
INTERNAL = walk.first(values.FAMILIES[0]) | {"mlflow_capacity_max": 4}
PUBLIC = walk.first(values.FAMILIES[1]) | {
    "mlflow_egress": "endpoints",
    "mlflow_flow_logs": True,
    "mlflow_access_logs": True,
    "mlflow_domain": "mlflow.example.com",
    "mlflow_certificate_arn": values.CERTIFICATES[0],
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where the runs write."""
    with runs.engine() as made:
        yield made


def by(hand: by_hand.Hand, changes: dict[str, by_hand.Change]) -> list[str]:
    """Make the changes; a line for each that the emulator refuses, and so nobody has seen."""
    refused = []
    for what, change in changes.items():
        try:
            change(hand)
        except ClientError as error:
            refused.append(f"{what}: {error}")
    return refused


def count(what: str, changes: dict[str, by_hand.Change], differing: int) -> None:
    """Say what was tried."""
    TRIED.append(f"{what} by hand: {len(changes)}, after which {differing} fields differ; one run")


def test_one_run_makes_it_a_fresh_account_again_or_names_it(folder: Path) -> None:
    with sides.Cloud(folder / "internal") as cloud:
        runs.converge(cloud, INTERNAL)
        fresh = runs.read(cloud)
        assert by(by_hand.Hand(cloud), by_hand.CHANGES) == []
        count("changed", by_hand.CHANGES, len(account.differences(runs.read(cloud), fresh)))
        with pytest.raises(sides.Failed) as named:
            runs.converge(cloud, INTERNAL)
        assert [what for what, (says, _) in by_hand.NAMED.items() if says not in str(named.value)] == [], named.value
        lines = account.differences(runs.read(cloud), fresh)
    left = [line for line in lines if not line.startswith(tuple(field for _, field in by_hand.NAMED.values()))]
    assert not left, "\n".join(["", "neither repaired nor named:", *left])


def test_one_run_makes_a_public_stack_on_a_file_system_a_fresh_account_again(folder: Path) -> None:
    with sides.Cloud(folder / "public") as cloud:
        runs.converge(cloud, PUBLIC)
        fresh = runs.read(cloud)
        for what, changes in (("changed", by_hand.PUBLIC_CHANGES), ("removed", by_hand.REMOVALS)):
            assert by(by_hand.Hand(cloud), changes) == []
            count(what, changes, len(account.differences(runs.read(cloud), fresh)))
            runs.converge(cloud, PUBLIC)
            lines = account.differences(runs.read(cloud), fresh)
            assert not lines, "\n".join(["", f"not repaired after what was {what}:", *lines])
