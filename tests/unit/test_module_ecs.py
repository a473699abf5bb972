"""The modules of ECS, in-process against moto with its gaps filled as for the measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from bench import moto_server
from local import moto_server as scaling_gaps
from tests.own_modules import REGION, Run, client, empty_aws, four_steps, load, runner

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


# --- ecs_fargate_service ---------------------------------------------------------------------------------------------

POOL = 3


@pytest.fixture
def place(run: Run) -> dict[str, list[str]]:
    """Cluster, two revisions, subnets and groups."""
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.20.{number}.0/24")["Subnet"]["SubnetId"] for number in range(POOL)
    ]
    groups = [
        ec2.create_security_group(VpcId=vpc, GroupName=f"g{number}", Description="x")["GroupId"]
        for number in range(POOL)
    ]
    run("ecs_fargate_cluster", name=STACK)
    for cpu in (512, 1024):
        run("ecs_task_definition", **{**DEFINITION, "cpu": cpu})
    return {"subnets": subnets, "groups": groups}


@pytest.fixture
def wanted(place: dict[str, list[str]]) -> dict[str, Any]:
    """Parameters of a service."""
    balancer = {"target_group_arn": "arn:aws:tg/a", "container_name": "mlflow", "container_port": 5000}
    return {
        "name": STACK,
        "cluster": STACK,
        "task_definition": f"{STACK}:1",
        "desired_count": 1,
        "subnet_ids": place["subnets"][:2],
        "security_group_ids": place["groups"][:1],
        "load_balancers": [balancer],
        "health_check_grace_period": 180,
        "propagate_tags": "SERVICE",
        "tags": TAGS,
    }


def service_of(ecs: Any) -> dict[str, Any]:
    (found,) = ecs.describe_services(cluster=STACK, services=[STACK], include=["TAGS"])["services"]
    return {**found, "tags": tags_of(found["tags"])}


def settled(service: dict[str, Any]) -> dict[str, Any]:
    """A service without what AWS draws and counts."""
    restless = ("createdAt", "deployments", "events", "pendingCount", "runningCount")
    left = {key: value for key, value in service.items() if key not in restless and value != []}
    for name in ("subnets", "securityGroups"):
        left["networkConfiguration"]["awsvpcConfiguration"][name].sort()
    return left


def test_a_service_four_steps(run: Run, ecs: Any, wanted: dict[str, Any]) -> None:
    made = four_steps(run, "ecs_fargate_service", **wanted)
    assert made.writes == ["CreateService"]
    found = service_of(ecs)
    assert (made["service_arn"], made["status"]) == (found["serviceArn"], "ACTIVE")
    assert (found["launchType"], found["platformVersion"], found["desiredCount"]) == ("FARGATE", "1.4.0", 1)
    assert found["networkConfiguration"]["awsvpcConfiguration"] == {
        "subnets": sorted(wanted["subnet_ids"]),
        "securityGroups": wanted["security_group_ids"],
        "assignPublicIp": "DISABLED",
    }
    assert found["deploymentConfiguration"] == {
        "minimumHealthyPercent": 100,
        "maximumPercent": 200,
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
    }
    assert found["loadBalancers"] == [
        {"targetGroupArn": "arn:aws:tg/a", "containerName": "mlflow", "containerPort": 5000}
    ]
    assert (found["healthCheckGracePeriodSeconds"], found["propagateTags"]) == (180, "SERVICE")
    assert (found["enableExecuteCommand"], found["enableECSManagedTags"]) == (False, False)
    assert found["tags"] == TAGS
    assert run("ecs_fargate_service", **wanted).calls == ["DescribeServices"]
    # The order of lists that are sets does not count.
    turned = {**wanted, "subnet_ids": wanted["subnet_ids"][::-1]}
    assert run("ecs_fargate_service", **turned)["changed"] is False
    gone = four_steps(run, "ecs_fargate_service", name=STACK, cluster=STACK, force=True, state="absent")
    assert (gone.writes, gone["service_arn"], gone["status"]) == (["DeleteService"], None, None)
    # One that is INACTIVE does not count.
    assert four_steps(run, "ecs_fargate_service", **wanted).writes == ["CreateService"]


def test_without_a_cluster_a_check_predicts_and_a_removal_has_nothing_to_do(run: Run) -> None:
    asked = {
        "name": STACK,
        "cluster": STACK,
        "task_definition": f"{STACK}:1",
        "desired_count": 1,
        "subnet_ids": ["subnet-1"],
        "security_group_ids": ["sg-1"],
    }
    said = run("ecs_fargate_service", check=True, **asked)
    assert (said["changed"], said["service_arn"], said.writes) == (True, None, [])
    assert run("ecs_fargate_service", name=STACK, cluster=STACK, state="absent")["changed"] is False
    assert run("ecs_fargate_service", **asked)["msg"].startswith("Could not create the service team-a: ")


AWSVPC = "awsvpcConfiguration"
BREAKER_OFF = {"deploymentCircuitBreaker": {"enable": False, "rollback": False}}
BY_HAND: dict[str, dict[str, Any]] = {
    "revision": {"taskDefinition": f"{STACK}:2"},
    "more tasks": {"desiredCount": 7},
    "no task": {"desiredCount": 0},
    "public address": {"networkConfiguration": {AWSVPC: {"assignPublicIp": "ENABLED"}}},
    "another group": {"networkConfiguration": {AWSVPC: {"securityGroups": [1]}}},
    "one more group": {"networkConfiguration": {AWSVPC: {"securityGroups": [0, 1]}}},
    "another subnet": {"networkConfiguration": {AWSVPC: {"subnets": [0, 2]}}},
    "one subnet less": {"networkConfiguration": {AWSVPC: {"subnets": [0]}}},
    "breaker off": {"deploymentConfiguration": {"maximumPercent": 200, "minimumHealthyPercent": 100, **BREAKER_OFF}},
    "percents": {"deploymentConfiguration": {"maximumPercent": 150, "minimumHealthyPercent": 50, **BREAKER_OFF}},
    "platform": {"platformVersion": "LATEST"},
    "exec": {"enableExecuteCommand": True},
    "managed tags": {"enableECSManagedTags": True},
    "propagation": {"propagateTags": "TASK_DEFINITION"},
    "grace": {"healthCheckGracePeriodSeconds": 7},
    "rebalancing": {"availabilityZoneRebalancing": "ENABLED"},
    "target group": {
        "loadBalancers": [{"targetGroupArn": "arn:aws:tg/b", "containerName": "mlflow", "containerPort": 5000}]
    },
    "no target group": {"loadBalancers": []},
    "registry": {"serviceRegistries": [{"registryArn": "arn:aws:servicediscovery:eu-west-1:1:service/srv-1"}]},
    "service connect": {"serviceConnectConfiguration": {"enabled": True, "namespace": "x"}},
    "spot": {"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]},
    "lattice": {
        "vpcLatticeConfigurations": [{"roleArn": "arn:r", "targetGroupArn": "arn:aws:vl/x", "portName": "web"}]
    },
    "alarms": {
        "deploymentConfiguration": {
            "maximumPercent": 200,
            "minimumHealthyPercent": 100,
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
            "alarms": {"alarmNames": ["mine"], "enable": True, "rollback": False},
        }
    },
}


def filled(change: dict[str, Any], place: dict[str, list[str]]) -> dict[str, Any]:
    """`change` with numbers in place of subnets and groups replaced by these, and the rest of a network filled in."""
    if "networkConfiguration" not in change:
        return change
    asked = {"subnets": [0, 1], "securityGroups": [0], "assignPublicIp": "DISABLED"}
    asked |= change["networkConfiguration"][AWSVPC]
    names = {"subnets": "subnets", "securityGroups": "groups"}
    network = {key: [place[names[key]][at] for at in value] if key in names else value for key, value in asked.items()}
    return {"networkConfiguration": {AWSVPC: network}}


@pytest.mark.parametrize("what", BY_HAND)
def test_what_was_changed_by_hand_is_set_back(
    run: Run, ecs: Any, wanted: dict[str, Any], place: dict[str, list[str]], what: str
) -> None:
    run("ecs_fargate_service", **wanted)
    before = settled(service_of(ecs))
    ecs.update_service(cluster=STACK, service=STACK, **filled(BY_HAND[what], place))
    mended = four_steps(run, "ecs_fargate_service", **wanted)
    assert mended.writes == ["UpdateService"]
    after = settled(service_of(ecs))
    if what == "alarms":
        assert after["deploymentConfiguration"].pop("alarms") == {"alarmNames": [], "enable": False, "rollback": False}
    assert after == before
    (deployment,) = service_of(ecs)["deployments"]
    assert not (deployment.get("serviceConnectConfiguration") or {}).get("enabled")
    assert not deployment.get("vpcLatticeConfigurations")


def test_tags_are_exact_and_set_before_tasks_start(run: Run, ecs: Any, wanted: dict[str, Any]) -> None:
    arn = run("ecs_fargate_service", **wanted)["service_arn"]
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "Extra", "value": "x"}, {"key": "ManagedBy", "value": "hand"}])
    ecs.update_service(cluster=STACK, service=STACK, desiredCount=4)
    mended = four_steps(run, "ecs_fargate_service", **wanted)
    assert mended.writes == ["TagResource", "UntagResource", "UpdateService"]
    assert service_of(ecs)["tags"] == TAGS


@pytest.mark.parametrize(
    ("standing", "maximum", "expected"), [(3, 4, 3), (9, 4, 4), (0, 4, 2), (3, None, 2), (3, 2, 2), (2, 4, 2)]
)
def test_a_number_between_both_bounds_stays(
    run: Run, ecs: Any, wanted: dict[str, Any], standing: int, maximum: int | None, expected: int
) -> None:
    asked = {**wanted, "desired_count": 2, "maximum_count": maximum}
    run("ecs_fargate_service", **asked)
    assert service_of(ecs)["desiredCount"] == 2
    ecs.update_service(cluster=STACK, service=STACK, desiredCount=standing)
    assert run("ecs_fargate_service", **asked)["changed"] is (standing != expected)
    assert service_of(ecs)["desiredCount"] == expected


def test_tasks_are_replaced_where_only_a_start_decides(run: Run, wanted: dict[str, Any], stubs: dict[str, Any]) -> None:
    run("ecs_fargate_service", **wanted)
    updates: list[dict[str, Any]] = []

    def update(**request: Any) -> Any:
        updates.append(request)
        return {"service": {"serviceArn": "arn:x", "status": "ACTIVE"}}

    stubs["UpdateService"] = update
    for changes in ({"enable_execute_command": True}, {"desired_count": 2}):
        run("ecs_fargate_service", **{**wanted, **changes})
    names = {"cluster": STACK, "service": STACK}
    assert updates == [
        {**names, "enableExecuteCommand": True, "forceNewDeployment": True},
        {**names, "desiredCount": 2},
    ]


def test_what_cannot_be_changed_is_refused(run: Run, ecs: Any, wanted: dict[str, Any]) -> None:
    network = {AWSVPC: {"subnets": wanted["subnet_ids"], "securityGroups": wanted["security_group_ids"]}}
    ecs.create_service(
        cluster=STACK,
        serviceName=STACK,
        taskDefinition=f"{STACK}:1",
        desiredCount=1,
        launchType="EC2",
        networkConfiguration=network,
    )
    for check in (True, False):
        refused = run("ecs_fargate_service", check=check, **wanted)
        assert refused["msg"] == (
            "The service team-a has launchType EC2 instead of FARGATE, which cannot be changed; delete the service, "
            "then run again."
        )
        assert refused.writes == []


def test_a_lost_answer_makes_one_service(run: Run, ecs: Any, wanted: dict[str, Any], stubs: dict[str, Any]) -> None:
    tokens = []

    def make(**request: Any) -> Any:
        tokens.append(request.pop("clientToken"))
        stubs.clear()
        ecs.create_service(**request)
        raise ReadTimeoutError(endpoint_url="ecs")

    stubs["CreateService"] = make
    made = run("ecs_fargate_service", **wanted)
    assert made.get("service_arn") == service_of(ecs)["serviceArn"], made
    assert (made["changed"], len(tokens)) == (True, 1)
    assert run("ecs_fargate_service", **wanted)["changed"] is False


def test_what_a_new_account_does_not_know_is_waited_for(
    run: Run, wanted: dict[str, Any], stubs: dict[str, Any]
) -> None:
    asked = []

    def make(**request: Any) -> Any:
        asked.append(request)
        if len(asked) < 3:
            raise refusal(
                "InvalidParameterException",
                "Unable to assume the service linked role. Please verify that the ECS service linked role exists.",
            )
        return {"service": {"serviceArn": "arn:x", "status": "ACTIVE"}}

    stubs["CreateService"] = make
    made = run("ecs_fargate_service", **wanted)
    assert made["service_arn"] == "arn:x"
    assert "until ECS knew its service-linked role" in str(made["warnings"])
    assert len(asked) == 3
    asked.clear()
    refused = run("ecs_fargate_service", **wanted, wait_timeout=-1)
    assert refused["msg"].startswith("Could not create the service team-a: Unable to assume the service linked role.")
    assert len(asked) == 1


def test_a_draining_service_is_waited_for(run: Run, ecs: Any, wanted: dict[str, Any]) -> None:
    run("ecs_fargate_service", **wanted)
    service = backend().services[f"{STACK}:{STACK}"]
    service.status = "DRAINING"
    absent = run("ecs_fargate_service", name=STACK, cluster=STACK, state="absent")
    assert (absent["changed"], absent["status"]) == (False, "DRAINING")
    assert run("ecs_fargate_service", check=True, **wanted)["changed"] is True
    refused = run("ecs_fargate_service", **wanted, wait_timeout=-1)
    assert refused["msg"].startswith("The service team-a is still being removed (DRAINING) after -1 s;")
    assert refused.writes == []


def test_a_service_that_has_drained_meanwhile_is_made_again(
    run: Run, ecs: Any, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("ecs_fargate_service", **wanted)
    service = backend().services[f"{STACK}:{STACK}"]
    service.status = "DRAINING"
    monkeypatch.setattr("time.sleep", lambda _: setattr(service, "status", "INACTIVE"))
    assert run("ecs_fargate_service", **wanted).writes == ["CreateService"]
    assert service_of(ecs)["status"] == "ACTIVE"


# --- service_scaling -------------------------------------------------------------------------------------------------

RESOURCE = f"service/{STACK}/{STACK}"
TARGET = {"ServiceNamespace": "ecs", "ResourceId": RESOURCE, "ScalableDimension": "ecs:service:DesiredCount"}
SCALED: dict[str, Any] = {
    "cluster": STACK,
    "service": STACK,
    "minimum": 1,
    "maximum": 4,
    "cpu_target": 60,
    "tags": TAGS,
}


@pytest.fixture
def scaling() -> Any:
    return client("application-autoscaling")


def add_by_hand(scaling: Any) -> None:
    """A further policy, a scheduled action and other tags on a target that stands."""
    scaling.put_scaling_policy(
        PolicyName="foreign",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 5.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageMemoryUtilization"},
        },
        **TARGET,
    )
    scaling.put_scheduled_action(
        ScheduledActionName="night", Schedule="cron(0 1 * * ? *)", ScalableTargetAction={"MinCapacity": 0}, **TARGET
    )


def left(scaling: Any) -> tuple[list[str], list[str]]:
    """(names of the policies, names of the scheduled actions) of the service."""
    policies = scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"]
    actions = scaling.describe_scheduled_actions(ServiceNamespace="ecs")["ScheduledActions"]
    return [one["PolicyName"] for one in policies], [one["ScheduledActionName"] for one in actions]


def test_what_others_added_to_the_scaling_goes(run: Run, scaling: Any, wanted: dict[str, Any]) -> None:
    run("ecs_fargate_service", **wanted)
    made = four_steps(run, "service_scaling", **SCALED)
    assert made.writes == ["RegisterScalableTarget", "PutScalingPolicy"]
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    arn = target["ScalableTargetARN"]
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == TAGS
    add_by_hand(scaling)
    scaling.tag_resource(ResourceARN=arn, Tags={"Extra": "x", "Stack": "other"})
    mended = four_steps(run, "service_scaling", **SCALED)
    assert mended.writes == ["DeleteScheduledAction", "DeleteScalingPolicy", "TagResource", "UntagResource"]
    assert left(scaling) == (["cpu"], [])
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == TAGS


def test_a_suspended_scaling_goes_on(run: Run, scaling: Any, wanted: dict[str, Any]) -> None:
    run("ecs_fargate_service", **wanted)
    run("service_scaling", **SCALED)
    scaling.register_scalable_target(
        **TARGET, MinCapacity=1, MaxCapacity=4, SuspendedState={"DynamicScalingInSuspended": True}
    )
    assert four_steps(run, "service_scaling", **SCALED).writes == ["RegisterScalableTarget"]
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    assert not any(target["SuspendedState"].values())


def test_a_target_registered_by_hand_goes_with_all_it_has(run: Run, scaling: Any, wanted: dict[str, Any]) -> None:
    run("ecs_fargate_service", **wanted)
    absent = {"cluster": STACK, "service": STACK, "state": "absent"}
    assert run("service_scaling", **absent).calls == ["DescribeScalableTargets"]
    scaling.register_scalable_target(**TARGET, MinCapacity=3, MaxCapacity=9)
    add_by_hand(scaling)
    gone = four_steps(run, "service_scaling", **absent)
    assert gone.writes == ["DeleteScheduledAction", "DeleteScalingPolicy", "DeregisterScalableTarget"]
    assert scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"] == []
    assert left(scaling) == ([], [])
