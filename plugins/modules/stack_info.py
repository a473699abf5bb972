#!/usr/bin/python
"""Read what stands of one stack, found by its names; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_info
short_description: Read what stands of one MLflow stack
description:
  - Finds the resources of a stack again by their names and tags, with few API calls and without writing.
  - Several resources where one is expected are refused.
options:
  name:
    description: Name of the stack. Every name that is looked up derives from it.
    type: str
    required: true
  parts:
    description: What to read. Each part is one key of the result.
    type: list
    elements: str
    choices:
      - network
      - ecr_image
      - rds
      - efs
      - s3_artifacts
      - alb
      - ecs_service
      - nat_gateways
      - endpoints
      - interfaces
      - mount_targets
    required: true
attributes:
  check_mode:
    support: full
    description:
      - In check mode identifiers that are missing are filled with placeholders of valid form (V(vpc-00000000000000000),
        two subnets per tier, ARNs of the account V(000000000000)), so that a check of a first run can go on
        to the tasks that need them. States, counts and flags are never invented, and RV(missing) names what was filled.
  diff_mode:
    support: none
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Read the network and the load balancer
  stack_info:
    name: team-a
    parts: [network, alb]
  register: __site_stack
"""

RETURN = r"""
stack:
  description: One dictionary per part. A missing resource is null, a missing list is empty.
  returned: always
  type: dict
  contains:
    network:
      description: VPC by its tags, subnets by their tag Tier and ordered by availability zone, groups by name.
      type: dict
      returned: when asked for
      sample:
        vpc_id: vpc-0a1b2c3d4e5f60718
        vpc_cidr: 10.20.0.0/16
        public_subnet_ids: [subnet-0a1b2c3d4e5f60718, subnet-0a1b2c3d4e5f60719]
        private_subnet_ids: []
        database_subnet_ids: []
        load_balancer_security_group_id: sg-0a1b2c3d4e5f60718
        service_security_group_id: null
    ecr_image:
      description:
        - The repository named as the stack, the digest that the last run has published in SSM, and its tag in this
          repository, which is null for an image that is not there.
      type: dict
      returned: when asked for
      sample:
        repository_uri: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a
        repository_arn: "arn:aws:ecr:eu-west-1:123456789012:repository/team-a"
        image_digest: sha256:0a1b...
        image_tag: slim-amd64-0a1b2c3d4e5f60718293
    rds:
      description:
        - The instance named as the stack, its group C(<stack>-database) and its secret C(mlflow/<stack>/database).
      type: dict
      returned: when asked for
      sample:
        instance_arn: "arn:aws:rds:eu-west-1:123456789012:db:team-a"
        endpoint: team-a.abc.eu-west-1.rds.amazonaws.com
        port: 5432
        status: available
        database: mlflow
        username: mlflow
        security_group_id: sg-0a1b2c3d4e5f60718
        secret_arn: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mlflow/team-a/database-AbCdEf"
        deletion_protection: true
        engine_version: "17.4"
        allocated_storage: 20
    efs:
      description: The file system with the stack as creation token, its access point, and the group C(<stack>-efs).
      type: dict
      returned: when asked for
      sample:
        file_system_id: fs-0a1b2c3d4e5f60718
        file_system_arn: "arn:aws:elasticfilesystem:eu-west-1:123456789012:file-system/fs-0a1b2c3d4e5f60718"
        access_point_id: fsap-0a1b2c3d4e5f60718
        access_point_arn: "arn:aws:elasticfilesystem:eu-west-1:123456789012:access-point/fsap-0a1b2c3d4e5f60718"
        status: available
        mount_targets_available: true
        security_group_id: sg-0a1b2c3d4e5f60718
    s3_artifacts:
      description:
        - The buckets C(mlflow-<stack>-<account>-<region>) and C(mlflow-<stack>-<account>-<region>-logs). A bucket
          cannot be renamed, so the artifacts stay in the one that the last run has published; C(bucket_name) is its
          name, also where there is none yet.
      type: dict
      returned: when asked for
      sample:
        bucket_name: mlflow-team-a-123456789012-eu-west-1
        bucket: mlflow-team-a-123456789012-eu-west-1
        bucket_arn: "arn:aws:s3:::mlflow-team-a-123456789012-eu-west-1"
        log_bucket: null
        log_bucket_arn: null
    alb:
      description: The load balancer and the target group named as the stack.
      type: dict
      returned: when asked for
      sample:
        load_balancer_arn: "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/team-a/0a1b2c3d4e5f6"
        load_balancer_name: team-a
        load_balancer_dns_name: team-a-1.eu-west-1.elb.amazonaws.com
        load_balancer_zone_id: Z32O12XQLNTSW2
        state: active
        target_group_arn: "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/team-a/0a1b2c3d4e5f6071"
        https: true
        scheme: internal
        deletion_protection: true
    nat_gateways:
      description:
        - The NAT gateways that carry the stack's tag, under C(standing), one for each name and none that is gone. Of
          several with one name the one that serves best. All that are being deleted, under C(leaving).
      type: dict
      returned: when asked for
      sample:
        standing: [{name: team-a-eu-west-1a, id: nat-0a1b2c3d4e5f60718, state: pending, failure: null}]
        leaving: [{name: team-a-eu-west-1b, id: nat-0a1b2c3d4e5f60719, state: deleting}]
    endpoints:
      description: The endpoints in the VPC, under C(standing), none that is gone; those that are being deleted also
        under C(leaving).
      type: dict
      returned: when asked for
      sample:
        standing: [{id: vpce-0a1b2c3d4e5f60718, service: com.amazonaws.eu-west-1.logs, state: available}]
        leaving: []
    interfaces:
      description: The network interfaces in the VPC that something uses, under C(standing).
      type: dict
      returned: when asked for
      sample: {standing: [{id: eni-0a1b2c3d4e5f60718, state: in-use, description: ELB app/team-a/0a1b2c3d4e5f6071}]}
    mount_targets:
      description: The mount targets of the file system, under C(standing).
      type: dict
      returned: when asked for
      sample: {standing: [{id: fsmt-0a1b2c3d4e5f60718, state: deleting}]}
    ecs_service:
      description:
        - Cluster and service named as the stack; INACTIVE counts as missing. Roles
          C(mlflow-<stack>-<region>-execution) and C(mlflow-<stack>-<region>-task), secrets C(mlflow/<stack>/admin) and
          C(mlflow/<stack>/flask) (one that is scheduled for deletion counts as missing), log group C(/mlflow/<stack>).
      type: dict
      returned: when asked for
      sample:
        cluster_name: team-a
        cluster_arn: "arn:aws:ecs:eu-west-1:123456789012:cluster/team-a"
        service_name: team-a
        service_arn: "arn:aws:ecs:eu-west-1:123456789012:service/team-a/team-a"
        service_status: ACTIVE
        task_definition_arn: "arn:aws:ecs:eu-west-1:123456789012:task-definition/team-a:3"
        desired_count: 1
        running_count: 1
        rollout_state: COMPLETED
        autoscaled: false
        execution_role_arn: "arn:aws:iam::123456789012:role/mlflow/mlflow-team-a-eu-west-1-execution"
        task_role_arn: "arn:aws:iam::123456789012:role/mlflow/mlflow-team-a-eu-west-1-task"
        admin_secret_arn: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mlflow/team-a/admin-AbCdEf"
        flask_secret_arn: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mlflow/team-a/flask-AbCdEf"
        log_group: /mlflow/team-a
missing:
  description: What does not stand, as C(part.key); in check mode exactly these may hold placeholders.
  returned: always
  type: list
  elements: str
  sample: [ecs_service.service_arn]
"""

