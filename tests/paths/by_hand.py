"""What somebody can change by hand on a stack, one line each, by boto3."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bench import sides
from tests.paths import account

STACK = sides.STACK
BUCKET = f"mlflow-{STACK}-{sides.ACCOUNT}-{sides.REGION}"
LOG_BUCKET = f"{BUCKET}-logs"
SCALING = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}
RESOURCE = f"service/{STACK}/{STACK}"
EVERYBODY = {"CidrIp": "0.0.0.0/0"}
TAG = {"Key": "Team", "Value": "by hand"}


def document(action: str = "*", principal: str = "") -> str:
    """A policy that allows `action` on everything."""
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"} | ({"Principal": principal} if principal else {})
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


class Hand:
    """The stack of sides.STACK, found by its names; a client is an attribute (`hand.ec2`)."""

    def __init__(self, cloud: sides.Cloud) -> None:
        self.clients = account.clients(cloud.url, sides.AWS)

    def __getattr__(self, service: str) -> Any:
        return self.clients[service.replace("_", "-")]

    def id(self, operation: str, key: str, name: str, field: str) -> str:
        """The id of what EC2 describes under the tag Name."""
        answer = getattr(self.ec2, operation)(Filters=[{"Name": "tag:Name", "Values": [name]}])
        return str(answer[key][0][field])

    @property
    def vpc(self) -> str:
        return self.id("describe_vpcs", "Vpcs", STACK, "VpcId")

    def subnet(self, tier: str = "private", zone: str = "a") -> str:
        return self.id("describe_subnets", "Subnets", f"{STACK}-{tier}-{sides.REGION}{zone}", "SubnetId")

    def table(self, name: str) -> str:
        return self.id("describe_route_tables", "RouteTables", f"{STACK}-{name}", "RouteTableId")

    def group(self, use: str) -> str:
        filters = [{"Name": "group-name", "Values": [f"{STACK}-{use}" if use != "default" else use]},
                   {"Name": "vpc-id", "Values": [self.vpc]}]  # fmt: skip
        return str(self.ec2.describe_security_groups(Filters=filters)["SecurityGroups"][0]["GroupId"])

    @property
    def acl(self) -> str:
        filters = [{"Name": "vpc-id", "Values": [self.vpc]}]
        return str(self.ec2.describe_network_acls(Filters=filters)["NetworkAcls"][0]["NetworkAclId"])

    def endpoint(self, service: str) -> str:
        filters = [{"Name": "service-name", "Values": [f"com.amazonaws.{sides.REGION}.{service}"]}]
        return str(self.ec2.describe_vpc_endpoints(Filters=filters)["VpcEndpoints"][0]["VpcEndpointId"])

    @property
    def address(self) -> str:
        return str(self.ec2.describe_addresses()["Addresses"][0]["AllocationId"])

    @property
    def nat(self) -> str:
        return str(self.ec2.describe_nat_gateways()["NatGateways"][0]["NatGatewayId"])

    @property
    def gateway(self) -> str:
        return self.id("describe_internet_gateways", "InternetGateways", STACK, "InternetGatewayId")

    def role(self, use: str) -> str:
        return f"mlflow-{STACK}-{sides.REGION}-{use}"

    def secret(self, use: str) -> str:
        return f"mlflow/{STACK}/{use}"

    @property
    def balancer(self) -> str:
        return str(self.elbv2.describe_load_balancers(Names=[STACK])["LoadBalancers"][0]["LoadBalancerArn"])

    @property
    def listener(self) -> str:
        return str(self.elbv2.describe_listeners(LoadBalancerArn=self.balancer)["Listeners"][0]["ListenerArn"])

    @property
    def targets(self) -> str:
        return str(self.elbv2.describe_target_groups(Names=[STACK])["TargetGroups"][0]["TargetGroupArn"])

    @property
    def database(self) -> str:
        return str(self.rds.describe_db_instances(DBInstanceIdentifier=STACK)["DBInstances"][0]["DBInstanceArn"])

    def service(self, **changes: Any) -> None:
        """Change the service."""
        self.ecs.update_service(cluster=STACK, service=STACK, **changes)

    def arn(self, kind: str) -> str:
        """The ARN of the cluster or the service."""
        service = kind == "service"
        return f"arn:aws:ecs:{sides.REGION}:{sides.ACCOUNT}:{kind}/{STACK}{f'/{STACK}' if service else ''}"

    def revision(self) -> None:
        """A revision of which every list is as long as before and one value is another."""
        answer = self.ecs.describe_task_definition(taskDefinition=STACK)["taskDefinition"]
        taken = ("family", "containerDefinitions", "volumes", "networkMode", "requiresCompatibilities", "cpu", "memory",
                 "executionRoleArn", "taskRoleArn", "runtimePlatform")  # fmt: skip
        definition = {name: answer[name] for name in taken if name in answer}
        for pair in definition["containerDefinitions"][0]["environment"]:
            pair["value"] = "3" if pair["name"] == "MLFLOW_WORKERS" else pair["value"]
        made = self.ecs.register_task_definition(**definition)["taskDefinition"]["taskDefinitionArn"]
        self.service(taskDefinition=made)

    def foreign_rule(self) -> None:
        """A rule of the listener that sends to somewhere else."""
        action = {"Type": "redirect", "RedirectConfig": {"Host": "example.org", "StatusCode": "HTTP_301"}}
        path = {"Field": "path-pattern", "Values": ["/elsewhere"]}
        self.elbv2.create_rule(ListenerArn=self.listener, Priority=1, Conditions=[path], Actions=[action])

    @property
    def file_system(self) -> str:
        return str(self.efs.describe_file_systems(CreationToken=STACK)["FileSystems"][0]["FileSystemId"])

    @property
    def mount_targets(self) -> list[str]:
        answer = self.efs.describe_mount_targets(FileSystemId=self.file_system)["MountTargets"]
        return [str(target["MountTargetId"]) for target in answer]

    @property
    def access_point(self) -> str:
        return str(self.efs.describe_access_points(FileSystemId=self.file_system)["AccessPoints"][0]["AccessPointId"])

    @property
    def flow_log(self) -> str:
        return str(self.ec2.describe_flow_logs()["FlowLogs"][0]["FlowLogId"])

    def listener_of(self, protocol: str) -> str:
        """The listener of a protocol."""
        listeners = self.elbv2.describe_listeners(LoadBalancerArn=self.balancer)["Listeners"]
        return next(str(each["ListenerArn"]) for each in listeners if each["Protocol"] == protocol)

    def other_certificate(self) -> list[dict[str, str]]:
        """A certificate that no listener has."""
        [used] = self.elbv2.describe_listeners(ListenerArns=[self.listener_of("HTTPS")])["Listeners"][0]["Certificates"]
        arns = [each["CertificateArn"] for each in self.acm.list_certificates()["CertificateSummaryList"]]
        return [{"CertificateArn": next(arn for arn in arns if arn != used["CertificateArn"])}]

    def remove_role(self, use: str) -> None:
        """Delete a role with all that it may do."""
        which = {"RoleName": self.role(use)}
        for name in self.iam.list_role_policies(**which)["PolicyNames"]:
            self.iam.delete_role_policy(**which, PolicyName=name)
        for policy in self.iam.list_attached_role_policies(**which)["AttachedPolicies"]:
            self.iam.detach_role_policy(**which, PolicyArn=policy["PolicyArn"])
        self.iam.delete_role(**which)

    def remove_service(self) -> None:
        """Delete the service and its cluster."""
        self.ecs.delete_service(cluster=STACK, service=STACK, force=True)
        self.ecs.delete_cluster(cluster=STACK)

    def remove_balancer(self) -> None:
        """Delete the load balancer and its target group."""
        targets = self.targets
        for protocol in ("HTTP", "HTTPS"):
            self.elbv2.delete_listener(ListenerArn=self.listener_of(protocol))
        self.elbv2.delete_load_balancer(LoadBalancerArn=self.balancer)
        self.elbv2.delete_target_group(TargetGroupArn=targets)

    def remove_gateway(self) -> None:
        """Delete the internet gateway."""
        gateway = self.gateway
        self.ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        self.ec2.delete_internet_gateway(InternetGatewayId=gateway)

    def remove_outputs(self) -> None:
        """Delete two of the published outputs."""
        self.ssm.delete_parameters(Names=[f"/mlflow/{STACK}/tracking_url", f"/mlflow/{STACK}/vpc_id"])

    def modify(self, **changes: Any) -> None:
        """Change the database."""
        self.rds.modify_db_instance(DBInstanceIdentifier=STACK, ApplyImmediately=True, **changes)

    def parameter(self, name: str, value: str) -> None:
        """Set a parameter of the database."""
        one = {"ParameterName": name, "ParameterValue": value, "ApplyMethod": "immediate"}
        groups = self.rds.describe_db_parameter_groups()["DBParameterGroups"]
        [group] = [each["DBParameterGroupName"] for each in groups if each["DBParameterGroupName"].startswith(STACK)]
        self.rds.modify_db_parameter_group(DBParameterGroupName=group, Parameters=[one])


def opened(port: int) -> list[dict[str, Any]]:
    """A rule that lets everybody in, or out."""
    return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [EVERYBODY]}]


Change = Callable[[Hand], Any]
ALLOW_ALL = {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]}
KEEP = {"ID": "mine", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
BOUNDARY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
CHANGES: dict[str, Change] = {
    # --- network ---
    "VPC: a tag": lambda h: h.ec2.create_tags(Resources=[h.vpc], Tags=[TAG]),
    "VPC: no host names": lambda h: h.ec2.modify_vpc_attribute(VpcId=h.vpc, EnableDnsHostnames={"Value": False}),
    "VPC: one more range": lambda h: h.ec2.associate_vpc_cidr_block(VpcId=h.vpc, CidrBlock="100.64.0.0/16"),
    "subnet: a tag gone": lambda h: h.ec2.delete_tags(Resources=[h.subnet()], Tags=[{"Key": "Tier"}]),
    "subnet: public addresses": lambda h: h.ec2.modify_subnet_attribute(
        SubnetId=h.subnet(), MapPublicIpOnLaunch={"Value": True}
    ),
    "network ACL: a deny": lambda h: h.ec2.create_network_acl_entry(
        NetworkAclId=h.acl, RuleNumber=50, Protocol="-1", RuleAction="deny", Egress=False, CidrBlock="192.0.2.0/24"
    ),
    "security group: open": lambda h: h.ec2.authorize_security_group_ingress(
        GroupId=h.group("service"), IpPermissions=opened(22)
    ),
    "security group: more out": lambda h: h.ec2.authorize_security_group_egress(
        GroupId=h.group("database"), IpPermissions=opened(25)
    ),
    "security group: default open": lambda h: h.ec2.authorize_security_group_ingress(
        GroupId=h.group("default"), IpPermissions=opened(22)
    ),
    "security group: a tag": lambda h: h.ec2.create_tags(Resources=[h.group("service")], Tags=[TAG]),
    "route: gone": lambda h: h.ec2.delete_route(
        RouteTableId=h.table(f"private-{sides.REGION}a"), DestinationCidrBlock="0.0.0.0/0"
    ),
    "route: one more": lambda h: h.ec2.create_route(
        RouteTableId=h.table("database"), DestinationCidrBlock="0.0.0.0/0", GatewayId=h.gateway
    ),
    "route table: a tag": lambda h: h.ec2.create_tags(Resources=[h.table("database")], Tags=[TAG]),
    "NAT gateway: tag Stack gone": lambda h: h.ec2.delete_tags(Resources=[h.nat], Tags=[{"Key": "Stack"}]),
    "address: tag Stack gone": lambda h: h.ec2.delete_tags(Resources=[h.address], Tags=[{"Key": "Stack"}]),
    "internet gateway: a tag": lambda h: h.ec2.create_tags(Resources=[h.gateway], Tags=[TAG]),
    "S3 endpoint: a table taken off": lambda h: h.ec2.modify_vpc_endpoint(
        VpcEndpointId=h.endpoint("s3"), RemoveRouteTableIds=[h.table(f"private-{sides.REGION}b")]
    ),
    "S3 endpoint: a policy": lambda h: h.ec2.modify_vpc_endpoint(
        VpcEndpointId=h.endpoint("s3"), PolicyDocument=document("s3:GetObject", "*")
    ),
    # --- roles and secrets ---
    "role: administrator": lambda h: h.iam.attach_role_policy(RoleName=h.role("task"), PolicyArn=ADMINISTRATOR),
    "role: one more policy": lambda h: h.iam.put_role_policy(
        RoleName=h.role("task"), PolicyName="more", PolicyDocument=document()
    ),
    "role: another policy": lambda h: h.iam.put_role_policy(
        RoleName=h.role("task"), PolicyName="keep-artifacts", PolicyDocument=document()
    ),
    "role: trust": lambda h: h.iam.update_assume_role_policy(
        RoleName=h.role("execution"),
        PolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
                ],
            }
        ),
    ),
    "role: boundary": lambda h: h.iam.put_role_permissions_boundary(
        RoleName=h.role("task"), PermissionsBoundary=BOUNDARY
    ),
    "role: a tag": lambda h: h.iam.tag_role(RoleName=h.role("execution"), Tags=[TAG]),
    "role: session": lambda h: h.iam.update_role(RoleName=h.role("task"), MaxSessionDuration=43200, Description="x"),
    "secret: a tag": lambda h: h.secretsmanager.tag_resource(SecretId=h.secret("database"), Tags=[TAG]),
    "secret: a policy": lambda h: h.secretsmanager.put_resource_policy(
        SecretId=h.secret("database"),
        ResourcePolicy=document("secretsmanager:GetSecretValue", "*"),
    ),
    "secret: description": lambda h: h.secretsmanager.update_secret(SecretId=h.secret("database"), Description="x"),
    # --- data ---
    "log group: for ever": lambda h: h.logs.delete_retention_policy(logGroupName=f"/mlflow/{STACK}"),
    "log group: a subscription": lambda h: h.logs.put_subscription_filter(
        logGroupName=f"/mlflow/{STACK}",
        filterName="elsewhere",
        filterPattern="",
        # The emulator takes only what is there.
        destinationArn=f"arn:aws:logs:{sides.REGION}:{sides.ACCOUNT}:log-group:/mlflow/{STACK}",
    ),
    "log group: a metric filter": lambda h: h.logs.put_metric_filter(
        logGroupName=f"/mlflow/{STACK}",
        filterName="count",
        filterPattern="x",
        metricTransformations=[{"metricName": "x", "metricNamespace": "y", "metricValue": "1"}],
    ),
    "log group: a tag": lambda h: h.logs.tag_log_group(logGroupName=f"/mlflow/{STACK}", tags={"Team": "x"}),
    "repository: mutable": lambda h: h.ecr.put_image_tag_mutability(repositoryName=STACK, imageTagMutability="MUTABLE"),
    "repository: no scan": lambda h: h.ecr.put_image_scanning_configuration(
        repositoryName=STACK, imageScanningConfiguration={"scanOnPush": False}
    ),
    "repository: no lifecycle": lambda h: h.ecr.delete_lifecycle_policy(repositoryName=STACK),
    "repository: a policy": lambda h: h.ecr.set_repository_policy(
        repositoryName=STACK,
        policyText=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [{"Sid": "x", "Effect": "Allow", "Principal": "*", "Action": ["ecr:BatchGetImage"]}],
            }
        ),
    ),
    "database: no backups": lambda h: h.modify(BackupRetentionPeriod=0),
    "database: public": lambda h: h.modify(PubliclyAccessible=True),
    "database: class": lambda h: h.modify(DBInstanceClass="db.m6g.large"),
    "database: IAM login": lambda h: h.modify(EnableIAMDatabaseAuthentication=True),
    "database: log exports": lambda h: h.modify(
        CloudwatchLogsExportConfiguration={"EnableLogTypes": ["iam-db-auth-error"]}
    ),
    "database: growth": lambda h: h.modify(MaxAllocatedStorage=1000),
    "database: group": lambda h: h.modify(VpcSecurityGroupIds=[h.group("default")]),
    "database: a tag": lambda h: h.rds.add_tags_to_resource(ResourceName=h.database, Tags=[TAG]),
    "database: plain connections": lambda h: h.parameter("rds.force_ssl", "0"),
    "database: a parameter": lambda h: h.parameter("log_statement", "all"),
    "bucket: no versions": lambda h: h.s3.put_bucket_versioning(
        Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"}
    ),
    "bucket: public": lambda h: h.s3.delete_public_access_block(Bucket=BUCKET),
    "bucket: a policy": lambda h: h.s3.put_bucket_policy(
        Bucket=BUCKET,
        Policy=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": "*",
                        "Action": "s3:GetObject",
                        "Resource": f"arn:aws:s3:::{BUCKET}/*",
                    }
                ],
            }
        ),
    ),
    "bucket: lifecycle": lambda h: h.s3.put_bucket_lifecycle_configuration(
        Bucket=BUCKET, LifecycleConfiguration={"Rules": [KEEP]}
    ),
    "bucket: CORS": lambda h: h.s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration=ALLOW_ALL),
    "bucket: website": lambda h: h.s3.put_bucket_website(
        Bucket=BUCKET, WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}}
    ),
    "bucket: no encryption": lambda h: h.s3.delete_bucket_encryption(Bucket=BUCKET),
    "bucket: a tag": lambda h: h.s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": [TAG]}),
    "bucket: owner": lambda h: h.s3.put_bucket_ownership_controls(
        Bucket=BUCKET, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    ),
    # --- front ---
    "load balancer: timeout": lambda h: h.elbv2.modify_load_balancer_attributes(
        LoadBalancerArn=h.balancer, Attributes=[{"Key": "idle_timeout.timeout_seconds", "Value": "4000"}]
    ),
    "load balancer: protected": lambda h: h.elbv2.modify_load_balancer_attributes(
        LoadBalancerArn=h.balancer, Attributes=[{"Key": "deletion_protection.enabled", "Value": "true"}]
    ),
    "load balancer: group": lambda h: h.elbv2.set_security_groups(
        LoadBalancerArn=h.balancer, SecurityGroups=[h.group("database")]
    ),
    "load balancer: a tag": lambda h: h.elbv2.add_tags(ResourceArns=[h.balancer], Tags=[TAG]),
    "listener: a rule": lambda h: h.foreign_rule(),
    "listener: a tag": lambda h: h.elbv2.add_tags(ResourceArns=[h.listener], Tags=[TAG]),
    "listener: one more": lambda h: h.elbv2.create_listener(
        LoadBalancerArn=h.balancer,
        Port=8080,
        Protocol="HTTP",
        DefaultActions=[{"Type": "forward", "TargetGroupArn": h.targets}],
    ),
    "target group: health check": lambda h: h.elbv2.modify_target_group(
        TargetGroupArn=h.targets, HealthCheckPath="/x", HealthCheckIntervalSeconds=90
    ),
    "target group: sticky": lambda h: h.elbv2.modify_target_group_attributes(
        TargetGroupArn=h.targets, Attributes=[{"Key": "stickiness.enabled", "Value": "true"}]
    ),
    "target group: a tag": lambda h: h.elbv2.add_tags(ResourceArns=[h.targets], Tags=[TAG]),
    # --- service ---
    "cluster: a tag": lambda h: h.ecs.tag_resource(resourceArn=h.arn("cluster"), tags=[{"key": "Team", "value": "x"}]),
    "service: a revision": lambda h: h.revision(),
    "service: network": lambda h: h.service(
        networkConfiguration={
            "awsvpcConfiguration": {
                "subnets": [h.subnet("public")],
                "securityGroups": [h.group("default")],
                "assignPublicIp": "ENABLED",
            }
        }
    ),
    "service: deployment": lambda h: h.service(
        deploymentConfiguration={
            "maximumPercent": 150,
            "minimumHealthyPercent": 0,
            "deploymentCircuitBreaker": {"enable": False, "rollback": False},
        }
    ),
    "service: grace": lambda h: h.service(healthCheckGracePeriodSeconds=1),
    "service: exec": lambda h: h.service(enableExecuteCommand=True),
    "service: a tag": lambda h: h.ecs.tag_resource(resourceArn=h.arn("service"), tags=[{"key": "Team", "value": "x"}]),
    "service: tasks": lambda h: h.service(desiredCount=9),
    "scaling: limits": lambda h: h.application_autoscaling.register_scalable_target(
        **SCALING, ResourceId=RESOURCE, MinCapacity=1, MaxCapacity=40
    ),
    "scaling: a policy": lambda h: h.application_autoscaling.put_scaling_policy(
        **SCALING,
        ResourceId=RESOURCE,
        PolicyName="mine",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 1.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageMemoryUtilization"},
        },
    ),
    "scaling: a schedule": lambda h: h.application_autoscaling.put_scheduled_action(
        **SCALING,
        ResourceId=RESOURCE,
        ScheduledActionName="night",
        Schedule="cron(0 0 * * ? *)",
        ScalableTargetAction={"MinCapacity": 0, "MaxCapacity": 0},
    ),
    # --- outputs ---
    "parameter: another": lambda h: h.ssm.put_parameter(
        Name=f"/mlflow/{STACK}/tracking_url", Value="http://x", Overwrite=True
    ),
    "parameter: a tag": lambda h: h.ssm.add_tags_to_resource(
        ResourceType="Parameter", ResourceId=f"/mlflow/{STACK}/tracking_url", Tags=[TAG]
    ),
}

# What may be in use and is not taken back: the run fails and names it. The change: (what the run says, the field that
# still differs).
NAMED: dict[str, tuple[str, str]] = {
    "VPC: one more range": ("CidrBlockAssociationSet[100.64.0.0/16]", "ec2/vpc/bench-1: CidrBlockAssociationSet is "),
}

# The same for a public stack on a file system with HTTPS, logs and endpoints.
PUBLIC_CHANGES: dict[str, Change] = {
    "endpoint: a group": lambda h: h.ec2.modify_vpc_endpoint(
        VpcEndpointId=h.endpoint("ecr.api"), AddSecurityGroupIds=[h.group("default")]
    ),
    "endpoint: a subnet less": lambda h: h.ec2.modify_vpc_endpoint(
        VpcEndpointId=h.endpoint("ecr.dkr"), RemoveSubnetIds=[h.subnet(zone="b")]
    ),
    "endpoint: its own names": lambda h: h.ec2.modify_vpc_endpoint(
        VpcEndpointId=h.endpoint("secretsmanager"), PrivateDnsEnabled=False
    ),
    "endpoint: a tag": lambda h: h.ec2.create_tags(Resources=[h.endpoint("logs")], Tags=[TAG]),
    "flow log: a tag": lambda h: h.ec2.create_tags(Resources=[h.flow_log], Tags=[TAG]),
    "flow log: role": lambda h: h.iam.put_role_policy(
        RoleName=h.role("flow-logs"), PolicyName="more", PolicyDocument=document()
    ),
    "file system: throughput": lambda h: h.efs.update_file_system(
        FileSystemId=h.file_system, ThroughputMode="provisioned", ProvisionedThroughputInMibps=8.0
    ),
    "file system: lifecycle": lambda h: h.efs.put_lifecycle_configuration(
        FileSystemId=h.file_system, LifecyclePolicies=[{"TransitionToIA": "AFTER_7_DAYS"}]
    ),
    "file system: no backups": lambda h: h.efs.put_backup_policy(
        FileSystemId=h.file_system, BackupPolicy={"Status": "DISABLED"}
    ),
    "file system: a policy": lambda h: h.efs.put_file_system_policy(
        FileSystemId=h.file_system, Policy=document("elasticfilesystem:ClientMount", "*")
    ),
    "file system: a tag": lambda h: h.efs.tag_resource(ResourceId=h.file_system, Tags=[TAG]),
    "access point: a tag": lambda h: h.efs.tag_resource(ResourceId=h.access_point, Tags=[TAG]),
    "mount target: group": lambda h: h.efs.modify_mount_target_security_groups(
        MountTargetId=h.mount_targets[0], SecurityGroups=[h.group("default")]
    ),
    "listener: certificate": lambda h: h.elbv2.modify_listener(
        ListenerArn=h.listener_of("HTTPS"), Certificates=h.other_certificate()
    ),
    "listener: old TLS": lambda h: h.elbv2.modify_listener(
        ListenerArn=h.listener_of("HTTPS"), SslPolicy="ELBSecurityPolicy-2016-08"
    ),
    "listener: no redirect": lambda h: h.elbv2.modify_listener(
        ListenerArn=h.listener_of("HTTP"), DefaultActions=[{"Type": "forward", "TargetGroupArn": h.targets}]
    ),
    "load balancer: no logs": lambda h: h.elbv2.modify_load_balancer_attributes(
        LoadBalancerArn=h.balancer, Attributes=[{"Key": "access_logs.s3.enabled", "Value": "false"}]
    ),
    "log bucket: no policy": lambda h: h.s3.delete_bucket_policy(Bucket=LOG_BUCKET),
    "log bucket: for ever": lambda h: h.s3.delete_bucket_lifecycle(Bucket=LOG_BUCKET),
    "log bucket: public": lambda h: h.s3.delete_public_access_block(Bucket=LOG_BUCKET),
    "bucket: no log": lambda h: h.s3.put_bucket_logging(Bucket=BUCKET, BucketLoggingStatus={}),
}

# What somebody can delete of it and what holds no data.
REMOVALS: dict[str, Change] = {
    "endpoint": lambda h: h.ec2.delete_vpc_endpoints(VpcEndpointIds=[h.endpoint("logs")]),
    "S3 endpoint": lambda h: h.ec2.delete_vpc_endpoints(VpcEndpointIds=[h.endpoint("s3")]),
    "flow log": lambda h: h.ec2.delete_flow_logs(FlowLogIds=[h.flow_log]),
    "flow log's group": lambda h: h.logs.delete_log_group(logGroupName=f"/mlflow/{STACK}/flow"),
    "log group": lambda h: h.logs.delete_log_group(logGroupName=f"/mlflow/{STACK}"),
    "file system's policy": lambda h: h.efs.delete_file_system_policy(FileSystemId=h.file_system),
    "mount target": lambda h: h.efs.delete_mount_target(MountTargetId=h.mount_targets[0]),
    "access point": lambda h: h.efs.delete_access_point(AccessPointId=h.access_point),
    "administrator's secret": lambda h: h.secretsmanager.delete_secret(
        SecretId=h.secret("admin"), ForceDeleteWithoutRecovery=True
    ),
    "signatures' secret": lambda h: h.secretsmanager.delete_secret(SecretId=h.secret("flask")),
    "role of the tasks": lambda h: h.remove_role("task"),
    "role of the flow log": lambda h: h.remove_role("flow-logs"),
    "service and cluster": lambda h: h.remove_service(),
    "load balancer": lambda h: h.remove_balancer(),
    "internet gateway": lambda h: h.remove_gateway(),
    "outputs": lambda h: h.remove_outputs(),
    "tables of a subnet": lambda h: h.ec2.delete_route(
        RouteTableId=h.table("public"), DestinationCidrBlock="0.0.0.0/0"
    ),
}
