"""What is left in AWS after destroy: nothing, but the data of the one stack that was told to keep it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

Aws = Callable[[str], Any]
KEEPS = "mol-rds-public"


def named(stack: str, names: list[str]) -> list[str]:
    return [name for name in names if stack in name]


def test_no_network(aws: Aws) -> None:
    """Asked without the stack's tag, for what lost its tag would be left, too; the account began with nothing else."""
    ec2 = aws("ec2")
    given = [one["VpcId"] for one in ec2.describe_vpcs()["Vpcs"] if one.get("IsDefault")]
    for action, key in (
        ("vpcs", "Vpcs"),
        ("subnets", "Subnets"),
        ("security_groups", "SecurityGroups"),
        ("route_tables", "RouteTables"),
        ("vpc_endpoints", "VpcEndpoints"),
    ):
        found = getattr(ec2, f"describe_{action}")()[key]
        assert [one for one in found if one["VpcId"] not in given] == [], action
    gateways = ec2.describe_internet_gateways()["InternetGateways"]
    attached = [[to["VpcId"] for to in one.get("Attachments", [])] for one in gateways]
    assert [vpcs for vpcs in attached if not set(vpcs) & set(given)] == []
    assert ec2.describe_flow_logs()["FlowLogs"] == []
    assert ec2.describe_addresses()["Addresses"] == []
    nats = ec2.describe_nat_gateways()["NatGateways"]
    assert [one["NatGatewayId"] for one in nats if one["State"] not in ("deleted", "deleting")] == []


def test_no_service(aws: Aws, stack: str) -> None:
    ecs = aws("ecs")
    assert named(stack, ecs.list_clusters()["clusterArns"]) == []
    assert ecs.list_task_definitions(familyPrefix=stack, status="ACTIVE")["taskDefinitionArns"] == []
    resource = f"service/{stack}/{stack}"
    targets = aws("application-autoscaling").describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[resource])
    assert targets["ScalableTargets"] == []


def test_no_load_balancer(aws: Aws, stack: str) -> None:
    elb = aws("elbv2")
    assert named(stack, [one["LoadBalancerName"] for one in elb.describe_load_balancers()["LoadBalancers"]]) == []
    assert named(stack, [one["TargetGroupName"] for one in elb.describe_target_groups()["TargetGroups"]]) == []


def test_no_data(aws: Aws, stack: str) -> None:
    rds = aws("rds")
    assert named(stack, [one["DBInstanceIdentifier"] for one in rds.describe_db_instances()["DBInstances"]]) == []
    assert named(stack, [one["DBSubnetGroupName"] for one in rds.describe_db_subnet_groups()["DBSubnetGroups"]]) == []
    groups = rds.describe_db_parameter_groups()["DBParameterGroups"]
    assert named(stack, [one["DBParameterGroupName"] for one in groups]) == []
    assert aws("efs").describe_file_systems(CreationToken=stack)["FileSystems"] == []
    snapshots = [one for one in rds.describe_db_snapshots()["DBSnapshots"] if one["DBInstanceIdentifier"] == stack]
    buckets = named(stack, [one["Name"] for one in aws("s3").list_buckets()["Buckets"]])
    assert (len(snapshots), len(buckets)) == ((1, 2) if stack == KEEPS else (0, 0))


def test_no_roles_secrets_logs_images_or_outputs(aws: Aws, stack: str) -> None:
    assert named(stack, [one["RoleName"] for one in aws("iam").list_roles()["Roles"]]) == []
    secrets = aws("secretsmanager").list_secrets(IncludePlannedDeletion=True)["SecretList"]
    assert named(stack, [one["Name"] for one in secrets if not one.get("DeletedDate")]) == []
    # The passwords of kept data can be restored: a snapshot's and buckets', and those of a file system's backups.
    waiting = named(stack, [one["Name"] for one in secrets if one.get("DeletedDate")])
    assert bool(waiting) is (stack == KEEPS or "efs" in stack)
    assert named(stack, [one["logGroupName"] for one in aws("logs").describe_log_groups()["logGroups"]]) == []
    assert named(stack, [one["repositoryName"] for one in aws("ecr").describe_repositories()["repositories"]]) == []
    assert aws("ssm").get_parameters_by_path(Path=f"/mlflow/{stack}/", Recursive=True)["Parameters"] == []
    assert not (Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "outputs" / f"{stack}.json").exists()
