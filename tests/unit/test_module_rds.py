"""The modules of RDS: subnet group, parameter group and instance, in-process against moto with its gaps filled."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from bench import moto_data
from tests.own_modules import REGION, Run, client, empty_aws, four_steps, load, runner

STACK, SECRET = "team-a", "mlflow/team-a/database"
TAGS = {"Stack": STACK, "ManagedBy": "ansible"}
NAMES = ("db_subnet_group", "db_parameter_group", "db_instance")
GROUP = {
    "name": f"{STACK}-postgres16",
    "family": "postgres16",
    "description": "Parameters of team-a",
    "parameters": {"rds.force_ssl": 1},
    "tags": TAGS,
}


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    moto_data.fill()
    loaded = {name: load("modules", name) for name in NAMES}
    loaded["db_instance"].POLL_SECONDS = 0.0  # type: ignore[attr-defined]
    return loaded


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("ansible.module_utils.mlflow_aws.CREATE_PAUSE_SECONDS", 0)
    monkeypatch.setattr("ansible.module_utils.mlflow_rds.ROLE_PAUSE_SECONDS", 0)
    with empty_aws(monkeypatch):
        yield


@pytest.fixture
def stubs() -> dict[str, Callable[..., Any]]:
    return {}


@pytest.fixture
def run(
    modules: dict[str, ModuleType],
    stubs: dict[str, Callable[..., Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    return runner(modules, capsys, monkeypatch, stubs)


@pytest.fixture
def rds() -> Any:
    return client("rds")


@pytest.fixture
def subnets() -> list[str]:
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    made = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.20.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")
        for number, zone in enumerate("abc")
    ]
    return [subnet["Subnet"]["SubnetId"] for subnet in made]


@pytest.fixture
def subnet_group(subnets: list[str]) -> dict[str, Any]:
    return {"name": STACK, "description": "Database subnets", "subnet_ids": subnets[:2], "tags": TAGS}


@pytest.fixture
def wanted(run: Run, subnet_group: dict[str, Any], subnets: list[str]) -> dict[str, Any]:
    """The arguments of an instance, with the groups and the secret that it needs made."""
    ec2 = client("ec2")
    vpc = ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="database", Description="x", VpcId=vpc)["GroupId"]
    run("db_subnet_group", **subnet_group)
    run("db_parameter_group", **GROUP)
    login = json.dumps({"username": "mlflow", "password": "only-for-this-test"})
    client("secretsmanager").create_secret(Name=SECRET, SecretString=login)
    return {
        "name": STACK,
        "engine_version": "16",
        "instance_class": "db.t4g.small",
        "storage_gb": 20,
        "storage_max_gb": 100,
        "database": "mlflow",
        "username": "mlflow",
        "password_secret": SECRET,
        "subnet_group": STACK,
        "security_group_ids": [group],
        "parameter_group": GROUP["name"],
        "log_exports": ["postgresql", "upgrade"],
        "tags": TAGS,
    }


def lost_once(stubs: dict[str, Callable[..., Any]], operation: str, method: Callable[..., Any]) -> None:
    """Have the answer of `operation` get lost once, after AWS has done it."""

    def lost(**request: Any) -> Any:
        del stubs[operation]
        method(**request)
        raise ConnectionClosedError(endpoint_url="rds")

    stubs[operation] = lost


def without_role(stubs: dict[str, Callable[..., Any]], operation: str, times: int) -> None:
    """Refuse `operation` so many times as RDS does in an account that it has never been used in."""
    left = [times]
    text = (
        "Unable to create the resource. Verify that you have permission to create service linked role. "
        "Otherwise wait and try again later"
    )

    def refuse(**request: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            del stubs[operation]
        raise ClientError({"Error": {"Code": "InvalidParameterValue", "Message": text}}, operation)

    stubs[operation] = refuse


# --- db_subnet_group -------------------------------------------------------------------------------------------------


def described_subnets(rds: Any) -> dict[str, Any]:
    (group,) = rds.describe_db_subnet_groups(DBSubnetGroupName=STACK)["DBSubnetGroups"]
    tags = rds.list_tags_for_resource(ResourceName=group["DBSubnetGroupArn"])["TagList"]
    return {
        "description": group["DBSubnetGroupDescription"],
        "subnets": sorted(subnet["SubnetIdentifier"] for subnet in group["Subnets"]),
        "tags": {tag["Key"]: tag["Value"] for tag in tags},
    }


def test_a_subnet_group_is_made_changed_and_removed(
    run: Run, rds: Any, subnet_group: dict[str, Any], subnets: list[str]
) -> None:
    four_steps(run, "db_subnet_group", **subnet_group)
    for change in ({"subnet_ids": subnets[1:]}, {"description": "Others"}, {"tags": {"Stack": STACK, "Team": "a"}}):
        subnet_group |= change
        four_steps(run, "db_subnet_group", **subnet_group)
        assert described_subnets(rds) == {
            "description": subnet_group["description"],
            "subnets": sorted(subnet_group["subnet_ids"]),
            "tags": subnet_group["tags"],
        }
    four_steps(run, "db_subnet_group", name=STACK, state="absent")
    assert rds.describe_db_subnet_groups()["DBSubnetGroups"] == []


@pytest.mark.parametrize("times", [1, 3])
def test_the_first_call_of_an_account_waits_for_the_role_of_rds(
    run: Run, rds: Any, stubs: dict[str, Callable[..., Any]], subnet_group: dict[str, Any], times: int
) -> None:
    without_role(stubs, "CreateDBSubnetGroup", times)
    answer = run("db_subnet_group", **subnet_group)
    assert answer["changed"] is True, answer
    assert "service-linked role" in str(answer["warnings"])
    assert described_subnets(rds)["tags"] == TAGS


def test_a_role_that_never_comes_ends_with_the_sentence_of_rds(
    run: Run, stubs: dict[str, Callable[..., Any]], subnet_group: dict[str, Any]
) -> None:
    without_role(stubs, "CreateDBSubnetGroup", 1000)
    answer = run("db_subnet_group", **subnet_group)
    assert answer["msg"].startswith(f"Could not converge the subnet group {STACK} of RDS: Unable to create")


def test_a_lost_answer_makes_no_failure_of_a_group(
    run: Run, rds: Any, stubs: dict[str, Callable[..., Any]], subnet_group: dict[str, Any]
) -> None:
    lost_once(stubs, "CreateDBSubnetGroup", rds.create_db_subnet_group)
    assert run("db_subnet_group", **subnet_group)["changed"] is True
    lost_once(stubs, "CreateDBParameterGroup", rds.create_db_parameter_group)
    assert run("db_parameter_group", **GROUP)["changed"] is True
    assert parameters(rds) == {"rds.force_ssl": "1"}


# --- db_parameter_group ----------------------------------------------------------------------------------------------


def parameters(rds: Any) -> dict[str, str]:
    """What differs from the engine's defaults in the group."""
    rows = rds.describe_db_parameters(DBParameterGroupName=GROUP["name"], Source="user")["Parameters"]
    return {row["ParameterName"]: row["ParameterValue"] for row in rows}


