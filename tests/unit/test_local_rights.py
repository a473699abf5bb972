"""Rights that depend on tags, on the local AWS: which resource a request names there, and which tags it has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ministack.core import iam_actions, iam_evaluator
from ministack.services import alb, ec2, ecs, efs, rds, tagging

from local import aws, config, ministack_rights

ACCOUNT, REGION = "000000000000", "eu-west-1"
OURS = {"Project": "mlflow", "ManagedBy": "ansible"}


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    yield
    for service in (alb, ec2, ecs, efs, rds):
        service.reset()


def tag_list(**tags: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def test_tags_are_found_in_each_service() -> None:
    ec2._tags["vpc-1"] = tag_list(**OURS)
    rds._tags[arn("rds", "db:a")] = tag_list(**OURS)
    alb._tags[arn("elasticloadbalancing", "loadbalancer/app/a/1")] = tag_list(**OURS)
    ecs._tags[arn("ecs", "cluster/a")] = [{"key": key, "value": value} for key, value in OURS.items()]
    efs._file_systems["fs-1"] = {"Tags": tag_list(**OURS)}
    for service, resource in (
        ("ec2", "vpc/vpc-1"),
        ("rds", "db:a"),
        ("elasticloadbalancing", "loadbalancer/app/a/1"),
        ("ecs", "cluster/a"),
        ("elasticfilesystem", "file-system/fs-1"),
    ):
        assert ministack_rights.tags_of(arn(service, resource)) == OURS, service
    for nothing in (arn("ec2", "vpc/vpc-2"), arn("rds", "db:b"), arn("s3", "b"), "*"):
        assert ministack_rights.tags_of(nothing) is None


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"NatGatewayId": ["nat-1"]}, "nat-1"),
        ({"FlowLogId.1": ["fl-1"]}, "fl-1"),
        ({"ResourceId.1": ["vpc-1"]}, "vpc-1"),
        ({"AssociationId": ["rtbassoc-1"]}, "rtb-1"),
        ({"AssociationId": ["rtbassoc-2"]}, None),
        ({}, None),
    ],
)
def test_a_request_of_ec2_names_its_resource(params: dict[str, list[str]], found: str | None) -> None:
    ec2._route_tables["rtb-1"] = {"Associations": [{"RouteTableAssociationId": "rtbassoc-1"}]}
    assert ministack_rights.ec2_resource(params) == found


def test_requests_of_databases_and_file_systems_name_theirs() -> None:
    assert ministack_rights.rds_resource({"DBParameterGroupName": ["a"]}) == "pg:a"
    assert ministack_rights.rds_resource({"DBSubnetGroupName": ["a"]}) == "subgrp:a"
    assert ministack_rights.rds_resource({"ResourceName": [arn("rds", "db:a")]}) == arn("rds", "db:a")
    assert ministack_rights.rds_resource({}) is None
    efs._mount_targets["fsmt-1"] = {"FileSystemId": "fs-1"}
    found = ministack_rights.efs_resource
    assert found("/2015-02-01/mount-targets/fsmt-1", b"") == "file-system/fs-1"
    assert found("/2015-02-01/access-points", b'{"FileSystemId": "fs-1"}') == "file-system/fs-1"
    assert found("/2015-02-01/access-points/fsap-1", b"") == "access-point/fsap-1"
    assert found("/2015-02-01/file-systems", b"{}") is None


def test_a_foreign_resource_is_out_of_the_deployers_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tagging, "resource_tags", tagging.resource_tags)
    monkeypatch.setattr(iam_actions, "extract_resource_arn", iam_actions.extract_resource_arn)
    ministack_rights.know_tags()
    ministack_rights.know_resources()
    ec2._tags["nat-1"], ec2._tags["nat-2"] = tag_list(**OURS), tag_list(Project="shop", ManagedBy="ansible")
    policies = [iam_evaluator.parse_policy_document(one) for one in aws.deployer_policies().values()]

    def decision(gateway: str) -> str:
        query = {"Action": ["DeleteNatGateway"], "NatGatewayId": [gateway]}
        named = iam_actions.extract_resource_arn("ec2", "POST", "/", {}, b"", query, REGION, ACCOUNT)
        context = {
            f"aws:resourcetag/{name}".lower(): value for name, value in (tagging.resource_tags(named) or {}).items()
        }
        asked: Any = iam_evaluator.EvalContext(
            principal_arn="", principal_type="AssumedRole", principal_account=ACCOUNT, action="ec2:DeleteNatGateway",
            resource_arn=named, region=REGION, service_context=context,
        )  # fmt: skip
        return str(iam_evaluator.evaluate(asked, policies).decision)

    assert [decision(gateway) for gateway in ("nat-1", "nat-2", "nat-3")] == ["Allow", "ImplicitDeny", "ImplicitDeny"]


def test_the_deployer_has_the_managed_policies_of_the_folder_and_no_other() -> None:
    moto = pytest.importorskip("moto")
    import boto3

    with moto.mock_aws():
        iam = boto3.client("iam", region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b")
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        other = {**document, "Statement": [{**document["Statement"][0], "Action": "ec2:*"}]}
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(config, "ACCOUNT", "123456789012")
            made = aws.ensure_policy(iam, "mlflow-deployer-a", document)
            for wanted in (document, other, document, other, document, other, document):
                assert aws.ensure_policy(iam, "mlflow-deployer-a", wanted) == made
            (version,) = iam.list_policy_versions(PolicyArn=made)["Versions"]
            held = iam.get_policy_version(PolicyArn=made, VersionId=version["VersionId"])["PolicyVersion"]["Document"]
            assert held == document
            patched.setattr(aws, "client", lambda *_: iam)
            aws.ensure_deployer()
            iam.attach_role_policy(RoleName=aws.DEPLOYER, PolicyArn=made)
            iam.put_role_policy(RoleName=aws.DEPLOYER, PolicyName="deployer", PolicyDocument=json.dumps(document))
            aws.ensure_deployer()
        attached = iam.list_attached_role_policies(RoleName=aws.DEPLOYER)["AttachedPolicies"]
        assert {one["PolicyName"] for one in attached} == {f"{aws.DEPLOYER}-{area}" for area in aws.deployer_policies()}
        assert iam.list_role_policies(RoleName=aws.DEPLOYER)["PolicyNames"] == []


def test_the_tags_of_an_ec2_request_are_seen() -> None:
    ministack_rights.know_tags()
    tag = {"TagSpecification.1.Tag.1.Key": ["Project"], "TagSpecification.1.Tag.1.Value": ["mlflow"]}
    context = iam_actions.request_tag_context("ec2", "ec2:CreateVpc", b"", {"Action": ["CreateVpc"], **tag})
    assert context["aws:requesttag/project"] == "mlflow"


@pytest.mark.parametrize(("account", "allowed"), [("000000000000", True), ("111111111111", False)])
def test_ecs_says_for_whom_it_takes_a_role(account: str, allowed: bool) -> None:
    ministack_rights.know_sources()
    condition = {
        "StringEquals": {"aws:SourceAccount": account},
        "ArnLike": {"aws:SourceArn": f"arn:aws:ecs:{REGION}:{account}:*"},
    }
    principal = {"Service": "ecs-tasks.amazonaws.com"}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", "Condition": condition}
    context = iam_evaluator.EvalContext(
        principal_arn=f"arn:aws:iam::{ACCOUNT}:root", principal_type="Root", principal_account=ACCOUNT,
        action="sts:AssumeRole", resource_arn="*", region=REGION,
    )  # fmt: skip
    found = iam_evaluator.evaluate_trust_policy({"Statement": [statement]}, context.principal_arn, context)
    assert found is allowed
