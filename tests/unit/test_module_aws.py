"""The repository's own AWS modules, run in-process against moto."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from moto.efs.models import efs_backends

from tests.own_modules import REGION, Run, client, empty_aws, four_steps, load, runner, tag_list

PLUGINS = Path(__file__).parents[2] / "plugins"
ACCOUNT, STACK = "123456789012", "team-a"
READS = re.compile(r"^(Describe|Get|List|Head)")
TAGS = {"Stack": STACK, "Name": STACK}


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    """Load every own module from its file, as Ansible finds it: with plugins/module_utils on the path."""
    names = (
        "stack_info",
        "efs_file_system",
        "ssm_parameters",
        "s3_access_log",
        "lb_attributes",
        "lb_listeners",
        "lb_target_group",
    )
    loaded = {name: load("modules", name) for name in names}
    for name in ("efs_file_system",):
        loaded[name].POLL_SECONDS = 0.0  # type: ignore[attr-defined]
    return loaded


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with empty_aws(monkeypatch):
        yield


@pytest.fixture
def run(modules: dict[str, ModuleType], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(modules, capsys, monkeypatch, MISSING_IN_MOTO)


def _file_system(file_system_id: str) -> Any:
    return efs_backends[ACCOUNT][REGION].file_systems_by_id[file_system_id]


def _update_file_system(*, FileSystemId: str, ThroughputMode: str) -> dict[str, Any]:
    _file_system(FileSystemId).throughput_mode = ThroughputMode
    return {}


def _put_backup_policy(*, FileSystemId: str, BackupPolicy: dict[str, str]) -> dict[str, Any]:
    _file_system(FileSystemId)._backup = BackupPolicy["Status"] == "ENABLED"
    return {}


def _delete_file_system_policy(*, FileSystemId: str) -> dict[str, Any]:
    _file_system(FileSystemId).file_system_policy = None
    return {}


MISSING_IN_MOTO: dict[str, Callable[..., dict[str, Any]]] = {
    "UpdateFileSystem": _update_file_system,
    "PutBackupPolicy": _put_backup_policy,
    "DeleteFileSystemPolicy": _delete_file_system_policy,
}


def make_network(*tiers: str) -> dict[str, Any]:
    """Make a VPC with two subnets per tier (second zone first) and the stack's groups; return their ids."""
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    ec2.create_tags(Resources=[vpc], Tags=tag_list(**TAGS))
    made: dict[str, Any] = {"vpc_id": vpc, "subnets": {}, "groups": {}}
    for row, tier in enumerate(tiers or ("private",)):
        for number, zone in enumerate("ba"):
            subnet = ec2.create_subnet(
                VpcId=vpc, CidrBlock=f"10.20.{row * 10 + number}.0/24", AvailabilityZone=f"{REGION}{zone}"
            )["Subnet"]["SubnetId"]
            ec2.create_tags(Resources=[subnet], Tags=tag_list(Stack=STACK, Tier=tier))
            made["subnets"][tier, zone] = subnet
    for use in ("load-balancer", "service", "database", "efs"):
        group = ec2.create_security_group(GroupName=f"{STACK}-{use}", Description=use, VpcId=vpc)["GroupId"]
        ec2.create_tags(Resources=[group], Tags=tag_list(Stack=STACK))
        made["groups"][use] = group
    return made


# --- stack_info ------------------------------------------------------------------------------------------------------

PARTS = ["network", "ecr_image", "rds", "efs", "s3_artifacts", "alb", "ecs_service"]
IMAGE_KEYS = ["ecr_image.image_digest", "ecr_image.image_tag"]
VALID = {
    "vpc_id": r"vpc-[0-9a-f]{17}",
    "vpc_cidr": r"[\d.]+/16",
    "load_balancer_security_group_id": r"sg-[0-9a-f]{17}",
    "service_security_group_id": r"sg-[0-9a-f]{17}",
    "security_group_id": r"sg-[0-9a-f]{17}",
    "repository_uri": r"\d{12}\.dkr\.ecr\.eu-west-1\.amazonaws\.com/team-a",
    "image_digest": r"sha256:0{64}",
    "image_tag": r"none",
    "port": r"5432",
    "endpoint": r"[a-z0-9.-]+",
    "database": r"mlflow",
    "username": r"mlflow",
    "file_system_id": r"fs-[0-9a-f]{17}",
    "access_point_id": r"fsap-[0-9a-f]{17}",
    "bucket": r"mlflow-team-a-123456789012-eu-west-1",
    "log_bucket": r"mlflow-team-a-123456789012-eu-west-1-logs",
    "load_balancer_name": r"team-a",
    "load_balancer_dns_name": r"[a-z0-9.-]+",
    "load_balancer_zone_id": r"Z[0-9A-Z]+",
    "cluster_name": r"team-a",
    "service_name": r"team-a",
    "log_group": r"/mlflow/team-a",
}


