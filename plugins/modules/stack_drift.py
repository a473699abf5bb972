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
  - At the end of a run, O(before) tells what differed at its beginning. What differed then and is still the same was
    not repaired, and RV(unrepaired) names it.
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
  settings:
    description: The settings of the stack. Given by the action plugin of this name.
    type: dict
    default: {}
  reads:
    description: Digest of the code that reads the stack. Given by the action plugin of this name.
    type: str
    default: ""
  before:
    description: RV(begun) of the beginning of this run. With it, this is the end of the run.
    type: dict
  accept:
    description: Have what was not repaired recorded as right, at the end of a run.
    type: bool
    default: false
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

- name: Look at what this run leaves
  stack_drift:
    name: team-a
    account_id: "123456789012"
    before: "{{ __drift_look.begun }}"
"""

RETURN = r"""
differs:
  description: The parts that differ from the record, or what is the matter with the record. Empty when nothing differs.
  returned: always
  type: list
  elements: str
  sample: [alb]
fields:
  description: A line for each field that differs from the last good state, the first ten.
  returned: always
  type: list
  elements: str
  sample: ["network: Subnets[team-a-private-a]/MapPublicIpOnLaunch: was false, is true"]
suspects:
  description:
    - By part, a line for each field that differs at the beginning and that neither AWS nor a run that did not end
      explains.
  returned: always
  type: dict
outputs:
  description: The outputs that the last run published.
  returned: always
  type: dict
begun:
  description: What O(before) of this run's end needs to know.
  returned: at the beginning
  type: dict
marker:
  description: Parameters that say that a run has begun, and what differed then.
  returned: at the beginning
  type: dict
unrepaired:
  description: A line for each field that was changed by somebody else and that this run has not repaired.
  returned: always
  type: list
  elements: str
record:
  description:
    - Parameters to keep for the next run; empty when not all could be read, now or at the beginning.
    - What was not repaired is recorded as it was before, unless O(accept).
  returned: always
  type: dict
