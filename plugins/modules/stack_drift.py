#!/usr/bin/python
"""Tell whether anything of a stack differs from what the last run left; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_drift
short_description: Tell whether anything of a stack differs from what the last run left
description:
  - Reads all that the roles converge, side by side, and compares it with the record of the last run. Writes nothing.
  - Nothing is compared with what is wanted. The record says what a run that was told the same, by the same code, left
    behind; where every description is still the same, to run it again would find nothing to do.
  - What changes by itself (counters, events, dates of use) is left out. What cannot be read counts as different.
options:
  name:
    description: Name of the stack. Every name that is looked up derives from it.
    type: str
    required: true
  account_id:
    description: Account of the stack.
    type: str
    required: true
  inputs:
    description: Digest of what the run was told and of the code that runs. Given by the action plugin of this name.
    type: str
    default: ""
  before:
    description:
      - RV(record) of the look at the beginning of this run. With it, this look is the one at the end, and nothing is
        compared.
    type: dict
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Look for drift
  stack_drift:
    name: team-a
    account_id: "123456789012"
  register: __drift_look
"""

RETURN = r"""
differs:
  description: The parts that differ from the record, or what is the matter with the record. Empty when nothing differs.
  returned: always
  type: list
  elements: str
  sample: [alb]
outputs:
  description: The outputs that the last run published.
  returned: always
  type: dict
record:
  description: What to keep for the next run; empty when not all could be read, now or at the beginning.
  returned: always
  type: dict
  contains:
    inputs:
      description: O(inputs).
      type: str
    parts:
      description: One digest per part of the stack.
      type: dict
    until:
      description:
        - Seconds since 1970 until which the record is believed, or null for always.
        - A stack that was the same before and after a whole run was found right by that run. What a run has changed is
          believed for an hour, since somebody else may have changed it between the run's hand and this look.
      type: int
"""

import hashlib  # noqa: E402
import json  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import BotoCoreError, ClientError, error_code, filters, reason  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

BELIEVED_SECONDS = 3600
SERVICES = (
    "application-autoscaling",
    "ec2",
    "ecr",
    "ecs",
    "efs",
    "elbv2",
    "iam",
    "logs",
    "rds",
    "s3",
    "secretsmanager",
)
# What AWS answers for what is not there.
ABSENT = (
    "ClusterNotFoundException",
    "DBInstanceNotFound",
    "DBInstanceNotFoundFault",
    "DBParameterGroupNotFound",
    "DBSubnetGroupNotFoundFault",
    "LifecyclePolicyNotFoundException",
    "LoadBalancerNotFound",
    "NoSuchBucket",
    "NoSuchBucketPolicy",
    "NoSuchEntity",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchTagSet",
    "OwnershipControlsNotFoundError",
    "PolicyNotFound",
    "RepositoryNotFoundException",
    "ResourceNotFoundException",
    "ServerSideEncryptionConfigurationNotFoundError",
    "TargetGroupNotFound",
)
# What changes by itself and no task looks at.
RESTLESS = frozenset(
    (
        "AvailableIpAddressCount",
        "DeliverLogsStatus",
        "LastAccessedDate",
        "LatestRestorableTime",
        "ResponseMetadata",
        "RoleLastUsed",
        "SizeInBytes",
        "activeServicesCount",
        "events",
        "failedTasks",
        "lastEvaluatedAt",
        "pendingCount",
        "pendingTasksCount",
        "rolloutStateReason",
        "runningCount",
        "runningTasksCount",
        "statistics",
        "storedBytes",
        "updatedAt",
    )
)
# A database that works on its own affairs is the same database.
USABLE = ("available", "backing-up", "storage-optimization")