def by_hand(rds: Any, name: str, value: str, **more: str) -> None:
    row = {"ParameterName": name, "ParameterValue": value, "ApplyMethod": "immediate", **more}
    rds.modify_db_parameter_group(DBParameterGroupName=GROUP["name"], Parameters=[row])


@pytest.mark.parametrize(("name", "value"), [("rds.force_ssl", "0"), ("log_statement", "all")])
def test_a_parameter_set_by_hand_is_set_back(run: Run, rds: Any, name: str, value: str) -> None:
    four_steps(run, "db_parameter_group", **GROUP)
    by_hand(rds, name, value)
    four_steps(run, "db_parameter_group", **GROUP)
    assert parameters(rds) == {"rds.force_ssl": "1"}


def test_many_parameters_go_back_in_as_many_calls_as_rds_takes(run: Run, rds: Any) -> None:
    run("db_parameter_group", **GROUP)
    for number in range(21):
        by_hand(rds, f"name{number}", "1")
    assert run("db_parameter_group", **GROUP).writes == ["ResetDBParameterGroup"] * 2
    assert parameters(rds) == {"rds.force_ssl": "1"}


def test_a_static_parameter_waits_for_the_next_start_and_says_so(
    run: Run, rds: Any, stubs: dict[str, Callable[..., Any]]
) -> None:
    run("db_parameter_group", **GROUP)
    by_hand(rds, "max_connections", "9", ApplyType="static")
    asked: list[Any] = []
    stubs["ResetDBParameterGroup"] = lambda **request: asked.append(request["Parameters"]) or {}
    answer = run("db_parameter_group", **GROUP)
    assert asked == [[{"ParameterName": "max_connections", "ApplyMethod": "pending-reboot"}]]
    sentence = f"max_connections of the parameter group {GROUP['name']} follows when the database starts next."
    assert sentence in str(answer["warnings"])