@pytest.mark.parametrize("part", PARTS)
def test_stack_info_says_null_for_what_is_missing(run: Run, part: str) -> None:
    answer = run("stack_info", name=STACK, parts=[part])
    assert answer["changed"] is False
    assert answer.writes == []
    values = answer["stack"][part]
    empty = {key for key, value in values.items() if value is None or value == []}
    assert {key for key, value in values.items() if value not in (None, [], False)} == set()
    assert answer["missing"] == [f"{part}.{key}" for key in values if key in empty]


@pytest.mark.parametrize("part", PARTS)
def test_stack_info_fills_valid_placeholders_in_a_check(run: Run, part: str) -> None:
    values = run("stack_info", check=True, name=STACK, parts=[part])["stack"][part]
    states = {"status", "state", "service_status", "rollout_state", "desired_count", "running_count"}
    for key, value in values.items():
        if key in states | {
            "deletion_protection",
            "engine_version",
            "allocated_storage",
            "scheme",
            "rollout_task_definition_arn",
        }:
            assert value is None, key
        elif key in ("mount_targets_available", "https", "autoscaled"):
            assert value is False, key
        elif key.endswith("subnet_ids"):
            assert len(set(value)) == 2
            assert all(re.fullmatch(r"subnet-[0-9a-f]{17}", each) for each in value)
        elif key.endswith("_arn"):
            account = r"(000000000000)?" if "bucket" in key else "000000000000"
            assert re.fullmatch(rf"arn:aws:[a-z0-9]+:(eu-west-1)?:{account}:.*team-a.*|arn:aws:elasticf.*", value), key
        else:
            assert re.fullmatch(VALID[key], str(value)), (key, value)


def test_stack_info_reads_a_network_in_the_order_of_the_zones(run: Run) -> None:
    made = make_network("public", "private", "database")
    answer = run("stack_info", name=STACK, parts=["network"])
    subnets = made["subnets"]
    assert answer["missing"] == []
    assert answer["stack"]["network"] == {
        "vpc_id": made["vpc_id"],
        "vpc_cidr": "10.20.0.0/16",
        "public_subnet_ids": [subnets["public", "a"], subnets["public", "b"]],
        "private_subnet_ids": [subnets["private", "a"], subnets["private", "b"]],
        "database_subnet_ids": [subnets["database", "a"], subnets["database", "b"]],
        "load_balancer_security_group_id": made["groups"]["load-balancer"],
        "service_security_group_id": made["groups"]["service"],
    }
    assert len(answer.calls) == 3


def test_stack_info_keeps_what_stands_in_a_check(run: Run) -> None:
    made = make_network("private")
    network = run("stack_info", check=True, name=STACK, parts=["network"])["stack"]["network"]
    assert network["vpc_id"] == made["vpc_id"]
    assert network["private_subnet_ids"] == [made["subnets"]["private", "a"], made["subnets"]["private", "b"]]
    assert network["public_subnet_ids"][0].startswith("subnet-000")


def test_stack_info_refuses_two_networks_of_one_stack(run: Run) -> None:
    make_network("private")
    make_network("private")
    answer = run("stack_info", name=STACK, parts=["network"])
    assert answer["failed"] is True
    assert answer["msg"] == "2 VPCs are tagged Name=team-a and Stack=team-a; remove or retag all but one."


def test_stack_info_does_not_see_another_stack(run: Run) -> None:
    make_network()
    values = run("stack_info", name="team", parts=["network"])["stack"]["network"]
    assert not any(values.values())


