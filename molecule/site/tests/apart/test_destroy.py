"""Destroy refuses, only says, and removes one stack of four; each time all that stands is listed before and after."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

Aws = Callable[[str], Any]
STACK = "efs-internal"


def tags(resource: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}


def standing(aws: Aws) -> set[tuple[str, str]]:
    """(stack by tag or by name, kind and identifier) of what costs money, holds data or lets traffic through."""
    ec2 = aws("ec2")
    vpcs = ec2.describe_vpcs()["Vpcs"]
    # By the VPC, for its default security group has no tag of ours.
    owner = {one["VpcId"]: tags(one).get("Stack", "") for one in vpcs}
    network = [
        (owner.get(one.get("VpcId", ""), tags(one).get("Stack", "")), one[key])
        for answer, key in (
            (vpcs, "VpcId"),
            (ec2.describe_subnets()["Subnets"], "SubnetId"),
            (ec2.describe_security_groups()["SecurityGroups"], "GroupId"),
            (ec2.describe_vpc_endpoints()["VpcEndpoints"], "VpcEndpointId"),
            (ec2.describe_addresses()["Addresses"], "AllocationId"),
        )
        for one in answer
    ]
    names = [
        *[one["DBInstanceIdentifier"] for one in aws("rds").describe_db_instances()["DBInstances"]],
        *[one["Name"] for one in aws("efs").describe_file_systems()["FileSystems"]],
        *[one["Name"] for one in aws("s3").list_buckets()["Buckets"]],
        *[one["LoadBalancerArn"] for one in aws("elbv2").describe_load_balancers()["LoadBalancers"]],
        *[one["TargetGroupArn"] for one in aws("elbv2").describe_target_groups()["TargetGroups"]],
        *[arn for cluster in aws("ecs").list_clusters()["clusterArns"] for arn in services(aws, cluster)],
        *[one["Name"] for one in aws("secretsmanager").list_secrets()["SecretList"]],
        *[one["RoleName"] for one in aws("iam").list_roles()["Roles"]],
        *[one["logGroupName"] for one in aws("logs").describe_log_groups()["logGroups"]],
        *[one["repositoryArn"] for one in aws("ecr").describe_repositories()["repositories"]],
    ]
    mine = [(f"mol-{STACK}" if STACK in name else "", name) for name in names]
    return {*network, *mine}


def services(aws: Aws, cluster: str) -> list[str]:
    return list(aws("ecs").list_services(cluster=cluster)["serviceArns"])


def destroy(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the playbook for one stack as the deployer; the scenario does not count what it changes."""
    environment = {name: value for name, value in os.environ.items() if name != "MOLECULE_CHANGES"}
    environment |= {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
    inventory = os.path.join(os.environ["MOLECULE_SCENARIO_DIRECTORY"], "inventory")
    command = ["ansible-playbook", "-i", inventory, "playbooks/destroy.yml", "--limit", STACK, *options]
    root = os.environ["MOLECULE_PROJECT_DIRECTORY"]
    return subprocess.run(command, cwd=root, env=environment, text=True, capture_output=True, check=False)


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["-e", "mlflow_destroy_confirm=another"], 2, f"the stack is mol-{STACK}"),
        (["-e", "mlflow_destroy_confirm="], 2, f"pass -e mlflow_destroy_confirm=mol-{STACK}"),
        (["-e", '{"mlflow_deletion_protection": true}'], 2, "set it to false, run site.yml, then destroy again"),
        (["--check"], 0, "failed=0"),
    ],
)
def test_it_removes_nothing_without_being_told(aws: Aws, options: list[str], code: int, sentence: str) -> None:
    before = standing(aws)
    done = destroy(*options)
    output = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == code, output
    assert sentence in output
    assert standing(aws) == before


def test_it_removes_one_stack_and_no_other(aws: Aws) -> None:
    before = standing(aws)
    done = destroy()
    assert done.returncode == 0, done.stdout + done.stderr
    mine = {one for one in before if one[0] == f"mol-{STACK}"}
    assert len(mine) > 20
    assert standing(aws) == before - mine