def test_a_group_of_another_family_is_refused(run: Run) -> None:
    run("db_parameter_group", **GROUP)
    answer = run("db_parameter_group", **{**GROUP, "family": "postgres17"})
    assert "is of postgres16 instead of postgres17" in answer["msg"]
    assert answer.writes == []


def test_tags_of_a_parameter_group_are_exact_and_it_goes(run: Run, rds: Any) -> None:
    run("db_parameter_group", **GROUP)
    four_steps(run, "db_parameter_group", **{**GROUP, "tags": {"Team": "a"}})
    (group,) = rds.describe_db_parameter_groups(DBParameterGroupName=GROUP["name"])["DBParameterGroups"]
    tags = rds.list_tags_for_resource(ResourceName=group["DBParameterGroupArn"])["TagList"]
    assert tags == [{"Key": "Team", "Value": "a"}]
    four_steps(run, "db_parameter_group", name=GROUP["name"], state="absent")
    assert rds.describe_db_parameter_groups()["DBParameterGroups"] == []


# --- db_instance -----------------------------------------------------------------------------------------------------

DRAWN = ("DBInstanceArn", "DbiResourceId", "InstanceCreateTime", "LatestRestorableTime", "Endpoint")


def described(rds: Any) -> dict[str, Any]:
    """Everything that RDS describes of the instance, but for what it draws."""
    (instance,) = rds.describe_db_instances(DBInstanceIdentifier=STACK)["DBInstances"]
    instance.get("EnabledCloudwatchLogsExports", []).sort()
    return {key: value for key, value in instance.items() if key not in DRAWN}


def test_an_instance_is_made_as_it_is_asked_for(run: Run, rds: Any, wanted: dict[str, Any]) -> None:
    answer = four_steps(run, "db_instance", **wanted)
    have = described(rds)
    expected = {
        "StorageType": "gp3",
        "AllocatedStorage": 20,
        "MaxAllocatedStorage": 100,
        "StorageEncrypted": True,
        "PubliclyAccessible": False,
        "PerformanceInsightsEnabled": True,
        "PerformanceInsightsRetentionPeriod": 7,
        "EnabledCloudwatchLogsExports": ["postgresql", "upgrade"],
        "CACertificateIdentifier": "rds-ca-rsa2048-g1",
        "IAMDatabaseAuthenticationEnabled": False,
        "MonitoringInterval": 0,
        "AutoMinorVersionUpgrade": True,
        "CopyTagsToSnapshot": True,
        "DeletionProtection": True,
        "MultiAZ": False,
        "BackupRetentionPeriod": 7,
    }
    assert {key: have.get(key) for key in expected} == expected
    assert (answer["status"], answer["settled"]) == ("available", False)
    assert "only-for-this-test" not in json.dumps(answer)


SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "class": ({"instance_class": "db.m7g.large"}, {"DBInstanceClass": "db.m7g.large"}),
    "storage": ({"storage_gb": 40}, {"AllocatedStorage": 40}),
    "growth": ({"storage_max_gb": 200}, {"MaxAllocatedStorage": 200}),
    "no growth": ({"storage_max_gb": 0}, {"MaxAllocatedStorage": None}),
    "port": ({"port": 5433}, {"DbInstancePort": 5433}),
    "standby": ({"multi_az": True}, {"MultiAZ": True}),
    "days": ({"backup_days": 3}, {"BackupRetentionPeriod": 3}),
    "no backups": ({"backup_days": 0}, {"BackupRetentionPeriod": 0}),
    "backup window": ({"backup_window": "03:00-04:00"}, {"PreferredBackupWindow": "03:00-04:00"}),
    "maintenance": (
        {"maintenance_window": "sun:05:00-sun:06:00"},
        {"PreferredMaintenanceWindow": "sun:05:00-sun:06:00"},
    ),
    "no minor upgrades": ({"minor_upgrades": False}, {"AutoMinorVersionUpgrade": False}),
    "no insights": (
        {"insights": False},
        {"PerformanceInsightsEnabled": False, "PerformanceInsightsRetentionPeriod": None},
    ),
    "one log": ({"log_exports": ["postgresql"]}, {"EnabledCloudwatchLogsExports": ["postgresql"]}),
    "another log": (
        {"log_exports": ["upgrade", "iam-db-auth-error"]},
        {"EnabledCloudwatchLogsExports": ["iam-db-auth-error", "upgrade"]},
    ),
    "no logs": ({"log_exports": []}, {"EnabledCloudwatchLogsExports": []}),
    "certificate": ({"ca": "rds-ca-rsa4096-g1"}, {"CACertificateIdentifier": "rds-ca-rsa4096-g1"}),
    "no protection": ({"deletion_protection": False}, {"DeletionProtection": False}),
    "minor version": ({"engine_version": "16.9"}, {"EngineVersion": "16.9"}),
    "large": (
        {"storage_gb": 400, "storage_max_gb": 0, "iops": 16000},
        {"AllocatedStorage": 400, "Iops": 16000, "StorageThroughput": 500},
    ),
    "tags": ({"tags": {"Team": "a"}}, {"TagList": [{"Key": "Team", "Value": "a"}]}),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_that_changes_arrives_alone_and_goes_back(
    run: Run, rds: Any, wanted: dict[str, Any], case: str
) -> None:
    change, expected = SETTINGS[case]
    run("db_instance", **wanted)
    fresh = described(rds)
    four_steps(run, "db_instance", **{**wanted, **change})
    assert {key: described(rds).get(key) for key in expected} == expected
    grows, drawn = case in ("storage", "large", "minor version"), "window" in case or case == "maintenance"
    if not grows and not drawn:
        four_steps(run, "db_instance", **wanted)
        assert described(rds) == fresh


def test_security_groups_subnets_and_parameters_follow(
    run: Run, rds: Any, wanted: dict[str, Any], subnet_group: dict[str, Any]
) -> None:
    run("db_instance", **wanted)
    vpc = client("ec2").describe_security_groups(GroupIds=wanted["security_group_ids"])["SecurityGroups"][0]["VpcId"]
    other = client("ec2").create_security_group(GroupName="other", Description="x", VpcId=vpc)["GroupId"]
    run("db_parameter_group", **{**GROUP, "name": "other"})
    run("db_subnet_group", **{**subnet_group, "name": "other"})
    change = {"security_group_ids": [other], "parameter_group": "other", "subnet_group": "other"}
    four_steps(run, "db_instance", **{**wanted, **change})
    have = described(rds)
    assert [group["VpcSecurityGroupId"] for group in have["VpcSecurityGroups"]] == [other]
    assert have["DBParameterGroups"][0]["DBParameterGroupName"] == "other"
    assert have["DBSubnetGroup"]["DBSubnetGroupName"] == "other"


BY_HAND: dict[str, dict[str, Any]] = {
    "log exports": {"CloudwatchLogsExportConfiguration": {"DisableLogTypes": ["upgrade"]}},
    "IAM login": {"EnableIAMDatabaseAuthentication": True},
    "growth": {"MaxAllocatedStorage": 1000},
    "no growth": {"MaxAllocatedStorage": 20},
    "public": {"PubliclyAccessible": True},
    "no insights": {"EnablePerformanceInsights": False},
    "long insights": {"PerformanceInsightsRetentionPeriod": 731},
    "advanced insights": {"DatabaseInsightsMode": "advanced"},
    "monitoring": {"MonitoringInterval": 60, "MonitoringRoleArn": "arn:aws:iam::123456789012:role/x"},
    "certificate": {"CACertificateIdentifier": "rds-ca-2019"},
    "storage type": {"StorageType": "gp2"},
    "dual stack": {"NetworkType": "DUAL"},
    "no tags on snapshots": {"CopyTagsToSnapshot": False},
    "no protection": {"DeletionProtection": False},
    "no minor upgrades": {"AutoMinorVersionUpgrade": False},
    "backup days": {"BackupRetentionPeriod": 1},
    "class": {"DBInstanceClass": "db.m7g.large"},
    "standby": {"MultiAZ": True},
    "port": {"DBPortNumber": 5555},
    "password in RDS's hands": {"ManageMasterUserPassword": True},
    "log volume": {"DedicatedLogVolume": True},
}