def test_stack_info_does_not_take_a_group_of_another_stack(run: Run) -> None:
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.30.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName=f"{STACK}-service", Description="x", VpcId=vpc)["GroupId"]
    ec2.create_tags(Resources=[group], Tags=tag_list(Stack="other"))
    network = run("stack_info", name=STACK, parts=["network"])["stack"]["network"]
    assert network["service_security_group_id"] is None


def test_stack_info_reads_storage(run: Run) -> None:
    made = make_network("database")
    group = client("rds")
    group.create_db_subnet_group(
        DBSubnetGroupName=STACK, DBSubnetGroupDescription="x", SubnetIds=list(made["subnets"].values())
    )
    instance = group.create_db_instance(
        DBInstanceIdentifier=STACK,
        Engine="postgres",
        DBInstanceClass="db.t4g.micro",
        AllocatedStorage=20,
        MasterUsername="mlflow",
        MasterUserPassword="only-for-this-test",
        DBName="mlflow",
        Port=5433,
        DBSubnetGroupName=STACK,
        DeletionProtection=True,
    )["DBInstance"]
    secret = client("secretsmanager").create_secret(Name=f"mlflow/{STACK}/database", SecretString="x")["ARN"]
    s3 = client("s3")
    s3.create_bucket(
        Bucket="mlflow-team-a-123456789012-eu-west-1", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    repository = client("ecr").create_repository(repositoryName=STACK)["repository"]
    answer = run("stack_info", name=STACK, parts=["rds", "s3_artifacts", "ecr_image"])
    assert answer["stack"]["rds"] == {
        "instance_arn": instance["DBInstanceArn"],
        "endpoint": instance["Endpoint"]["Address"],
        "port": 5433,
        "status": "available",
        "database": "mlflow",
        "username": "mlflow",
        "security_group_id": made["groups"]["database"],
        "secret_arn": secret,
        "deletion_protection": True,
        "engine_version": instance["EngineVersion"],
        "allocated_storage": 20,
    }
    assert answer["stack"]["s3_artifacts"]["bucket_arn"] == "arn:aws:s3:::mlflow-team-a-123456789012-eu-west-1"
    assert answer["missing"] == ["s3_artifacts.log_bucket", "s3_artifacts.log_bucket_arn", *IMAGE_KEYS]
    assert answer["stack"]["ecr_image"]["repository_uri"] == repository["repositoryUri"]


@pytest.mark.parametrize("kept", [True, False])
def test_stack_info_says_what_is_deployed_and_whether_the_repository_holds_it(run: Run, kept: bool) -> None:
    client("ecr").create_repository(repositoryName=STACK)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "layers": [],
            "config": {"digest": "sha256:0", "size": 1},
        }
    )
    made = client("ecr").put_image(repositoryName=STACK, imageManifest=manifest, imageTag="slim-1")["image"]
    digest = made["imageId"]["imageDigest"] if kept else f"sha256:{'1' * 64}"
    client("ssm").put_parameter(Name=f"/mlflow/{STACK}/image_digest", Value=digest, Type="String")
    image = run("stack_info", name=STACK, parts=["ecr_image"])["stack"]["ecr_image"]
    assert (image["image_digest"], image["image_tag"]) == (digest, "slim-1" if kept else None)


def test_stack_info_counts_a_secret_that_waits_for_deletion_as_missing(run: Run) -> None:
    secrets = client("secretsmanager")
    secrets.create_secret(Name=f"mlflow/{STACK}/database", SecretString="x")
    secrets.delete_secret(SecretId=f"mlflow/{STACK}/database", RecoveryWindowInDays=7)
    assert run("stack_info", name=STACK, parts=["rds"])["stack"]["rds"]["secret_arn"] is None


