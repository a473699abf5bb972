"""Whatever somebody changes by hand, one run makes a fresh account of it again, or fails and names it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from bench import sides
from tests.paths import account, by_hand, runs, values, walk
from tests.paths.conftest import TRIED


@pytest.fixture(scope="module")
def cloud() -> Iterator[sides.Cloud]:
    """An emulator of its own."""
    with runs.engine() as folder, sides.Cloud(Path(folder) / "aws") as made:
        yield made


def test_one_run_makes_it_a_fresh_account_again_or_names_it(cloud: sides.Cloud) -> None:
    # Two tasks, so that scaling has something to do.
    config = walk.first(values.FAMILIES[0]) | {"mlflow_capacity_max": 4}
    runs.converge(cloud, config)
    fresh = runs.read(cloud)
    hand = by_hand.Hand(cloud)
    unseen: list[str] = []
    for what, change in by_hand.CHANGES.items():
        try:
            change(hand)
        except ClientError as error:
            unseen.append(f"{what}: {error}")
            continue
    changed = account.differences(runs.read(cloud), fresh)
    TRIED.append(f"by hand: {len(by_hand.CHANGES) - len(unseen)} changes, {len(changed)} fields that differ, one run")
    assert unseen == []
    with pytest.raises(sides.Failed) as named:
        runs.converge(cloud, config)
    assert [what for what, (says, _) in by_hand.NAMED.items() if says not in str(named.value)] == [], str(named.value)
    lines = account.differences(runs.read(cloud), fresh)
    left = [line for line in lines if not line.startswith(tuple(field for _, field in by_hand.NAMED.values()))]
    assert not left, "\n".join(["", "neither repaired nor named:", *left])
