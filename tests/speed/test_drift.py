"""A run that looks once must see whatever somebody changed by hand, and repair it.

One stack is converged, then changed with boto3 in one property after another: each change must show in the part of the
look that it belongs to, and in no other. The next run, which nothing tells that something is different, must put all
of it back.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import boto3
import pytest

from bench import sides
from tests import fake_engine
from tests.own_modules import load

STACK = sides.STACK
BUCKET = f"mlflow-{STACK}-{sides.ACCOUNT}-{sides.REGION}"
ROLE = f"mlflow-{STACK}-{sides.REGION}-task"
CLOSED = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}
ANYBODY = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
TRUST = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
READ_ALL = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}


def document(*statements: dict[str, Any]) -> str:
    """A policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


class Stack:
    """The stack as it stands, for whoever changes it by hand."""

    def __init__(self, module: ModuleType, cloud: sides.Cloud) -> None:
        self.module = module
        self.cloud = cloud
        session = boto3.session.Session(
            aws_access_key_id=sides.AWS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=sides.AWS["AWS_SECRET_ACCESS_KEY"],
            region_name=sides.REGION,
        )
        self.clients: dict[str, Any] = {
            name: session.client(name, endpoint_url=cloud.url)  # type: ignore[call-overload]
            for name in (*module.SERVICES, "ssm")
        }

    def __getattr__(self, service: str) -> Any:
        return self.clients[service.replace("_", "-")]

    def look(self) -> dict[str, str]:
        """One digest per part."""
        parts, failures = self.module.read(self.module.Look(STACK, sides.ACCOUNT, self.clients).parts())
        assert failures == []
        return {name: self.module.digest(part) for name, part in parts.items()}

    def converge(self, *extra: str) -> str:
        """Run site.yml; its output."""
        known = len(list(self.cloud.folder.glob("*.log")))
        # Copied and not only named, so that there is an image that can be taken away.
        copy = ["-e", "mlflow_image_copy=true", "-e", "mlflow_image_scan_gate=none"]
        sides.measure(self.cloud, known, "drift", "converge", [*sides.converge(), *copy, *extra])
        return (self.cloud.folder / f"{known}-drift-converge.log").read_text()

    @property
    def vpc(self) -> str:
        """The VPC."""
        return str(self.ec2.describe_vpcs(Filters=self.named)["Vpcs"][0]["VpcId"])

    @property
    def named(self) -> list[dict[str, Any]]:
        """A filter by the stack's tag."""
        return [{"Name": "tag:Stack", "Values": [STACK]}]

    def group(self, use: str) -> str:
        """A security group."""
        filters = [{"Name": "group-name", "Values": [f"{STACK}-{use}"]}]
        return str(self.ec2.describe_security_groups(Filters=filters)["SecurityGroups"][0]["GroupId"])

    def table(self, name: str) -> dict[str, Any]:
        """A route table."""
        filters = [{"Name": "tag:Name", "Values": [f"{STACK}-{name}"]}]
        return dict(self.ec2.describe_route_tables(Filters=filters)["RouteTables"][0])

    def subnet(self) -> str:
        """One of the subnets."""
        return str(self.ec2.describe_subnets(Filters=self.named)["Subnets"][0]["SubnetId"])

    @property
    def balancer(self) -> str:
        """The load balancer."""
        return str(self.elbv2.describe_load_balancers(Names=[STACK])["LoadBalancers"][0]["LoadBalancerArn"])

    @property
    def target_group(self) -> str:
        """The target group."""
        return str(self.elbv2.describe_target_groups(Names=[STACK])["TargetGroups"][0]["TargetGroupArn"])

    @property
    def service(self) -> dict[str, Any]:
        """The ECS service."""
        return dict(self.ecs.describe_services(cluster=STACK, services=[STACK])["services"][0])

    def scaling(self, **changes: Any) -> None:
        """Register the scalable target with something changed."""
        where = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}
        self.application_autoscaling.register_scalable_target(
            **where, ResourceId=f"service/{STACK}/{STACK}", **({"MinCapacity": 2, "MaxCapacity": 4} | changes)
        )

    def policy(self, target: float) -> None:
        """Put another target value into the scaling policy."""
        where = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}
        resource = f"service/{STACK}/{STACK}"
        answer = self.application_autoscaling.describe_scaling_policies(ServiceNamespace="ecs", ResourceId=resource)
        policy = answer["ScalingPolicies"][0]
        settings = policy["TargetTrackingScalingPolicyConfiguration"] | {"TargetValue": target}
        self.application_autoscaling.put_scaling_policy(
            **where,
            ResourceId=resource,
            PolicyName=policy["PolicyName"],
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=settings,
        )

    def revision(self) -> None:
        """Register another revision of the task definition and run it."""
        answer = self.ecs.describe_task_definition(taskDefinition=STACK)["taskDefinition"]
        kept = ("family", "containerDefinitions", "volumes", "networkMode", "requiresCompatibilities", "cpu", "memory",
                "executionRoleArn", "taskRoleArn")  # fmt: skip
        definition = {key: answer[key] for key in kept if key in answer}
        definition["containerDefinitions"][0]["command"] = ["sleep", "infinity"]
        arn = self.ecs.register_task_definition(**definition)["taskDefinition"]["taskDefinitionArn"]
        self.ecs.update_service(cluster=STACK, service=STACK, taskDefinition=arn)