@pytest.mark.parametrize("case", BY_HAND)
def test_what_was_changed_by_hand_is_set_back_in_one_run(run: Run, rds: Any, wanted: dict[str, Any], case: str) -> None:
    run("db_instance", **wanted)
    run("db_instance", **wanted)
    fresh = described(rds)
    rds.modify_db_instance(DBInstanceIdentifier=STACK, ApplyImmediately=True, **BY_HAND[case])
    assert described(rds) != fresh
    four_steps(run, "db_instance", **wanted)
    have = described(rds)
    for key in ("MonitoringRoleArn", "DatabaseInsightsMode", "NetworkType", "DedicatedLogVolume"):
        # moto does not say what nobody has ever set.
        have.pop(key, None), fresh.pop(key, None)
    assert have == fresh


def test_windows_set_by_hand_stay_unless_git_names_them(run: Run, rds: Any, wanted: dict[str, Any]) -> None:
    run("db_instance", **wanted)
    rds.modify_db_instance(DBInstanceIdentifier=STACK, PreferredBackupWindow="01:00-02:00")
    assert run("db_instance", **wanted)["changed"] is False
    four_steps(run, "db_instance", **{**wanted, "backup_window": "03:00-04:00"})
    rds.modify_db_instance(DBInstanceIdentifier=STACK, PreferredBackupWindow="01:00-02:00")
    four_steps(run, "db_instance", **{**wanted, "backup_window": "03:00-04:00"})


def test_a_stopped_instance_is_started(run: Run, rds: Any, wanted: dict[str, Any]) -> None:
    run("db_instance", **wanted)
    rds.stop_db_instance(DBInstanceIdentifier=STACK)
    assert four_steps(run, "db_instance", **wanted).writes == ["StartDBInstance"]
    assert described(rds)["DBInstanceStatus"] == "available"


def test_a_role_that_somebody_gave_the_instance_is_taken_away(run: Run, rds: Any, wanted: dict[str, Any]) -> None:
    run("db_instance", **wanted)
    role = {"FeatureName": "s3Import", "RoleArn": "arn:aws:iam::123456789012:role/x"}
    rds.add_role_to_db_instance(DBInstanceIdentifier=STACK, **role)
    four_steps(run, "db_instance", **wanted)
    assert not described(rds).get("AssociatedRoles")


@pytest.mark.parametrize(("asked", "kept"), [("16", "16"), ("16.4", "16.10"), ("16.10", "16.10")])
def test_a_newer_minor_version_and_larger_storage_are_kept(
    run: Run, rds: Any, wanted: dict[str, Any], asked: str, kept: str
) -> None:
    run("db_instance", **{**wanted, "engine_version": kept, "storage_gb": 60})
    assert run("db_instance", **{**wanted, "engine_version": asked})["changed"] is False
    assert (described(rds)["EngineVersion"], described(rds)["AllocatedStorage"]) == (kept, 60)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"engine_version": "17"}, "has PostgreSQL 16 instead of 17: a new major version"),
        ({"database": "other"}, 'has database "mlflow" instead of "other": '),
        ({"username": "other"}, 'has username "mlflow" instead of "other": '),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_what_rds_cannot_change_is_refused_before_anything_is_changed(
    run: Run, wanted: dict[str, Any], change: dict[str, Any], words: str, check: bool
) -> None:
    run("db_instance", **wanted)
    answer = run("db_instance", check=check, **{**wanted, **change, "multi_az": True})
    assert words in answer["msg"]
    assert answer.writes == []