def settled(value: Any) -> Any:
    """`value` without what changes by itself, its lists in one order, and all in types that JSON has."""
    if isinstance(value, dict):
        return {key: settled(item) for key, item in value.items() if key not in RESTLESS}
    if isinstance(value, (list, tuple)):
        return sorted((settled(item) for item in value), key=canonical)
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def canonical(value: Any) -> str:
    """`value` as JSON of one form only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> str:
    """SHA-256 of `value`, settled."""
    return hashlib.sha256(canonical(settled(value)).encode()).hexdigest()


class Look:
    """Reads all that the roles converge of one stack.

    `clients` maps a service to its boto3 client. Each part method returns AWS's descriptions as they come, and raises
    botocore's errors, except for what is not there.
    """

    def __init__(self, stack: str, account: str, clients: dict[str, Any]) -> None:
        self.stack = stack
        self.account = account
        self.clients = clients
        self.region = str(clients["ec2"].meta.region_name)

    def parts(self) -> dict[str, Callable[[], Any]]:
        """The parts by name; they do not depend on each other."""
        return {
            "network": self.network,
            "ecr_image": self.ecr_image,
            "rds": self.rds,
            "efs": self.efs,
            "artifact_bucket": self.bucket,
            "log_bucket": lambda: self.bucket("-logs"),
            "alb": self.alb,
            "ecs_service": self.ecs_service,
            "roles": self.roles,
            "secrets": self.secrets,
            "log_groups": self.log_groups,
            "outputs": self.outputs,
        }

    def ask(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        """All pages of one call's answer; {} when AWS says that what is asked for is not there."""
        client = self.clients[service]
        try:
            if client.can_paginate(operation):
                return dict(client.get_paginator(operation).paginate(**arguments).build_full_result())
            return dict(getattr(client, operation)(**arguments))
        except ClientError as error:
            if error_code(error) in ABSENT:
                return {}
            raise

    def network(self) -> Any:
        """The VPC and all in it."""
        named = filters(**{"tag:Name": self.stack, "tag:Stack": self.stack})
        vpcs = self.ask("ec2", "describe_vpcs", Filters=named).get("Vpcs", [])
        return vpcs, [self._in_vpc(vpc["VpcId"]) for vpc in vpcs]

    def _in_vpc(self, vpc: str) -> Any:
        inside = filters(**{"vpc-id": vpc})
        gateways = self.ask("ec2", "describe_nat_gateways", Filter=inside).get("NatGateways", [])
        return [
            self.ask("ec2", "describe_vpc_attribute", VpcId=vpc, Attribute="enableDnsSupport"),
            self.ask("ec2", "describe_vpc_attribute", VpcId=vpc, Attribute="enableDnsHostnames"),
            self.ask("ec2", "describe_subnets", Filters=inside),
            self.ask("ec2", "describe_internet_gateways", Filters=filters(**{"attachment.vpc-id": vpc})),
            [gateway for gateway in gateways if gateway["State"] != "deleted"],
            self.ask("ec2", "describe_addresses", Filters=filters(**{"tag:Stack": self.stack})),
            self.ask("ec2", "describe_route_tables", Filters=inside),
            self.ask("ec2", "describe_security_groups", Filters=inside),
            self.ask("ec2", "describe_vpc_endpoints", Filters=inside),
            self.ask("ec2", "describe_flow_logs", Filter=filters(**{"resource-id": vpc})),
        ]

    def ecr_image(self) -> Any:
        """The repository and what is tagged in it; the deployed image is."""
        repository = self.ask("ecr", "describe_repositories", repositoryNames=[self.stack])
        return repository and [
            repository,
            self.ask("ecr", "get_lifecycle_policy", repositoryName=self.stack),
            self.ask("ecr", "list_images", repositoryName=self.stack, filter={"tagStatus": "TAGGED"}),
        ]

    def rds(self) -> Any:
        """The instance, its subnet group, and the parameters that somebody has set in its group."""
        answer = self.ask("rds", "describe_db_instances", DBInstanceIdentifier=self.stack)
        instances = answer.get("DBInstances", [])
        for instance in instances:
            if instance.get("DBInstanceStatus") in USABLE:
                instance["DBInstanceStatus"] = "usable"
        names = [group["DBParameterGroupName"] for each in instances for group in each.get("DBParameterGroups", [])]
        subnets = self.ask("rds", "describe_db_subnet_groups", DBSubnetGroupName=self.stack)
        groups = [self.ask("rds", "describe_db_parameter_groups", DBParameterGroupName=name) for name in names]
        arns = [group["DBSubnetGroupArn"] for group in subnets.get("DBSubnetGroups", [])]
        arns += [group["DBParameterGroupArn"] for answer in groups for group in answer.get("DBParameterGroups", [])]
        return [
            instances,
            subnets,
            groups,
            [self.ask("rds", "describe_db_parameters", DBParameterGroupName=name, Source="user") for name in names],
            [self.ask("rds", "list_tags_for_resource", ResourceName=arn) for arn in arns],
        ]

    def efs(self) -> Any:
        """The file system, its access points and its mount targets."""
        systems = self.ask("efs", "describe_file_systems", CreationToken=self.stack).get("FileSystems", [])
        return systems, [self._of_file_system(system["FileSystemId"]) for system in systems]

    def _of_file_system(self, system: str) -> Any:
        targets = self.ask("efs", "describe_mount_targets", FileSystemId=system).get("MountTargets", [])
        ids = [target["MountTargetId"] for target in targets]
        return [
            targets,
            [self.ask("efs", "describe_mount_target_security_groups", MountTargetId=target) for target in ids],
            self.ask("efs", "describe_access_points", FileSystemId=system),
            self.ask("efs", "describe_lifecycle_configuration", FileSystemId=system),
            self.ask("efs", "describe_backup_policy", FileSystemId=system),
            self.ask("efs", "describe_file_system_policy", FileSystemId=system),
        ]

    def bucket(self, suffix: str = "") -> Any:
        """The bucket of the artifacts, or the one whose name has `suffix`."""
        which = {
            "Bucket": f"mlflow-{self.stack}-{self.account}-{self.region}{suffix}",
            "ExpectedBucketOwner": self.account,
        }
        # The first question also tells whether there is a bucket: one without a version has an answer.
        versioning = self.ask("s3", "get_bucket_versioning", **which)
        return versioning and [
            versioning,
            *(
                self.ask("s3", f"get_{what}", **which)
                for what in (
                    "bucket_encryption",
                    "public_access_block",
                    "bucket_ownership_controls",
                    "bucket_policy",
                    "bucket_lifecycle_configuration",
                    "bucket_logging",
                    "bucket_tagging",
                )
            ),
        ]

    def alb(self) -> Any:
        """The load balancer, its listeners and the target group."""
        balancers = self.ask("elbv2", "describe_load_balancers", Names=[self.stack]).get("LoadBalancers", [])
        groups = self.ask("elbv2", "describe_target_groups", Names=[self.stack]).get("TargetGroups", [])
        for balancer in balancers:
            # Made a moment ago it is being provisioned; no task looks at it or waits for it.
            balancer.pop("State", None)
        arns = [balancer["LoadBalancerArn"] for balancer in balancers]
        group_arns = [group["TargetGroupArn"] for group in groups]
        return [
            balancers,
            groups,
            [self.ask("elbv2", "describe_load_balancer_attributes", LoadBalancerArn=arn) for arn in arns],
            [self.ask("elbv2", "describe_listeners", LoadBalancerArn=arn) for arn in arns],
            [self.ask("elbv2", "describe_target_group_attributes", TargetGroupArn=arn) for arn in group_arns],
            arns + group_arns and self.ask("elbv2", "describe_tags", ResourceArns=arns + group_arns),
        ]

    def ecs_service(self) -> Any:
        """The cluster, the service, its scaling, and the revisions of its task definition."""
        cluster = self.ask("ecs", "describe_clusters", clusters=[self.stack], include=["TAGS", "SETTINGS"])
        answer = self.ask("ecs", "describe_services", cluster=self.stack, services=[self.stack], include=["TAGS"])
        services = answer.get("services", [])
        scaling = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}
        resource = f"service/{self.stack}/{self.stack}"
        answer = self.ask("application-autoscaling", "describe_scalable_targets", ResourceIds=[resource], **scaling)
        targets = answer.get("ScalableTargets", [])
        for service in services:
            steady(service, targets)
        revisions = [service["taskDefinition"] for service in services]
        return [
            cluster,
            services,
            targets,
            self.ask("application-autoscaling", "describe_scaling_policies", ResourceId=resource, **scaling),
            self.ask("ecs", "list_task_definitions", familyPrefix=self.stack, status="ACTIVE"),
            [self.ask("ecs", "describe_task_definition", taskDefinition=each, include=["TAGS"]) for each in revisions],
        ]

    def roles(self) -> Any:
        """The roles and all that they may do."""
        return [self._role(f"mlflow-{self.stack}-{self.region}-{use}") for use in ("execution", "task", "flow-logs")]

    def _role(self, name: str) -> Any:
        role = self.ask("iam", "get_role", RoleName=name)
        if not role:
            return {}
        policies = self.ask("iam", "list_role_policies", RoleName=name).get("PolicyNames", [])
        return [
            role,
            self.ask("iam", "list_attached_role_policies", RoleName=name),
            [self.ask("iam", "get_role_policy", RoleName=name, PolicyName=policy) for policy in policies],
        ]

    def secrets(self) -> Any:
        """The secrets' descriptions. Their values are never read here."""
        return [
            self.ask("secretsmanager", "describe_secret", SecretId=f"mlflow/{self.stack}/{use}")
            for use in ("database", "admin", "flask")
        ]

    def log_groups(self) -> Any:
        """The log groups, of the server and of the network's flow."""
        names = (f"/mlflow/{self.stack}", f"/mlflow/{self.stack}/flow")
        groups = self.ask("logs", "describe_log_groups", logGroupNamePrefix=names[0]).get("logGroups", [])
        mine = [group for group in groups if group["logGroupName"] in names]
        # The ARN of a description ends in ":*", which the other call refuses.
        arns = [group["arn"].removesuffix(":*") for group in mine]
        return mine, [self.ask("logs", "list_tags_for_resource", resourceArn=arn) for arn in arns]

    def outputs(self) -> dict[str, str]:
        """The outputs that the last run published."""
        return self.parameters(f"/mlflow/{self.stack}")

    def record(self) -> dict[str, Any]:
        """What the last run has kept, or {}."""
        try:
            kept = json.loads(self.parameters(f"/mlflow-drift/{self.stack}").get("record", "{}"))
        except ValueError:
            return {}
        return kept if isinstance(kept, dict) else {}

    def parameters(self, path: str) -> dict[str, str]:
        """The parameters below `path`, by their names there."""
        answer = self.ask("ssm", "get_parameters_by_path", Path=path, Recursive=True)
        return {each["Name"].removeprefix(f"{path}/"): each["Value"] for each in answer.get("Parameters", [])}


