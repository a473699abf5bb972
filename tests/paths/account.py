"""A second reader: all that an account holds, by boto3 alone, in a form in which two accounts can be compared.

`read(clients)` gives {resource: {field: value}}. A resource is "service/kind/name"; where AWS draws ids, ARNs, host
names or addresses, the value has "<kind name>" of what it names, so that two accounts that say the same read the same.
Dates, revisions, counters and what AWS alone decides are left out, and lists without an order are sorted. Nothing is
filtered by name: what a run left behind is there as well. `differences(account, fresh)` gives a sentence a field.
"""

from __future__ import annotations

import datetime
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

Fields = dict[str, Any]
Account = dict[str, Fields]

SERVICES = (
    "acm",
    "application-autoscaling",
    "backup",
    "cloudwatch",
    "ec2",
    "ecr",
    "ecs",
    "efs",
    "elbv2",
    "events",
    "iam",
    "kms",
    "lambda",
    "logs",
    "rds",
    "route53",
    "s3",
    "secretsmanager",
    "servicediscovery",
    "sns",
    "sqs",
    "ssm",
    "wafv2",
)
# Codes of a setting that is not there.
ABSENT = re.compile(
    r"NoSuch(?!Bucket$)|NotFound|PolicyNotFound|ReplicationConfigurationNotFoundError|"
    r"ServerSideEncryptionConfigurationNotFoundError|ObjectLockConfigurationNotFoundError|MethodNotAllowed"
)
# Drawn by AWS, counted by it, or of a moment; never set by anybody.
DRAWN = frozenset(
    """
    ResponseMetadata NextToken nextToken Marker IsTruncated MaxResults AvailableIpAddressCount AssociationId
    AssociationState SubnetArn OwnerId RequestId StatusMessage NetworkAclAssociationId RouteTableAssociationId
    AllocationId PrivateIpAddress PrivateIpAddresses NetworkInterfaceId NetworkInterfaceIds DnsEntries
    AvailabilityZoneId ServiceId RequesterId RoleId PolicyId RoleLastUsed UserId DefaultVersionId
    AttachmentCount PermissionsBoundaryUsageCount creationTime storedBytes registryId imagePushedAt
    metricFilterCount DbiResourceId ResourceId DBInstanceStatus LatestRestorableTime PendingModifiedValues
    EngineLifecycleSupport FileSystemArn LifeCycleState NumberOfMountTargets SizeInBytes IpAddress
    CreationToken ClientToken LoadBalancerArns CanonicalHostedZoneId deployments events runningCount
    pendingCount createdBy revision taskSets currentServiceRevisions activeServicesCount runningTasksCount
    pendingTasksCount registeredContainerInstancesCount statistics registeredBy compatibilities
    requiresAttributes Alarms VersionIdsToStages LastModifiedUser LastModifiedDate StateReason StateValue
    StateReasonData StateTransitionedTimestamp StateUpdatedTimestamp AlarmConfigurationUpdatedTimestamp
    DeliverLogsStatus CreationTime FlowLogId CertificateDetails DomainValidationOptions
    """.split()  # noqa: SIM905
)
# What is of a moment in some kinds, and said by somebody in others (a lifecycle rule's Status).
MOMENTS = ("ec2/", "efs/", "elbv2/load-balancer", "ecs/task-definition", "ecs/service", "ssm/", "rds/")
OF_A_MOMENT = frozenset(("State", "Status", "status", "Version"))
# Lists in which the order is part of what was said.
ORDERED = frozenset(("command", "entryPoint"))
# Lists of {name, value}: they become one dictionary.
PAIRS = (
    ("Key", "Value"),
    ("key", "value"),
    ("name", "value"),
    ("name", "valueFrom"),
    ("ParameterName", "ParameterValue"),
)
# Lists of which each entry has a name of its own.
NAMED = {"containerDefinitions": "name", "volumes": "name", "Rules": "ID", "CorsRules": "ID"}


def clients(url: str, keys: Mapping[str, str]) -> dict[str, Any]:
    """A client for each of SERVICES at `url`; `keys` has AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION."""
    session = boto3.session.Session(
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        region_name=keys["AWS_REGION"],
    )
    config = Config(retries={"total_max_attempts": 1}, max_pool_connections=4, s3={"addressing_style": "path"})
    return {
        name: session.client(name, endpoint_url=url, config=config)  # type: ignore[call-overload]
        for name in SERVICES
    }