def test_an_instance_that_is_not_encrypted_is_refused(run: Run, rds: Any, wanted: dict[str, Any]) -> None:
    rds.create_db_instance(
        DBInstanceIdentifier=STACK,
        Engine="postgres",
        EngineVersion="16.4",
        DBInstanceClass="db.t4g.small",
        AllocatedStorage=20,
        MasterUsername="mlflow",
        MasterUserPassword="only-for-this-test",
        DBName="mlflow",
    )
    assert "has encryption false instead of true" in run("db_instance", **wanted)["msg"]


def test_a_lost_answer_makes_one_instance(
    run: Run, rds: Any, stubs: dict[str, Callable[..., Any]], wanted: dict[str, Any]
) -> None:
    lost_once(stubs, "CreateDBInstance", rds.create_db_instance)
    assert run("db_instance", **wanted)["changed"] is True
    assert len(rds.describe_db_instances()["DBInstances"]) == 1
    assert run("db_instance", **wanted)["changed"] is False


def test_the_first_instance_of_an_account_waits_for_the_role_of_rds(
    run: Run, stubs: dict[str, Callable[..., Any]], wanted: dict[str, Any]
) -> None:
    without_role(stubs, "CreateDBInstance", 2)
    answer = run("db_instance", **wanted)
    assert answer.writes == ["CreateDBInstance"] * 3
    assert "service-linked role" in str(answer["warnings"])


@pytest.mark.parametrize("status", ["creating", "deleting"])
def test_an_instance_that_is_being_made_is_left_to_a_later_call(
    run: Run, stubs: dict[str, Callable[..., Any]], wanted: dict[str, Any], status: str
) -> None:
    stubs["DescribeDBInstances"] = lambda **_: {
        "DBInstances": [{"DBInstanceIdentifier": STACK, "DBInstanceStatus": status}]
    }
    answer = run("db_instance", **wanted)
    assert (answer["changed"], answer["settled"], answer["status"], answer.writes) == (False, False, status, [])


def test_an_instance_in_which_rds_is_changing_something_is_waited_for(
    run: Run, rds: Any, stubs: dict[str, Callable[..., Any]], wanted: dict[str, Any]
) -> None:
    run("db_instance", **wanted)
    left = [2]

    def busy(**request: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            del stubs["ModifyDBInstance"]
        raise ClientError({"Error": {"Code": "InvalidDBInstanceState", "Message": "modifying"}}, "ModifyDBInstance")

    stubs["ModifyDBInstance"] = busy
    assert run("db_instance", **{**wanted, "multi_az": True})["changed"] is True
    assert described(rds)["MultiAZ"] is True
    stubs["ModifyDBInstance"], left[0] = busy, 1000
    assert "modifying" in run("db_instance", **{**wanted, "wait_timeout": 0})["msg"]


def test_what_rds_is_about_to_change_counts_as_changed(modules: dict[str, ModuleType]) -> None:
    pending = {
        "DBInstanceClass": "db.m7g.large",
        "PendingCloudwatchLogsExports": {"LogTypesToEnable": ["upgrade"], "LogTypesToDisable": ["postgresql"]},
    }
    instance = {
        "DBInstanceStatus": "modifying",
        "DBInstanceClass": "db.t4g.small",
        "EnabledCloudwatchLogsExports": ["postgresql"],
        "PendingModifiedValues": pending,
    }
    have = modules["db_instance"].properties(instance)
    assert (have["instance_class"], have["log_exports"]) == ("db.m7g.large", ["upgrade"])


@pytest.mark.parametrize("snapshot", ["team-a-final", ""])
def test_an_instance_goes_with_or_without_a_last_snapshot(
    run: Run, rds: Any, wanted: dict[str, Any], snapshot: str
) -> None:
    run("db_instance", **{**wanted, "deletion_protection": False})
    four_steps(run, "db_instance", name=STACK, final_snapshot=snapshot, state="absent")
    assert rds.describe_db_instances()["DBInstances"] == []
    snapshots = rds.describe_db_snapshots()["DBSnapshots"]
    assert [one["DBSnapshotIdentifier"] for one in snapshots] == [snapshot] * bool(snapshot)