"""

import json  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Mapping  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils import mlflow_drift as drift  # noqa: E402
from ansible.module_utils.mlflow_aws import BotoCoreError, ClientError, error_code, filters, reason  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

try:
    from botocore import __version__ as botocore_version
except ImportError:  # AnsibleAWSModule reports the missing library
    botocore_version = ""

BELIEVED_SECONDS = 3600
# Calls that are under way at once.
AT_ONCE = 16
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
    "NoSuchCORSConfiguration",
    "NoSuchEntity",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchTagSet",
    "NoSuchWebsiteConfiguration",
    "ObjectLockConfigurationNotFoundError",
    "ObjectNotFoundException",
    "OwnershipControlsNotFoundError",
    "PolicyNotFound",
    "ReplicationConfigurationNotFoundError",
    "RepositoryNotFoundException",
    "RepositoryPolicyNotFoundException",
    "ResourceNotFoundException",
    "ServerSideEncryptionConfigurationNotFoundError",
    "TargetGroupNotFound",
    # Regions without transfer acceleration.
    "MethodNotAllowed",
    "UnsupportedArgument",
)
# A database that works on its own affairs is the same database.
USABLE = ("available", "backing-up", "storage-optimization")
BUCKET_SETTINGS = {
    "versioning": "get_bucket_versioning",
    "encryption": "get_bucket_encryption",
    "public_access_block": "get_public_access_block",
    "ownership": "get_bucket_ownership_controls",
    "policy": "get_bucket_policy",
    "lifecycle": "get_bucket_lifecycle_configuration",
    "logging": "get_bucket_logging",
    "tags": "get_bucket_tagging",
    "acl": "get_bucket_acl",
    "cors": "get_bucket_cors",
    "website": "get_bucket_website",
    "replication": "get_bucket_replication",
    "notification": "get_bucket_notification_configuration",
    "acceleration": "get_bucket_accelerate_configuration",
    "object_lock": "get_object_lock_configuration",
    "payer": "get_bucket_request_payment",
    "inventory": "list_bucket_inventory_configurations",
    "analytics": "list_bucket_analytics_configurations",
    "metrics": "list_bucket_metrics_configurations",
    "tiering": "list_bucket_intelligent_tiering_configurations",
}


class Reader:
    """Reads all that the roles converge of one stack.

    `clients` maps a service to its boto3 client, `pool` runs the calls of a part that do not depend on each other. Each
    part method returns AWS's descriptions as they come, by what they are, and raises botocore's errors, except for what
    is not there.
    """

    def __init__(self, stack: str, account: str, clients: dict[str, Any], pool: ThreadPoolExecutor) -> None:
        self.stack = stack
        self.account = account
        self.clients = clients
        self.pool = pool
        self.region = str(clients["ec2"].meta.region_name)
        self._published: dict[str, str] | None = None
        self._publishing = threading.Lock()

    def parts(self) -> dict[str, Callable[[], Any]]:
        """The parts by name; they do not depend on each other."""
        return {
            "network": self.network,
            "ecr_image": self.ecr_image,
            "rds": self.rds,
            "efs": self.efs,
            "artifact_bucket": self.artifact_bucket,
            "log_bucket": self.log_bucket,
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

    def together(self, calls: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """What each of `calls` returns, run side by side. None of them may use this method itself."""
        running = {name: self.pool.submit(call) for name, call in calls.items()}
        return {name: each.result() for name, each in running.items()}

    def network(self) -> Any:
        """The VPC and all in it."""
        named = filters(**{"tag:Name": self.stack, "tag:Stack": self.stack})
        vpcs = self.ask("ec2", "describe_vpcs", Filters=named).get("Vpcs", [])
        inside = [self._in_vpc(vpc["VpcId"]) for vpc in vpcs]
        # Of a second VPC of the same name each resource is listed as well.
        keys = {key for each in inside for key in each}
        return {"Vpcs": vpcs} | {key: [item for each in inside for item in each[key]] for key in keys}

    def _in_vpc(self, vpc: str) -> dict[str, list[Any]]:
        inside = filters(**{"vpc-id": vpc})
        attached = filters(**{"attachment.vpc-id": vpc})
        mine = filters(**{"tag:Stack": self.stack})

        def described(operation: str, key: str, **arguments: Any) -> Callable[[], list[Any]]:
            return lambda: list(self.ask("ec2", operation, **arguments).get(key, []))

        def attribute(name: str) -> Callable[[], list[Any]]:
            return lambda: [self.ask("ec2", "describe_vpc_attribute", VpcId=vpc, Attribute=name) | {"Name": name}]

        found = self.together(
            {
                "dns_support": attribute("enableDnsSupport"),
                "dns_host_names": attribute("enableDnsHostnames"),
                "Subnets": described("describe_subnets", "Subnets", Filters=inside),
                "InternetGateways": described("describe_internet_gateways", "InternetGateways", Filters=attached),
                "NatGateways": described("describe_nat_gateways", "NatGateways", Filter=inside),
                "Addresses": described("describe_addresses", "Addresses", Filters=mine),
                "RouteTables": described("describe_route_tables", "RouteTables", Filters=inside),
                "NetworkAcls": described("describe_network_acls", "NetworkAcls", Filters=inside),
                "SecurityGroups": described("describe_security_groups", "SecurityGroups", Filters=inside),
                "VpcEndpoints": described("describe_vpc_endpoints", "VpcEndpoints", Filters=inside),
                "FlowLogs": described("describe_flow_logs", "FlowLogs", Filter=filters(**{"resource-id": vpc})),
            }
        )
        # What was deleted stays listed for a while.
        for key in ("NatGateways", "VpcEndpoints"):
            found[key] = [each for each in found[key] if str(each.get("State", "")).lower() != "deleted"]
        return found

    def ecr_image(self) -> Any:
        """The repository and what is tagged in it; the deployed image is."""
        repositories = self.ask("ecr", "describe_repositories", repositoryNames=[self.stack]).get("repositories", [])
        if not repositories:
            return {}
        name, arn = {"repositoryName": self.stack}, repositories[0]["repositoryArn"]
        found = self.together(
            {
                "lifecycle": lambda: self.ask("ecr", "get_lifecycle_policy", **name).get("lifecyclePolicyText"),
                "policy": lambda: self.ask("ecr", "get_repository_policy", **name).get("policyText"),
                "tags": lambda: self.ask("ecr", "list_tags_for_resource", resourceArn=arn).get("tags"),
                "images": lambda: self.ask("ecr", "list_images", **name, filter={"tagStatus": "TAGGED"}).get(
                    "imageIds"
                ),
            }
        )
        return {"repositories": repositories} | found

    def rds(self) -> Any:
        """The instance, its subnet group, and the parameters that somebody has set in its group."""
        first = self.together(
            {
                "instances": lambda: self.ask("rds", "describe_db_instances", DBInstanceIdentifier=self.stack),
                "subnet_groups": lambda: self.ask("rds", "describe_db_subnet_groups", DBSubnetGroupName=self.stack),
            }
        )
        instances = first["instances"].get("DBInstances", [])
        subnet_groups = first["subnet_groups"].get("DBSubnetGroups", [])
        for instance in instances:
            if instance.get("DBInstanceStatus") in USABLE:
                instance["DBInstanceStatus"] = "usable"
        names = [group["DBParameterGroupName"] for each in instances for group in each.get("DBParameterGroups", [])]
        groups = self.together({name: lambda name=name: self._parameter_group(name) for name in names})
        arns = {group["DBSubnetGroupName"]: group["DBSubnetGroupArn"] for group in subnet_groups}
        return {
            "instances": instances,
            "subnet_groups": subnet_groups,
            "parameter_groups": groups,
            "subnet_group_tags": {name: self._database_tags(arn) for name, arn in arns.items()},
        }

    def _parameter_group(self, name: str) -> Any:
        answer = self.ask("rds", "describe_db_parameter_groups", DBParameterGroupName=name)
        groups = answer.get("DBParameterGroups", [])
        return {
            "groups": groups,
            "tags": {
                group["DBParameterGroupName"]: self._database_tags(group["DBParameterGroupArn"]) for group in groups
            },
            "set": self.ask("rds", "describe_db_parameters", DBParameterGroupName=name, Source="user").get(
                "Parameters"
            ),
        }

    def _database_tags(self, arn: str) -> Any:
        return self.ask("rds", "list_tags_for_resource", ResourceName=arn).get("TagList")

    def efs(self) -> Any:
        """The file system, its access points and its mount targets."""
        systems = self.ask("efs", "describe_file_systems", CreationToken=self.stack).get("FileSystems", [])
        found = [self._of_file_system(system["FileSystemId"]) for system in systems]
        return found and {
            "FileSystems": systems,
            "AccessPoints": [p for each in found for p in each.pop("points")],
            "of": found,
        }

    def _of_file_system(self, system: str) -> dict[str, Any]:
        which = {"FileSystemId": system}
        found = self.together(
            {
                "targets": lambda: self.ask("efs", "describe_mount_targets", **which).get("MountTargets", []),
                "points": lambda: self.ask("efs", "describe_access_points", **which).get("AccessPoints", []),
                "lifecycle": lambda: self.ask("efs", "describe_lifecycle_configuration", **which),
                "backup": lambda: self.ask("efs", "describe_backup_policy", **which),
                "policy": lambda: self.ask("efs", "describe_file_system_policy", **which).get("Policy"),
            }
        )
        subnets = {target["SubnetId"]: target["MountTargetId"] for target in found["targets"]}
        ask = "describe_mount_target_security_groups"
        groups = {
            subnet: lambda target=target: self.ask("efs", ask, MountTargetId=target)
            for subnet, target in subnets.items()
        }
        return found | {"target_groups": [{"SubnetId": key} | value for key, value in self.together(groups).items()]}

    def artifact_bucket(self) -> Any:
        """The bucket of the artifacts, which the outputs name."""
        return self._bucket(self.outputs().get("artifact_bucket", ""), "")

    def log_bucket(self) -> Any:
        """The bucket of the access logs."""
        return self._bucket(self.outputs().get("access_log_bucket_arn", "").rpartition(":")[2], "-logs")

    def _bucket(self, published: str, suffix: str) -> Any:
        name = published or f"mlflow-{self.stack}-{self.account}-{self.region}{suffix}"
        which = {"Bucket": name, "ExpectedBucketOwner": self.account}
        # The first question also tells whether there is a bucket: one without a version has an answer.
        first, *others = BUCKET_SETTINGS.items()
        versioning = self.ask("s3", first[1], **which)
        if not versioning:
            return {}
        rest = self.together({key: lambda get=get: self.ask("s3", get, **which) for key, get in others})
        return {"name": name, first[0]: versioning} | rest

    def alb(self) -> Any:
        """The load balancer, its listeners and the target group."""
        first = self.together(
            {
                "balancers": lambda: self.ask("elbv2", "describe_load_balancers", Names=[self.stack]),
                "groups": lambda: self.ask("elbv2", "describe_target_groups", Names=[self.stack]),
            }
        )
        balancers = first["balancers"].get("LoadBalancers", [])
        groups = first["groups"].get("TargetGroups", [])
        for balancer in balancers:
            # Made a moment ago it is being provisioned; no task reads it or waits for it.
            balancer.pop("State", None)
        of_balancers = {balancer["LoadBalancerArn"]: balancer for balancer in balancers}
        of_groups = {group["TargetGroupArn"]: group for group in groups}
        found = self.together(
            {arn: lambda arn=arn: self._of_balancer(arn) for arn in of_balancers}
            | {arn: lambda arn=arn: self._of_target_group(arn) for arn in of_groups}
        )
        listeners = [listener for arn in of_balancers for listener in found[arn].pop("listeners")]
        of_listeners = {listener["ListenerArn"]: listener for listener in listeners}
        described = of_balancers | of_groups | of_listeners
        last = self.together(
            {arn: lambda arn=arn: self._of_listener(of_listeners[arn]) for arn in of_listeners}
            | {"tags": lambda: described and self.ask("elbv2", "describe_tags", ResourceArns=[*described])}
        )
        tags = {each["ResourceArn"]: each.get("Tags") for each in (last["tags"] or {}).get("TagDescriptions", [])}
        for arn, resource in described.items():
            resource.update(found.get(arn, {}) | last.get(arn, {}) | {"Tags": tags.get(arn)})
        return {"balancers": balancers, "target_groups": groups, "listeners": listeners}

    def _of_balancer(self, arn: str) -> dict[str, Any]:
        which = {"LoadBalancerArn": arn}
        return {
            "Attributes": self.ask("elbv2", "describe_load_balancer_attributes", **which).get("Attributes"),
            "listeners": self.ask("elbv2", "describe_listeners", **which).get("Listeners", []),
        }

    def _of_target_group(self, arn: str) -> dict[str, Any]:
        answer = self.ask("elbv2", "describe_target_group_attributes", TargetGroupArn=arn)
        return {"Attributes": answer.get("Attributes")}

    def _of_listener(self, listener: dict[str, Any]) -> dict[str, Any]:
        which = {"ListenerArn": listener["ListenerArn"]}
        # Only a listener with a certificate can have more of them.
        secure = bool(listener.get("Certificates"))
        answer = self.ask("elbv2", "describe_listener_certificates", **which) if secure else {}
        return {
            "Rules": self.ask("elbv2", "describe_rules", **which).get("Rules"),
            "Attributes": self.ask("elbv2", "describe_listener_attributes", **which).get("Attributes"),
            "AllCertificates": answer.get("Certificates"),
        }

    def ecs_service(self) -> Any:
        """The cluster, the services in it, their scaling, and the revisions of the task definition."""
        scaling = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}
        resource = f"service/{self.stack}/{self.stack}"
        mine = {"cluster": self.stack}
        included = ["TAGS", "SETTINGS", "CONFIGURATIONS"]

        def scales(operation: str, **arguments: Any) -> Callable[[], dict[str, Any]]:
            return lambda: self.ask("application-autoscaling", operation, **arguments, **scaling)

        found = self.together(
            {
                "cluster": lambda: self.ask("ecs", "describe_clusters", clusters=[self.stack], include=included),
                "described": lambda: self.ask(
                    "ecs", "describe_services", **mine, services=[self.stack], include=["TAGS"]
                ),
                "listed": lambda: self.ask("ecs", "list_services", **mine).get("serviceArns", []),
                "targets": scales("describe_scalable_targets", ResourceIds=[resource]),
                "policies": scales("describe_scaling_policies", ResourceId=resource),
                "scheduled": scales("describe_scheduled_actions", ResourceId=resource),
                "revisions": lambda: self.ask("ecs", "list_task_definitions", familyPrefix=self.stack, status="ACTIVE"),
            }
        )
        services, targets = found["described"].get("services", []), found["targets"].get("ScalableTargets", [])
        for service in services:
            steady(service, targets)
        definitions = [service["taskDefinition"] for service in services]
        # Targets of older code have no ARN, and no tags.
        arns = [target["ScalableTargetARN"] for target in targets if target.get("ScalableTargetARN")]
        return {
            "target_tags": [
                self.ask("application-autoscaling", "list_tags_for_resource", ResourceARN=arn).get("Tags")
                for arn in arns
            ],
            "clusters": found["cluster"].get("clusters"),
            "services": services,
            "listed": found["listed"],
            "targets": targets,
            "policies": found["policies"].get("ScalingPolicies"),
            "scheduled": found["scheduled"].get("ScheduledActions"),
            "revisions": found["revisions"].get("taskDefinitionArns"),
            "task_definitions": [
                self.ask("ecs", "describe_task_definition", taskDefinition=each, include=["TAGS"])
                for each in definitions
            ],
        }

    def roles(self) -> Any:
        """The roles and all that they may do."""
        uses = ("execution", "task", "flow-logs")
        return self.together(
            {use: lambda use=use: self._role(f"mlflow-{self.stack}-{self.region}-{use}") for use in uses}
        )

    def _role(self, name: str) -> Any:
        role = self.ask("iam", "get_role", RoleName=name).get("Role")
        if not role:
            return {}
        which = {"RoleName": name}
        policies = self.ask("iam", "list_role_policies", **which).get("PolicyNames", [])
        answer = self.ask("iam", "list_instance_profiles_for_role", **which)
        return {
            "role": role,
            "managed": self.ask("iam", "list_attached_role_policies", **which).get("AttachedPolicies"),
            "inline": [self.ask("iam", "get_role_policy", **which, PolicyName=policy) for policy in policies],
            "profiles": [profile["Arn"] for profile in answer.get("InstanceProfiles", [])],
        }

    def secrets(self) -> Any:
        """The secrets' descriptions and policies. Their values are never read here; another one has another version."""
        return self.together({use: lambda use=use: self._secret(use) for use in ("database", "admin", "flask")})

    def _secret(self, use: str) -> Any:
        which = {"SecretId": f"mlflow/{self.stack}/{use}"}
        secret = self.ask("secretsmanager", "describe_secret", **which)
        policy = secret and self.ask("secretsmanager", "get_resource_policy", **which).get("ResourcePolicy")
        # By stage, for the versions of a secret that is made anew are others.
        stages = {stage: version for version, of in secret.pop("VersionIdsToStages", {}).items() for stage in of}
        return secret and secret | {"policy": policy, "stages": stages}

    def log_groups(self) -> Any:
        """The log groups, of the server and of the network's flow."""
        names = (f"/mlflow/{self.stack}", f"/mlflow/{self.stack}/flow")
        groups = self.ask("logs", "describe_log_groups", logGroupNamePrefix=names[0]).get("logGroups", [])
        mine = {group["logGroupName"]: group for group in groups if group["logGroupName"] in names}
        return self.together({name: lambda group=group: self._log_group(group) for name, group in mine.items()})

    def _log_group(self, group: dict[str, Any]) -> Any:
        which = {"logGroupName": group["logGroupName"]}
        # The ARN of a description ends in ":*", which the other call refuses.
        arn = group["arn"].removesuffix(":*")
        return {
            "group": group,
            "tags": self.ask("logs", "list_tags_for_resource", resourceArn=arn).get("tags"),
            "subscriptions": self.ask("logs", "describe_subscription_filters", **which).get("subscriptionFilters"),
            "metrics": self.ask("logs", "describe_metric_filters", **which).get("metricFilters"),
        }

    def outputs(self) -> dict[str, str]:
        """The outputs that the last run published, read once."""
        with self._publishing:
            if self._published is None:
                self._published = self.parameters(f"/mlflow/{self.stack}")
            return self._published

    def record(self) -> dict[str, Any]:
        """What the last run has kept, or {}. Only the digests: the descriptions are below paths of their own."""
        try:
            kept = json.loads(self.parameters(f"/mlflow-drift/{self.stack}", Recursive=False).get("record", "{}"))
        except ValueError:
            return {}
        return kept if isinstance(kept, dict) else {}

    def history(self) -> dict[str, str]:
        """All that earlier runs have kept."""
        return self.parameters(f"/mlflow-drift/{self.stack}")

    def parameters(self, path: str, **arguments: Any) -> dict[str, str]:
        """The parameters below `path`, by their names there."""
        answer = self.ask("ssm", "get_parameters_by_path", **({"Path": path, "Recursive": True} | arguments))
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


