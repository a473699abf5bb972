"""Convergence does not depend on the path: after each step of a walk the account is a fresh one.

A sample of the steps by default; every ordered pair of values of every setting with PATHS=all (`make paths`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import sides
from tests.paths import account, runs, values, walk
from tests.paths.conftest import TRIED
from tests.paths.values import Refused

ALL = os.environ.get("PATHS") == "all"
# Steps of the sample, by family.
SAMPLE = (2, 2)
PATHS = [
    runs.Walked(family, walk.walk(family, None if ALL else SAMPLE[number]))
    for number, family in enumerate(values.FAMILIES)
    if ALL or number < len(SAMPLE)
]
STEPS = [(number, step) for number, each in enumerate(PATHS) for step in range(1, len(each.path))]
REFUSED = [name for name, entry in values.SETTINGS.items() if isinstance(entry, Refused)]
CHANGING = re.compile(r"\S+ (?!Describe|Get|List|Head|BatchGet|GET|HEAD|Lookup|AssumeRole)")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where the runs write."""
    with runs.engine() as made:
        yield made


@pytest.fixture(scope="module")
def paths(folder: Path) -> list[runs.Walked]:
    """All that is walked."""
    runs.walk_all(folder, PATHS)
    for each in PATHS:
        count(each)
    return PATHS


def count(walked: runs.Walked) -> None:
    """Say for each setting how many of its pairs were tried."""
    there = walk.pairs(walked.family)
    tried: list[walk.Pair] = []
    for before, after in walk.steps(walked.path):
        tried += [pair for pair in walk.tried(walked.family, before, after) if pair in there]
    where = " ".join(str(value) for value in walked.family.values())
    TRIED.append(f"paths of {where}: {len(walked.path) - 1} steps, {len(set(tried))} of {len(there)} pairs of values")
    for name in walk.walked(walked.family):
        all_ = [pair for pair in there if pair[0] == name]
        own = [pair for pair in tried if pair[0] == name]
        TRIED.append(f"  {name:36} {len(set(own)):2} of {len(all_):2} pairs, {len(own):2} changes")


@pytest.mark.parametrize(("number", "step"), STEPS, ids=[f"{number}-{step}" for number, step in STEPS])
def test_a_step_ends_in_a_fresh_account(paths: list[runs.Walked], number: int, step: int) -> None:
    walked = paths[number]
    after, fresh = walked.after[step], walked.fresh[step]
    changes = "\n".join(runs.changed(walked.family, walked.path[step - 1], walked.path[step]))
    for what, one in (("the run", after), ("a fresh converge", fresh)):
        assert not isinstance(one, sides.Failed), f"{what} fails:\n{changes}\n{one}"
    assert isinstance(after, dict)
    assert isinstance(fresh, dict)
    lines = account.differences(after, fresh)
    for allowed in values.DIFFERENCES:
        if allowed.when(walked.behind[step]):
            passed = [line for line in lines if allowed.pattern.search(line)]
            assert passed, f"nothing differs where it may ({allowed.why}), so the entry is wrong:\n{changes}\n{lines}"
            lines = [line for line in lines if line not in passed]
    assert not lines, "\n".join(["", f"step {step} changed", changes, "and differs:", *lines])


@pytest.mark.skipif(not ALL, reason="a sample does not try all of it")
def test_what_may_differ_is_tried(paths: list[runs.Walked]) -> None:
    tried = [each for each in values.DIFFERENCES for walked in paths for path in walked.behind if each.when(path)]
    assert [each.why for each in values.DIFFERENCES if each not in tried] == []


@pytest.fixture(scope="module")
def standing(folder: Path) -> Iterator[sides.Cloud]:
    """A stack of the first family."""
    with sides.Cloud(folder / "standing") as cloud:
        runs.converge(cloud, walk.first(values.FAMILIES[0]))
        yield cloud


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_stack_keeps_is_refused_before_anything_changes(standing: sides.Cloud, name: str) -> None:
    entry = values.SETTINGS[name]
    assert isinstance(entry, Refused)
    config = walk.first(values.FAMILIES[0]) | (entry.fixed or {})
    known = len(standing.calls())
    with pytest.raises(sides.Failed) as refusal:
        runs.converge(standing, config | {name: entry.values[1]})
    made = [call for call in standing.calls()[known:] if CHANGING.match(call)]
    assert made == [], f"{name} was refused after {made[:3]}, or not at all"
    assert name in str(refusal.value), f"the refusal does not name {name}:\n{refusal.value}"
    TRIED.append(f"refused: {name} ({entry.why})")
