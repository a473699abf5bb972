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
from concurrent.futures import ThreadPoolExecutor
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
DENY_ALL = {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}
ELSEWHERE = {"AWS": "arn:aws:iam::210987654321:root"}
PULL = {"Effect": "Allow", "Principal": ELSEWHERE, "Action": ["ecr:BatchGetImage"]}
READ_SECRET = {"Effect": "Allow", "Principal": ELSEWHERE, "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
EVERY_ORIGIN = {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}
DENIES = {"RuleNumber": 50, "Protocol": "-1", "RuleAction": "deny", "Egress": False, "CidrBlock": "10.0.0.0/8"}
NEW_VALUE = "a-value-that-no-line-may-show"


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
            for name in (*module.SERVICES, "ssm", "kinesis", "sqs")
        }

    def __getattr__(self, service: str) -> Any:
        return self.clients[service.replace("_", "-")]

    def read(self) -> dict[str, Any]:
        """The descriptions by part."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            reader = self.module.Reader(STACK, sides.ACCOUNT, self.clients, pool)
            parts, failures = self.module.read(reader.parts())
        assert failures == {}
        return dict(parts)

    def look(self) -> dict[str, str]:
        """One digest per part."""
        return {name: self.module.drift.digest(part) for name, part in self.read().items()}

    def fields(self) -> dict[str, Any]:
        """Every field."""
        return dict(self.module.drift.fields(self.read()))

    def converge(self, *extra: str) -> str:
        """Run site.yml; its output."""
        ended, output = self.attempt(*extra)
        assert ended, output[-3000:]
        return output

    def attempt(self, *extra: str) -> tuple[bool, str]:
        """Run site.yml: whether it ended well, and its output without its line breaks."""
        known = len(list(self.cloud.folder.glob("*.log")))
        # Copied and not only named, so that there is an image that can be taken away.
        copy = ["-e", "mlflow_image_copy=true", "-e", "mlflow_image_scan_gate=none"]
        ended = True
        try:
            sides.measure(self.cloud, known, "drift", "converge", [*sides.converge(), *copy, *extra])
        except sides.Failed:
            ended = False
        return ended, " ".join((self.cloud.folder / f"{known}-drift-converge.log").read_text().split())

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
    def listener(self) -> str:
        """The listener."""
        return str(self.elbv2.describe_listeners(LoadBalancerArn=self.balancer)["Listeners"][0]["ListenerArn"])

    @property
    def acl(self) -> str:
        """The network ACL."""
        inside = [{"Name": "vpc-id", "Values": [self.vpc]}]
        return str(self.ec2.describe_network_acls(Filters=inside)["NetworkAcls"][0]["NetworkAclId"])

    @property
    def endpoint(self) -> str:
        """An endpoint."""
        inside = [{"Name": "vpc-id", "Values": [self.vpc]}]
        return str(self.ec2.describe_vpc_endpoints(Filters=inside)["VpcEndpoints"][0]["VpcEndpointId"])

    @property
    def repository(self) -> str:
        """The repository."""
        return str(self.ecr.describe_repositories(repositoryNames=[STACK])["repositories"][0]["repositoryArn"])

    def dhcp(self) -> str:
        """Make DHCP options."""
        options = [{"Key": "domain-name", "Values": ["example.org"]}]
        return str(self.ec2.create_dhcp_options(DhcpConfigurations=options)["DhcpOptions"]["DhcpOptionsId"])

    def database(self, **changes: Any) -> None:
        """Change the database."""
        self.rds.modify_db_instance(DBInstanceIdentifier=STACK, ApplyImmediately=True, **changes)

    def update(self, **changes: Any) -> None:
        """Change the ECS service."""
        self.ecs.update_service(cluster=STACK, service=STACK, **changes)

    def placed(self, **changes: Any) -> dict[str, Any]:
        """Where the service's tasks are, with something changed."""
        standing = self.service["networkConfiguration"]["awsvpcConfiguration"]
        return {"awsvpcConfiguration": standing | changes}

    def somebodys_service(self) -> None:
        """Run another service in the cluster."""
        definition = self.service["taskDefinition"]
        self.ecs.create_service(cluster=STACK, serviceName="somebody", taskDefinition=definition, desiredCount=0)

    def schedule(self) -> None:
        """Scale by the clock."""
        self.application_autoscaling.put_scheduled_action(
            ServiceNamespace="ecs",
            ScalableDimension="ecs:service:DesiredCount",
            ResourceId=f"service/{STACK}/{STACK}",
            ScheduledActionName="night",
            Schedule="cron(0 22 * * ? *)",
            ScalableTargetAction={"MinCapacity": 0, "MaxCapacity": 0},
        )

    def rule(self) -> None:
        """Forward a path elsewhere."""
        answer = {"StatusCode": "200", "ContentType": "text/plain", "MessageBody": "x"}
        self.elbv2.create_rule(
            ListenerArn=self.listener,
            Priority=1,
            Conditions=[{"Field": "path-pattern", "Values": ["/api/*"]}],
            Actions=[{"Type": "fixed-response", "FixedResponseConfig": answer}],
        )

    def replicate(self) -> None:
        """Copy the artifacts to another bucket."""
        where = {"LocationConstraint": sides.REGION}
        self.s3.create_bucket(Bucket="somebody", CreateBucketConfiguration=where)
        for bucket in ("somebody", BUCKET):
            self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        rule = {"ID": "x", "Status": "Enabled", "Prefix": "", "Destination": {"Bucket": "arn:aws:s3:::somebody"}}
        configuration = {"Role": f"arn:aws:iam::{sides.ACCOUNT}:role/x", "Rules": [rule]}
        self.s3.put_bucket_replication(Bucket=BUCKET, ReplicationConfiguration=configuration)

    def notify(self) -> None:
        """Tell somebody of every object."""
        self.sqs.create_queue(QueueName="somebody")
        queue = {"QueueArn": f"arn:aws:sqs:{sides.REGION}:{sides.ACCOUNT}:somebody", "Events": ["s3:ObjectCreated:*"]}
        configuration = {"QueueConfigurations": [queue]}
        self.s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration=configuration)

    def profile(self) -> None:
        """Let machines take the role."""
        self.iam.create_instance_profile(InstanceProfileName="somebody")
        self.iam.add_role_to_instance_profile(InstanceProfileName="somebody", RoleName=ROLE)

    def subscribe(self) -> None:
        """Send the log to a stream of somebody."""
        self.kinesis.create_stream(StreamName="somebody", ShardCount=1)
        self.logs.put_subscription_filter(
            logGroupName=f"/mlflow/{STACK}",
            filterName="somebody",
            filterPattern="",
            destinationArn=f"arn:aws:kinesis:{sides.REGION}:{sides.ACCOUNT}:stream/somebody",
            roleArn=f"arn:aws:iam::{sides.ACCOUNT}:role/x",
        )

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
# What no task takes back, for it is no thing of ours, or cannot be told from what git does not speak of.
NOBODY_REPAIRS = (
    r"^ecs_service: listed\[\S+/somebody\]",
    r"^network: SecurityGroups\[somebody\]",
    r"^network: Vpcs\[\S+\]/CidrBlockAssociationSet\[10\.43\.0\.0/16\]",
    r"^network: Vpcs\[\S+\]/DhcpOptionsId",
    # moto keeps the one of a subnet that is deleted.
    r"^network: NetworkAcls\[\S+\]/Associations\[subnet-\w+\]",
    r"^roles: task/profiles\[\S+/somebody\]",
    r"^secrets: database/stages",
)
# More of what somebody does by hand, a line each.
SEEN_SINCE: list[tuple[str, str, Change]] = [
    ("network", "an entry that denies", lambda s: s.ec2.create_network_acl_entry(NetworkAclId=s.acl, **DENIES)),
    (
        "network",
        "one more range",
        lambda s: s.ec2.associate_vpc_cidr_block(VpcId=s.vpc, CidrBlock="10.43.0.0/16"),
    ),
    ("network", "one more subnet", lambda s: s.ec2.create_subnet(VpcId=s.vpc, CidrBlock="10.42.250.0/24")),
    (
        "network",
        "a security group of somebody",
        lambda s: s.ec2.create_security_group(VpcId=s.vpc, GroupName="somebody", Description="somebody's"),
    ),
    ("network", "other DHCP options", lambda s: s.ec2.associate_dhcp_options(VpcId=s.vpc, DhcpOptionsId=s.dhcp())),
    (
        "network",
        "public addresses in a subnet",
        lambda s: s.ec2.modify_subnet_attribute(SubnetId=s.subnet(), MapPublicIpOnLaunch={"Value": True}),
    ),
    (
        "network",
        "an endpoint that denies",
        lambda s: s.ec2.modify_vpc_endpoint(VpcEndpointId=s.endpoint, PolicyDocument=document(DENY_ALL)),
    ),
    (
        "ecr_image",
        "images for another account",
        lambda s: s.ecr.set_repository_policy(repositoryName=STACK, policyText=document(PULL)),
    ),
    (
        "ecr_image",
        "a tag of the repository",
        lambda s: s.ecr.tag_resource(resourceArn=s.repository, tags=[{"Key": "Team", "Value": "x"}]),
    ),
    (
        "rds",
        "logs to somewhere",
        lambda s: s.database(CloudwatchLogsExportConfiguration={"EnableLogTypes": ["upgrade"]}),
    ),
    ("rds", "logins by IAM", lambda s: s.database(EnableIAMDatabaseAuthentication=True)),
    ("rds", "storage that grows", lambda s: s.database(MaxAllocatedStorage=900)),
    (
        "rds",
        "a parameter",
        lambda s: s.rds.modify_db_parameter_group(
            DBParameterGroupName=f"{STACK}-postgres16",
            Parameters=[{"ParameterName": "log_statement", "ParameterValue": "all", "ApplyMethod": "immediate"}],
        ),
    ),
    (
        "artifact_bucket",
        "every origin",
        lambda s: s.s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [EVERY_ORIGIN]}),
    ),
    (
        "artifact_bucket",
        "a website",
        lambda s: s.s3.put_bucket_website(Bucket=BUCKET, WebsiteConfiguration={"IndexDocument": {"Suffix": "i.html"}}),
    ),
    ("artifact_bucket", "copies elsewhere", lambda s: s.replicate()),
    ("artifact_bucket", "messages to somebody", lambda s: s.notify()),
    (
        "artifact_bucket",
        "acceleration",
        lambda s: s.s3.put_bucket_accelerate_configuration(
            Bucket=BUCKET, AccelerateConfiguration={"Status": "Enabled"}
        ),
    ),
    ("alb", "a rule that forwards elsewhere", lambda s: s.rule()),
    (
        "alb",
        "a tag of the listener",
        lambda s: s.elbv2.add_tags(ResourceArns=[s.listener], Tags=[{"Key": "Team", "Value": "x"}]),
    ),
    (
        "alb",
        "an attribute of the listener",
        lambda s: s.elbv2.modify_listener_attributes(
            ListenerArn=s.listener, Attributes=[{"Key": "routing.http.response.server.enabled", "Value": "false"}]
        ),
    ),
    (
        "alb",
        "one more listener",
        lambda s: s.elbv2.create_listener(
            LoadBalancerArn=s.balancer,
            Port=8080,
            Protocol="HTTP",
            DefaultActions=[{"Type": "forward", "TargetGroupArn": s.target_group}],
        ),
    ),
    (
        "alb",
        "sessions that stick",
        lambda s: s.elbv2.modify_target_group_attributes(
            TargetGroupArn=s.target_group, Attributes=[{"Key": "stickiness.enabled", "Value": "true"}]
        ),
    ),
    ("ecs_service", "public addresses", lambda s: s.update(networkConfiguration=s.placed(assignPublicIp="ENABLED"))),
    (
        "ecs_service",
        "another security group of the tasks",
        lambda s: s.update(networkConfiguration=s.placed(securityGroups=[s.group("database")])),
    ),
    ("ecs_service", "another subnet", lambda s: s.update(networkConfiguration=s.placed(subnets=[s.subnet()]))),
    ("ecs_service", "shells in tasks", lambda s: s.update(enableExecuteCommand=True)),
    (
        "ecs_service",
        "no circuit breaker",
        lambda s: s.update(
            deploymentConfiguration={
                "deploymentCircuitBreaker": {"enable": False, "rollback": False},
                "maximumPercent": 150,
                "minimumHealthyPercent": 50,
            }
        ),
    ),
    (
        "ecs_service",
        "insights",
        lambda s: s.ecs.update_cluster(cluster=STACK, settings=[{"name": "containerInsights", "value": "enabled"}]),
    ),
    (
        "ecs_service",
        "spot capacity",
        lambda s: s.ecs.put_cluster_capacity_providers(
            cluster=STACK, capacityProviders=["FARGATE_SPOT"], defaultCapacityProviderStrategy=[]
        ),
    ),
    (
        "ecs_service",
        "a tag of the cluster",
        lambda s: s.ecs.tag_resource(resourceArn=s.service["clusterArn"], tags=[{"key": "Team", "value": "x"}]),
    ),
    (
        "ecs_service",
        "a tag of the task definition",
        lambda s: s.ecs.tag_resource(resourceArn=s.service["taskDefinition"], tags=[{"key": "Team", "value": "x"}]),
    ),
    ("ecs_service", "a service of somebody", lambda s: s.somebodys_service()),
    ("ecs_service", "tasks at night", lambda s: s.schedule()),
    (
        "roles",
        "an administrator",
        lambda s: s.iam.attach_role_policy(RoleName=ROLE, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess"),
    ),
    (
        "roles",
        "one more policy",
        lambda s: s.iam.put_role_policy(RoleName=ROLE, PolicyName="more", PolicyDocument=document(READ_ALL)),
    ),
    (
        "roles",
        "a boundary",
        lambda s: s.iam.put_role_permissions_boundary(
            RoleName=ROLE, PermissionsBoundary="arn:aws:iam::aws:policy/AdministratorAccess"
        ),
    ),
    ("roles", "a profile for machines", lambda s: s.profile()),
    ("roles", "longer sessions", lambda s: s.iam.update_role(RoleName=ROLE, MaxSessionDuration=43200)),
    (
        "secrets",
        "another value",
        lambda s: s.secretsmanager.put_secret_value(SecretId=f"mlflow/{STACK}/database", SecretString=NEW_VALUE),
    ),
    (
        "secrets",
        "readers elsewhere",
        lambda s: s.secretsmanager.put_resource_policy(
            SecretId=f"mlflow/{STACK}/database", ResourcePolicy=document(READ_SECRET)
        ),
    ),
    ("log_groups", "lines to somewhere", lambda s: s.subscribe()),
    (
        "log_groups",
        "lines that are counted",
        lambda s: s.logs.put_metric_filter(
            logGroupName=f"/mlflow/{STACK}",
            filterName="somebody",
            filterPattern="",
            metricTransformations=[{"metricName": "m", "metricNamespace": "n", "metricValue": "1"}],
        ),
    ),
    (
        "outputs",
        "one more output",
        lambda s: s.ssm.put_parameter(Name=f"/mlflow/{STACK}/somebody", Value="x", Type="String"),
    ),
]
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
    *SEEN_SINCE,
    # After those that change them.
    (
        "alb",
        "no listener",
        lambda s: s.elbv2.delete_listener(
            ListenerArn=s.elbv2.describe_listeners(LoadBalancerArn=s.balancer)["Listeners"][0]["ListenerArn"]
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


def staying(stack: Stack, good: dict[str, Any], changed: dict[str, Any]) -> set[str]:
    """A line for each field that is still as somebody has changed it, by a reader of our own."""
    drift, now = stack.module.drift, stack.fields()
    found = drift.changes(good, changed)
    reasons = drift.explained(found, good, changed, drift.Upgrade(False, False))
    lines = drift.lines(found, good, changed)
    return {lines[path] for path, each in found.items() if path not in reasons and now.get(path) == each.now}


def test_every_change_by_hand_is_seen_and_repaired_or_fails_the_run(stack: Stack) -> None:
    """One test, for what is repaired at the end is all that was changed before."""
    good = stack.fields()
    seen = differing(stack, [change for _, _, change in CHANGES])
    expected = {what: {part} for part, what, _ in CHANGES}
    assert dict(zip(expected, seen, strict=True)) == expected
    changed = stack.fields()
    planned, plan = stack.attempt("--check", "-e", "mlflow_fail_on_changes=true")
    assert not planned
    ended, output = stack.attempt()
    left = staying(stack, good, changed)
    print("stays:", *sorted(left), sep="\n")
    named = set(re.split(r",\s+", output.split("what the last run left: ")[1].split(".")[0]))
    assert named == {part for part, _, _ in CHANGES}
    assert NEW_VALUE not in plan + output
    # Whatever nothing repairs is named, and nothing else is.
    assert {line for line in left if plain(line) not in plain(output.split("is not recorded as right")[-1])} == set()
    assert ended == (not left)
    assert {line for line in left if not any(re.search(each, line) for each in NOBODY_REPAIRS)} == set()
    assert {each for each in NOBODY_REPAIRS if not any(re.search(each, line) for line in left)} == set()
    # Not recorded as right, it fails the plan and the next run as well, which has nothing else to say.
    planned, plan = stack.attempt("--check", "-e", "mlflow_fail_on_changes=true")
    assert (planned, "this would change" in plan) == (False, False)
    # What was recorded meanwhile of a part of the resource, a state that AWS changes, leaves the rest to be named.
    what = {plain(line.split(": was ")[0]) for line in left}
    assert {each for each in what if each not in plain(plan)} == set()
    assert not stack.attempt()[0]
    output = stack.converge("-e", "mlflow_accept_drift=true")
    assert {each for each in what if each not in plain(output.split("Recorded as right")[-1])} == set()
    assert "Nothing differs" in stack.converge()
    assert "changed=0 " in stack.converge("-e", "mlflow_full_run=true")


def plain(text: str) -> str:
    """A line without what YAML puts around and into it."""
    return re.sub(r"[\s'\"\\]", "", text)


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
