"""The modules of files: file system and recovery points, in-process against moto with its gaps filled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from bench import moto_data
from tests.own_modules import REGION, Run, client, empty_aws, four_steps, load, runner, tag_list

STACK = "team-a"
TAGS = {"Stack": STACK, "Name": STACK}


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    moto_data.fill()
    loaded = {name: load("modules", name) for name in ("efs_file_system", "backup_recovery_points", "stack_info")}
    loaded["efs_file_system"].POLL_SECONDS = 0.0  # type: ignore[attr-defined]
    return loaded


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("ansible.module_utils.mlflow_aws.CREATE_PAUSE_SECONDS", 0)
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
def subnets() -> list[str]:
    """Two subnets in each of two zones."""
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    made = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.20.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")
        for number, zone in enumerate("abab")
    ]
    return [subnet["Subnet"]["SubnetId"] for subnet in made]


@pytest.fixture
def group(subnets: list[str]) -> str:
    ec2 = client("ec2")
    vpc = ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["VpcId"]
    made: str = ec2.create_security_group(GroupName="efs", Description="x", VpcId=vpc)["GroupId"]
    return made


def policy(action: str = "elasticfilesystem:ClientMount") -> dict[str, Any]:
    """Return a file system policy that allows `action`."""
    condition = {"Bool": {"elasticfilesystem:AccessedViaMountTarget": "true"}}
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": action, "Condition": condition}
    return {"Version": "2012-10-17", "Statement": [statement]}


@pytest.fixture
def efs_arguments(subnets: list[str], group: str) -> dict[str, Any]:
    """Return the arguments of a file system with everything, in a fresh network."""
    return {
        "name": STACK,
        "transition_to_ia": 30,
        "backup_policy": True,
        "policy": policy(),
        "access_point": {"path": "/mlflow", "uid": 1000, "gid": 1000},
        "mount_targets": {
            "subnet_ids": subnets[:2],
            "security_group_ids": [group],
        },
        "tags": TAGS,
    }


def test_efs_four_steps_and_what_stands(run: Run, efs_arguments: dict[str, Any]) -> None:
    answer = four_steps(run, "efs_file_system", **efs_arguments)
    efs = client("efs")
    system = efs.describe_file_systems(CreationToken=STACK)["FileSystems"][0]
    assert (system["Encrypted"], system["ThroughputMode"]) == (True, "elastic")
    assert system["Tags"] == tag_list(Name=STACK, Stack=STACK)
    lifecycle = efs.describe_lifecycle_configuration(FileSystemId=system["FileSystemId"])["LifecyclePolicies"]
    assert lifecycle == [{"TransitionToIA": "AFTER_30_DAYS"}]
    point = efs.describe_access_points(FileSystemId=system["FileSystemId"])["AccessPoints"][0]
    assert point["PosixUser"] == {"Uid": 1000, "Gid": 1000}
    owner = {"OwnerUid": 1000, "OwnerGid": 1000, "Permissions": "0750"}
    assert point["RootDirectory"] == {"Path": "/mlflow", "CreationInfo": owner}
    assert point["Tags"] == tag_list(Name=STACK, Stack=STACK)
    assert answer["access_point_id"] == point["AccessPointId"]
    assert (answer["status"], answer["mount_targets_available"]) == ("available", True)


DRIFT: dict[str, tuple[dict[str, Any], set[str]]] = {
    "throughput": ({"throughput_mode": "bursting"}, {"UpdateFileSystem"}),
    "lifecycle": ({"transition_to_ia": 7}, {"PutLifecycleConfiguration"}),
    "lifecycle in the singular": ({"transition_to_ia": 1}, {"PutLifecycleConfiguration"}),
    "no lifecycle": ({"transition_to_ia": 0}, {"PutLifecycleConfiguration"}),
    "backup": ({"backup_policy": False}, {"PutBackupPolicy"}),
    "policy": ({"policy": policy("elasticfilesystem:ClientWrite")}, {"PutFileSystemPolicy"}),
    "no policy": ({"policy": {}}, {"DeleteFileSystemPolicy"}),
    "a tag more and one less": ({"tags": {"Stack": STACK, "Team": "a"}}, {"TagResource", "UntagResource"}),
}


@pytest.mark.parametrize("case", DRIFT)
def test_efs_repairs_drift_with_only_the_call_it_needs(run: Run, efs_arguments: dict[str, Any], case: str) -> None:
    run("efs_file_system", **efs_arguments)
    change, writes = DRIFT[case]
    answer = four_steps(run, "efs_file_system", **{**efs_arguments, **change})
    assert set(answer.writes) == writes


def test_efs_moves_mount_targets_and_their_groups(
    run: Run, efs_arguments: dict[str, Any], subnets: list[str], group: str
) -> None:
    run("efs_file_system", **efs_arguments)
    vpc = client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["VpcId"]
    other = client("ec2").create_security_group(GroupName="other", Description="x", VpcId=vpc)["GroupId"]
    targets = {"subnet_ids": [subnets[0], subnets[3]], "security_group_ids": [other]}
    answer = four_steps(run, "efs_file_system", **{**efs_arguments, "mount_targets": targets})
    assert answer.writes == ["DeleteMountTarget", "CreateMountTarget", "ModifyMountTargetSecurityGroups"]
    efs = client("efs")
    standing = efs.describe_mount_targets(FileSystemId=answer["file_system_id"])["MountTargets"]
    assert {target["SubnetId"] for target in standing} == set(targets["subnet_ids"])
    for target in standing:
        groups = efs.describe_mount_target_security_groups(MountTargetId=target["MountTargetId"])["SecurityGroups"]
        assert groups == targets["security_group_ids"]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"encrypted": False}, "encrypted true instead of false"),
        ({"performance_mode": "maxIO"}, 'performance_mode "generalPurpose" instead of "maxIO"'),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_efs_refuses_what_aws_cannot_change(
    run: Run, efs_arguments: dict[str, Any], change: dict[str, Any], name: str, check: bool
) -> None:
    made = run("efs_file_system", **efs_arguments)
    answer = run("efs_file_system", check=check, **{**efs_arguments, **change})
    assert answer["failed"] is True
    assert answer.writes == []
    assert answer["msg"].startswith(f"The file system team-a ({made['file_system_id']}) has {name}")
    assert answer["msg"].endswith("lose or restore its files.")


def test_efs_refuses_to_encrypt_later(run: Run) -> None:
    run("efs_file_system", name=STACK, encrypted=False)
    assert "has encrypted false instead of true" in run("efs_file_system", name=STACK, encrypted=True)["msg"]


def test_efs_leaves_alone_what_it_is_not_told(run: Run, efs_arguments: dict[str, Any]) -> None:
    run("efs_file_system", **efs_arguments)
    answer = run("efs_file_system", name=STACK, wait=True)
    assert (answer["changed"], answer.writes, answer["mount_targets_available"]) == (False, [], True)


def test_efs_wait_ends_with_a_sentence(run: Run) -> None:
    answer = run("efs_file_system", name=STACK, wait=True, wait_timeout=0)
    system = answer["msg"].split("(")[1].split(")")[0]
    assert answer["msg"] == (
        f"After 0 s it is not so that the file system team-a ({system}) is available with all its mount targets."
    )


def test_efs_absent_removes_all_and_then_nothing(run: Run, efs_arguments: dict[str, Any]) -> None:
    run("efs_file_system", **efs_arguments)
    answer = four_steps(run, "efs_file_system", name=STACK, state="absent")
    assert answer["file_system_id"] is None
    order = ["DeleteAccessPoint", "DeleteMountTarget", "DeleteMountTarget", "DeleteFileSystem"]
    assert answer.writes == order
    assert client("efs").describe_file_systems()["FileSystems"] == []


ARN = "arn:aws:elasticfilesystem:eu-west-1:123456789012:file-system/fs-1"


@pytest.mark.parametrize(
    ("standing", "same"),
    [
        ({"Id": "1", "Version": "2012-10-17", "Statement": [{"Sid": "efs-statement-1", "Resource": ARN}]}, True),
        ({"Version": "2012-10-17", "Statement": [{"Resource": ARN.replace("fs-1", "fs-2")}]}, False),
        ({"Version": "2012-10-17", "Statement": [{"Action": ["elasticfilesystem:ClientMount"]}]}, True),
        ({"Version": "2012-10-17", "Statement": [{"Action": "elasticfilesystem:ClientWrite"}]}, False),
        ({"Version": "2012-10-17", "Statement": [{"Effect": "Deny"}]}, False),
    ],
)
def test_efs_compares_policies_by_meaning(modules: dict[str, ModuleType], standing: dict[str, Any], same: bool) -> None:
    asked = policy()
    full = {**standing, "Statement": [{**asked["Statement"][0], **standing["Statement"][0]}]}
    assert modules["efs_file_system"].same_policy(full, asked, ARN) is same


@pytest.mark.parametrize(
    ("standing", "asked", "same"),
    [
        ("arn:aws:kms:eu-west-1:1:key/abc", None, True),
        ("arn:aws:kms:eu-west-1:1:key/abc", "abc", True),
        ("arn:aws:kms:eu-west-1:1:key/abc", "bc", False),
        ("arn:aws:kms:eu-west-1:1:key/abc", "arn:aws:kms:eu-west-1:1:key/abc", True),
        (None, "abc", False),
    ],
)
def test_efs_compares_keys(modules: dict[str, ModuleType], standing: str | None, asked: str | None, same: bool) -> None:
    assert modules["efs_file_system"].same_key(standing, asked) is same


# What somebody may change in the console, and which the role's arguments take back.


def described() -> dict[str, Any]:
    """Everything that EFS describes of the file system, but for ids, dates and sizes."""
    efs = client("efs")
    (system,) = efs.describe_file_systems(CreationToken=STACK)["FileSystems"]
    which = {"FileSystemId": system["FileSystemId"]}
    drawn = ("FileSystemId", "FileSystemArn", "CreationTime", "SizeInBytes")

    def perhaps(method: str, key: str) -> Any:
        try:
            return getattr(efs, method)(**which)[key]
        except ClientError:
            return None

    points = efs.describe_access_points(**which)["AccessPoints"]
    targets = efs.describe_mount_targets(**which)["MountTargets"]
    return {
        "system": {key: value for key, value in system.items() if key not in drawn},
        "lifecycle": efs.describe_lifecycle_configuration(**which)["LifecyclePolicies"],
        "backup": perhaps("describe_backup_policy", "BackupPolicy"),
        "policy": perhaps("describe_file_system_policy", "Policy"),
        "points": [{key: point[key] for key in ("PosixUser", "RootDirectory", "Tags")} for point in points],
        "targets": {
            target["SubnetId"]: efs.describe_mount_target_security_groups(MountTargetId=target["MountTargetId"])[
                "SecurityGroups"
            ]
            for target in targets
        },
    }


def first_target(efs: Any, system: str) -> str:
    return str(efs.describe_mount_targets(FileSystemId=system)["MountTargets"][0]["MountTargetId"])


def first_point(efs: Any, system: str) -> dict[str, Any]:
    return dict(efs.describe_access_points(FileSystemId=system)["AccessPoints"][0])


def another_point(efs: Any, system: str, path: str = "/") -> None:
    efs.create_access_point(FileSystemId=system, PosixUser={"Uid": 0, "Gid": 0}, RootDirectory={"Path": path})


BY_HAND: dict[str, Callable[[Any, str], Any]] = {
    "throughput": lambda efs, system: efs.update_file_system(FileSystemId=system, ThroughputMode="bursting"),
    "provisioned throughput": lambda efs, system: efs.update_file_system(
        FileSystemId=system, ThroughputMode="provisioned", ProvisionedThroughputInMibps=100
    ),
    "infrequent access and archive": lambda efs, system: efs.put_lifecycle_configuration(
        FileSystemId=system,
        LifecyclePolicies=[{"TransitionToIA": "AFTER_7_DAYS"}, {"TransitionToArchive": "AFTER_90_DAYS"}],
    ),
    "primary on access": lambda efs, system: efs.put_lifecycle_configuration(
        FileSystemId=system, LifecyclePolicies=[{"TransitionToPrimaryStorageClass": "AFTER_1_ACCESS"}]
    ),
    "no protection": lambda efs, system: efs.update_file_system_protection(
        FileSystemId=system, ReplicationOverwriteProtection="DISABLED"
    ),
    "no backup": lambda efs, system: efs.put_backup_policy(FileSystemId=system, BackupPolicy={"Status": "DISABLED"}),
    "no policy": lambda efs, system: efs.delete_file_system_policy(FileSystemId=system),
    "another access point": another_point,
    "no access point": lambda efs, system: efs.delete_access_point(
        AccessPointId=first_point(efs, system)["AccessPointId"]
    ),
    "tag of the access point": lambda efs, system: efs.tag_resource(
        ResourceId=first_point(efs, system)["AccessPointId"], Tags=[{"Key": "by", "Value": "hand"}]
    ),
    "tag": lambda efs, system: efs.tag_resource(ResourceId=system, Tags=[{"Key": "by", "Value": "hand"}]),
    "no tag": lambda efs, system: efs.untag_resource(ResourceId=system, TagKeys=["Stack"]),
    "no mount target": lambda efs, system: efs.delete_mount_target(MountTargetId=first_target(efs, system)),
    "another group": lambda efs, system: efs.modify_mount_target_security_groups(
        MountTargetId=first_target(efs, system),
        SecurityGroups=[client("ec2").describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]],
    ),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_efs_what_was_changed_by_hand_is_set_back_in_one_run(
    run: Run, efs_arguments: dict[str, Any], case: str
) -> None:
    arguments = {**efs_arguments, "throughput_mode": "elastic", "transition_to_ia": 0}
    made = run("efs_file_system", **arguments)
    fresh = described()
    BY_HAND[case](client("efs"), made["file_system_id"])
    assert described() != fresh
    four_steps(run, "efs_file_system", **arguments)
    assert described() == fresh


def test_efs_an_access_point_with_another_user_is_replaced(run: Run, efs_arguments: dict[str, Any]) -> None:
    made = run("efs_file_system", **efs_arguments)
    moved = {**efs_arguments, "access_point": {"path": "/other", "uid": 7, "gid": 7}}
    answer = four_steps(run, "efs_file_system", **moved)
    assert answer.writes[0] == "CreateAccessPoint"
    assert answer["access_point_id"] != made["access_point_id"]
    assert [point["RootDirectory"]["Path"] for point in described()["points"]] == ["/other"]


def test_efs_of_two_equal_access_points_the_one_with_the_tags_stays(run: Run, efs_arguments: dict[str, Any]) -> None:
    run("efs_file_system", **efs_arguments)
    efs = client("efs")
    mine = first_point(efs, efs.describe_file_systems()["FileSystems"][0]["FileSystemId"])
    same = {key: mine[key] for key in ("FileSystemId", "PosixUser", "RootDirectory")}
    efs.create_access_point(**same)
    four_steps(run, "efs_file_system", **efs_arguments)
    assert [point["AccessPointId"] for point in efs.describe_access_points()["AccessPoints"]] == [mine["AccessPointId"]]


def test_efs_a_replication_is_ended(
    run: Run, stubs: dict[str, Callable[..., Any]], efs_arguments: dict[str, Any]
) -> None:
    made = run("efs_file_system", **efs_arguments)
    replicas = [{"Destinations": []}]
    stubs["DescribeReplicationConfigurations"] = lambda **_: {"Replications": list(replicas)}
    stubs["DeleteReplicationConfiguration"] = lambda **request: replicas.clear() or {"request": request}
    assert four_steps(run, "efs_file_system", **efs_arguments)["file_system_id"] == made["file_system_id"]
    assert replicas == []


@pytest.mark.parametrize(
    ("operation", "method"),
    [
        ("CreateFileSystem", "create_file_system"),
        ("CreateAccessPoint", "create_access_point"),
        ("CreateMountTarget", "create_mount_target"),
    ],
)
def test_efs_a_lost_answer_makes_no_second_one(
    run: Run, stubs: dict[str, Callable[..., Any]], efs_arguments: dict[str, Any], operation: str, method: str
) -> None:
    def lost(**request: Any) -> Any:
        del stubs[operation]
        getattr(client("efs"), method)(**request)
        raise ConnectionClosedError(endpoint_url="efs")

    stubs[operation] = lost
    assert run("efs_file_system", **efs_arguments).get("changed") is True
    assert run("efs_file_system", **efs_arguments)["changed"] is False
    assert len(client("efs").describe_file_systems()["FileSystems"]) == 1
    assert (len(described()["points"]), len(described()["targets"])) == (1, 2)


def test_stack_info_reads_the_access_point_of_the_stack(run: Run, efs_arguments: dict[str, Any]) -> None:
    made = run("efs_file_system", **efs_arguments)
    another_point(client("efs"), made["file_system_id"])
    found = run("stack_info", name=STACK, parts=["efs"])["stack"]["efs"]
    assert {key: found[key] for key in ("file_system_id", "access_point_id", "status")} == {
        key: made[key] for key in ("file_system_id", "access_point_id", "status")
    }


# --- backup_recovery_points ------------------------------------------------------------------------------------------


class Vaults:
    """Recovery points of one resource, two to a page; the vault `locked` refuses to delete."""

    def __init__(self, **vaults: int) -> None:
        self.points = [
            {"RecoveryPointArn": f"{vault}:{number}", "BackupVaultName": vault, "BackupSizeBytes": 10}
            for vault, count in vaults.items()
            for number in range(count)
        ]

    def listed(self, *, ResourceArn: str, NextToken: str = "0") -> dict[str, Any]:
        assert ResourceArn == ARN
        start = int(NextToken)
        more = {"NextToken": str(start + 2)} if len(self.points) > start + 2 else {}
        return {"RecoveryPoints": self.points[start : start + 2], **more}

    def deleted(self, *, BackupVaultName: str, RecoveryPointArn: str) -> dict[str, Any]:
        if BackupVaultName == "locked":
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DeleteRecoveryPoint")
        self.points = [point for point in self.points if point["RecoveryPointArn"] != RecoveryPointArn]
        return {}


def recovery(stubs: dict[str, Callable[..., Any]], **vaults: int) -> Vaults:
    made = Vaults(**vaults)
    stubs |= {"ListRecoveryPointsByResource": made.listed, "DeleteRecoveryPoint": made.deleted}
    return made


def test_recovery_points_are_counted_and_removed(run: Run, stubs: dict[str, Callable[..., Any]]) -> None:
    recovery(stubs, open=5)
    counted = run("backup_recovery_points", resource_arn=ARN)
    assert (counted["changed"], counted["count"], counted["bytes"], counted.writes) == (False, 5, 50, [])
    assert four_steps(run, "backup_recovery_points", resource_arn=ARN, state="absent")["count"] == 0


def test_a_vault_that_refuses_keeps_its_points_and_is_named(run: Run, stubs: dict[str, Callable[..., Any]]) -> None:
    recovery(stubs, open=1, locked=3)
    answer = run("backup_recovery_points", resource_arn=ARN, state="absent")
    assert (answer["changed"], answer["count"]) == (True, 3)
    assert answer.writes == ["DeleteRecoveryPoint"] * 2
    assert "The backup vault locked refuses" in str(answer["warnings"])


def test_another_refusal_of_a_vault_fails_with_one_sentence(run: Run, stubs: dict[str, Callable[..., Any]]) -> None:
    recovery(stubs, open=1)

    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "InvalidRequestException", "Message": "busy"}}, "DeleteRecoveryPoint")

    stubs["DeleteRecoveryPoint"] = refuse
    answer = run("backup_recovery_points", resource_arn=ARN, state="absent")
    assert answer["msg"] == f"Could not remove the recovery points of {ARN}: busy (InvalidRequestException)."
