"""The stand-in for Fargate's agent: what it decides, and how it reads a task definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from local import config, rolling, status, taskdef
from local.rolling import HEALTHY, STARTING, STOPPING, Decision, Task, Wish
from local.runners import RECORD
from local.tasks import leftovers

SECRET = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:stack/database-AbCdEf"


def tasks(*given: str) -> list[Task]:
    """Tasks from words like "old:healthy"; ids are o1, n2 ..., later ones are younger."""
    found = []
    for at, word in enumerate(given, 1):
        revision, state = word.split(":")
        found.append(Task(f"{revision[0]}{at}", revision, state, float(at)))
    return found


@pytest.mark.parametrize(
    ("count", "bounds", "given", "start", "stop"),
    [
        # scaling
        (1, (100, 200), [], 1, []),
        (3, (100, 200), [], 3, []),
        (2, (100, 200), ["new:healthy"], 1, []),
        (1, (100, 200), ["new:starting"], 0, []),
        (1, (100, 200), ["new:healthy"], 0, []),
        (1, (100, 200), ["new:healthy", "new:starting"], 0, ["n2"]),
        (1, (100, 200), ["new:healthy", "new:healthy"], 0, ["n2"]),
        (0, (100, 200), ["new:healthy", "new:starting"], 0, ["n2", "n1"]),
        (0, (100, 200), ["old:healthy"], 0, ["o1"]),
        # rolling, 100/200: the old one goes when the new one serves
        (1, (100, 200), ["old:healthy"], 1, []),
        (1, (100, 200), ["old:healthy", "new:starting"], 0, []),
        (1, (100, 200), ["old:healthy", "new:healthy"], 0, ["o1"]),
        (1, (100, 200), ["old:starting"], 1, ["o1"]),
        (2, (100, 200), ["old:healthy", "old:healthy"], 2, []),
        (2, (100, 200), ["old:healthy", "old:healthy", "new:healthy", "new:starting"], 0, ["o1"]),
        (2, (100, 200), ["old:healthy", "old:healthy", "new:healthy", "new:healthy"], 0, ["o1", "o2"]),
        # 0/100: never two at once, not even while the old one still stops
        (1, (0, 100), ["old:healthy"], 0, ["o1"]),
        (1, (0, 100), ["old:stopping"], 0, []),
        (1, (0, 100), ["new:stopping"], 0, []),
        (1, (0, 100), [], 1, []),
        # 50/100: half at a time
        (2, (50, 100), ["old:healthy", "old:healthy"], 0, ["o1"]),
        (2, (50, 100), ["old:stopping", "old:healthy"], 0, []),
        (2, (50, 100), ["old:healthy"], 1, []),
        (2, (50, 100), ["old:healthy", "new:healthy"], 0, ["o1"]),
        # a maximum that rounds to nothing still lets one run
        (1, (0, 50), [], 1, []),
    ],
)
def test_decide(count: int, bounds: tuple[int, int], given: list[str], start: int, stop: list[str]) -> None:
    assert rolling.decide(Wish("new", count, *bounds), tasks(*given)) == Decision(start, stop)


# One task at 50/150 or 100/150 has no room to move, here as on ECS.
@pytest.mark.parametrize(
    ("bounds", "count"),
    [
        ((100, 200), 1),
        ((0, 100), 1),
        ((100, 200), 2),
        ((0, 100), 2),
        ((50, 100), 2),
        ((50, 150), 2),
        ((100, 150), 2),
        ((100, 200), 3),
        ((0, 100), 3),
        ((50, 100), 3),
        ((100, 150), 3),
    ],
)
def test_rolling_ends_and_keeps_its_bounds(bounds: tuple[int, int], count: int) -> None:
    wish = Wish("new", count, *bounds)
    world = tasks(*["old:healthy"] * count)
    for step in range(40):
        decision = rolling.decide(wish, world)
        world = [task for task in world if task.state != STOPPING]
        world = [Task(one.id, one.revision, HEALTHY, one.started) for one in world]
        world = [
            Task(one.id, one.revision, STOPPING if one.id in decision.stop else one.state, one.started) for one in world
        ]
        world += [Task(f"n{step}-{at}", "new", STARTING, 100.0 + step) for at in range(decision.start)]
        assert len(world) <= max(1, count * bounds[1] // 100)
        assert sum(one.state == HEALTHY for one in world) * 100 >= count * bounds[0] - 99
    assert [one.revision for one in world] == ["new"] * count
    assert {one.state for one in world} == {HEALTHY}


@pytest.mark.parametrize(
    ("count", "given", "expected"),
    [
        (1, ["new:healthy"], True),
        (0, [], True),
        (1, [], False),
        (1, ["new:starting"], False),
        (2, ["new:healthy"], False),
        (1, ["new:healthy", "old:stopping"], False),
        (1, ["old:healthy"], False),
    ],
)
def test_settled_when_the_new_ones_serve_and_the_old_ones_are_gone(
    count: int, given: list[str], expected: bool
) -> None:
    assert rolling.settled(Wish("new", count), tasks(*given)) is expected


def test_the_rollout_is_that_of_the_primary_deployment() -> None:
    failed = {"status": "ACTIVE", "rolloutState": "FAILED"}
    assert rolling.rollout({"deployments": [failed, {"status": "PRIMARY", "rolloutState": "COMPLETED"}]}) == "COMPLETED"
    assert rolling.rollout({"deployments": [failed]}) == rolling.rollout({}) == ""


def test_backoff_doubles_up_to_a_minute() -> None:
    assert [rolling.backoff(count) for count in (0, 1, 2, 3, 4, 7, 8, 500)] == [0, 1, 2, 4, 8, 60, 60, 60]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("plain-name", taskdef.SecretRef("plain-name")),
        (SECRET, taskdef.SecretRef(SECRET)),
        (f"{SECRET}:password::", taskdef.SecretRef(SECRET, "password")),
        (f"{SECRET}::AWSPREVIOUS:", taskdef.SecretRef(SECRET, "", "AWSPREVIOUS")),
        (f"{SECRET}:key::v-1", taskdef.SecretRef(SECRET, "key", "", "v-1")),
    ],
)
def test_secret_reference(reference: str, expected: taskdef.SecretRef) -> None:
    assert taskdef.parse_secret(reference) == expected


@pytest.mark.parametrize(
    "reference", [f"{SECRET}:password", f"{SECRET}:password:", "arn:aws:ssm:eu-west-1:0:parameter/x"]
)
def test_secret_reference_that_ecs_would_refuse(reference: str) -> None:
    with pytest.raises(ValueError, match="not an ARN of a secret"):
        taskdef.parse_secret(reference)


def test_secret_value_by_key_and_whole() -> None:
    text = '{"password": "p", "port": 5432}'
    assert taskdef.secret_value(text, taskdef.SecretRef("a", "password")) == "p"
    assert taskdef.secret_value(text, taskdef.SecretRef("a", "port")) == "5432"
    assert taskdef.secret_value(text, taskdef.SecretRef("a")) == text


@pytest.mark.parametrize("text", ["s3cr3t", '{"other": "s3cr3t"}', '["s3cr3t"]'])
def test_secret_without_the_key_is_named_but_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="no JSON key password") as caught:
        taskdef.secret_value(text, taskdef.SecretRef("a", "password"))
    assert "s3cr3t" not in str(caught.value)


def definition(**changes: Any) -> dict[str, Any]:
    """A task definition with an EFS volume at /mlflow and a scratch volume at /tmp."""
    container = {
        "name": "mlflow",
        "portMappings": [{"containerPort": 5000}],
        "environment": [
            {"name": "MLFLOW_PORT", "value": "5000"},
            {"name": "OTHER_PORT", "value": "5000"},
            {"name": "MLFLOW_DATA_DIR", "value": "/mlflow"},
            {"name": "DEEP", "value": "/mlflow/a/b"},
            {"name": "NOT_IT", "value": "/mlflowx"},
            {"name": "URI", "value": "s3://bucket/mlflow"},
            {"name": "SCRATCH", "value": "/tmp/x"},
        ],
        "mountPoints": [
            {"sourceVolume": "data", "containerPath": "/mlflow"},
            {"sourceVolume": "tmp", "containerPath": "/tmp"},
        ],
        **changes,
    }
    efs = {"fileSystemId": "fs-1", "authorizationConfig": {"accessPointId": "fsap-1", "iam": "ENABLED"}}
    return {
        "containerDefinitions": [container],
        "volumes": [{"name": "data", "efsVolumeConfiguration": efs}, {"name": "tmp"}],
    }


def test_environment_moves_to_this_machine() -> None:
    folders = taskdef.mounts(definition(), Path("/s/efs"), Path("/run/1"))
    assert folders == {"/mlflow": Path("/s/efs/fs-1/fsap-1"), "/tmp": Path("/run/1/tmp")}
    assert taskdef.environment(definition(), 40001, folders) == {
        "MLFLOW_PORT": "40001",
        "OTHER_PORT": "5000",
        "MLFLOW_DATA_DIR": "/s/efs/fs-1/fsap-1",
        "DEEP": "/s/efs/fs-1/fsap-1/a/b",
        "NOT_IT": "/mlflowx",
        "URI": "s3://bucket/mlflow",
        "SCRATCH": "/run/1/tmp/x",
    }


def test_port_other_than_the_containers_stays() -> None:
    other = definition(environment=[{"name": "MLFLOW_PORT", "value": "8080"}])
    assert taskdef.environment(other, 40001, {}) == {"MLFLOW_PORT": "8080"}


def test_the_load_balancer_speaks_from_this_machine() -> None:
    other = definition(environment=[{"name": "FORWARDED_ALLOW_IPS", "value": "10.42.0.0/20"}])
    assert taskdef.environment(other, 40001, {}) == {"FORWARDED_ALLOW_IPS": "127.0.0.1"}


def test_only_used_file_systems_count() -> None:
    found = [mount for mount in taskdef.volumes(definition()) if mount.file_system]
    assert [(one.file_system, one.access_point, one.with_role) for one in found] == [("fs-1", "fsap-1", True)]
    assert taskdef.volumes(definition(mountPoints=[])) == []


def test_two_containers_are_refused() -> None:
    with pytest.raises(config.Trouble, match="exactly one"):
        taskdef.container({"containerDefinitions": [{}, {}]})


def policy(effect: str, action: Any, resource: Any, condition: Any = None) -> dict[str, Any]:
    """A policy document of one statement."""
    statement = {"Effect": effect, "Action": action, "Resource": resource}
    return {"Statement": [{**statement, "Condition": condition} if condition else statement]}


FS = "arn:aws:elasticfilesystem:eu-west-1:000000000000:file-system/fs-1"
MOUNT = "elasticfilesystem:ClientMount"
POINT = {"StringEquals": {"elasticfilesystem:AccessPointArn": "arn:point/fsap-1"}}


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([], False),
        ([policy("Allow", MOUNT, FS)], True),
        ([policy("Allow", [MOUNT.lower()], [FS])], True),
        ([policy("Allow", "elasticfilesystem:Client*", "*")], True),
        ([policy("Allow", "elasticfilesystem:ClientWrite", FS)], False),
        ([policy("Allow", MOUNT, FS.replace("fs-1", "fs-2"))], False),
        ([policy("Allow", MOUNT, FS, POINT)], True),
        (
            [policy("Allow", MOUNT, FS, {"StringEquals": {"elasticfilesystem:AccessPointArn": "arn:point/other"}})],
            False,
        ),
        ([policy("Allow", MOUNT, FS, {"Bool": {"aws:SecureTransport": "true"}})], True),
        ([policy("Allow", MOUNT, FS, {"StringEquals": {"aws:PrincipalTag/x": "y"}})], False),
        ([policy("Allow", MOUNT, FS), policy("Deny", "*", "*", {"Bool": {"aws:SecureTransport": "false"}})], True),
        ([policy("Allow", MOUNT, FS), policy("Deny", "*", "*")], False),
    ],
)
def test_allowed(policies: list[dict[str, Any]], expected: bool) -> None:
    context = {"elasticfilesystem:accesspointarn": "arn:point/fsap-1", "aws:securetransport": "true"}
    assert taskdef.allowed(policies, MOUNT, FS, context) is expected


def test_patience_follows_the_definition() -> None:
    slow = definition(healthCheck={"startPeriod": 300, "interval": 10, "retries": 5})
    assert taskdef.patience(slow, 0) == (350.0, 50.0)
    assert taskdef.patience(definition(), 600) == (600.0, 90.0)
    assert taskdef.patience(definition(), 0) == (240.0, 90.0)


def test_what_an_agent_left_is_known_from_its_own_record(tmp_path: Path) -> None:
    assert leftovers(tmp_path / "none") == []
    config.write_json(tmp_path / "one" / RECORD, {"pid": 7})
    (tmp_path / "two").mkdir()
    assert leftovers(tmp_path) == [{"pid": 7}]


def test_status_shows_restarts() -> None:
    service = {
        "service": "c/s", "revision": "s:2", "desired": 2, "failures": 3, "last_exit": "exited with code 2",
        "retry_at": 104.0, "tasks": [{"id": "0123456789", "revision": "s:1", "state": "healthy", "started": 10.0,
                                           "where": "process 7"}],
    }  # fmt: skip
    assert status.service_rows([service], 100.0) == [
        ["c/s", "s:1", "task 01234567", "healthy, 1 min 30 s", "process 7", "failed 3 times, last: exited with code 2"],
        ["c/s", "s:2", "no task", "restarting in 4 s", "", "failed 3 times, last: exited with code 2"],
    ]


def test_status_of_an_empty_service() -> None:
    service = {
        "service": "c/s",
        "revision": "s:1",
        "desired": 0,
        "failures": 0,
        "last_exit": "",
        "retry_at": 0,
        "tasks": [],
    }
    assert status.service_rows([service], 100.0) == [["c/s", "s:1", "no task", "wanted: 0", "", ""]]
