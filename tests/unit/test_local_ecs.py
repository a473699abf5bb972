"""MiniStack's ECS with local/ministack_gaps.py: what it would forget, and that the modules of ECS agree with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

pytest.importorskip("ministack")
from ministack.services import ecs

from local import ministack_gaps
from tests.own_modules import empty_aws, four_steps, load, runner


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


OPERATIONS = (
    "CreateCluster", "CreateService", "DeleteCluster", "DeleteService", "DeregisterTaskDefinition", "DescribeClusters",
    "DescribeServices", "DescribeTaskDefinition", "ListTaskDefinitions", "PutClusterCapacityProviders",
    "RegisterTaskDefinition", "TagResource", "UntagResource", "UpdateCluster", "UpdateService",
)  # fmt: skip
MODULES = ("ecs_fargate_cluster", "ecs_task_definition", "ecs_fargate_service")


def asking(handler: Callable[[dict[str, Any]], Any], operation: str) -> Callable[..., Any]:
    """An operation of boto3 that MiniStack's `handler` answers."""

    def call(**request: Any) -> Any:
        status, _, body = handler(json.loads(json.dumps(request)))
        answer = json.loads(body)
        if status >= 400:
            code = str(answer.get("__type", "")).rpartition("#")[2]
            raise ClientError({"Error": {"Code": code, "Message": answer.get("message", "")}}, operation)
        return answer

    return call


def test_the_modules_agree_with_ministack(
    handlers: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stubs = {name: asking(handlers[name], name) for name in OPERATIONS}
    tags = {"Stack": "team-a"}
    definition = {
        "family": "team-a",
        "cpu": 512,
        "memory": 1024,
        "containers": [{"name": "mlflow", "image": "x", "portMappings": [{"containerPort": 5000}]}],
        "volumes": [{"name": "tmp"}],
        "tags": tags,
    }
    balancer = {"target_group_arn": "arn:aws:tg/a", "container_name": "mlflow", "container_port": 5000}
    wanted = {
        "name": "team-a",
        "cluster": "team-a",
        "task_definition": "team-a:1",
        "desired_count": 0,
        "subnet_ids": ["subnet-b", "subnet-a"],
        "security_group_ids": ["sg-1"],
        "load_balancers": [balancer],
        "health_check_grace_period": 180,
        "availability_zone_rebalancing": "ENABLED",
        "propagate_tags": "SERVICE",
        "tags": tags,
    }
    with empty_aws(monkeypatch):
        run = runner({name: load("modules", name) for name in MODULES}, capsys, monkeypatch, stubs)
        four_steps(run, "ecs_fargate_cluster", name="team-a", tags=tags)
        four_steps(run, "ecs_task_definition", **definition)
        assert four_steps(run, "ecs_task_definition", **{**definition, "cpu": 1024})["revision"] == "team-a:2"
        four_steps(run, "ecs_fargate_service", **wanted)
        for change in (
            {"task_definition": "team-a:2"},
            {"assign_public_ip": True},
            {"subnet_ids": ["subnet-a", "subnet-c"]},
            {"security_group_ids": ["sg-2"]},
            {"platform_version": "LATEST"},
            {"load_balancers": []},
            {"health_check_grace_period": 7},
            {"minimum_healthy_percent": 0, "maximum_percent": 100},
            {"circuit_breaker": False, "rollback": False},
            {"enable_execute_command": True},
            {"enable_ecs_managed_tags": True},
            {"availability_zone_rebalancing": "DISABLED"},
            {"propagate_tags": "NONE"},
            {"tags": {"Stack": "team-b", "More": "x"}},
        ):
            four_steps(run, "ecs_fargate_service", **{**wanted, **change})
            four_steps(run, "ecs_fargate_service", **wanted)
        four_steps(run, "ecs_fargate_service", name="team-a", cluster="team-a", force=True, state="absent")
        four_steps(run, "ecs_fargate_service", **wanted)
        four_steps(run, "ecs_fargate_service", name="team-a", cluster="team-a", force=True, state="absent")
        four_steps(run, "ecs_task_definition", family="team-a", state="absent")
        four_steps(run, "ecs_fargate_cluster", name="team-a", state="absent")
