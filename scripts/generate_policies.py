"""Write policies/deployer/*.json, the deployer's rights, from the calls that the product makes.

`python scripts/generate_policies.py` writes them from policies/calls.json and the modules' source; with `--record` it
first converges, changes and destroys stacks on the emulator and writes policies/calls.json from what they called.
A right is there because a run needs it, because the source of a module of ours names its operation, or because it is
in BESIDES with a reason. Where it reaches is in SCOPES.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

import botocore.session
from botocore import xform_name

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CALLS = ROOT / "policies" / "calls.json"
FOLDER = ROOT / "policies" / "deployer"
# Characters without blanks that AWS takes in a managed policy, and policies that it takes on a role.
LARGEST, MOST = 6144, 10

# boto3's name of a service: its prefix in a policy.
PREFIXES = {
    "application-autoscaling": "application-autoscaling",
    "cloudwatch": "cloudwatch",
    "ec2": "ec2",
    "acm": "acm",
    "ecr": "ecr",
    "ecs": "ecs",
    "efs": "elasticfilesystem",
    "elbv2": "elasticloadbalancing",
    "iam": "iam",
    "inspector2": "inspector2",
    "logs": "logs",
    "rds": "rds",
    "s3": "s3",
    "secretsmanager": "secretsmanager",
    "ssm": "ssm",
    "service-quotas": "servicequotas",
    "sts": "sts",
}
# Operations whose right has another name, or that need several.
EXCEPTIONS: dict[str, tuple[str, ...]] = {
    "s3:DeleteBucketAnalyticsConfiguration": ("s3:PutAnalyticsConfiguration",),
    "s3:DeleteBucketCors": ("s3:PutBucketCORS",),
    "s3:DeleteBucketEncryption": ("s3:PutEncryptionConfiguration",),
    "s3:DeleteBucketIntelligentTieringConfiguration": ("s3:PutIntelligentTieringConfiguration",),
    "s3:DeleteBucketInventoryConfiguration": ("s3:PutInventoryConfiguration",),
    "s3:DeleteBucketLifecycle": ("s3:PutLifecycleConfiguration",),
    "s3:DeleteBucketMetricsConfiguration": ("s3:PutMetricsConfiguration",),
    "s3:DeleteBucketOwnershipControls": ("s3:PutBucketOwnershipControls",),
    "s3:DeleteBucketReplication": ("s3:PutReplicationConfiguration",),
    "s3:DeleteBucketTagging": ("s3:PutBucketTagging",),
    "s3:DeleteObjects": ("s3:DeleteObject", "s3:DeleteObjectVersion"),
    "s3:DeletePublicAccessBlock": ("s3:PutBucketPublicAccessBlock",),
    "s3:GetBucketAccelerateConfiguration": ("s3:GetAccelerateConfiguration",),
    "s3:GetBucketAnalyticsConfiguration": ("s3:GetAnalyticsConfiguration",),
    "s3:GetBucketCors": ("s3:GetBucketCORS",),
    "s3:GetBucketEncryption": ("s3:GetEncryptionConfiguration",),
    "s3:GetBucketIntelligentTieringConfiguration": ("s3:GetIntelligentTieringConfiguration",),
    "s3:GetBucketInventoryConfiguration": ("s3:GetInventoryConfiguration",),
    "s3:GetBucketLifecycle": ("s3:GetLifecycleConfiguration",),
    "s3:GetBucketLifecycleConfiguration": ("s3:GetLifecycleConfiguration",),
    "s3:GetBucketMetricsConfiguration": ("s3:GetMetricsConfiguration",),
    "s3:GetBucketNotificationConfiguration": ("s3:GetBucketNotification",),
    "s3:GetBucketReplication": ("s3:GetReplicationConfiguration",),
    "s3:GetObjectLockConfiguration": ("s3:GetBucketObjectLockConfiguration",),
    "s3:GetPublicAccessBlock": ("s3:GetBucketPublicAccessBlock",),
    "s3:HeadBucket": ("s3:ListBucket",),
    "s3:ListBucketAnalyticsConfigurations": ("s3:GetAnalyticsConfiguration",),
    "s3:ListBucketIntelligentTieringConfigurations": ("s3:GetIntelligentTieringConfiguration",),
    "s3:ListBucketInventoryConfigurations": ("s3:GetInventoryConfiguration",),
    "s3:ListBucketMetricsConfigurations": ("s3:GetMetricsConfiguration",),
    "s3:ListObjectVersions": ("s3:ListBucketVersions",),
    "s3:ListObjects": ("s3:ListBucket",),
    "s3:ListObjectsV2": ("s3:ListBucket",),
    "s3:PutBucketAccelerateConfiguration": ("s3:PutAccelerateConfiguration",),
    "s3:PutBucketEncryption": ("s3:PutEncryptionConfiguration",),
    "s3:PutBucketLifecycle": ("s3:PutLifecycleConfiguration",),
    "s3:PutBucketLifecycleConfiguration": ("s3:PutLifecycleConfiguration",),
    "s3:PutBucketNotificationConfiguration": ("s3:PutBucketNotification",),
    "s3:PutPublicAccessBlock": ("s3:PutBucketPublicAccessBlock",),
}

PUSH = "pushing an image, which the engine does and not a module"
TAG = "AWS asks for it when something is created with tags"
ENI = "EFS asks the caller for what it does to a mount target's network interface"
UPSTREAM = "an upstream module calls it in a case that no recorded run has"
# Rights that no recorded call and no module of ours names: why they are there.
BESIDES = {
    "ec2:CreateNetworkInterface": ENI,
    "ec2:CreateTags": TAG,
    "ec2:DeleteNetworkInterface": ENI,
    "ec2:RevokeSecurityGroupIngress": "rules that somebody added are taken back; the module composes the call's name",
    "ec2:GetSecurityGroupsForVpc": "Elastic Load Balancing asks the caller for it where security groups are set",
    "ec2:ModifyNetworkInterfaceAttribute": ENI,
    "ecr:BatchCheckLayerAvailability": PUSH,
    "ecr:BatchGetImage": "an image of another repository of this account is copied by the engine",
    "ecr:GetDownloadUrlForLayer": "an image of another repository of this account is copied by the engine",
    "ecr:CompleteLayerUpload": PUSH,
    "ecr:InitiateLayerUpload": PUSH,
    "ecr:PutImage": PUSH,
    "ecr:TagResource": TAG,
    "ecr:UploadLayerPart": PUSH,
    "ecs:TagResource": TAG,
    "elasticfilesystem:TagResource": TAG,
    "elasticloadbalancing:AddTags": TAG,
    "elasticloadbalancing:DescribeTargetHealth": "playbooks/verify.yml asks which tasks are healthy",
    "iam:CreateServiceLinkedRole": "the first cluster, database, load balancer and file system of an account make one",
    "iam:PassRole": "ECS and the flow log get roles",
    "iam:TagRole": TAG,
    "inspector2:ListCoverage": "ECR asks the caller for it where the account's scan is Inspector's",
    "inspector2:ListFindings": "ECR asks the caller for it where the account's scan is Inspector's",
    "logs:TagResource": TAG,
    "rds:AddTagsToResource": TAG,
    "rds:CreateDBSnapshot": "RDS asks the caller for it when an instance is deleted with a final snapshot",
    "route53:AssociateVPCWithHostedZone": "an interface endpoint with private names joins AWS's zone to the VPC",
    "secretsmanager:TagResource": TAG,
    "backup:DeleteRecoveryPoint": "destroy removes the recovery points of the file system where it is asked to",
    "backup:ListRecoveryPointsByResource": "destroy says how many recovery points of the file system stay",
    "ssm:AddTagsToResource": TAG,
    "tag:GetResources": "the tags of all parameters of a stack are read in one call",
    "application-autoscaling:TagResource": TAG,
    "cloudwatch:DeleteAlarms": "target tracking makes its alarms in the caller's name",
    "cloudwatch:DescribeAlarms": "target tracking makes its alarms in the caller's name",
    "cloudwatch:PutMetricAlarm": "target tracking makes its alarms in the caller's name",
}
# Operations that the source names and the deployer must not have, with the reason.
NEVER = {
    "iam:AttachRolePolicy": "no role of a stack has a managed policy; with it the deployer could make an administrator",
}

TAGS = {"Project": "mlflow", "ManagedBy": "ansible"}
OURS = {"StringEquals": {f"aws:ResourceTag/{name}": value for name, value in TAGS.items()}}
WITH_TAGS = {"StringEquals": {f"aws:RequestTag/{name}": value for name, value in TAGS.items()}}
READS = r"(Describe|Get|List)\w*"
Condition = Mapping[str, Mapping[str, Any]]


class Scope(NamedTuple):
    """Where the actions that match `pattern` reach: one statement of `area`.

    An action is in every scope that it matches; `rest` is only for those that none before it has.
    """

    area: str
    sid: str
    pattern: str
    resource: str | list[str] = "*"
    condition: Condition | None = None
    rest: bool = False


def at_creation(service: str, *actions: str) -> Condition:
    """The condition that tags are set by a call that creates."""
    return {"StringEquals": {f"{service}:CreateAction": list(actions)}}


DB_CREATES = "CreateDBInstance|CreateDBParameterGroup|CreateDBSubnetGroup"
LB_CREATES = "CreateLoadBalancer|CreateTargetGroup"
EC2_CREATES = (
    "AllocateAddress|CreateFlowLogs|CreateInternetGateway|CreateNatGateway|CreateRouteTable|CreateSecurityGroup"
    "|CreateSubnet|CreateVpc|CreateVpcEndpoint"
)
SCOPES = (
    Scope(
        "image", "FindImages", r"sts:GetCallerIdentity|ecr:(GetAuthorizationToken|DescribeRepositories)|inspector2:\w+"
    ),
    Scope("image", "KeepImages", r"ecr:\w+", "arn:*:ecr:*:*:repository/*", rest=True),
    Scope("network", "ReadNetwork", rf"ec2:{READS}"),
    Scope("network", "CreateNetwork", rf"ec2:({EC2_CREATES})", condition=WITH_TAGS),
    Scope("network", "TagNewNetwork", r"ec2:CreateTags", condition=at_creation("ec2", *EC2_CREATES.split("|"))),
    Scope("network", "ChangeNetwork", rf"ec2:(?!{READS}$)\w+", condition=OURS),
    # AWS makes them with each VPC and gives them no tags; a right can name neither their VPC's tags nor their names.
    Scope(
        "network",
        "CloseDefaults",
        r"ec2:(RevokeSecurityGroup(Ingress|Egress)|(Create|Replace|Delete)NetworkAclEntry|ReplaceNetworkAclAssociation|DeleteRoute)",
        condition={"Null": {"aws:ResourceTag/ManagedBy": "true"}},
    ),
    Scope(
        "network",
        "InterfacesOfMountTargets",
        r"ec2:(Create|Delete|Modify)NetworkInterface\w*",
        "arn:*:ec2:*:*:network-interface/*",
    ),
    Scope("network", "NamesOfEndpoints", r"route53:\w+", "arn:*:route53:::hostedzone/*"),
    Scope("database", "ReadDatabase", rf"rds:{READS}"),
    Scope("database", "CreateDatabase", rf"rds:({DB_CREATES}|AddTagsToResource)", condition=WITH_TAGS),
    Scope("database", "ChangeDatabase", rf"rds:(?!({READS}|{DB_CREATES})$)\w+", condition=OURS),
    Scope("database", "LastSnapshot", r"rds:CreateDBSnapshot", "arn:*:rds:*:*:snapshot:*"),
    Scope("file_system", "ReadFileSystem", rf"elasticfilesystem:{READS}"),
    Scope("file_system", "CreateFileSystem", r"elasticfilesystem:CreateFileSystem", condition=WITH_TAGS),
    Scope(
        "file_system",
        "TagNewFileSystem",
        r"elasticfilesystem:TagResource",
        condition=at_creation("elasticfilesystem", "CreateFileSystem", "CreateAccessPoint"),
    ),
    Scope("file_system", "ChangeFileSystem", rf"elasticfilesystem:(?!{READS}$|CreateFileSystem$)\w+", condition=OURS),
    Scope("load_balancer", "ReadLoadBalancer", rf"elasticloadbalancing:{READS}"),
    Scope("load_balancer", "CreateLoadBalancer", rf"elasticloadbalancing:({LB_CREATES})", condition=WITH_TAGS),
    Scope(
        "load_balancer",
        "TagNewLoadBalancer",
        r"elasticloadbalancing:AddTags",
        condition=at_creation("elasticloadbalancing", "CreateLoadBalancer", "CreateTargetGroup", "CreateListener"),
    ),
    Scope(
        "load_balancer", "ChangeLoadBalancer", rf"elasticloadbalancing:(?!({READS}|{LB_CREATES})$)\w+", condition=OURS
    ),
    # AWS knows no resource for a quota.
    Scope("load_balancer", "FindCertificate", r"acm:DescribeCertificate", "arn:*:acm:*:*:certificate/*"),
    Scope("network", "ReadQuotas", r"servicequotas:GetServiceQuota"),
    Scope("service", "ReadService", rf"ecs:{READS}|application-autoscaling:{READS}|cloudwatch:{READS}"),
    Scope("service", "CreateService", r"ecs:(CreateCluster|CreateService|RegisterTaskDefinition)", condition=WITH_TAGS),
    Scope(
        "service",
        "TagNewService",
        r"ecs:TagResource",
        condition=at_creation("ecs", "CreateCluster", "CreateService", "RegisterTaskDefinition"),
    ),
    # AWS knows no resource and no condition for it.
    Scope("service", "DeregisterDefinitions", r"ecs:DeregisterTaskDefinition"),
    Scope("service", "ChangeService", r"ecs:\w+", condition=OURS, rest=True),
    Scope("service", "TagService", r"ecs:TagResource", condition=OURS),
    Scope(
        "service",
        "TagScaling",
        r"application-autoscaling:(Untag|Tag)Resource",
        "arn:*:application-autoscaling:*:*:scalable-target/*",
    ),
    Scope(
        "service",
        "ScaleService",
        r"application-autoscaling:\w+",
        "arn:*:application-autoscaling:*:*:scalable-target/*",
        {"StringEquals": {"application-autoscaling:service-namespace": "ecs"}},
        rest=True,
    ),
    Scope("service", "AlarmsOfScaling", r"cloudwatch:\w+", "arn:*:cloudwatch:*:*:alarm:TargetTracking-*", rest=True),
    Scope("storage", "Buckets", r"s3:\w+", ["arn:*:s3:::mlflow-*"]),
    Scope("file_system", "ReadRecoveryPoints", rf"backup:{READS}"),
    Scope("file_system", "RecoveryPoints", r"backup:\w+", "arn:*:backup:*:*:recovery-point:*", rest=True),
    Scope("storage", "ReadTags", r"tag:GetResources"),
    Scope("storage", "ReadLogGroups", r"logs:DescribeLogGroups"),
    # RDS names the groups that it writes to.
    Scope(
        "storage",
        "LogGroups",
        r"logs:\w+",
        ["arn:*:logs:*:*:log-group:/mlflow/*", "arn:*:logs:*:*:log-group:/aws/rds/instance/*"],
        rest=True,
    ),
    # No run reads the key that signs forms.
    Scope(
        "storage",
        "Logins",
        r"secretsmanager:GetSecretValue",
        ["arn:*:secretsmanager:*:*:secret:mlflow/*/admin-*", "arn:*:secretsmanager:*:*:secret:mlflow/*/database-*"],
    ),
    Scope("storage", "Secrets", r"secretsmanager:\w+", "arn:*:secretsmanager:*:*:secret:mlflow/*", rest=True),
    Scope(
        "storage", "Outputs", r"ssm:\w+", ["arn:*:ssm:*:*:parameter/mlflow/*", "arn:*:ssm:*:*:parameter/mlflow-drift/*"]
    ),
    Scope(
        "roles",
        "HandRolesToAws",
        r"iam:PassRole",
        "arn:*:iam::*:role/mlflow/*",
        {"StringEquals": {"iam:PassedToService": ["ecs-tasks.amazonaws.com", "vpc-flow-logs.amazonaws.com"]}},
    ),
    Scope(
        "roles",
        "ServiceLinkedRoles",
        r"iam:CreateServiceLinkedRole",
        "arn:*:iam::*:role/aws-service-role/*",
        {
            "StringEquals": {
                "iam:AWSServiceName": [
                    "ecs.amazonaws.com",
                    "ecs.application-autoscaling.amazonaws.com",
                    "elasticfilesystem.amazonaws.com",
                    "elasticloadbalancing.amazonaws.com",
                    "rds.amazonaws.com",
                ]
            }
        },
    ),
    Scope("roles", "InstanceProfilesOfRoles", r"iam:RemoveRoleFromInstanceProfile", "arn:*:iam::*:instance-profile/*"),
    # AWS knows no path of a role that is not there, and answers whether it is only who may read it.
    Scope("roles", "FindRoles", r"iam:GetRole", ["arn:*:iam::*:role/mlflow/*", "arn:*:iam::*:role/mlflow-*"]),
    Scope("roles", "Roles", r"iam:\w+", "arn:*:iam::*:role/mlflow/*", rest=True),
)


@functools.cache
def model(service: str) -> Any:
    """botocore's model of a service."""
    return botocore.session.Session().get_service_model(service)