def steady(service: dict[str, Any], targets: list[dict[str, Any]]) -> None:
    """Leave out of `service` what scaling and the end of the deployment before change by themselves."""
    # The one before drains for a while.
    primary = [each for each in service.get("deployments", []) if each["status"] == "PRIMARY"]
    service["deployments"] = primary
    for each in (service, *primary):
        count = each.get("desiredCount", 0)
        if any(target["MinCapacity"] <= count <= target["MaxCapacity"] for target in targets):
            each["desiredCount"] = "as scaled"


def differences(record: dict[str, Any], inputs: str, parts: dict[str, str], now: float) -> list[str]:
    """What differs from `record`; empty when nothing does."""
    if not record:
        return ["no record"]
    if record.get("inputs") != inputs:
        return ["settings or code"]
    until = record.get("until")
    if until is not None and until < now:
        return ["age of the record"]
    known = record.get("parts", {})
    return sorted(part for part in {*known, *parts} if known.get(part) != parts.get(part))


def read(reads: dict[str, Callable[[], Any]]) -> tuple[dict[str, Any], list[str]]:
    """Run `reads` side by side: (what each returned, a sentence per read that failed)."""
    results: dict[str, Any] = {}
    failures: list[str] = []
    with ThreadPoolExecutor(max_workers=len(reads)) as pool:
        for name, future in {name: pool.submit(each) for name, each in reads.items()}.items():
            try:
                results[name] = future.result()
            except (ClientError, BotoCoreError) as error:
                failures.append(f"Could not look at {name}: {reason(error)}.")
    return results, failures