def make_service(made: dict[str, Any], target_group: str) -> None:
    """Make cluster, task definition and a service with the tag Autoscaled."""
    ecs = client("ecs")
    ecs.create_cluster(clusterName=STACK)
    ecs.register_task_definition(
        family=STACK,
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="512",
        memory="1024",
        containerDefinitions=[{"name": "mlflow", "image": "x", "portMappings": [{"containerPort": 5000}]}],
    )
    ecs.create_service(
        cluster=STACK,
        serviceName=STACK,
        taskDefinition=STACK,
        desiredCount=1,
        launchType="FARGATE",
        networkConfiguration={
            "awsvpcConfiguration": {
                "subnets": [made["subnets"]["private", "a"]],
                "securityGroups": [made["groups"]["service"]],
            }
        },
        loadBalancers=[{"targetGroupArn": target_group, "containerName": "mlflow", "containerPort": 5000}],
        tags=[{"key": "Autoscaled", "value": "true"}],
    )


def test_stack_info_reads_load_balancer_and_service(run: Run) -> None:
    made = make_network("private")
    elb = client("elbv2")
    balancer = elb.create_load_balancer(Name=STACK, Subnets=list(made["subnets"].values()), Scheme="internal")
    balancer = balancer["LoadBalancers"][0]
    group = elb.create_target_group(Name=STACK, Protocol="HTTP", Port=5000, VpcId=made["vpc_id"], TargetType="ip")
    group_arn = group["TargetGroups"][0]["TargetGroupArn"]
    forward = [{"Type": "forward", "TargetGroupArn": group_arn}]
    elb.create_listener(LoadBalancerArn=balancer["LoadBalancerArn"], Protocol="HTTP", Port=80, DefaultActions=forward)
    make_service(made, group_arn)
    role = client("iam").create_role(RoleName="mlflow-team-a-eu-west-1-task", AssumeRolePolicyDocument="{}")["Role"]
    client("logs").create_log_group(logGroupName="/mlflow/team-a-other")

    stack = run("stack_info", name=STACK, parts=["alb", "ecs_service"])["stack"]
    assert stack["alb"]["load_balancer_arn"] == balancer["LoadBalancerArn"]
    assert stack["alb"]["load_balancer_dns_name"] == balancer["DNSName"]
    assert stack["alb"]["target_group_arn"] == group_arn
    assert stack["alb"]["https"] is False
    service = stack["ecs_service"]
    assert service["service_arn"].endswith(f":service/{STACK}/{STACK}")
    assert (service["service_status"], service["desired_count"], service["autoscaled"]) == ("ACTIVE", 1, True)
    assert service["task_definition_arn"].endswith(f"task-definition/{STACK}:1")
    assert (service["task_role_arn"], service["execution_role_arn"]) == (role["Arn"], None)
    assert service["log_group"] is None

    certificate = client("acm").request_certificate(DomainName="mlflow.example.com")["CertificateArn"]
    elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": certificate}],
        DefaultActions=forward,
    )
    assert run("stack_info", name=STACK, parts=["alb"])["stack"]["alb"]["https"] is True
    ecs = client("ecs")
    ecs.delete_service(cluster=STACK, service=STACK, force=True)
    ecs.delete_cluster(cluster=STACK)
    service = run("stack_info", name=STACK, parts=["ecs_service"])["stack"]["ecs_service"]
    assert service["cluster_arn"] is None
    assert service["service_arn"] is None


def test_a_refusal_of_aws_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as shell:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            shell.delenv(name, raising=False)
        shell.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        shell.setenv("AWS_CONFIG_FILE", "/nonexistent")
        shell.setenv("AWS_EC2_METADATA_DISABLED", "true")
        answer = run("stack_info", own_client=True, name=STACK, parts=["ecr_image"])
    assert answer["msg"] == (
        "Could not read the ecr_image part of stack team-a: there are no AWS credentials; set AWS_PROFILE, or "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    )
    assert "exception" not in answer


# --- efs_file_system -------------------------------------------------------------------------------------------------


def policy(action: str = "elasticfilesystem:ClientMount") -> dict[str, Any]:
    """Return a file system policy that allows `action`."""
    condition = {"Bool": {"elasticfilesystem:AccessedViaMountTarget": "true"}}
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": action, "Condition": condition}
    return {"Version": "2012-10-17", "Statement": [statement]}