def actions_of(service: str, operation: str) -> tuple[str, ...]:
    """The rights that `operation` of boto3's `service` needs."""
    action = f"{PREFIXES[service]}:{operation}"
    return EXCEPTIONS.get(action, (action,))


def named_in(text: str) -> set[str]:
    """The rights of the operations that the source of a module names."""
    code = text.partition('RETURN = r"""')[2].partition('"""')[2]
    services = [service for service in PREFIXES if f'"{service}"' in code]
    found: set[str] = set()
    for word in set(re.findall(r"\w+", code)):
        homes = [service for service in services if word in names(service)]
        # Where two services have an operation of this name, the client's name says which is meant.
        said = [
            one
            for one in homes
            if re.search(rf'\b{one}(_client)?\.{word}\b|"{one}"\)\.{word}\b|"{one}", "{word}"', code)
        ]
        for service in said or homes:
            found |= set(actions_of(service, names(service)[word]))
    return found


@functools.cache
def names(service: str) -> dict[str, str]:
    """The operations of a service by their names in Python."""
    return {xform_name(operation): operation for operation in model(service).operation_names}


def named_by_source() -> set[str]:
    """The rights of every operation that a module of ours names."""
    found = set().union(*(named_in(file.read_text()) for file in sorted((ROOT / "plugins" / "modules").glob("*.py"))))
    # What modules share gets its client from them.
    for file in sorted((ROOT / "plugins" / "module_utils").glob("*.py")):
        for service, word in re.findall(r"\b(\w+)\.(\w+)\(", file.read_text()):
            if service in PREFIXES and word in names(service):
                found |= set(actions_of(service, names(service)[word]))
    return found


