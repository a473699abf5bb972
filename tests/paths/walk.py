"""Paths through configurations in which each setting goes from each of its values to each other.

`walk(family, most)` chooses with a fixed seed, so that every run tries the same.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.paths import values
from tests.paths.values import UNSET, Config, Walked

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))
from plugins.module_utils import mlflow_settings  # noqa: E402

SEED = 14
# Settings that no step changes; for tests.
RESTING: frozenset[str] = frozenset()
TRIES = 60
REPAIRS = 12
# A setting, and the numbers of two of its values.
Pair = tuple[str, int, int]


@cache
def spec() -> dict[str, Any]:
    """The options of the operator's interface."""
    text = (ROOT / "roles/preflight/meta/argument_specs.yml").read_text()
    return dict(yaml.safe_load(text)["argument_specs"]["main"]["options"])


def walked(family: Mapping[str, Any]) -> dict[str, Walked]:
    """The settings that are walked in a family."""
    return {
        name: entry
        for name, entry in values.SETTINGS.items()
        if isinstance(entry, Walked)
        and name in spec()
        and all(family.get(key) == value for key, value in (entry.where or {}).items())
    }


def first(family: Mapping[str, Any]) -> Config:
    """Where a walk begins: the first of each of the values, those of settings without meaning here left out."""
    config = dict(values.GIVEN) | dict(family)
    for name, entry in values.SETTINGS.items():
        if name not in spec():
            # tests/unit/test_paths.py says so.
            continue
        if isinstance(entry, Walked):
            means = all(family.get(key) == value for key, value in (entry.where or {}).items())
            config[name] = entry.values[0] if means else UNSET
        elif isinstance(entry, values.Refused):
            config.setdefault(name, entry.values[0])
    if family["mlflow_exposure"] == "public":
        config["mlflow_auth"] = "basic"
    if problems := refused(config):
        raise ValueError(f"{family}: the first configuration is refused: {problems}")
    return config


def refused(config: Mapping[str, Any]) -> list[str]:
    """The settings that preflight has something against."""
    return [problem.variable for problem in mlflow_settings.settle(spec(), config)[1]]


def pairs(family: Mapping[str, Any]) -> set[Pair]:
    """Every pair of values that a stack of this family may have."""
    return set(_pairs(tuple(family.items()), RESTING))


@cache
def _pairs(items: tuple[tuple[str, Any], ...], _resting: frozenset[str]) -> frozenset[Pair]:
    family = dict(items)
    found: set[Pair] = set()
    for name, entry in walked(family).items():
        valid = [number for number in range(len(entry.values)) if possible(family, name, entry.values[number])]
        found |= {(name, a, b) for a, b in itertools.permutations(valid, 2) if a < b or not entry.one_way}
    return frozenset(found)


def possible(family: Mapping[str, Any], name: str, value: Any) -> bool:
    """Whether preflight takes the value with some values of the others."""
    draw = random.Random(SEED)
    now = first(family)
    return any(repaired(draw, family, now | {name: value}, now, name) for _ in range(TRIES))


def tried(family: Mapping[str, Any], before: Config, after: Config) -> set[Pair]:
    """The pairs of one step."""
    return {
        (name, entry.values.index(before[name]), entry.values.index(after[name]))
        for name, entry in walked(family).items()
        if before[name] != after[name]
    }


def walk(family: Mapping[str, Any], most: int | None = None) -> list[Config]:
    """Configurations from `first` on, each step the one of many drawn that tries most of what is left."""
    draw = random.Random(SEED)
    path, left = [first(family)], pairs(family)
    while left and (most is None or len(path) <= most):
        candidates = [one for _ in range(TRIES) if (one := candidate(draw, family, path[-1], left))]
        best = max(candidates, key=lambda one: len(tried(family, path[-1], one) & left), default=None)
        if best is None or not tried(family, path[-1], best) & left:
            best = towards(draw, family, path[-1], left)
            if best is None:
                break
        left -= tried(family, path[-1], best)
        path.append(best)
    return path


def towards(draw: random.Random, family: Mapping[str, Any], now: Config, left: set[Pair]) -> Config | None:
    """A configuration from which something of `left` can be tried in the next step, or None."""
    candidates = [one for _ in range(TRIES) if (one := candidate(draw, family, now, set()))]
    for one in candidates:
        following = [next_ for _ in range(TRIES) if (next_ := candidate(draw, family, one, left))]
        if any(tried(family, one, next_) & left for next_ in following):
            return one
    return None


def candidate(draw: random.Random, family: Mapping[str, Any], now: Config, left: set[Pair]) -> Config | None:
    """A configuration that preflight takes, with as much that is in `left` as a draw gives; None when there is none."""
    one = dict(now)
    entries = walked(family)
    for name in entries:
        one[name] = entries[name].values[choose(draw, name, entries[name], now, left)]
    return repaired(draw, family, one, now)


def repaired(
    draw: random.Random, family: Mapping[str, Any], one: Config, now: Config, fixed: str = ""
) -> Config | None:
    """`one` with other values (not of `fixed`) where preflight has something against it; None when nothing helps."""
    entries = walked(family)
    for _ in range(REPAIRS):
        wrong = [name for name in related(refused(one)) if name in entries and name != fixed]
        if not wrong:
            break
        name = draw.choice(wrong)
        allowed = [value for number, value in enumerate(entries[name].values)
                   if not entries[name].one_way or number >= entries[name].values.index(now[name])]  # fmt: skip
        one[name] = draw.choice(allowed)
    return None if refused(one) else one


def related(names: Sequence[str]) -> list[str]:
    """Settings among which a rule between several is kept or broken."""
    found: list[str] = []
    for group in RELATED:
        if set(group) & set(names):
            found += group
    return [*found, *(name for name in names if name not in found)]


RELATED = (
    ("mlflow_size", "mlflow_cpu", "mlflow_memory", "mlflow_workers"),
    ("mlflow_domain", "mlflow_certificate_arn"),
    ("mlflow_capacity_min", "mlflow_capacity_max"),
    ("mlflow_database_storage_gb", "mlflow_database_storage_max_gb", "mlflow_database_iops"),
)


def choose(draw: random.Random, name: str, entry: Walked, now: Config, left: set[Pair]) -> int:
    """The number of the value to go to: one not tried from here, else one from which something is left to try."""
    here = entry.values.index(now[name])
    reachable = [number for number in range(len(entry.values)) if number >= here or not entry.one_way]
    open_ = [number for number in reachable if (name, here, number) in left]
    # Now and then nothing is changed, for a rule may allow a pair only while another setting rests.
    if open_ and draw.random() < 0.85:
        return draw.choice(open_)
    onward = [number for number in reachable if any(pair[:2] == (name, number) for pair in left)]
    return draw.choice(onward or reachable)


def steps(path: Sequence[Config]) -> Iterator[tuple[Config, Config]]:
    """Each step as (before, after)."""
    return itertools.pairwise(path)
