"""What MiniStack needs to evaluate rights that depend on a resource's tags: the resource of a request, and its tags."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.services import alb, ec2, ecs, efs, rds, tagging


def _tags_of(store: Any, key: str) -> dict[str, str] | None:
    found = store.get(key)
    return {tag.get("Key", tag.get("key")): tag.get("Value", tag.get("value")) for tag in found} if found else None


def tags_of(arn: str) -> dict[str, str] | None:
    """The tags of a resource whose service MiniStack leaves out when a right depends on tags; None without any."""
    service = arn.split(":")[2] if arn.startswith("arn:") else ""
    last = arn.rpartition("/")[2]
    if service == "ec2":
        return _tags_of(ec2._tags, last)
    if service == "elasticfilesystem":
        record = efs._file_systems.get(last) or efs._access_points.get(last) or {}
        return _tags_of(record, "Tags")
    stores = {"ecs": ecs._tags, "elasticloadbalancing": alb._tags, "rds": rds._tags}
    return _tags_of(stores[service], arn) if service in stores else None


def know_tags() -> None:
    """Have conditions on tags see those of every service's resources, and those that a request to EC2 or ELB sets."""
    iam_actions._TAG_MEMBERS = iam_actions._TAG_MEMBERS | {"TagSpecifications"}
    iam_actions._BOTOCORE_SERVICE_MAP.setdefault("elasticloadbalancing", ["elbv2"])
    iam_actions._TAG_OPERATIONS.clear()
    known = tagging.resource_tags

    def resource_tags(arn: str) -> dict[str, str] | None:
        return tags_of(arn) or known(arn)

    tagging.resource_tags = resource_tags


def ec2_resource(params: Any) -> str | None:
    """The id of a resource that an EC2 request names in a way that MiniStack does not look at; None without one."""
    association = str(iam_actions._query_param(params, "AssociationId") or "")
    for table_id, table in ec2._route_tables.items():
        if association and association in str(table):
            return str(table_id)
    for name in ("NatGatewayId", "FlowLogId.1", "VpcEndpointId", "ResourceId.1"):
        found = iam_actions._query_param(params, name)
        if found:
            return str(found)
    return None


def rds_resource(params: Any) -> str | None:
    """What an RDS request names besides an instance, as the end of an ARN, or the whole ARN."""
    whole = iam_actions._query_param(params, "ResourceName")
    if whole:
        return str(whole)
    for name, kind in (("DBParameterGroupName", "pg"), ("DBSubnetGroupName", "subgrp")):
        found = iam_actions._query_param(params, name)
        if found:
            return f"{kind}:{found}"
    return None


def efs_resource(path: str, body: bytes) -> str | None:
    """The file system or access point that a request is about, as the end of an ARN."""
    found = re.search(r"\b(fs|fsap|fsmt)-[0-9a-f]+", f"{path} {body.decode('utf-8', 'replace')}")
    if not found:
        return None
    name = (efs._mount_targets.get(found[0]) or {}).get("FileSystemId", found[0])
    return f"{'access-point' if name.startswith('fsap') else 'file-system'}/{name}"


def know_resources() -> None:
    """Have rights checked against the resource that a request names, where MiniStack takes `*`."""
    extract = iam_actions.extract_resource_arn

    def extract_resource_arn(
        service: str, method: str, path: str, headers: Any, body: bytes, query: Any, region: str, account: str
    ) -> str:
        found = str(extract(service, method, path, headers, body, query, region, account))
        if found != "*" and not found.endswith("/*"):
            return found
        end = None
        if service == "ec2" and (end := ec2_resource(query)):
            end = f"resource/{end}"
        elif service == "rds":
            end = rds_resource(query)
        elif service == "elasticfilesystem":
            end = efs_resource(path, body)
        elif service == "elasticloadbalancing":
            end = iam_actions._query_param(query, "ResourceArns.member.1")
        elif service in ("ecr", "ecs"):
            end = iam_actions._safe_json_field(body, "resourceArn")
        if not end:
            return found
        return str(end) if str(end).startswith("arn:") else f"arn:aws:{service}:{region}:{account}:{end}"

    iam_actions.extract_resource_arn = extract_resource_arn


def know_sources() -> None:
    """Have root, as which the agent stands in for ECS, say for whom it takes a role, as ECS does."""
    evaluate = iam_evaluator.evaluate_trust_policy

    def evaluate_trust_policy(trust: Any, caller: str, context: Any = None) -> bool:
        if context is not None and context.principal_type == "Root":
            account = context.principal_account
            source = {"aws:sourceaccount": account, "aws:sourcearn": f"arn:aws:ecs:{context.region}:{account}:task/any"}
            context = dataclasses.replace(context, service_context={**context.service_context, **source})
        return bool(evaluate(trust, caller, context))

    iam_evaluator.evaluate_trust_policy = evaluate_trust_policy