Change = Callable[[Stack], Any]
# What somebody does by hand: (part that shows it, in words, how). The order matters: each begins where the last ended.
CHANGES: list[tuple[str, str, Change]] = [
    (
        "network",
        "a tag of the VPC",
        lambda s: s.ec2.create_tags(Resources=[s.vpc], Tags=[{"Key": "Team", "Value": "x"}]),
    ),
    (
        "network",
        "host names off",
        lambda s: s.ec2.modify_vpc_attribute(VpcId=s.vpc, EnableDnsHostnames={"Value": False}),
    ),
    ("network", "a tag of a subnet", lambda s: s.ec2.delete_tags(Resources=[s.subnet()], Tags=[{"Key": "Tier"}])),
    (
        "network",
        "a rule that lets anybody in",
        lambda s: s.ec2.authorize_security_group_ingress(GroupId=s.group("service"), IpPermissions=[ANYBODY]),
    ),
    (
        "network",
        "a rule of the database's group",
        lambda s: s.ec2.authorize_security_group_ingress(GroupId=s.group("database"), IpPermissions=[ANYBODY]),
    ),
    (
        "network",
        "a way out is closed",
        lambda s: s.ec2.revoke_security_group_egress(
            GroupId=s.group("load-balancer"),
            IpPermissions=s.ec2.describe_security_groups(GroupIds=[s.group("load-balancer")])["SecurityGroups"][0][
                "IpPermissionsEgress"
            ],
        ),
    ),
    (
        "network",
        "the default group is opened",
        lambda s: s.ec2.authorize_security_group_ingress(
            GroupId=s.ec2.describe_security_groups(
                Filters=[{"Name": "vpc-id", "Values": [s.vpc]}, {"Name": "group-name", "Values": ["default"]}]
            )["SecurityGroups"][0]["GroupId"],
            IpPermissions=[ANYBODY],
        ),
    ),
    (
        "network",
        "a route is gone",
        lambda s: s.ec2.delete_route(
            RouteTableId=s.table("private-eu-west-1a")["RouteTableId"], DestinationCidrBlock="0.0.0.0/0"
        ),
    ),
    (
        "network",
        "a subnet has lost its table",
        lambda s: s.ec2.disassociate_route_table(
            AssociationId=s.table("private-eu-west-1b")["Associations"][0]["RouteTableAssociationId"]
        ),
    ),
    (
        "network",
        "the endpoint of S3 is gone",
        lambda s: s.ec2.delete_vpc_endpoints(
            VpcEndpointIds=[each["VpcEndpointId"] for each in s.ec2.describe_vpc_endpoints()["VpcEndpoints"]]
        ),
    ),
    (
        "ecr_image",
        "tags may be overwritten",
        lambda s: s.ecr.put_image_tag_mutability(repositoryName=STACK, imageTagMutability="MUTABLE"),
    ),
    (
        "ecr_image",
        "no scan",
        lambda s: s.ecr.put_image_scanning_configuration(
            repositoryName=STACK, imageScanningConfiguration={"scanOnPush": False}
        ),
    ),
    ("ecr_image", "images are kept", lambda s: s.ecr.delete_lifecycle_policy(repositoryName=STACK)),
    (
        "ecr_image",
        "the image is gone",
        lambda s: s.ecr.batch_delete_image(
            repositoryName=STACK, imageIds=s.ecr.list_images(repositoryName=STACK)["imageIds"]
        ),
    ),
    (
        "rds",
        "no backups",
        lambda s: s.rds.modify_db_instance(DBInstanceIdentifier=STACK, BackupRetentionPeriod=0, ApplyImmediately=True),
    ),
    (
        "rds",
        "plain connections",
        lambda s: s.rds.modify_db_parameter_group(
            DBParameterGroupName=f"{STACK}-postgres16",
            Parameters=[{"ParameterName": "rds.force_ssl", "ParameterValue": "0", "ApplyMethod": "immediate"}],
        ),
    ),
    (
        "rds",
        "a tag of the database",
        lambda s: s.rds.add_tags_to_resource(
            ResourceName=s.rds.describe_db_instances(DBInstanceIdentifier=STACK)["DBInstances"][0]["DBInstanceArn"],
            Tags=[{"Key": "Project", "Value": "other"}],
        ),
    ),
    (
        "artifact_bucket",
        "no versions",
        lambda s: s.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"}),
    ),
    (
        "artifact_bucket",
        "open to the public",
        lambda s: s.s3.put_public_access_block(
            Bucket=BUCKET, PublicAccessBlockConfiguration=CLOSED | {"BlockPublicPolicy": False}
        ),
    ),
    ("artifact_bucket", "no policy", lambda s: s.s3.delete_bucket_policy(Bucket=BUCKET)),
    ("artifact_bucket", "no lifecycle", lambda s: s.s3.delete_bucket_lifecycle(Bucket=BUCKET)),
    ("artifact_bucket", "no encryption", lambda s: s.s3.delete_bucket_encryption(Bucket=BUCKET)),
    ("artifact_bucket", "no tags", lambda s: s.s3.delete_bucket_tagging(Bucket=BUCKET)),
    (
        "artifact_bucket",
        "another owner of objects",
        lambda s: s.s3.put_bucket_ownership_controls(
            Bucket=BUCKET, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
        ),
    ),
    (
        "alb",
        "another health check",
        lambda s: s.elbv2.modify_target_group(TargetGroupArn=s.target_group, HealthCheckPath="/changed-by-hand"),
    ),
    (
        "alb",
        "a longer drain",
        lambda s: s.elbv2.modify_target_group_attributes(
            TargetGroupArn=s.target_group,
            Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "3000"}],
        ),
    ),
    (
        "alb",
        "a longer timeout",
        lambda s: s.elbv2.modify_load_balancer_attributes(
            LoadBalancerArn=s.balancer, Attributes=[{"Key": "idle_timeout.timeout_seconds", "Value": "4000"}]
        ),
    ),
    (
        "alb",
        "another security group",
        lambda s: s.elbv2.set_security_groups(LoadBalancerArn=s.balancer, SecurityGroups=[s.group("database")]),
    ),
    (
        "alb",
        "a tag of the load balancer",
        lambda s: s.elbv2.add_tags(ResourceArns=[s.balancer], Tags=[{"Key": "Project", "Value": "other"}]),
    ),
    (
        "alb",
        "no listener",
        lambda s: s.elbv2.delete_listener(
            ListenerArn=s.elbv2.describe_listeners(LoadBalancerArn=s.balancer)["Listeners"][0]["ListenerArn"]
        ),
    ),
    ("ecs_service", "a server that sleeps", lambda s: s.revision()),
    (
        "ecs_service",
        "more tasks than scaling has",
        lambda s: s.ecs.update_service(cluster=STACK, service=STACK, desiredCount=7),
    ),
    ("ecs_service", "a wider scaling", lambda s: s.scaling(MaxCapacity=40)),
    ("ecs_service", "another CPU target", lambda s: s.policy(95.0)),
    (
        "ecs_service",
        "a tag of the service",
        lambda s: s.ecs.tag_resource(resourceArn=s.service["serviceArn"], tags=[{"key": "Project", "value": "other"}]),
    ),
    (
        "roles",
        "a right to everything",
        lambda s: s.iam.put_role_policy(RoleName=ROLE, PolicyName="keep-artifacts", PolicyDocument=document(READ_ALL)),
    ),
    (
        "roles",
        "another who may take the role",
        lambda s: s.iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=document(TRUST)),
    ),
    ("roles", "a tag of the role", lambda s: s.iam.untag_role(RoleName=ROLE, TagKeys=["Project"])),
    (
        "secrets",
        "a tag of the secret",
        lambda s: s.secretsmanager.untag_resource(SecretId=f"mlflow/{STACK}/database", TagKeys=["Project"]),
    ),
    (
        "log_groups",
        "logs for ever",
        lambda s: s.logs.delete_retention_policy(logGroupName=f"/mlflow/{STACK}"),
    ),
    (
        "log_groups",
        "a tag of the log group",
        lambda s: s.logs.untag_log_group(logGroupName=f"/mlflow/{STACK}", tags=["Project"]),
    ),
    (
        "outputs",
        "another output",
        lambda s: s.ssm.put_parameter(Name=f"/mlflow/{STACK}/tracking_url", Value="http://x", Overwrite=True),
    ),
]
# What AWS does by itself, or scaling does.
BY_ITSELF: list[tuple[str, Change]] = [
    ("scaling", lambda s: s.ecs.update_service(cluster=STACK, service=STACK, desiredCount=3)),
    ("a task's interface", lambda s: s.ec2.create_network_interface(SubnetId=s.subnet())),
    ("another stack's log", lambda s: s.logs.create_log_group(logGroupName=f"/mlflow/{STACK}0")),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that was converged, and looked at once more in full."""
    with pytest.MonkeyPatch.context() as monkeypatch, sides.Cloud(tmp_path_factory.mktemp("aws")) as cloud:
        fake_engine.install(monkeypatch, tmp_path_factory.mktemp("bin"))
        made = Stack(load("modules", "stack_drift"), cloud)
        made.converge()
        yield made
    sides.remove_outputs()


def differing(stack: Stack, changes: list[Change]) -> list[set[str]]:
    """The parts of which the look is another after each of `changes`."""
    looks = [stack.look()]
    for change in changes:
        change(stack)
        looks.append(stack.look())
    return [{part for part in before if before[part] != after[part]} for before, after in itertools.pairwise(looks)]


def test_nothing_differs_right_after_a_run(stack: Stack) -> None:
    assert "Nothing differs" in stack.converge()


def test_what_happens_by_itself_is_not_seen(stack: Stack) -> None:
    seen = differing(stack, [change for _, change in BY_ITSELF])
    assert dict(zip((what for what, _ in BY_ITSELF), seen, strict=True)) == {what: set() for what, _ in BY_ITSELF}


def test_every_change_by_hand_is_seen_and_repaired(stack: Stack) -> None:
    """One test, for what is repaired at the end is all that was changed before."""
    original = stack.look()
    seen = differing(stack, [change for _, _, change in CHANGES])
    expected = {what: {part} for part, what, _ in CHANGES}
    assert dict(zip(expected, seen, strict=True)) == expected
    output = stack.converge()
    named = set(re.split(r",\s+", output.split("what the last run left: ")[1].split(".")[0]))
    assert named == {part for part, _, _ in CHANGES}
    # What was made anew has other names, and a task definition's revision, which an output names, is never taken back.
    anew = {"network", "alb", "ecs_service", "outputs", "secrets"}
    repaired = stack.look()
    assert {part for part in original if original[part] != repaired[part]} <= anew
    assert "changed=0 " in stack.converge("-e", "mlflow_full_run=true")


def test_a_run_that_is_told_something_else_runs_every_task(stack: Stack) -> None:
    output = stack.converge("-e", "mlflow_log_retention_days=7")
    assert "settings or code" in output
    assert stack.logs.describe_log_groups(logGroupNamePrefix=f"/mlflow/{STACK}")["logGroups"][0]["retentionInDays"] == 7


def test_a_second_storage_or_a_log_bucket_beside_the_stack_is_seen(stack: Stack) -> None:
    where = {"LocationConstraint": sides.REGION}
    name = f"{BUCKET}-logs"
    changes: list[Change] = [
        lambda s: s.efs.create_file_system(CreationToken=STACK),
        lambda s: s.s3.create_bucket(Bucket=name, CreateBucketConfiguration=where),
    ]
    assert differing(stack, changes) == [{"efs"}, {"log_bucket"}]