from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import doing, filters, found, tag_dict  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Part = dict[str, Any]


class AmbiguousError(Exception):
    """Two resources answer to a name that only one may have; the text is a full sentence."""


PARTS = (
    "network",
    "ecr_image",
    "rds",
    "efs",
    "s3_artifacts",
    "alb",
    "ecs_service",
    "nat_gateways",
    "endpoints",
    "interfaces",
    "mount_targets",
)
# Of NAT gateways with one name the one that comes first here counts. One that is gone stays visible for an hour.
NAT_STATES = ("available", "pending", "deleting", "failed")


class Reader:
    """Reads the parts of one stack.

    `client` maps a service name to a boto3 client. Every part method returns its keys as documented in RETURN and
    raises botocore's errors or AmbiguousError.
    """

    def __init__(self, stack: str, client: Callable[[str], Any]) -> None:
        """Keep the name and the way to clients; nothing is read yet."""
        self.stack = stack
        self._make = client
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """Return the one client for `service`."""
        if service not in self._clients:
            self._clients[service] = self._make(service)
        return self._clients[service]

    def network(self) -> Part:
        """Return VPC, subnets and the two groups that tasks and load balancer use."""
        ec2 = self.client("ec2")
        vpc = self._vpc()
        part: Part = {"vpc_id": vpc.get("VpcId"), "vpc_cidr": vpc.get("CidrBlock")}
        subnets: list[Part] = []
        if vpc:
            inside = filters(**{"vpc-id": vpc["VpcId"], "tag:Stack": self.stack})
            subnets = ec2.describe_subnets(Filters=inside)["Subnets"]
        for tier in ("public", "private", "database"):
            part[f"{tier}_subnet_ids"] = [
                subnet["SubnetId"]
                for subnet in sorted(subnets, key=lambda subnet: (subnet["AvailabilityZone"], subnet["CidrBlock"]))
                if tag_dict(subnet.get("Tags")).get("Tier") == tier
            ]
        groups = self._groups("load-balancer", "service")
        part["load_balancer_security_group_id"] = groups["load-balancer"]
        part["service_security_group_id"] = groups["service"]
        return part

    def ecr_image(self) -> Part:
        """Return the repository and the image that is deployed."""
        ecr = self.client("ecr")
        answer = found(ecr.describe_repositories, "RepositoryNotFoundException", repositoryNames=[self.stack])
        repository = _first(answer, "repositories")
        digest = self._published("image_digest")
        image: Part = {}
        if repository and digest:
            which = {"repositoryName": self.stack, "imageIds": [{"imageDigest": digest}]}
            image = _first(found(ecr.describe_images, "ImageNotFoundException", **which), "imageDetails")
        return {
            "repository_uri": repository.get("repositoryUri"),
            "repository_arn": repository.get("repositoryArn"),
            "image_digest": digest,
            "image_tag": next(iter(image.get("imageTags", [])), None),
        }

    def rds(self) -> Part:
        """Return the database instance, its group and its secret."""
        answer = found(
            self.client("rds").describe_db_instances,
            "DBInstanceNotFound",
            "DBInstanceNotFoundFault",
            DBInstanceIdentifier=self.stack,
        )
        instance = _first(answer, "DBInstances")
        endpoint = instance.get("Endpoint") or {}
        return {
            "instance_arn": instance.get("DBInstanceArn"),
            "endpoint": endpoint.get("Address"),
            "port": endpoint.get("Port"),
            "status": instance.get("DBInstanceStatus"),
            "database": instance.get("DBName"),
            "username": instance.get("MasterUsername"),
            "security_group_id": self._groups("database")["database"],
            "secret_arn": self._secret("database"),
            "deletion_protection": instance.get("DeletionProtection"),
            "engine_version": instance.get("EngineVersion"),
            "allocated_storage": instance.get("AllocatedStorage"),
        }

    def efs(self) -> Part:
        """Return the file system, its access point and whether it can be mounted."""
        efs = self.client("efs")
        file_system = _only(
            efs.describe_file_systems(CreationToken=self.stack)["FileSystems"],
            f"file systems have the creation token {self.stack}",
        )
        point: Part = {}
        targets: list[Part] = []
        if file_system:
            points = efs.describe_access_points(FileSystemId=file_system["FileSystemId"])["AccessPoints"]
            points = [each for each in points if each.get("LifeCycleState") not in ("deleting", "deleted")]
            # One that somebody else has made is removed by the next converge.
            mine = [each for each in points if tag_dict(each.get("Tags")).get("Stack") == self.stack]
            point = next(iter(mine or points), {})
            targets = efs.describe_mount_targets(FileSystemId=file_system["FileSystemId"])["MountTargets"]
        return {
            "file_system_id": file_system.get("FileSystemId"),
            "file_system_arn": file_system.get("FileSystemArn"),
            "access_point_id": point.get("AccessPointId"),
            "access_point_arn": point.get("AccessPointArn"),
            "status": file_system.get("LifeCycleState"),
            "mount_targets_available": bool(targets)
            and all(target["LifeCycleState"] == "available" for target in targets),
            "security_group_id": self._groups("efs")["efs"],
        }

    def s3_artifacts(self) -> Part:
        """Return the artifact bucket, the log bucket, and the name that the first has or is to get."""
        part: Part = {
            "bucket_name": self._published("artifact_bucket") or self.bucket_name("artifacts", self._account())
        }
        names = {"bucket": part["bucket_name"], "log_bucket": self.bucket_name("logs", self._account())}
        for key, bucket in names.items():
            stands = found(
                self.client("s3").head_bucket,
                "404",
                "NoSuchBucket",
                Bucket=bucket,
                ExpectedBucketOwner=self._account(),
            )
            part[key] = bucket if stands is not None else None
            part[f"{key}_arn"] = f"arn:{self._partition()}:s3:::{bucket}" if stands is not None else None
        return part

    def alb(self) -> Part:
        """Return the load balancer and the target group."""
        elb = self.client("elbv2")
        balancer = _first(
            found(elb.describe_load_balancers, "LoadBalancerNotFound", Names=[self.stack]), "LoadBalancers"
        )
        group = _first(found(elb.describe_target_groups, "TargetGroupNotFound", Names=[self.stack]), "TargetGroups")
        listeners: list[Part] = []
        attributes: dict[str, str] = {}
        if balancer:
            arn = balancer["LoadBalancerArn"]
            attributes = tag_dict(elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"])
            listeners = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
        return {
            "load_balancer_arn": balancer.get("LoadBalancerArn"),
            "load_balancer_name": balancer.get("LoadBalancerName"),
            "load_balancer_dns_name": balancer.get("DNSName"),
            "scheme": balancer.get("Scheme"),
            "load_balancer_zone_id": balancer.get("CanonicalHostedZoneId"),
            "state": (balancer.get("State") or {}).get("Code"),
            "target_group_arn": group.get("TargetGroupArn"),
            "deletion_protection": attributes.get("deletion_protection.enabled") == "true" if balancer else None,
            "https": any(listener["Protocol"] == "HTTPS" for listener in listeners),
        }

    def ecs_service(self) -> Part:
        """Return cluster, service and what its tasks need: roles, secrets, log group."""
        ecs = self.client("ecs")
        cluster = _standing(ecs.describe_clusters(clusters=[self.stack])["clusters"])
        service: Part = {}
        if cluster:
            service = _standing(
                ecs.describe_services(cluster=self.stack, services=[self.stack], include=["TAGS"])["services"]
            )
        rollouts = [each for each in service.get("deployments", []) if each.get("status") == "PRIMARY"]
        tags = {tag["key"]: tag["value"] for tag in service.get("tags", [])}
        return {
            "cluster_name": cluster.get("clusterName"),
            "cluster_arn": cluster.get("clusterArn"),
            "service_name": service.get("serviceName"),
            "service_arn": service.get("serviceArn"),
            "service_status": service.get("status"),
            "task_definition_arn": service.get("taskDefinition"),
            "desired_count": service.get("desiredCount"),
            "running_count": service.get("runningCount"),
            "rollout_state": rollouts[0].get("rolloutState") if rollouts else None,
            "rollout_task_definition_arn": (rollouts[0] if rollouts else service).get("taskDefinition"),
            "autoscaled": tags.get("Autoscaled") == "true",
            "execution_role_arn": self._role("execution"),
            "task_role_arn": self._role("task"),
            "admin_secret_arn": self._secret("admin"),
            "flask_secret_arn": self._secret("flask"),
            "log_group": self._log_group(f"/mlflow/{self.stack}"),
        }

    def nat_gateways(self) -> Part:
        """Return the NAT gateways, ordered by name."""
        pages = self.client("ec2").get_paginator("describe_nat_gateways")
        standing: dict[str, Part] = {}
        leaving: list[Part] = []
        for page in pages.paginate(Filters=filters(**{"tag:Stack": self.stack})):
            for gateway in page["NatGateways"]:
                tags = tag_dict(gateway.get("Tags"))
                name, state = tags.get("Name", gateway["NatGatewayId"]), gateway["State"]
                if tags.get("Stack") != self.stack or state not in NAT_STATES:
                    continue
                if state == "deleting":
                    leaving.append({"name": name, "id": gateway["NatGatewayId"], "state": state})
                other = standing.get(name)
                if not other or NAT_STATES.index(state) < NAT_STATES.index(other["state"]):
                    failure = gateway.get("FailureMessage")
                    standing[name] = {
                        "name": name,
                        "id": gateway["NatGatewayId"],
                        "state": state,
                        "failure": failure,
                    }
        return {"standing": [standing[name] for name in sorted(standing)], "leaving": leaving}

    def endpoints(self) -> Part:
        """Return the VPC endpoints."""
        standing = [
            {"id": each["VpcEndpointId"], "service": each["ServiceName"], "state": each["State"].lower()}
            for each in self._in_vpc("describe_vpc_endpoints", "VpcEndpoints")
            if each["State"].lower() != "deleted"
        ]
        return {"standing": standing, "leaving": [each for each in standing if each["state"] == "deleting"]}

    def interfaces(self) -> Part:
        """Return the network interfaces that are in use."""
        # One that is available is attached to nothing and can be deleted by whoever made it.
        return {
            "standing": [
                {"id": each["NetworkInterfaceId"], "state": each["Status"], "description": each.get("Description", "")}
                for each in self._in_vpc("describe_network_interfaces", "NetworkInterfaces")
                if each["Status"] != "available"
            ]
        }

    def mount_targets(self) -> Part:
        """Return the mount targets of the file system."""
        efs = self.client("efs")
        systems = efs.describe_file_systems(CreationToken=self.stack)["FileSystems"]
        return {
            "standing": [
                {"id": target["MountTargetId"], "state": target["LifeCycleState"]}
                for system in systems
                for target in efs.describe_mount_targets(FileSystemId=system["FileSystemId"])["MountTargets"]
                if target["LifeCycleState"] != "deleted"
            ]
        }

    def bucket_name(self, use: str, account: str) -> str:
        """Return the name of the bucket for `use` (artifacts, logs) in `account`."""
        name = f"mlflow-{self.stack}-{account}-{self.client('s3').meta.region_name}"
        return name if use == "artifacts" else f"{name}-{use}"

    def placeholders(self, part: str) -> Part:
        """Return an identifier of valid form for every key of `part` that may be missing before a first run."""
        name = self.stack
        region = self.client("sts").meta.region_name
        zeros = "0" * 17

        def arn(service: str, resource: str, where: str = region) -> str:
            return f"arn:{self._partition()}:{service}:{where}:000000000000:{resource}"

        def secret(use: str) -> str:
            return arn("secretsmanager", f"secret:mlflow/{name}/{use}-000000")

        def subnets(tier: int) -> list[str]:
            return [f"subnet-{zeros[:-2]}{tier}{zone}" for zone in range(2)]

        group = f"sg-{zeros}"
        if part == "network":
            return {
                "vpc_id": f"vpc-{zeros}",
                "vpc_cidr": "10.0.0.0/16",
                "public_subnet_ids": subnets(0),
                "private_subnet_ids": subnets(1),
                "database_subnet_ids": subnets(2),
                "load_balancer_security_group_id": group,
                "service_security_group_id": group,
            }
        if part == "ecr_image":
            return {
                "repository_uri": f"000000000000.dkr.ecr.{region}.amazonaws.com/{name}",
                "repository_arn": arn("ecr", f"repository/{name}"),
                "image_digest": f"sha256:{'0' * 64}",
                "image_tag": "none",
            }
        if part == "rds":
            return {
                "instance_arn": arn("rds", f"db:{name}"),
                "endpoint": f"{name}.000000000000.{region}.rds.amazonaws.com",
                "port": 5432,
                "database": "mlflow",
                "username": "mlflow",
                "security_group_id": group,
                "secret_arn": secret("database"),
            }
        if part == "efs":
            return {
                "file_system_id": f"fs-{zeros}",
                "file_system_arn": arn("elasticfilesystem", f"file-system/fs-{zeros}"),
                "access_point_id": f"fsap-{zeros}",
                "access_point_arn": arn("elasticfilesystem", f"access-point/fsap-{zeros}"),
                "security_group_id": group,
            }
        if part == "s3_artifacts":
            bucket, log_bucket = (self.bucket_name(use, self._account()) for use in ("artifacts", "logs"))
            return {
                "bucket": bucket,
                "bucket_arn": f"arn:{self._partition()}:s3:::{bucket}",
                "log_bucket": log_bucket,
                "log_bucket_arn": f"arn:{self._partition()}:s3:::{log_bucket}",
            }
        if part == "alb":
            return {
                "load_balancer_arn": arn("elasticloadbalancing", f"loadbalancer/app/{name}/{zeros[:16]}"),
                "load_balancer_name": name,
                "load_balancer_dns_name": f"{name}-0000000000.{region}.elb.amazonaws.com",
                "load_balancer_zone_id": "Z00000000000000",
                "target_group_arn": arn("elasticloadbalancing", f"targetgroup/{name}/{zeros[:16]}"),
            }
        return {
            "cluster_name": name,
            "cluster_arn": arn("ecs", f"cluster/{name}"),
            "service_name": name,
            "service_arn": arn("ecs", f"service/{name}/{name}"),
            "task_definition_arn": arn("ecs", f"task-definition/{name}:1"),
            "execution_role_arn": arn("iam", f"role/mlflow/mlflow-{name}-{region}-execution", where=""),
            "task_role_arn": arn("iam", f"role/mlflow/mlflow-{name}-{region}-task", where=""),
            "admin_secret_arn": secret("admin"),
            "flask_secret_arn": secret("flask"),
            "log_group": f"/mlflow/{name}",
        }

    def _published(self, name: str) -> str | None:
        """What the last run has published in SSM under `name`."""
        answer = found(self.client("ssm").get_parameter, "ParameterNotFound", Name=f"/mlflow/{self.stack}/{name}")
        return str(answer["Parameter"]["Value"]) if answer else None

    def _vpc(self) -> Part:
        ec2 = self.client("ec2")
        named = filters(**{"tag:Name": self.stack, "tag:Stack": self.stack})
        vpcs: list[Part] = ec2.describe_vpcs(Filters=named)["Vpcs"]
        if len(vpcs) > 1:
            # A lost answer may have left a second one, which is empty; module vpc removes it.
            ids = sorted(vpc["VpcId"] for vpc in vpcs)
            subnets = ec2.describe_subnets(Filters=filters(**{"vpc-id": ids}))["Subnets"]
            used = {subnet["VpcId"] for subnet in subnets} or {ids[0]}
            vpcs = [vpc for vpc in vpcs if vpc["VpcId"] in used]
        return _only(vpcs, f"VPCs are tagged Name={self.stack} and Stack={self.stack}")

    def _in_vpc(self, operation: str, key: str) -> list[Part]:
        vpc = self._vpc().get("VpcId")
        if not vpc:
            return []
        pages = self.client("ec2").get_paginator(operation).paginate(Filters=filters(**{"vpc-id": vpc}))
        return [each for page in pages for each in page[key] if each["VpcId"] == vpc]

    def _groups(self, *uses: str) -> dict[str, str | None]:
        names = {f"{self.stack}-{use}": use for use in uses}
        wanted: dict[str, str | list[str]] = {"group-name": list(names), "tag:Stack": self.stack}
        groups = self.client("ec2").describe_security_groups(Filters=filters(**wanted))["SecurityGroups"]
        return {
            use: _only(
                [group for group in groups if group["GroupName"] == name],
                f"security groups are named {name} and tagged Stack={self.stack}",
            ).get("GroupId")
            for name, use in names.items()
        }

    def _secret(self, use: str) -> str | None:
        secret = found(
            self.client("secretsmanager").describe_secret,
            "ResourceNotFoundException",
            SecretId=f"mlflow/{self.stack}/{use}",
        )
        return secret["ARN"] if secret and not secret.get("DeletedDate") else None

    def _role(self, use: str) -> str | None:
        iam = self.client("iam")
        region = self.client("ecs").meta.region_name
        role = found(iam.get_role, "NoSuchEntity", RoleName=f"mlflow-{self.stack}-{region}-{use}")
        return role["Role"]["Arn"] if role else None

    def _log_group(self, name: str) -> str | None:
        groups = self.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        return name if any(group["logGroupName"] == name for group in groups) else None

    def _account(self) -> str:
        if not hasattr(self, "_identity"):
            self._identity = self.client("sts").get_caller_identity()
        return str(self._identity["Account"])

    def _partition(self) -> str:
        return str(self.client("sts").meta.partition)


def _first(answer: Part | None, key: str) -> Part:
    return next(iter((answer or {}).get(key, [])), {})


def _only(resources: list[Part], what: str) -> Part:
    if len(resources) > 1:
        raise AmbiguousError(f"{len(resources)} {what}; remove or retag all but one.")
    return resources[0] if resources else {}


def _standing(resources: list[Part]) -> Part:
    return next((each for each in resources if each.get("status") != "INACTIVE"), {})


def read(reader: Reader, part: str, fill: bool) -> tuple[Part, list[str]]:
    """Return (`part` as it stands, keys that are missing); `fill` puts placeholders where identifiers are missing."""
    values: Part = getattr(reader, part)()
    missing = [key for key, value in values.items() if value is None or value == []]
    if fill:
        placeholders = reader.placeholders(part)
        values.update({key: placeholders[key] for key in missing if key in placeholders})
    return values, missing


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "parts": {
                "type": "list",
                "elements": "str",
                "required": True,
                "choices": [*PARTS],
            },
        },
        supports_check_mode=True,
    )
    reader = Reader(module.params["name"], module.client)
    stack: dict[str, Part] = {}
    missing: list[str] = []
    for part in module.params["parts"]:
        with doing(module, f"read the {part} part of stack {reader.stack}"):
            try:
                stack[part], keys = read(reader, part, fill=module.check_mode)
            except AmbiguousError as error:
                module.fail_json(msg=str(error))
            missing += [f"{part}.{key}" for key in keys]
    module.exit_json(changed=False, stack=stack, missing=missing)


if __name__ == "__main__":
    main()