def rest_operation(service: str, method: str, path: str, query: str) -> str:
    """The operation of a REST request. Raises LookupError where none fits."""
    keys, best = set(parse_qs(query, keep_blank_values=True)), ("", -1)
    for name in model(service).operation_names:
        http = model(service).operation_model(name).http
        uri, _, asked = http["requestUri"].partition("?")
        needed = {part.partition("=")[0] for part in asked.split("&") if part}
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.sub(r"\\{\w+\\\+\\}", ".+", re.escape(uri.rstrip("/"))))
        fits = http["method"] == method and needed <= keys and re.fullmatch(pattern, unquote(path).rstrip("/"))
        if fits and len(needed) > best[1]:
            best = (name, len(needed))
    if best[1] < 0:
        raise LookupError(f"{service} {method} {path}?{query}")
    return best[0]


def service_of(signed: str) -> str:
    """boto3's name of the service that a request is signed for."""
    return {"elasticloadbalancing": "elbv2", "elasticfilesystem": "efs", "monitoring": "cloudwatch"}.get(signed, signed)


def operations(records: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """(service, operation, body) of each recorded call."""
    for line in records:
        record = json.loads(line)
        service, action = service_of(record["service"]), record["name"].partition(" ")[2]
        if service not in PREFIXES:
            continue
        if service in ("s3", "efs"):
            action = rest_operation(service, record["method"], record["path"], record["query"])
        yield service, action, record["body"]


def recorded() -> dict[str, list[str]]:
    """Operations by service, as policies/calls.json has them."""
    found: dict[str, list[str]] = json.loads(CALLS.read_text()) if CALLS.exists() else {}
    return found


def called() -> set[str]:
    """The rights of every recorded call."""
    return {action for service, names in recorded().items() for name in names for action in actions_of(service, name)}


def rights() -> set[str]:
    """All that the deployer may do."""
    return (called() | named_by_source() | set(BESIDES)) - set(NEVER)


def scopes_of(action: str) -> list[Scope]:
    """The scopes of an action. Raises LookupError for one that has none."""
    found = [scope for scope in SCOPES if not scope.rest and re.fullmatch(scope.pattern, action)]
    found = found or [scope for scope in SCOPES if scope.rest and re.fullmatch(scope.pattern, action)][:1]
    if not found:
        raise LookupError(f"{action} has no scope: add one to SCOPES.")
    return found


def policies(actions: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The policy documents by area."""
    listed: dict[str, list[str]] = {}
    for action in sorted(actions):
        for scope in scopes_of(action):
            listed.setdefault(scope.sid, []).append(action)
    documents: dict[str, dict[str, Any]] = {}
    for scope in SCOPES:
        if scope.sid not in listed:
            continue
        statement: dict[str, Any] = {
            "Sid": scope.sid,
            "Effect": "Allow",
            "Action": listed[scope.sid],
            "Resource": scope.resource,
        }
        if scope.condition:
            statement["Condition"] = scope.condition
        documents.setdefault(scope.area, {"Version": "2012-10-17", "Statement": []})["Statement"].append(statement)
    return documents


def text_of(document: Mapping[str, Any]) -> str:
    """A policy as its file has it."""
    return json.dumps(document, indent=2) + "\n"


def characters(text: str) -> int:
    """The characters that AWS counts."""
    return len(re.sub(r"\s", "", text))


def files() -> dict[Path, str]:
    """The text of each file that this script writes."""
    documents = policies(rights())
    older = [dict(one) for one in documents["storage"]["Statement"] if one["Sid"] == "Buckets"]
    older[0]["Resource"] = "arn:*:s3:::*-artifacts-*"
    written = {FOLDER / f"{area}.json": text_of(document) for area, document in documents.items()}
    return {**written, FOLDER.parent / "deployer-older.json": text_of({"Version": "2012-10-17", "Statement": older})}


def record() -> None:
    """Converge, change and destroy stacks with both storages, and write what they called."""
    from bench import rights, sides

    found: dict[str, set[str]] = {}
    for service, operation, body in operations(rights.records()):
        found.setdefault(service, set()).add(operation)
        scopes = [scope for action in actions_of(service, operation) for scope in scopes_of(action)]
        asked = any(scope.condition == WITH_TAGS for scope in scopes) and operation != "AddTagsToResource"
        if asked and "ManagedBy" not in body:
            raise sides.Failed(f"{service} {operation} is called without the tags that its right asks for.")
    CALLS.write_text(json.dumps({name: sorted(found[name]) for name in sorted(found)}, indent=2) + "\n")


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description="Write policies/deployer/*.json.")
    parser.add_argument("--record", action="store_true", help="run stacks first and write policies/calls.json")
    if parser.parse_args().record:
        record()
    FOLDER.mkdir(exist_ok=True)
    written = files()
    for old in set(FOLDER.glob("*.json")) - set(written):
        old.unlink()
    for path, text in written.items():
        path.write_text(text)
        print(f"{path.relative_to(ROOT)}: {characters(text)} of {LARGEST} characters")


if __name__ == "__main__":
    main()