def kept(before: dict[str, Any] | None, inputs: str, parts: dict[str, str], now: float) -> dict[str, Any]:
    """The record of a look; `before` is the one of the look at the beginning, or None when this is it."""
    if before is None:
        return {"inputs": inputs, "parts": parts, "until": None}
    if not before:
        return {}
    until = None if before["parts"] == parts else int(now) + BELIEVED_SECONDS
    return {"inputs": before["inputs"], "parts": parts, "until": until}


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "account_id": {"type": "str", "required": True},
            "inputs": {"type": "str", "default": ""},
            "before": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    clients = {service: module.client(service) for service in (*SERVICES, "ssm")}
    look = Look(module.params["name"], module.params["account_id"], clients)
    before = module.params["before"]
    results, failures = read(look.parts() | ({"record": look.record} if before is None else {}))
    for sentence in failures:
        module.warn(f"{sentence} So every task runs, now or the next time.")
    record = results.pop("record", {})
    parts = {name: digest(value) for name, value in results.items()}
    inputs, now = module.params["inputs"], time.time()
    differs = []
    if before is None:
        differs = ["what could not be read"] if failures else differences(record, inputs, parts, now)
    module.exit_json(
        changed=False,
        differs=differs,
        outputs=results.get("outputs", {}),
        record={} if failures else kept(before, inputs, parts, now),
    )


if __name__ == "__main__":
    main()
