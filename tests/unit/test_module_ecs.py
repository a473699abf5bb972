"""The modules of ECS, in-process against moto with its gaps filled as for the measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from bench import moto_server
from local import moto_server as scaling_gaps
from tests.own_modules import REGION, Run, client, empty_aws, four_steps, load, runner, tag_list

ACCOUNT, STACK = "123456789012", "team-a"
TAGS = {"Stack": STACK, "ManagedBy": "ansible"}
NAMES = ("ecs_fargate_cluster", "ecs_task_definition", "ecs_fargate_service", "service_scaling")


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    return {name: load("modules", name) for name in NAMES}


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    moto_server.fill_ecs()
    scaling_gaps.patch()
    with empty_aws(monkeypatch):
        yield


@pytest.fixture
def ecs() -> Any:
    return client("ecs")


@pytest.fixture
def stubs() -> dict[str, Callable[..., Any]]:
    """What stands in for moto, by operation."""
    return {}


@pytest.fixture
def run(
    modules: dict[str, ModuleType],
    stubs: dict[str, Callable[..., Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    monkeypatch.setattr("time.sleep", lambda _: None)
    return runner(modules, capsys, monkeypatch, stubs)


def refusal(code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Call")


def tags_of(described: list[dict[str, str]]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in described}


# --- ecs_fargate_cluster ---------------------------------------------------------------------------------------------


def cluster_of(ecs: Any) -> dict[str, Any]:
    (found,) = ecs.describe_clusters(clusters=[STACK], include=["TAGS", "SETTINGS", "CONFIGURATIONS"])["clusters"]
    return dict(found)


def test_a_cluster_four_steps_with_its_tags_in_one_call(run: Run, ecs: Any) -> None:
    made = four_steps(run, "ecs_fargate_cluster", name=STACK, tags=TAGS)
    assert made.writes == ["CreateCluster"]
    assert made["cluster_arn"] == cluster_of(ecs)["clusterArn"]
    assert tags_of(cluster_of(ecs)["tags"]) == TAGS
    assert run("ecs_fargate_cluster", name=STACK, tags=TAGS).calls == ["DescribeClusters"]
    gone = four_steps(run, "ecs_fargate_cluster", name=STACK, state="absent")
    assert (gone.writes, gone["cluster_arn"]) == (["DeleteCluster"], None)


def test_what_nobody_asked_for_of_a_cluster_is_taken_back(run: Run, ecs: Any) -> None:
    run("ecs_fargate_cluster", name=STACK, tags=TAGS)
    arn = cluster_of(ecs)["clusterArn"]
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "Extra", "value": "x"}, {"key": "ManagedBy", "value": "hand"}])
    ecs.update_cluster(
        cluster=STACK,
        settings=[{"name": "containerInsights", "value": "enabled"}],
        configuration={"executeCommandConfiguration": {"logging": "OVERRIDE", "kmsKeyId": "key"}},
        serviceConnectDefaults={"namespace": "elsewhere"},
    )
    strategy = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    ecs.put_cluster_capacity_providers(
        cluster=STACK, capacityProviders=["FARGATE_SPOT"], defaultCapacityProviderStrategy=strategy
    )
    mended = four_steps(run, "ecs_fargate_cluster", name=STACK, tags=TAGS)
    assert mended.writes == ["UpdateCluster", "TagResource", "UntagResource", "PutClusterCapacityProviders"]
    found = cluster_of(ecs)
    assert found["settings"] == [{"name": "containerInsights", "value": "disabled"}]
    assert found["capacityProviders"] == found["defaultCapacityProviderStrategy"] == []
    assert found["configuration"] == {"executeCommandConfiguration": {"logging": "DEFAULT"}}
    assert found["serviceConnectDefaults"] == {"namespace": ""}
    assert tags_of(found["tags"]) == TAGS


def test_tags_that_are_left_open_stay(run: Run, ecs: Any) -> None:
    run("ecs_fargate_cluster", name=STACK, tags=TAGS)
    assert run("ecs_fargate_cluster", name=STACK)["changed"] is False
    assert tags_of(cluster_of(ecs)["tags"]) == TAGS


def test_providers_that_a_service_uses_are_deferred(run: Run, ecs: Any, stubs: dict[str, Any]) -> None:
    run("ecs_fargate_cluster", name=STACK)
    ecs.put_cluster_capacity_providers(cluster=STACK, capacityProviders=["FARGATE"], defaultCapacityProviderStrategy=[])

    def put(**_: Any) -> Any:
        raise refusal("ResourceInUseException", "The capacity provider is in use.")

    stubs["PutClusterCapacityProviders"] = put
    assert run("ecs_fargate_cluster", name=STACK)["deferred"] is True
    del stubs["PutClusterCapacityProviders"]
    assert run("ecs_fargate_cluster", name=STACK)["deferred"] is False
    assert cluster_of(ecs)["capacityProviders"] == []


# --- ecs_task_definition ---------------------------------------------------------------------------------------------

CONTAINER: dict[str, Any] = {
    "name": "mlflow",
    "image": "example/mlflow@sha256:0",
    "essential": True,
    "command": ["serve"],
    "user": "10001:10001",
    "stopTimeout": 30,
    "readonlyRootFilesystem": True,
    "linuxParameters": {"initProcessEnabled": True},
    "portMappings": [{"containerPort": 5000, "hostPort": 5000, "protocol": "tcp"}],
    "environment": [{"name": "MLFLOW_WORKERS", "value": "2"}, {"name": "MLFLOW_AUTH", "value": "basic"}],
    "secrets": [{"name": "PASSWORD", "valueFrom": "arn:aws:secretsmanager:eu-west-1:1:secret:a-AbCdEf"}],
    "mountPoints": [{"sourceVolume": "tmp", "containerPath": "/tmp", "readOnly": False}],
    "healthCheck": {"command": ["CMD", "health"], "interval": 30, "timeout": 10, "retries": 3, "startPeriod": 180},
    "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "/mlflow/team-a"}},
}
ROLE = "arn:aws:iam::123456789012:role/mlflow/mlflow-team-a-eu-west-1-task"
EFS_VOLUME: dict[str, Any] = {
    "name": "data",
    "efsVolumeConfiguration": {
        "fileSystemId": "fs-1",
        "transitEncryption": "ENABLED",
        "authorizationConfig": {"accessPointId": "fsap-1", "iam": "ENABLED"},
    },
}
DEFINITION: dict[str, Any] = {
    "family": STACK,
    "containers": [CONTAINER],
    "volumes": [{"name": "tmp"}],
    "cpu": 512,
    "memory": 1024,
    "execution_role_arn": ROLE,
    "task_role_arn": ROLE,
    "tags": TAGS,
}


def container(**changes: Any) -> list[dict[str, Any]]:
    return [{**CONTAINER, **changes}]


def latest(ecs: Any) -> dict[str, Any]:
    answer = ecs.describe_task_definition(taskDefinition=STACK, include=["TAGS"])
    return {**answer["taskDefinition"], "tags": tags_of(answer["tags"])}


def test_a_task_definition_four_steps(run: Run, ecs: Any) -> None:
    predicted = run("ecs_task_definition", check=True, **DEFINITION)
    assert (predicted["task_definition_arn"], predicted["revision"]) == (None, f"{STACK}:1")
    made = four_steps(run, "ecs_task_definition", **DEFINITION)
    assert made.writes == ["RegisterTaskDefinition"]
    found = latest(ecs)
    assert (made["task_definition_arn"], made["revision"]) == (found["taskDefinitionArn"], f"{STACK}:1")
    assert (found["networkMode"], found["requiresCompatibilities"]) == ("awsvpc", ["FARGATE"])
    assert found["runtimePlatform"] == {"operatingSystemFamily": "LINUX", "cpuArchitecture": "X86_64"}
    assert found["tags"] == TAGS
    assert run("ecs_task_definition", **DEFINITION).calls == ["DescribeTaskDefinition"]


@pytest.mark.parametrize(
    "changed",
    [
        {
            "containers": container(
                environment=[{**CONTAINER["environment"][0], "value": "1"}, CONTAINER["environment"][1]]
            )
        },
        {"containers": container(environment=CONTAINER["environment"][:1])},
        {
            "containers": container(
                secrets=[{"name": "PASSWORD", "valueFrom": "arn:aws:secretsmanager:eu-west-1:1:secret:a-GhIjKl"}]
            )
        },
        {"containers": container(secrets=[{"name": "OTHER", "valueFrom": CONTAINER["secrets"][0]["valueFrom"]}])},
        {"containers": container(image="example/mlflow@sha256:1")},
        {"containers": container(command=["break"])},
        {"containers": container(user="0:0")},
        {"containers": container(stopTimeout=31)},
        {"containers": container(readonlyRootFilesystem=False)},
        {"containers": container(linuxParameters={"initProcessEnabled": False})},
        {"containers": container(portMappings=[{"containerPort": 5001, "hostPort": 5001, "protocol": "tcp"}])},
        {"containers": container(mountPoints=[{"sourceVolume": "tmp", "containerPath": "/tmp", "readOnly": True}])},
        {"containers": container(healthCheck={**CONTAINER["healthCheck"], "startPeriod": 181})},
        {"containers": container(healthCheck={**CONTAINER["healthCheck"], "command": ["CMD", "other"]})},
        {
            "containers": container(
                logConfiguration={"logDriver": "awslogs", "options": {"awslogs-group": "/other/team-a"}}
            )
        },
        {"containers": container(essential=True, privileged=True)},
        {"containers": container(name="server")},
        {"containers": [CONTAINER, {"name": "sidecar", "image": "x", "essential": False}]},
        {"volumes": [{"name": "tmp"}, EFS_VOLUME]},
        {"volumes": []},
        {"cpu": 1024},
        {"memory": 2048},
        {"architecture": "ARM64"},
        {"ephemeral_storage_gib": 30},
        {"execution_role_arn": ROLE.replace("-task", "-exec")},
        {"task_role_arn": ROLE.replace("-task", "-exec")},
        {"task_role_arn": None},
    ],
    ids=str,
)
def test_any_difference_registers_a_revision_and_back_again_another(
    run: Run, ecs: Any, changed: dict[str, Any]
) -> None:
    run("ecs_task_definition", **DEFINITION)
    before = latest(ecs)
    other = four_steps(run, "ecs_task_definition", **{**DEFINITION, **changed})
    assert (other.writes, other["revision"]) == (["RegisterTaskDefinition"], f"{STACK}:2")
    # An older revision that looks alike is not taken up again.
    back = four_steps(run, "ecs_task_definition", **DEFINITION)
    assert (back.writes, back["revision"]) == (["RegisterTaskDefinition"], f"{STACK}:3")
    drawn = ("revision", "taskDefinitionArn")
    assert {k: v for k, v in latest(ecs).items() if k not in drawn} == {
        k: v for k, v in before.items() if k not in drawn
    }


def test_the_elements_of_an_efs_volume_count(run: Run) -> None:
    run("ecs_task_definition", **{**DEFINITION, "volumes": [EFS_VOLUME]})
    other = {**EFS_VOLUME["efsVolumeConfiguration"], "fileSystemId": "fs-2"}
    changed = {**DEFINITION, "volumes": [{"name": "data", "efsVolumeConfiguration": other}]}
    assert four_steps(run, "ecs_task_definition", **changed)["revision"] == f"{STACK}:2"


def test_order_and_what_aws_fills_in_are_no_difference(run: Run, stubs: dict[str, Any], ecs: Any) -> None:
    run("ecs_task_definition", **DEFINITION)
    described = latest(ecs)
    (one,) = described["containerDefinitions"]
    filled = {
        **one,
        "cpu": 0,
        "environment": list(reversed(one["environment"])),
        "volumesFrom": [],
        "systemControls": [],
        "versionConsistency": "enabled",
        "entryPoint": [],
        "privileged": False,
    }
    answer = {
        **described,
        "containerDefinitions": [filled],
        "volumes": [{"name": "tmp", "host": {}}],
        "requiresAttributes": [{"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"}],
        "registeredBy": "arn:aws:iam::123456789012:root",
        "placementConstraints": [],
        "enableFaultInjection": False,
    }
    stubs["DescribeTaskDefinition"] = lambda **_: {
        "taskDefinition": answer,
        "tags": [{"key": key, "value": value} for key, value in TAGS.items()],
    }
    assert run("ecs_task_definition", **DEFINITION)["changed"] is False
    # What is set there and not asked for is a difference.
    for extra in ({"pidMode": "task"}, {"enableFaultInjection": True}, {"ephemeralStorage": {"sizeInGiB": 21}}):
        stubs["DescribeTaskDefinition"] = lambda extra=extra, **_: {"taskDefinition": {**answer, **extra}, "tags": []}
        assert run("ecs_task_definition", check=True, **DEFINITION)["revision"] == f"{STACK}:2"


def test_a_diff_names_the_field_and_both_values(run: Run) -> None:
    run("ecs_task_definition", **DEFINITION)
    environment = [{"name": "MLFLOW_WORKERS", "value": "1"}, CONTAINER["environment"][1]]
    said = run("ecs_task_definition", check=True, **{**DEFINITION, "containers": container(environment=environment)})
    lines = [set(said["diff"][side].splitlines()) for side in ("before", "after")]
    assert len(lines[0] - lines[1]) == len(lines[1] - lines[0]) == 1
    assert '"value": "2"' in next(iter(lines[0] - lines[1]))


def test_tags_alone_make_no_revision(run: Run, ecs: Any) -> None:
    run("ecs_task_definition", **DEFINITION)
    mended = four_steps(run, "ecs_task_definition", **{**DEFINITION, "tags": {"Stack": STACK, "Team": "x"}})
    assert (mended.writes, mended["revision"]) == (["TagResource", "UntagResource"], f"{STACK}:1")
    assert latest(ecs)["tags"] == {"Stack": STACK, "Team": "x"}


def test_a_revision_whose_answer_was_lost_is_used(run: Run, ecs: Any, stubs: dict[str, Any]) -> None:
    attempts = []

    def register(**request: Any) -> Any:
        attempts.append(request)
        backend().register_task_definition(
            request["family"],
            request["containerDefinitions"],
            **{
                snake: request[camel]
                for snake, camel in (
                    ("volumes", "volumes"),
                    ("network_mode", "networkMode"),
                    ("tags", "tags"),
                    ("requires_compatibilities", "requiresCompatibilities"),
                    ("cpu", "cpu"),
                    ("memory", "memory"),
                    ("task_role_arn", "taskRoleArn"),
                    ("execution_role_arn", "executionRoleArn"),
                    ("runtime_platform", "runtimePlatform"),
                )
            },
        )
        raise ReadTimeoutError(endpoint_url="ecs")

    stubs["RegisterTaskDefinition"] = register
    made = run("ecs_task_definition", **DEFINITION)
    assert (made.get("revision"), len(attempts)) == (f"{STACK}:1", 1), made
    del stubs["RegisterTaskDefinition"]
    again = run("ecs_task_definition", **DEFINITION)
    assert (again["changed"], again["revision"]) == (False, f"{STACK}:1")
    assert len(ecs.list_task_definitions()["taskDefinitionArns"]) == 1


def backend() -> Any:
    from moto.ecs.models import ecs_backends

    return ecs_backends[ACCOUNT][REGION]


def test_a_role_that_is_not_known_yet_is_waited_for(run: Run, ecs: Any, stubs: dict[str, Any]) -> None:
    asked = []

    def register(**request: Any) -> Any:
        asked.append(request)
        if len(asked) < 3:
            raise refusal("ClientException", "Role is not valid")
        return {"taskDefinition": {"taskDefinitionArn": "arn:x/team-a:1", "revision": 1}}

    stubs["RegisterTaskDefinition"] = register
    assert run("ecs_task_definition", **DEFINITION)["changed"] is True
    assert len(asked) == 3

    def refuse(**_: Any) -> Any:
        raise refusal("ClientException", "No Fargate configuration exists for given values.")

    stubs["RegisterTaskDefinition"] = refuse
    assert run("ecs_task_definition", **DEFINITION)["msg"] == (
        "Could not register the task definition team-a: No Fargate configuration exists for given values "
        "(ClientException)."
    )


def test_every_revision_goes_and_those_of_other_families_stay(run: Run, ecs: Any) -> None:
    for family in (STACK, f"{STACK}-b"):
        for cpu in (512, 1024):
            run("ecs_task_definition", **{**DEFINITION, "family": family, "cpu": cpu})
    gone = four_steps(run, "ecs_task_definition", family=STACK, state="absent")
    assert gone.writes == ["DeregisterTaskDefinition"] * 2
    left = ecs.list_task_definitions()["taskDefinitionArns"]
    assert [arn.rsplit("/")[-1] for arn in left] == [f"{STACK}-b:1", f"{STACK}-b:2"]
    # What is registered afterwards is compared with nothing.
    assert run("ecs_task_definition", **DEFINITION)["revision"] == f"{STACK}:3"
