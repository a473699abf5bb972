"""The repository's own AWS modules, run in-process against moto."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.own_modules import REGION, Run, client, empty_aws, load, runner, tag_list

PLUGINS = Path(__file__).parents[2] / "plugins"
ACCOUNT, STACK = "123456789012", "team-a"
READS = re.compile(r"^(Describe|Get|List|Head)")
TAGS = {"Stack": STACK, "Name": STACK}


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    """Load every own module from its file, as Ansible finds it: with plugins/module_utils on the path."""
    return {"stack_info": load("modules", "stack_info")}


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with empty_aws(monkeypatch):
        yield


@pytest.fixture
def run(modules: dict[str, ModuleType], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(modules, capsys, monkeypatch, {})


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
    "bucket_name": r"mlflow-team-a-123456789012-eu-west-1",
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
    # The name that it is to get.
    assert values.pop("bucket_name", "mlflow-team-a-123456789012-eu-west-1") == "mlflow-team-a-123456789012-eu-west-1"
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
