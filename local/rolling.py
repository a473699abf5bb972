"""Which tasks to start and which to stop: the rules of an ECS rolling deployment, without side effects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

STARTING = "starting"
HEALTHY = "healthy"
STOPPING = "stopping"
LONGEST_WAIT = 60.0


@dataclass(frozen=True)
class Wish:
    """What a service asks for: a number of tasks of one revision, and the bounds (percent of it) while they change."""

    revision: str
    count: int
    minimum_percent: int = 100
    maximum_percent: int = 200


@dataclass(frozen=True)
class Task:
    """A task as the rules see it; `started` in seconds orders them."""

    id: str
    revision: str
    state: str
    started: float = 0.0


@dataclass
class Decision:
    """How many tasks of the wished revision to start, and which tasks to stop."""

    start: int = 0
    stop: list[str] = field(default_factory=list)


def decide(wish: Wish, tasks: Sequence[Task]) -> Decision:
    """The next step from `tasks` (dead ones left out) towards `wish`."""
    upper = max(math.floor(wish.count * wish.maximum_percent / 100), 1 if wish.count else 0)
    lower = math.ceil(wish.count * wish.minimum_percent / 100)
    living = [task for task in tasks if task.state != STOPPING]
    current = [task for task in living if task.revision == wish.revision]
    old = [task for task in living if task.revision != wish.revision]
    decision = Decision()

    surplus = len(current) - wish.count
    if surplus > 0:
        newest_first = sorted(current, key=lambda task: (task.state == HEALTHY, -task.started))
        decision.stop += [task.id for task in newest_first[:surplus]]
        current = newest_first[surplus:]

    missing = wish.count - len(current)
    # A stopping task still holds its place: with a maximum of 100 two of them must never overlap.
    room = upper - len(tasks)
    decision.start = max(0, min(missing, room))

    healthy = sum(task.state == HEALTHY for task in (*current, *old))
    spare = healthy - lower
    needed = len(old) if missing <= 0 else max(0, missing - max(room, 0))
    for task in sorted(old, key=lambda task: (task.state == HEALTHY, task.started)):
        if task.state == HEALTHY:
            new_ones_serve = sum(one.state == HEALTHY for one in current) > 0 or wish.count == 0
            if spare <= 0 or not (new_ones_serve or needed > 0):
                continue
            spare -= 1
        needed -= 1
        decision.stop.append(task.id)
    return decision


def settled(wish: Wish, tasks: Sequence[Task]) -> bool:
    """Whether `tasks` (dead ones left out) are what `wish` asks for, all healthy and nothing else."""
    done = [task for task in tasks if task.revision == wish.revision and task.state == HEALTHY]
    return len(done) == len(tasks) == wish.count


def rollout(service: Mapping[str, Any]) -> str:
    """How the deployment of a service fares, as DescribeServices says: IN_PROGRESS, COMPLETED, FAILED, or ""."""
    found = [one for one in service.get("deployments") or [] if one.get("status") == "PRIMARY"]
    return str(found[0].get("rolloutState", "")) if found else ""


def task_name(service: str, revision: str) -> str:
    """How a task of `revision` (an ARN) is named to MiniStack, which knows ours by no other name."""
    return f"{service} {revision}"


def backoff(failures: int) -> float:
    """Seconds to wait before the next start after `failures` failures in a row: 0, 1, 2, 4 ... at most 60."""
    if failures <= 0:
        return 0.0
    return float(min(LONGEST_WAIT, 2.0 ** min(failures - 1, 10)))