@dataclass
class Resource:
    """One resource as AWS describes it; `name` may hold ids of others, `ids` is all by which others may name it."""

    kind: str
    name: str
    fields: Any
    ids: list[str] = field(default_factory=list)


class Reader:
    """Reads one account."""

    def __init__(self, clients: Mapping[str, Any]) -> None:
        self.clients = clients
        self.unread: set[str] = set()

    def ask(self, service: str, operation: str, **request: Any) -> dict[str, Any]:
        """The whole answer, all pages; {} for a setting that is not there, and for what the emulator has not."""
        client = self.clients[service]
        try:
            if client.can_paginate(operation):
                return dict(client.get_paginator(operation).paginate(**request).build_full_result())
            return dict(getattr(client, operation)(**request))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if error.response["ResponseMetadata"].get("HTTPStatusCode", 0) >= 500 or code in ("404", "501", "405"):
                self.unread.add(f"{service} {operation}")
                return {}
            if ABSENT.search(code):
                return {}
            raise

    def resources(self) -> list[Resource]:
        """All of the account, side by side by service."""
        parts: list[Callable[[], Iterable[Resource]]] = [
            self.ec2, self.ec2_edges, self.iam, self.logs, self.ecr, self.rds, self.efs, self.s3, self.balancers,
            self.ecs, self.scaling, self.secrets, self.parameters, self.others,
        ]  # fmt: skip
        with ThreadPoolExecutor(max_workers=4) as pool:
            return [each for found in pool.map(lambda part: list(part()), parts) for each in found]

    # --- the network ---

    def ec2(self) -> Iterator[Resource]:
        """VPCs, subnets, groups, lists and routes."""
        for vpc in self.ask("ec2", "describe_vpcs")["Vpcs"]:
            if vpc["IsDefault"]:
                continue
            for what in ("enableDnsSupport", "enableDnsHostnames"):
                answer = self.ask("ec2", "describe_vpc_attribute", VpcId=vpc["VpcId"], Attribute=what)
                vpc[what] = answer[what[0].upper() + what[1:]]["Value"]
            for blocks in ("CidrBlockAssociationSet", "Ipv6CidrBlockAssociationSet"):
                vpc[blocks] = [each.get("CidrBlock", each.get("Ipv6CidrBlock")) for each in vpc.get(blocks, [])]
            yield Resource("ec2/vpc", named(vpc), vpc, [vpc["VpcId"]])
        for subnet in self.mine("describe_subnets", "Subnets"):
            yield Resource("ec2/subnet", named(subnet), subnet, [subnet["SubnetId"]])
        for group in self.mine("describe_security_groups", "SecurityGroups"):
            name = f"default of {group['VpcId']}" if group["GroupName"] == "default" else group["GroupName"]
            for direction, key in (("ingress", "IpPermissions"), ("egress", "IpPermissionsEgress")):
                group[direction] = sorted(permissions(group.pop(key)))
            group.pop("SecurityGroupArn", None)
            yield Resource("ec2/security-group", name, group, [group["GroupId"]])
        for acl in self.mine("describe_network_acls", "NetworkAcls"):
            entries = {
                f"{'egress' if entry.pop('Egress') else 'ingress'} {entry.pop('RuleNumber')}": entry
                for entry in acl.pop("Entries")
            }
            acl["Subnets"] = [each["SubnetId"] for each in acl.pop("Associations")]
            name = f"default of {acl['VpcId']}" if acl["IsDefault"] else named(acl)
            yield Resource("ec2/network-acl", name, acl | {"Entries": entries}, [acl["NetworkAclId"]])
        for table in self.mine("describe_route_tables", "RouteTables"):
            main = any(each.get("Main") for each in table["Associations"])
            table["Subnets"] = [each["SubnetId"] for each in table.pop("Associations") if "SubnetId" in each]
            routes = table.pop("Routes")
            table["Main"] = main
            table["Routes"] = {destination(route): route for route in routes}
            name = named(table) or (f"main of {table['VpcId']}" if main else "")
            yield Resource("ec2/route-table", name, table, [table["RouteTableId"]])

    def ec2_edges(self) -> Iterator[Resource]:
        """What connects a VPC, or costs money."""
        for gateway in self.ask("ec2", "describe_internet_gateways")["InternetGateways"]:
            if any(each["VpcId"] in self.default_vpcs for each in gateway["Attachments"]):
                continue
            gateway["Attachments"] = [each["VpcId"] for each in gateway["Attachments"]]
            yield Resource("ec2/internet-gateway", named(gateway), gateway, [gateway["InternetGatewayId"]])
        # The interfaces of a service: AWS makes them and takes them away.
        of_services: set[str] = {
            target["NetworkInterfaceId"]
            for system in self.ask("efs", "describe_file_systems")["FileSystems"]
            for target in self.ask("efs", "describe_mount_targets", FileSystemId=system["FileSystemId"])["MountTargets"]
        }
        for nat in self.ask("ec2", "describe_nat_gateways")["NatGateways"]:
            of_services |= {each.get("NetworkInterfaceId") for each in nat["NatGatewayAddresses"]}
            if nat["State"] in ("deleted", "deleting"):
                continue
            nat["Addresses"] = [each.get("AllocationId") for each in nat.pop("NatGatewayAddresses", [])]
            yield Resource("ec2/nat-gateway", named(nat), nat, [nat["NatGatewayId"]])
        for address in self.ask("ec2", "describe_addresses")["Addresses"]:
            ids = [address["AllocationId"], address["PublicIp"]]
            address["Used"] = bool(address.pop("AssociationId", None) or address.get("NetworkInterfaceId"))
            address.pop("InstanceId", None)
            yield Resource("ec2/address", named(address), address, ids)
        for endpoint in self.ask("ec2", "describe_vpc_endpoints")["VpcEndpoints"]:
            if endpoint["State"].lower() in ("deleted", "deleting"):
                continue
            of_services |= set(endpoint.get("NetworkInterfaceIds", []))
            endpoint["PolicyDocument"] = parsed(endpoint.get("PolicyDocument"))
            endpoint["Groups"] = [each["GroupId"] for each in endpoint.pop("Groups", [])]
            name = f"{endpoint['ServiceName'].split('.', 3)[-1]} of {endpoint['VpcId']}"
            yield Resource("ec2/endpoint", name, endpoint, [endpoint["VpcEndpointId"]])
        for log in self.ask("ec2", "describe_flow_logs")["FlowLogs"]:
            yield Resource(
                "ec2/flow-log", f"of {log['ResourceId']}", log | {"Of": log["ResourceId"]}, [log["FlowLogId"]]
            )
        for prefixes in self.ask("ec2", "describe_managed_prefix_lists")["PrefixLists"]:
            yield Resource("ec2/prefix-list", prefixes["PrefixListName"], {}, [prefixes["PrefixListId"]])
        for interface in self.mine("describe_network_interfaces", "NetworkInterfaces"):
            if interface["NetworkInterfaceId"] in of_services:
                continue
            if interface.get("RequesterManaged") or interface.get("InterfaceType") not in (None, "interface"):
                continue
            attached = interface.get("Attachment", {}).get("InstanceOwnerId", "")
            if attached.startswith("amazon") or interface.get("Description"):
                # Of a service: AWS makes it and takes it away.
                continue
            fields = {
                "Groups": [each["GroupId"] for each in interface["Groups"]],
                "SubnetId": interface["SubnetId"],
                "Tags": interface.get("TagSet", []),
            }
            yield Resource("ec2/network-interface", f"in {interface['SubnetId']}", fields, [])
        for options in self.ask("ec2", "describe_dhcp_options")["DhcpOptions"]:
            yield Resource("ec2/dhcp-options", named(options), options, [options["DhcpOptionsId"]])
        for peering in self.ask("ec2", "describe_vpc_peering_connections")["VpcPeeringConnections"]:
            yield Resource("ec2/peering", named(peering), peering, [peering["VpcPeeringConnectionId"]])

    @cached_property
    def default_vpcs(self) -> set[str]:
        """The VPC that every account has from the start."""
        return {each["VpcId"] for each in self.ask("ec2", "describe_vpcs")["Vpcs"] if each["IsDefault"]}

    def mine(self, operation: str, key: str) -> list[dict[str, Any]]:
        """What does not belong to the VPC that every account has from the start."""
        return [each for each in self.ask("ec2", operation)[key] if each.get("VpcId") not in self.default_vpcs]

    # --- rights ---

    def iam(self) -> Iterator[Resource]:
        """Roles and all that they may do, and the account's own policies, users and groups."""
        for listed in self.ask("iam", "list_roles")["Roles"]:
            name = listed["RoleName"]
            role = self.ask("iam", "get_role", RoleName=name)["Role"]
            role["AssumeRolePolicyDocument"] = parsed(role["AssumeRolePolicyDocument"])
            role["Inline"] = {
                each: parsed(self.ask("iam", "get_role_policy", RoleName=name, PolicyName=each)["PolicyDocument"])
                for each in self.ask("iam", "list_role_policies", RoleName=name)["PolicyNames"]
            }
            attached = self.ask("iam", "list_attached_role_policies", RoleName=name)["AttachedPolicies"]
            role["Attached"] = [each["PolicyArn"] for each in attached]
            role["PermissionsBoundary"] = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
            yield Resource("iam/role", name, role)
        for policy in self.ask("iam", "list_policies", Scope="Local")["Policies"]:
            yield Resource("iam/policy", policy["PolicyName"], {"Path": policy["Path"]})
        for user in self.ask("iam", "list_users")["Users"]:
            yield Resource("iam/user", user["UserName"], {"Path": user["Path"]})

    def secrets(self) -> Iterator[Resource]:
        """Secrets without their values."""
        for listed in self.ask("secretsmanager", "list_secrets", IncludePlannedDeletion=True)["SecretList"]:
            secret = self.ask("secretsmanager", "describe_secret", SecretId=listed["ARN"])
            policy = self.ask("secretsmanager", "get_resource_policy", SecretId=listed["ARN"]).get("ResourcePolicy")
            secret["Deleted"] = secret.pop("DeletedDate", None) is not None
            yield Resource(
                "secretsmanager/secret", secret["Name"], secret | {"Policy": parsed(policy)}, [secret["ARN"]]
            )

    # --- data ---

    def logs(self) -> Iterator[Resource]:
        """Log groups and all that is hung onto them."""
        for group in self.ask("logs", "describe_log_groups")["logGroups"]:
            name, arn = group["logGroupName"], group["arn"].removesuffix(":*")
            group["tags"] = self.ask("logs", "list_tags_for_resource", resourceArn=arn).get("tags", {})
            for what, key in (("subscription_filters", "subscriptionFilters"), ("metric_filters", "metricFilters")):
                found = self.ask("logs", f"describe_{what}", logGroupName=name).get(key, [])
                group[key] = {each["filterName"]: each for each in found}
            answer = self.ask("logs", "get_data_protection_policy", logGroupIdentifier=name)
            group["dataProtection"] = parsed(answer.get("policyDocument"))
            yield Resource("logs/group", name, group)
        for policy in self.ask("logs", "describe_resource_policies").get("resourcePolicies", []):
            document = parsed(policy["policyDocument"])
            yield Resource("logs/resource-policy", policy["policyName"], {"document": document})

    def ecr(self) -> Iterator[Resource]:
        """Repositories, their settings and their images."""
        for repository in self.ask("ecr", "describe_repositories")["repositories"]:
            name = repository["repositoryName"]
            repository["tags"] = self.ask("ecr", "list_tags_for_resource", resourceArn=repository["repositoryArn"])[
                "tags"
            ]
            lifecycle = self.ask("ecr", "get_lifecycle_policy", repositoryName=name).get("lifecyclePolicyText")
            repository["lifecycle"] = parsed(lifecycle)
            repository["policy"] = parsed(
                self.ask("ecr", "get_repository_policy", repositoryName=name).get("policyText")
            )
            yield Resource("ecr/repository", name, repository)

    def rds(self) -> Iterator[Resource]:
        """Databases, what they are made of, and their snapshots."""
        for database in self.ask("rds", "describe_db_instances")["DBInstances"]:
            database["TagList"] = self.tags_of_rds(database["DBInstanceArn"])
            ids = [database["DbiResourceId"], database["DBInstanceArn"]]
            address = database.get("Endpoint", {}).get("Address")
            database["DBSubnetGroup"] = database.get("DBSubnetGroup", {}).get("DBSubnetGroupName")
            yield Resource(
                "rds/instance", database["DBInstanceIdentifier"], database, [*ids, *([address] if address else [])]
            )
        for cluster in self.ask("rds", "describe_db_clusters")["DBClusters"]:
            address = cluster.get("Endpoint")
            yield Resource("rds/cluster", cluster["DBClusterIdentifier"], cluster,
                           [cluster["DbClusterResourceId"], *([address] if address else [])])  # fmt: skip
        for group in self.ask("rds", "describe_db_subnet_groups")["DBSubnetGroups"]:
            group["Subnets"] = [each["SubnetIdentifier"] for each in group["Subnets"]]
            group["Tags"] = self.tags_of_rds(group["DBSubnetGroupArn"])
            yield Resource("rds/subnet-group", group["DBSubnetGroupName"], group)
        for group in self.ask("rds", "describe_db_parameter_groups")["DBParameterGroups"]:
            name = group["DBParameterGroupName"]
            if name.startswith("default."):
                continue
            answer = self.ask("rds", "describe_db_parameters", DBParameterGroupName=name)
            group["Parameters"] = {
                each["ParameterName"]: (each.get("ParameterValue"), each.get("ApplyMethod"))
                for each in answer["Parameters"]
            }
            group["Tags"] = self.tags_of_rds(group["DBParameterGroupArn"])
            yield Resource("rds/parameter-group", name, group)
        for snapshot in self.ask("rds", "describe_db_snapshots")["DBSnapshots"]:
            if snapshot.get("SnapshotType") != "automated":
                yield Resource(
                    "rds/snapshot", snapshot["DBSnapshotIdentifier"], {"of": snapshot["DBInstanceIdentifier"]}
                )

    def tags_of_rds(self, arn: str) -> list[dict[str, str]]:
        """The tags of anything of RDS."""
        return list(self.ask("rds", "list_tags_for_resource", ResourceName=arn).get("TagList", []))

    def efs(self) -> Iterator[Resource]:
        """File systems, their doors and their policies."""
        for system in self.ask("efs", "describe_file_systems")["FileSystems"]:
            one = {"FileSystemId": system["FileSystemId"]}
            answer = self.ask("efs", "describe_lifecycle_configuration", **one)
            system["Lifecycle"] = answer.get("LifecyclePolicies", [])
            system["Backup"] = self.ask("efs", "describe_backup_policy", **one).get("BackupPolicy", {}).get("Status")
            system["Policy"] = parsed(self.ask("efs", "describe_file_system_policy", **one).get("Policy"))
            yield Resource("efs/file-system", named(system), system, [system["FileSystemArn"], system["FileSystemId"]])
            for target in self.ask("efs", "describe_mount_targets", **one)["MountTargets"]:
                where = {"MountTargetId": target["MountTargetId"]}
                groups = self.ask("efs", "describe_mount_target_security_groups", **where)
                target["SecurityGroups"] = groups["SecurityGroups"]
                yield Resource("efs/mount-target", f"in {target['SubnetId']}", target, [target["MountTargetId"]])
        for point in self.ask("efs", "describe_access_points")["AccessPoints"]:
            ids = [point.pop("AccessPointArn"), point["AccessPointId"]]
            yield Resource("efs/access-point", named(point), point, ids)

    def s3(self) -> Iterator[Resource]:
        """Buckets and every setting that one may have."""
        single = (
            "accelerate_configuration", "acl", "cors", "encryption", "lifecycle_configuration", "logging",
            "notification_configuration", "ownership_controls", "policy", "replication", "request_payment", "tagging",
            "versioning", "website",
        )  # fmt: skip
        for name in (each["Name"] for each in self.ask("s3", "list_buckets")["Buckets"]):
            bucket: dict[str, Any] = {what: self.ask("s3", f"get_bucket_{what}", Bucket=name) for what in single}
            bucket["policy"] = parsed(bucket["policy"].get("Policy"))
            bucket["acl"].pop("Owner", None)
            bucket["public_access"] = self.ask("s3", "get_public_access_block", Bucket=name)
            bucket["object_lock"] = self.ask("s3", "get_object_lock_configuration", Bucket=name)
            for what in ("inventory", "analytics", "metrics", "intelligent_tiering"):
                bucket[what] = self.ask("s3", f"list_bucket_{what}_configurations", Bucket=name)
            yield Resource("s3/bucket", name, bucket)

    # --- the front and the service ---

    def balancers(self) -> Iterator[Resource]:
        """Load balancers, listeners, rules and target groups."""
        for balancer in self.ask("elbv2", "describe_load_balancers")["LoadBalancers"]:
            arn, name = balancer["LoadBalancerArn"], balancer["LoadBalancerName"]
            answer = self.ask("elbv2", "describe_load_balancer_attributes", LoadBalancerArn=arn)
            balancer["Attributes"] = answer["Attributes"]
            balancer["Tags"] = self.tags_of_elb(arn)
            balancer["AvailabilityZones"] = [each["SubnetId"] for each in balancer["AvailabilityZones"]]
            yield Resource("elbv2/load-balancer", name, balancer, [arn, balancer["DNSName"]])
            for listener in self.ask("elbv2", "describe_listeners", LoadBalancerArn=arn)["Listeners"]:
                yield from self.listener(name, listener)
        for group in self.ask("elbv2", "describe_target_groups")["TargetGroups"]:
            arn = group["TargetGroupArn"]
            group["Attributes"] = self.ask("elbv2", "describe_target_group_attributes", TargetGroupArn=arn)[
                "Attributes"
            ]
            group["Tags"] = self.tags_of_elb(arn)
            group["Used"] = bool(group.get("LoadBalancerArns"))
            yield Resource("elbv2/target-group", group["TargetGroupName"], group, [arn])

    def listener(self, balancer: str, listener: dict[str, Any]) -> Iterator[Resource]:
        """A listener and its rules."""
        arn, name = listener["ListenerArn"], f"{balancer}:{listener['Port']}"
        answer = self.ask("elbv2", "describe_listener_certificates", ListenerArn=arn)
        listener["AllCertificates"] = [each["CertificateArn"] for each in answer.get("Certificates", [])]
        attributes = self.ask("elbv2", "describe_listener_attributes", ListenerArn=arn)
        listener["Attributes"] = attributes.get("Attributes", [])
        listener["Tags"] = self.tags_of_elb(arn)
        yield Resource("elbv2/listener", name, listener, [arn])
        for rule in self.ask("elbv2", "describe_rules", ListenerArn=arn)["Rules"]:
            rule["Tags"] = [] if rule["IsDefault"] else self.tags_of_elb(rule["RuleArn"])
            yield Resource("elbv2/rule", f"{name} {rule['Priority']}", rule, [rule["RuleArn"]])

    def tags_of_elb(self, arn: str) -> list[dict[str, str]]:
        """The tags of anything of a load balancer."""
        answer = self.ask("elbv2", "describe_tags", ResourceArns=[arn])
        return [tag for each in answer.get("TagDescriptions", []) for tag in each["Tags"]]

    def ecs(self) -> Iterator[Resource]:
        """Clusters, services, and the task definitions that services run, in full."""
        for arn in self.ask("ecs", "list_clusters")["clusterArns"]:
            include = ["ATTACHMENTS", "CONFIGURATIONS", "SETTINGS", "TAGS"]
            [cluster] = self.ask("ecs", "describe_clusters", clusters=[arn], include=include)["clusters"]
            if cluster["status"] == "INACTIVE":
                continue
            yield Resource("ecs/cluster", cluster["clusterName"], cluster)
            services = self.ask("ecs", "list_services", cluster=arn)["serviceArns"]
            for each in services:
                yield from self.service(arn, each)
        answer = self.ask("ecs", "list_task_definition_families", status="ACTIVE")
        for family in answer["families"]:
            yield Resource("ecs/family", family, {})

    def service(self, cluster: str, arn: str) -> Iterator[Resource]:
        """A service and the task definition that it runs."""
        [service] = self.ask("ecs", "describe_services", cluster=cluster, services=[arn], include=["TAGS"])["services"]
        if service["status"] != "ACTIVE":
            return
        resource = f"service/{arn.partition(':service/')[2]}"
        answer = self.ask("application-autoscaling", "describe_scalable_targets", ServiceNamespace="ecs")
        for target in answer["ScalableTargets"]:
            if (
                target["ResourceId"] == resource
                and target["MinCapacity"] <= service["desiredCount"] <= target["MaxCapacity"]
            ):
                service["desiredCount"] = "between the scalable target's"
        yield Resource("ecs/service", service["serviceName"], service)
        revision = service["taskDefinition"]
        answer = self.ask("ecs", "describe_task_definition", taskDefinition=revision, include=["TAGS"])
        definition = answer["taskDefinition"] | {
            "tags": answer.get("tags", []),
            "active": answer["taskDefinition"]["status"],
        }
        yield Resource("ecs/task-definition", f"of {service['serviceName']}", definition)

    def scaling(self) -> Iterator[Resource]:
        """Scalable targets with their policies, schedules and alarms."""
        for namespace in ("ecs", "rds"):
            one = {"ServiceNamespace": namespace}
            for target in self.ask("application-autoscaling", "describe_scalable_targets", **one)["ScalableTargets"]:
                arn = target.get("ScalableTargetARN")
                if arn:
                    answer = self.ask("application-autoscaling", "list_tags_for_resource", ResourceARN=arn)
                    target["Tags"] = answer.get("Tags", {})
                target.pop("RoleARN", None)
                name = f"{target['ResourceId']} {target['ScalableDimension']}"
                yield Resource("autoscaling/target", name, target, [arn] if arn else [])
            for policy in self.ask("application-autoscaling", "describe_scaling_policies", **one)["ScalingPolicies"]:
                name = f"{policy['ResourceId']} {policy['PolicyName']}"
                yield Resource("autoscaling/policy", name, policy, [policy["PolicyARN"]])
            answer = self.ask("application-autoscaling", "describe_scheduled_actions", **one)
            for action in answer.get("ScheduledActions", []):
                yield Resource(
                    "autoscaling/schedule", action["ScheduledActionName"], action, [action["ScheduledActionARN"]]
                )
        for alarm in self.ask("cloudwatch", "describe_alarms").get("MetricAlarms", []):
            arn, name = alarm.pop("AlarmArn"), alarm.pop("AlarmName")
            yield Resource("cloudwatch/alarm", name, alarm, [arn])

    # --- the rest ---

    def parameters(self) -> Iterator[Resource]:
        """Parameters, but for what the product keeps about its own last run."""
        for listed in self.ask("ssm", "describe_parameters")["Parameters"]:
            name = listed["Name"]
            if name.startswith("/mlflow-drift/"):
                continue
            value = self.ask("ssm", "get_parameter", Name=name, WithDecryption=False)["Parameter"]["Value"]
            tags = self.ask("ssm", "list_tags_for_resource", ResourceType="Parameter", ResourceId=name)["TagList"]
            yield Resource("ssm/parameter", name, listed | {"Value": value, "Tags": tags})

    def others(self) -> Iterator[Resource]:
        """What the product does not make today; it is told when that changes, or when somebody else does."""
        lists = (
            ("backup", "list_backup_plans", "BackupPlansList", "BackupPlanName"),
            ("backup", "list_backup_vaults", "BackupVaultList", "BackupVaultName"),
            ("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
            ("events", "list_rules", "Rules", "Name"),
            ("kms", "list_aliases", "Aliases", "AliasName"),
            ("lambda", "list_functions", "Functions", "FunctionName"),
            ("route53", "list_hosted_zones", "HostedZones", "Name"),
            ("servicediscovery", "list_namespaces", "Namespaces", "Name"),
            ("sns", "list_topics", "Topics", "TopicArn"),
        )
        for service, operation, key, name in lists:
            for each in self.ask(service, operation).get(key, []):
                # Every account has AWS's own keys.
                if not each[name].startswith("alias/aws/"):
                    yield Resource(f"{service}/{key}", each[name], {})
        for each in self.ask("acm", "list_certificates")["CertificateSummaryList"]:
            yield Resource("acm/certificate", each["DomainName"], {}, [each["CertificateArn"]])
        for each in self.ask("wafv2", "list_web_acls", Scope="REGIONAL").get("WebACLs", []):
            yield Resource("wafv2/web-acl", each["Name"], {})


# --- what AWS says, in a form to be compared -------------------------------------------------------------------------


def named(described: Mapping[str, Any]) -> str:
    """The tag Name, or ""."""
    tags = described.get("Tags") or described.get("TagSet") or []
    return next((str(tag["Value"]) for tag in tags if tag["Key"] == "Name"), "")


def parsed(document: Any) -> Any:
    """A policy or the like as what it means, whether AWS gave text or a dictionary."""
    return json.loads(document) if isinstance(document, str) and document else document or None


def permissions(rules: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The rules of a security group, each peer of each as one text."""
    for rule in rules:
        ports = f"{rule.get('IpProtocol')} {rule.get('FromPort', '')}-{rule.get('ToPort', '')}"
        peers = (("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6"), ("PrefixListIds", "PrefixListId"),
                 ("UserIdGroupPairs", "GroupId"))  # fmt: skip
        for key, peer in peers:
            for each in rule.get(key, []):
                yield f"{ports} {each[peer]} {each.get('Description', '')}".strip()


def destination(route: Mapping[str, Any]) -> str:
    """Where a route leads."""
    keys = ("DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId")
    return str(next(route[key] for key in keys if route.get(key)))


class Symbols:
    """What stands for each id: "<kind name>"."""

    REVISION = re.compile(r"(task-definition/[\w-]+):\d+")
    UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

    def __init__(self, resources: list[Resource]) -> None:
        self.symbols: dict[str, str] = {}
        self.pattern: re.Pattern[str] | None = None
        self.names: dict[int, str] = {}
        for numbered in (False, True):
            # Names may hold ids of others, whose names may do so, too.
            for _ in range(3):
                self._name(resources, numbered)

    def _name(self, resources: list[Resource], numbered: bool) -> None:
        same: dict[str, list[Resource]] = defaultdict(list)
        for resource in resources:
            same[f"{resource.kind}/{self.replace(resource.name) or 'without a name'}"].append(resource)
        for name, group in same.items():
            if numbered and len(group) > 1:
                group.sort(key=lambda one: json.dumps(meaning(one.fields, self.replace), sort_keys=True, default=str))
            for number, resource in enumerate(group, 1):
                self.names[id(resource)] = f"{name} #{number}" if numbered and number > 1 else name
                for each in resource.ids:
                    # Without < inside: a name within a name reads well enough without.
                    inner = re.sub(r"[<>]", "", self.names[id(resource)].partition("/")[2].replace("/", " ", 1))
                    self.symbols[each] = f"<{inner}>"
        longest_first = sorted(self.symbols, key=len, reverse=True)
        ids = "|".join(map(re.escape, longest_first))
        self.pattern = re.compile(rf"(?<![\w-])(?:{ids})(?![\w])") if ids else None

    def replace(self, text: str) -> str:
        """`text` with a symbol in place of every id."""
        if self.pattern:
            text = self.pattern.sub(lambda match: self.symbols[match[0]], text)
        return self.UUID.sub("<drawn>", self.REVISION.sub(r"\1:<revision>", text))


def meaning(value: Any, replace: Callable[[str], str], key: str = "") -> Any:
    """`value` without what AWS draws, with symbols for ids, and with lists as dictionaries or in order."""
    if isinstance(value, str):
        return replace(value)
    if isinstance(value, Mapping):
        return {
            replace(str(name)): meaning(each, replace, str(name))
            for name, each in value.items()
            if name not in DRAWN and not isinstance(each, datetime.datetime)
        }
    if not isinstance(value, (list, tuple)):
        return value
    if key in ORDERED:
        return [meaning(each, replace) for each in value]
    for name, what in PAIRS:
        if value and all(isinstance(each, Mapping) and set(each) == {name, what} for each in value):
            return {str(each[name]): meaning(each[what], replace) for each in value}
    if key in NAMED and all(isinstance(each, Mapping) and each.get(NAMED[key]) for each in value):
        return {str(each[NAMED[key]]): meaning(each, replace) for each in value}
    listed = [meaning(each, replace) for each in value if not isinstance(each, datetime.datetime)]
    return sorted(listed, key=lambda each: json.dumps(each, sort_keys=True, default=str))


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a description, each with its path; what is empty is as good as not there."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from flat(each, f"{path}/{name}" if path else str(name))
    elif value not in (None, "", []):
        yield path, value


def read(clients: Mapping[str, Any]) -> tuple[Account, set[str]]:
    """The account, and the questions that the emulator has no answer to ("service operation")."""
    reader = Reader(clients)
    return described(reader.resources()), reader.unread


def described(resources: list[Resource]) -> Account:
    """The resources in the form that is compared."""
    symbols = Symbols(resources)
    account: Account = {}
    for resource in resources:
        fields = resource.fields
        if resource.kind.startswith(MOMENTS):
            fields = {name: value for name, value in fields.items() if name not in OF_A_MOMENT}
        account[symbols.names[id(resource)]] = dict(flat(meaning(fields, symbols.replace)))
    return account


def differences(account: Account, fresh: Account) -> list[str]:
    """A sentence for each field in which `account` is not what a fresh one is."""
    lines: list[str] = []
    for resource in sorted({*account, *fresh}):
        if resource not in fresh:
            lines.append(f"{resource}: is there, a fresh account has none")
        elif resource not in account:
            lines.append(f"{resource}: is not there, a fresh account has one")
        else:
            mine, theirs = account[resource], fresh[resource]
            lines += [
                f"{resource}: {name} is {show(mine.get(name))}, a fresh account has {show(theirs.get(name))}"
                for name in sorted({*mine, *theirs})
                if mine.get(name) != theirs.get(name)
            ]
    return lines


def show(value: Any) -> str:
    """A value in a sentence."""
    return "nothing" if value is None else json.dumps(value, sort_keys=True, default=str)
