"""The repository's own AWS modules, run in-process against moto."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

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
        "vpc_flow_log",
        "ssm_parameters",
        "nat_gateway",
    )
    loaded = {name: load("modules", name) for name in names}
    for name in ("nat_gateway",):
        loaded[name].POLL_SECONDS = 0.0  # type: ignore[attr-defined]
    return loaded


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
    make_network()
    make_network()
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


# --- vpc_flow_log ----------------------------------------------------------------------------------------------------


@pytest.fixture
def flow_arguments() -> dict[str, Any]:
    """Return the arguments of a flow log, its VPC, group and role in place."""
    made = make_network()
    client("logs").create_log_group(logGroupName="/mlflow/team-a/flow")
    role = client("iam").create_role(RoleName="flow", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    return {"vpc_id": made["vpc_id"], "log_group": "/mlflow/team-a/flow", "role_arn": role, "tags": TAGS}


def test_flow_log_four_steps_drift_and_absence(run: Run, flow_arguments: dict[str, Any]) -> None:
    made = four_steps(run, "vpc_flow_log", **flow_arguments)
    standing = client("ec2").describe_flow_logs()["FlowLogs"]
    assert [each["FlowLogId"] for each in standing] == [made["flow_log_id"]]
    assert standing[0]["DeliverLogsPermissionArn"] == flow_arguments["role_arn"]
    assert {tag["Key"]: tag["Value"] for tag in standing[0]["Tags"]} == TAGS

    retagged = four_steps(run, "vpc_flow_log", **{**flow_arguments, "tags": {"Stack": STACK, "Team": "a"}})
    assert retagged["flow_log_id"] == made["flow_log_id"]
    assert retagged.writes == ["CreateTags", "DeleteTags"]
    replaced = four_steps(run, "vpc_flow_log", **{**flow_arguments, "traffic_type": "REJECT"})
    assert replaced["flow_log_id"] != made["flow_log_id"]

    gone = {key: flow_arguments[key] for key in ("vpc_id", "log_group")}
    assert four_steps(run, "vpc_flow_log", **gone, state="absent")["flow_log_id"] is None
    assert client("ec2").describe_flow_logs()["FlowLogs"] == []


def test_flow_log_leaves_another_group_alone(run: Run, flow_arguments: dict[str, Any]) -> None:
    run("vpc_flow_log", **flow_arguments)
    client("logs").create_log_group(logGroupName="/other")
    run("vpc_flow_log", **{**flow_arguments, "log_group": "/other"})
    run("vpc_flow_log", vpc_id=flow_arguments["vpc_id"], log_group="/other", state="absent")
    standing = client("ec2").describe_flow_logs()["FlowLogs"]
    assert [each["LogGroupName"] for each in standing] == ["/mlflow/team-a/flow"]


@pytest.mark.parametrize(
    ("flow_log", "mine"),
    [
        ({"LogGroupName": "/a"}, True),
        ({"LogDestination": "/a"}, True),
        ({"LogDestination": "arn:aws:logs:eu-west-1:1:log-group:/a:*"}, True),
        ({"LogDestination": "arn:aws:s3:::bucket/a"}, False),
        ({"LogGroupName": "/b/a"}, False),
    ],
)
def test_flow_log_is_found_in_every_form(modules: dict[str, ModuleType], flow_log: dict[str, str], mine: bool) -> None:
    class Ec2:
        def describe_flow_logs(self, **_: Any) -> dict[str, Any]:
            return {"FlowLogs": [flow_log]}

    assert (modules["vpc_flow_log"].current(Ec2(), "vpc-1", "/a") is not None) is mine


def test_flow_log_of_a_missing_vpc_is_one_sentence(run: Run, flow_arguments: dict[str, Any]) -> None:
    answer = run("vpc_flow_log", **{**flow_arguments, "vpc_id": "vpc-00000000000000000"})
    assert answer["msg"].startswith("Could not create the flow log of vpc-00000000000000000: ")
    assert "\n" not in answer["msg"]


def test_flow_log_needs_a_role(run: Run) -> None:
    assert "role_arn" in run("vpc_flow_log", vpc_id="vpc-1", log_group="/a")["msg"]


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


# --- nat_gateway -----------------------------------------------------------------------------------------------------


def test_nat_gateway_four_steps_drift_and_absence(run: Run) -> None:
    subnets = make_network("public")["subnets"]
    arguments = {"name": "team-a-nat-a", "subnet_id": subnets["public", "a"], "tags": {"Stack": STACK, "Old": "x"}}
    made = four_steps(run, "nat_gateway", **arguments)
    assert made.writes == ["AllocateAddress", "CreateNatGateway"]
    ec2 = client("ec2")
    gateway = ec2.describe_nat_gateways()["NatGateways"][0]
    address = ec2.describe_addresses()["Addresses"][0]
    assert (gateway["NatGatewayId"], address["AllocationId"]) == (made["nat_gateway_id"], made["allocation_id"])
    assert gateway["NatGatewayAddresses"][0]["AllocationId"] == address["AllocationId"]
    for tags in (gateway["Tags"], address["Tags"]):
        assert {tag["Key"]: tag["Value"] for tag in tags} == {"Name": "team-a-nat-a", "Stack": STACK, "Old": "x"}

    retagged = four_steps(run, "nat_gateway", **{**arguments, "tags": {"Stack": STACK, "Team": "a"}}, wait=True)
    assert retagged.writes == ["CreateTags", "DeleteTags"] * 2
    assert retagged["nat_gateway_id"] == made["nat_gateway_id"]
    foreign = run("nat_gateway", check=True, name="team-a-nat-a", tags={"Stack": "team-b"}, state="absent")
    assert foreign["changed"] is False
    moved = run("nat_gateway", **{**arguments, "subnet_id": subnets["public", "b"]})
    assert moved["msg"] == (
        f"The NAT gateway team-a-nat-a is in {subnets['public', 'a']} instead of {subnets['public', 'b']}, which AWS "
        "cannot change; delete it first."
    )
    gone = four_steps(run, "nat_gateway", name="team-a-nat-a", state="absent")
    assert gone.writes == ["DeleteNatGateway", "ReleaseAddress"]
    assert ec2.describe_addresses()["Addresses"] == []


def test_nat_gateway_leaves_another_one_alone(run: Run) -> None:
    subnet = make_network("public")["subnets"]["public", "a"]
    other = run("nat_gateway", name="team-b-nat-a", subnet_id=subnet)
    mine = run("nat_gateway", name="team-a-nat-a", subnet_id=subnet)
    assert mine["nat_gateway_id"] != other["nat_gateway_id"]
    assert mine["allocation_id"] != other["allocation_id"]
    assert run("nat_gateway", name="team-c-nat-a", state="absent").writes == []
    run("nat_gateway", name="team-a-nat-a", state="absent")
    assert run("nat_gateway", name="team-b-nat-a", subnet_id=subnet)["changed"] is False


def test_nat_gateway_takes_up_the_address_of_an_interrupted_run(run: Run) -> None:
    subnet = make_network("public")["subnets"]["public", "a"]
    ec2 = client("ec2")
    left = ec2.allocate_address(
        Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tag_list(Name="team-a-nat-a")}]
    )
    answer = run("nat_gateway", name="team-a-nat-a", subnet_id=subnet)
    assert (answer["allocation_id"], answer.writes) == (left["AllocationId"], ["CreateNatGateway"])


def test_the_artifact_bucket_is_the_one_that_was_published(run: Run) -> None:
    older = f"{STACK}-artifacts-123456789012-{REGION}"
    client("ssm").put_parameter(Name=f"/mlflow/{STACK}/artifact_bucket", Value=older, Type="String")
    assert run("stack_info", name=STACK, parts=["s3_artifacts"])["stack"]["s3_artifacts"]["bucket_name"] == older
    client("s3").create_bucket(Bucket=older, CreateBucketConfiguration={"LocationConstraint": REGION})
    found = run("stack_info", name=STACK, parts=["s3_artifacts"])["stack"]["s3_artifacts"]
    assert (found["bucket"], found["bucket_arn"], found["log_bucket"]) == (older, f"arn:aws:s3:::{older}", None)
