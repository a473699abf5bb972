"""What a plan says about drift."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

# The roles whose tasks make what is in a part of the stack that module stack_drift reads.
ROLES: dict[str, tuple[str, ...]] = {
    "network": ("network", "rds", "efs"),
    "ecr_image": ("ecr_image",),
    "rds": ("rds",),
    "efs": ("efs",),
    "artifact_bucket": ("s3_artifacts",),
    "log_bucket": ("s3_artifacts",),
    "alb": ("alb",),
    "ecs_service": ("ecs_service",),
    "roles": ("ecs_service", "network"),
    "secrets": ("rds", "ecs_service"),
    "log_groups": ("ecs_service", "network"),
    "outputs": ("outputs",),
}


def not_planned(suspects: Mapping[str, Iterable[str]], planned: Iterable[str]) -> list[str]:
    """The lines of the parts in which no task of a plan would change anything.

    Args:
        suspects: lines by part, as stack_drift returns them.
        planned: names of tasks with their role, as the lookup planned_changes returns them.
    """
    busy = {name.partition(" : ")[0] for name in planned}
    return [line for part, lines in suspects.items() if busy.isdisjoint(ROLES[part]) for line in lines]


class FilterModule:
    """Gives the filter to templates."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {"not_planned": not_planned}