@pytest.fixture
def efs_arguments() -> dict[str, Any]:
    """Return the arguments of a file system with everything, in a fresh network."""
    made = make_network("private", "database")
    return {
        "name": STACK,
        "transition_to_ia": 30,
        "backup_policy": True,
        "policy": policy(),
        "access_point": {"path": "/mlflow", "uid": 1000, "gid": 1000},
        "mount_targets": {
            "subnet_ids": [made["subnets"]["private", "a"], made["subnets"]["private", "b"]],
            "security_group_ids": [made["groups"]["efs"]],
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
    found = run("stack_info", name=STACK, parts=["efs"])["stack"]["efs"]
    assert {key: found[key] for key in ("file_system_id", "file_system_arn", "access_point_id", "status")} == {
        key: answer[key] for key in ("file_system_id", "file_system_arn", "access_point_id", "status")
    }


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


def test_efs_moves_mount_targets_and_their_groups(run: Run, efs_arguments: dict[str, Any]) -> None:
    run("efs_file_system", **efs_arguments)
    found = run("stack_info", name=STACK, parts=["network"])["stack"]["network"]
    targets = {
        "subnet_ids": [found["private_subnet_ids"][0], found["database_subnet_ids"][1]],
        "security_group_ids": [found["service_security_group_id"]],
    }
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
        ({"access_point": {"path": "/mlflow", "uid": 7, "gid": 1000}}, "access_point"),
        ({"access_point": {"path": "/other", "uid": 1000, "gid": 1000}}, "access_point"),
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


# --- ssm_parameters --------------------------------------------------------------------------------------------------


def parameters(path: str) -> dict[str, str]:
    """Return what stands below `path`."""
    pages = client("ssm").get_paginator("get_parameters_by_path").paginate(Path=path, Recursive=True)
    return {each["Name"]: each["Value"] for page in pages for each in page["Parameters"]}


def test_parameters_four_steps_and_absence(run: Run) -> None:
    values = {f"name{number}": str(number) for number in range(23)} | {"release/image": "x@sha256:1"}
    answer = four_steps(run, "ssm_parameters", path="/mlflow/team-a/", values=values, tags=TAGS)
    assert answer.writes == ["PutParameter"] * 24
    assert parameters("/mlflow/team-a") == {f"/mlflow/team-a/{name}": value for name, value in values.items()}
    tags = client("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId="/mlflow/team-a/name1")
    assert {tag["Key"]: tag["Value"] for tag in tags["TagList"]} == TAGS

    changed = four_steps(run, "ssm_parameters", path="/mlflow/team-a/", values={**values, "name1": "other"})
    assert (changed["written"], changed.writes) == (["name1"], ["PutParameter"])
    run("ssm_parameters", path="/mlflow/team-ab/", values={"name": "stays"})
    gone = four_steps(run, "ssm_parameters", path="/mlflow/team-a/", state="absent")
    assert gone.writes == ["DeleteParameters"] * 3
    assert parameters("/mlflow") == {"/mlflow/team-ab/name": "stays"}


def test_parameters_are_purged_only_when_told(run: Run) -> None:
    run("ssm_parameters", path="/a/b/", values={"one": "1", "two": "2"})
    assert run("ssm_parameters", path="/a/b/", values={"one": "1"})["changed"] is False
    answer = four_steps(run, "ssm_parameters", path="/a/b/", values={"one": "1"}, purge=True)
    assert answer["deleted"] == ["two"]


@pytest.mark.parametrize(
    ("path", "values", "sentence"),
    [
        ("/a", {"x": "1"}, "path is '/a'; it must begin and end with a slash, such as /mlflow/team-a/."),
        ("a/", {"x": "1"}, "path is 'a/'; it must begin and end with a slash, such as /mlflow/team-a/."),
        ("/", {"x": "1"}, "path is '/'; it must begin and end with a slash, such as /mlflow/team-a/."),
        ("/a/", {"x": 1}, "values.x is 1; SSM stores only strings that are not empty."),
        ("/a/", {"x": ""}, "values.x is ''; SSM stores only strings that are not empty."),
        ("/a/", {"x": None}, "values.x is None; SSM stores only strings that are not empty."),
    ],
)
def test_parameters_refuse_bad_input_before_any_call(run: Run, path: str, values: Any, sentence: str) -> None:
    answer = run("ssm_parameters", path=path, values=values)
    assert (answer["msg"], answer.calls) == (sentence, [])


# --- s3_access_log ---------------------------------------------------------------------------------------------------


def test_access_log_four_steps_drift_and_absence(run: Run) -> None:
    s3 = client("s3")
    for bucket in ("data", "logs"):
        s3.create_bucket(Bucket=f"team-a-{bucket}", CreateBucketConfiguration={"LocationConstraint": REGION})
    principal = {"Service": "logging.s3.amazonaws.com"}
    statement = {
        "Effect": "Allow",
        "Principal": principal,
        "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::team-a-logs/*",
    }
    s3.put_bucket_policy(Bucket="team-a-logs", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    arguments = {"bucket": "team-a-data", "target_bucket": "team-a-logs"}
    for prefix in ("s3/", "other/"):
        four_steps(run, "s3_access_log", **arguments, target_prefix=prefix)
        enabled = s3.get_bucket_logging(Bucket="team-a-data")["LoggingEnabled"]
        assert (enabled["TargetBucket"], enabled["TargetPrefix"]) == ("team-a-logs", prefix)
    four_steps(run, "s3_access_log", bucket="team-a-data", state="absent")
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket="team-a-data")


def test_access_log_of_a_missing_bucket(run: Run) -> None:
    arguments = {"bucket": "team-a-none", "target_bucket": "team-a-logs"}
    assert run("s3_access_log", check=True, **arguments)["changed"] is True
    assert run("s3_access_log", bucket="team-a-none", state="absent")["changed"] is False
    answer = run("s3_access_log", **arguments)
    assert answer["msg"].startswith("Could not read the logging of bucket team-a-none: ")


# --- lb_target_group, lb_listeners, lb_attributes --------------------------------------------------------------------


def test_target_group_four_steps_drift_and_absence(run: Run) -> None:
    arguments = {"name": STACK, "vpc_id": make_network()["vpc_id"], "port": 5000, "tags": TAGS}
    made = four_steps(run, "lb_target_group", **arguments)
    elb = client("elbv2")
    group = elb.describe_target_groups(Names=[STACK])["TargetGroups"][0]
    assert made["target_group_arn"] == group["TargetGroupArn"]
    assert (group["TargetType"], group["HealthCheckPath"], group["HealthCheckIntervalSeconds"]) == ("ip", "/health", 15)
    attributes = elb.describe_target_group_attributes(TargetGroupArn=group["TargetGroupArn"])["Attributes"]
    assert {"Key": "deregistration_delay.timeout_seconds", "Value": "120"} in attributes
    for change, writes in (
        ({"health_check_path": "/version", "success_codes": "200-299"}, ["ModifyTargetGroup"]),
        ({"deregistration_delay": 30}, ["ModifyTargetGroupAttributes"]),
        ({"tags": {"Stack": STACK, "Team": "a"}}, ["AddTags", "RemoveTags"]),
    ):
        arguments |= change
        repaired = four_steps(run, "lb_target_group", **arguments)
        assert (repaired["target_group_arn"], repaired.writes) == (made["target_group_arn"], writes)
    for check in (True, False):
        refused = run("lb_target_group", check=check, **{**arguments, "port": 8080})
        sentence = f"The target group {STACK} has port 5000 instead of 8080, which AWS cannot change; "
        assert refused["msg"] == sentence + "delete it, or keep what it has."
    assert four_steps(run, "lb_target_group", name=STACK, state="absent")["target_group_arn"] is None
    assert elb.describe_target_groups()["TargetGroups"] == []


def test_load_balancer_attributes_four_steps(run: Run) -> None:
    made = make_network()
    elb = client("elbv2")
    balancer = elb.create_load_balancer(Name=STACK, Subnets=list(made["subnets"].values()))["LoadBalancers"][0]
    arn = balancer["LoadBalancerArn"]
    run("lb_attributes", load_balancer_arn=arn, attributes={"idle_timeout.timeout_seconds": "60"})
    answer = four_steps(
        run,
        "lb_attributes",
        load_balancer_arn=arn,
        attributes={"access_logs.s3.prefix": "alb", "idle_timeout.timeout_seconds": "60"},
    )
    assert answer["changed_attributes"] == ["access_logs.s3.prefix"]
    standing = elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
    assert {"Key": "access_logs.s3.prefix", "Value": "alb"} in standing
    bad = run("lb_attributes", load_balancer_arn=arn, attributes={"deletion_protection.enabled": True})
    assert bad["msg"] == "attributes.deletion_protection.enabled is True; the load balancer takes only strings."


def test_load_balancer_attributes_of_a_missing_one(run: Run) -> None:
    arguments = {
        "load_balancer_arn": "arn:aws:elasticloadbalancing:eu-west-1:000000000000:loadbalancer/app/team-a/00000000",
        "attributes": {"access_logs.s3.prefix": "alb"},
    }
    assert run("lb_attributes", check=True, **arguments)["changed"] is True
    assert run("lb_attributes", **arguments)["msg"].startswith("Could not read the attributes of arn:aws:")


def make_balancer() -> tuple[str, str]:
    """Return the ARNs of a load balancer and of a target group in one network."""
    made = make_network()
    elb = client("elbv2")
    balancer = elb.create_load_balancer(Name=STACK, Subnets=list(made["subnets"].values()))["LoadBalancers"][0]
    group = elb.create_target_group(Name=STACK, Protocol="HTTP", Port=5000, VpcId=made["vpc_id"])["TargetGroups"][0]
    return balancer["LoadBalancerArn"], group["TargetGroupArn"]


def listener(port: int, target_group: str) -> dict[str, Any]:
    """Return a listener as the role gives it."""
    forward = {"Type": "forward", "TargetGroupArn": target_group}
    return {"Protocol": "HTTP", "Port": port, "DefaultActions": [forward]}


def test_listeners_four_steps_drift_and_removal(run: Run) -> None:
    arn, group = make_balancer()
    elb = client("elbv2")
    moved = {"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}}
    for listeners, ports, writes in (
        ([listener(80, group)], [80], ["CreateListener"]),
        ([{**listener(80, group), "DefaultActions": [moved]}], [80], ["ModifyListener"]),
        ([listener(80, group), listener(8080, group)], [80, 8080], ["ModifyListener", "CreateListener"]),
        ([listener(8080, group)], [80], ["DeleteListener"]),
    ):
        made = four_steps(run, "lb_listeners", load_balancer_arn=arn, listeners=listeners)
        assert (made["changed_ports"], made.writes) == (ports, writes)
        standing = elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]
        kinds = sorted((one["Port"], one["DefaultActions"][0]["Type"]) for one in standing)
        assert kinds == [(one["Port"], one["DefaultActions"][0]["Type"]) for one in listeners]


def test_listeners_do_not_mind_what_aws_adds(run: Run, modules: dict[str, ModuleType]) -> None:
    arn, group = make_balancer()
    ordered = listener(80, group)
    ordered["DefaultActions"][0]["Order"] = 1
    run("lb_listeners", load_balancer_arn=arn, listeners=[ordered])
    (standing,) = client("elbv2").describe_listeners(LoadBalancerArn=arn)["Listeners"]
    assert standing["DefaultActions"][0]["Order"] == 1
    assert run("lb_listeners", load_balancer_arn=arn, listeners=[listener(80, group)])["changed"] is False
    two = {**listener(80, group), "DefaultActions": [*listener(80, group)["DefaultActions"]] * 2}
    assert not modules["lb_listeners"].has(standing, two)


def test_listeners_of_a_missing_load_balancer_and_bad_ones(run: Run) -> None:
    arn = "arn:aws:elasticloadbalancing:eu-west-1:000000000000:loadbalancer/app/team-a/00000000"
    arguments = {"load_balancer_arn": arn, "listeners": [listener(80, "arn")]}
    assert run("lb_listeners", check=True, **arguments)["changed"] is True
    assert run("lb_listeners", **arguments)["msg"].startswith(f"Could not read the listeners of {arn}: ")
    for bad in ([{"Protocol": "HTTP"}], [listener(80, "arn")] * 2):
        refused = run("lb_listeners", load_balancer_arn=arn, listeners=bad)
        assert refused["msg"] == "listeners needs a Port, a number, in each entry, and each number only once."
        assert refused.calls == []
