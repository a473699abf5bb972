"""What MiniStack's ECS forgets without local/ministack_gaps.py, and stack_info's and the modules' fields ask for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("ministack")
from ministack.services import ecs

from local import ministack_gaps


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """MiniStack's handlers with the gap filled, and an empty ECS before and after."""
    known = ministack_gaps._handlers(ecs, "UpdateService")
    before = dict(known)
    ecs.reset()
    ministack_gaps._keep_service_settings()
    yield known
    known.update(before)
    ecs.reset()


def service(handlers: dict[str, Any]) -> dict[str, Any]:
    _, _, body = handlers["DescribeServices"]({"cluster": "team-a", "services": ["team-a"]})
    (found,) = json.loads(body)["services"]
    return dict(found)


def test_a_service_keeps_what_it_is_made_and_changed_with(handlers: dict[str, Any]) -> None:
    handlers["CreateCluster"]({"clusterName": "team-a"})
    container = {"name": "mlflow", "image": "x"}
    handlers["RegisterTaskDefinition"]({"family": "team-a", "containerDefinitions": [container]})
    names = {"cluster": "team-a", "serviceName": "team-a", "taskDefinition": "team-a", "desiredCount": 0}
    handlers["CreateService"]({**names, "availabilityZoneRebalancing": "ENABLED", "propagateTags": "SERVICE"})
    made = service(handlers)
    assert (made["availabilityZoneRebalancing"], made["propagateTags"]) == ("ENABLED", "SERVICE")
    assert made["enableECSManagedTags"] is False
    changes = {"availabilityZoneRebalancing": "DISABLED", "propagateTags": "NONE", "enableECSManagedTags": True}
    handlers["UpdateService"]({"cluster": "team-a", "service": made["serviceArn"], **changes})
    assert {key: service(handlers)[key] for key in changes} == changes


def test_a_refused_call_changes_nothing(handlers: dict[str, Any]) -> None:
    handlers["CreateCluster"]({"clusterName": "team-a"})
    container = {"name": "mlflow", "image": "x"}
    handlers["RegisterTaskDefinition"]({"family": "team-a", "containerDefinitions": [container]})
    names = {"cluster": "team-a", "serviceName": "team-a", "taskDefinition": "team-a", "desiredCount": 0}
    handlers["CreateService"](dict(names))
    status, _, _ = handlers["CreateService"]({**names, "propagateTags": "SERVICE"})
    assert status == 400
    assert service(handlers)["propagateTags"] == "NONE"
