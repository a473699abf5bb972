"""The runs that show which rights a deployer needs: both storages from nothing, changed, taken back and to nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bench import sides

# What is turned on by the second run, and taken back by the third, of a stack with each storage.
FIRST: dict[str, dict[str, Any]] = {
    "rds": {"mlflow_egress": "endpoints", "mlflow_deletion_protection": False},
    "efs": {"mlflow_deletion_protection": False, "mlflow_capacity_min": 1, "mlflow_capacity_max": 1},
}
ON: dict[str, Any] = {
    "mlflow_egress": "nat_per_az",
    "mlflow_flow_logs": True,
    "mlflow_capacity_max": 3,
    "mlflow_log_retention_days": 7,
    "mlflow_tags": {"Team": "a"},
}
GONE = {"mlflow_keep_artifacts": False, "mlflow_final_snapshot": True}


def settings(values: Mapping[str, Any]) -> list[str]:
    """Settings as arguments of ansible-playbook."""
    return ["-e", json.dumps(values)]


def commands(storage: str) -> dict[str, list[str]]:
    """The commands of the runs of one stack, by name."""
    first = {**FIRST[storage], "mlflow_storage": storage, "mlflow_auth": "basic"}
    # One server only may write to a file system.
    changed = {name: value for name, value in ON.items() if storage == "rds" or "capacity" not in name}
    return {
        "converge": [*sides.converge(), *settings(first)],
        "on": [*sides.every_task(), *settings({**first, **changed})],
        "back": [*sides.every_task(), *settings(first)],
        "noop": [*sides.converge(), *settings(first)],
        "destroy": [*sides.destroy(), *settings({**first, **GONE})],
    }


def records() -> list[str]:
    """Every call of the runs, each a line of JSON. Raises sides.Failed where one fails."""
    found: list[str] = []
    for storage in FIRST:
        with sides.Cloud(sides.scratch()) as cloud:
            for step, command in commands(storage).items():
                sides.measure(cloud, 1, storage, step, command)
            found += cloud.records()
    sides.remove_outputs()
    return found