def read(reads: dict[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Run `reads` side by side: (what each returned, a sentence for each read that failed)."""
    results: dict[str, Any] = {}
    failures: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=len(reads)) as pool:
        for name, future in {name: pool.submit(each) for name, each in reads.items()}.items():
            try:
                results[name] = future.result()
            except (ClientError, BotoCoreError) as error:
                failures[name] = f"Could not read {name}: {reason(error)}."
    return results, failures


def last_run(history: Mapping[str, str], record: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The last good state, {} without one, and what a run that has begun since and did not end has left, or None."""
    good = drift.unpack(drift.below(history, f"good/{record.get('good')}/"))
    begun = drift.unpack(drift.below(history, "begun/"))
    # The mark of a run that has ended is of an older record.
    return good, begun if begun and begun.get("after") == record.get("run") else None


def good_fields(state: Mapping[str, Any], failures: Mapping[str, str]) -> drift.Fields:
    """The fields of the last good state, without the parts that could not be read now and so have not changed."""
    fields = drift.taken_back(drift.fields(state.get("parts", {})), state.get("wrong", {}))
    return {path: value for path, value in fields.items() if path.split("/")[0] not in failures}


def told(good: Mapping[str, Any], settings: Mapping[str, Any]) -> drift.Changes:
    """The settings that have changed since the last good state."""
    return drift.changes(drift.fields({"settings": good}), drift.fields({"settings": settings}))


def kept(before: Mapping[str, Any], results: Mapping[str, Any], wrong: drift.Changes, now: float) -> dict[str, str]:
    """The parameters of the record at the end of a run; `wrong` was not repaired and is recorded as it was before."""
    parts = {name: drift.digest(value) for name, value in results.items()}
    state = drift.pack(
        {
            "parts": drift.settled(dict(results)),
            "wrong": {path: change.was for path, change in wrong.items()},
            "settings": before["settings"],
            "reads": before["reads"],
            "botocore": botocore_version,
        }
    )
    generation = drift.digest(state)[:16]
    record = {
        "inputs": before["inputs"],
        "parts": parts | {path.split("/")[0]: "not repaired" for path in wrong},
        "until": None if before["parts"] == parts else int(now) + BELIEVED_SECONDS,
        "good": generation,
        # Tells the mark of a run that begins after it from one that is left over.
        "run": f"{now:.3f}",
    }
    return drift.numbered(f"good/{generation}/", state) | {"record": drift.canonical(record)}


def at_the_beginning(module: Any, reader: Reader) -> dict[str, Any]:
    """What the module returns at the beginning of a run."""
    results, failures = read(reader.parts() | {"record": reader.record})
    record = results.pop("record", {})
    given = {name: module.params[name] for name in ("inputs", "settings", "reads")}
    parts = {name: drift.digest(value) for name, value in results.items()}
    differs = differences(record, given["inputs"], parts, time.time())
    history: dict[str, str] = {}
    if record and differs:
        earlier, unread = read({"record": reader.history})
        history, failures = earlier.get("record", {}), failures | unread
    warn(module, failures)
    state, begun = last_run(history, record)
    good = good_fields(state, failures)
    now = drift.fields(results) if good else {}
    found = drift.changes(good, now)
    upgrade = drift.Upgrade(state.get("botocore") != botocore_version, state.get("reads") != given["reads"])
    suspects = drift.unexplained(found, drift.explained(found, good, now, upgrade), begun)
    suspects = drift.unrepaired(suspects, now, told(state.get("settings", {}), given["settings"]))
    lines = drift.lines(found, good, now)
    said = {path: [*change, lines[path]] for path, change in suspects.items()}
    marker = {
        "after": record.get("run"),
        "suspects": {path: change.now for path, change in suspects.items()},
        # Without the history nobody knows what differs.
        "unread": sorted(reader.parts()) if "record" in failures else sorted(failures),
    }
    return {
        "differs": ["what could not be read"] if failures else differs,
        "fields": drift.first(drift.by_part(lines, found)),
        "suspects": drift.by_part(lines, suspects),
        "unrepaired": [],
        "outputs": results.get("outputs", {}),
        "begun": given | {"parts": parts, "suspects": drift.pack(said), "whole": not failures},
        "marker": drift.numbered("", drift.pack(marker)),
        "record": {},
    }


def at_the_end(module: Any, reader: Reader) -> dict[str, Any]:
    """What the module returns at the end of a run."""
    before = module.params["before"]
    results, failures = read(reader.parts())
    warn(module, failures)
    now = drift.fields(results)
    said = drift.unpack(before["suspects"])
    suspects = {path: drift.Change(was, value) for path, (was, value, _) in said.items()}
    left = drift.unrepaired(suspects, now, {})
    lines = drift.by_part({path: line for path, (_, _, line) in said.items()}, left)
    wrong = {} if module.params["accept"] else left
    return {
        "differs": [],
        "fields": [],
        "suspects": {},
        "unrepaired": [line for each in lines.values() for line in each],
        "outputs": results.get("outputs", {}),
        "record": kept(before, results, wrong, time.time()) if before["whole"] and not failures else {},
    }


def warn(module: Any, failures: Mapping[str, str]) -> None:
    """Say what could not be read."""
    for sentence in failures.values():
        module.warn(f"{sentence} So every task runs, now or the next time.")


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "account_id": {"type": "str", "required": True},
            "inputs": {"type": "str", "default": ""},
            "settings": {"type": "dict", "default": {}},
            "reads": {"type": "str", "default": ""},
            "before": {"type": "dict"},
            "accept": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    clients = {service: module.client(service) for service in (*SERVICES, "ssm")}
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        reader = Reader(module.params["name"], module.params["account_id"], clients, pool)
        look = at_the_beginning if module.params["before"] is None else at_the_end
        module.exit_json(changed=False, **look(module, reader))


if __name__ == "__main__":
    main()
