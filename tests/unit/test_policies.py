"""The deployer's rights: that they are what the product calls, and that they reach no further than it does."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import pytest
from ministack.core import iam_evaluator

from scripts import generate_policies as generated

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "policies").rglob("*.json"))
POLICIES = [file for file in FILES if file.name != "calls.json"]
DEPLOYER = [file for file in POLICIES if file.parent.name == "deployer"]


def statements(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(file.read_text())["Statement"]
    return found


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def having(action: str) -> list[dict[str, Any]]:
    """The statements of the deployer that name an action."""
    return [one for file in DEPLOYER for one in statements(file) if action in listed(one["Action"])]


def test_the_files_are_what_the_calls_and_the_source_ask_for() -> None:
    written = generated.files()
    assert {path for path in written if path.parent.name == "deployer"} == set(DEPLOYER)
    for path, text in written.items():
        assert path.read_text() == text, f"{path.relative_to(ROOT)}: write it with `make policies`"


@pytest.mark.parametrize("file", POLICIES, ids=lambda file: file.stem)
def test_a_policy_fits_into_a_managed_one(file: Path) -> None:
    assert generated.characters(file.read_text()) <= generated.LARGEST
    names = [one["Sid"] for one in statements(file)]
    assert len(names) == len(set(names))


def test_a_role_takes_all_of_them_with_those_for_older_stacks() -> None:
    assert len(POLICIES) - len(["boundary"]) <= generated.MOST + 1
    assert len(DEPLOYER) <= generated.MOST


@pytest.mark.parametrize("file", POLICIES, ids=lambda file: file.stem)
def test_no_action_has_a_wildcard_and_no_right_is_there_twice(file: Path) -> None:
    actions = [action for one in statements(file) for action in listed(one["Action"])]
    assert not [action for action in actions if "*" in action]


def test_every_call_that_was_recorded_is_allowed() -> None:
    allowed = {action for file in DEPLOYER for one in statements(file) for action in listed(one["Action"])}
    assert generated.called() - allowed - set(generated.NEVER) == set()
    assert len(generated.called()) > 100


def test_no_reason_is_given_for_what_needs_none() -> None:
    needed = generated.called() | generated.named_by_source()
    unneeded = sorted(set(generated.BESIDES) & needed)
    # A call that is both made and asked for besides needs no entry; tags of creations may be either.
    assert [action for action in unneeded if generated.BESIDES[action] != generated.TAG] == []


def test_a_module_that_names_an_operation_needs_its_right() -> None:
    source = '''
RETURN = r"""
"""
ecr, ec2 = module.client("ecr"), module.client("ec2")
ecr.describe_images(repositoryName="a")
create(module, "ec2", "create_vpc", look, CidrBlock="10.0.0.0/16")
client.head_bucket(Bucket="a")
'''
    assert generated.named_in(source) == {"ecr:DescribeImages", "ec2:CreateVpc"}


@pytest.mark.parametrize(
    ("service", "method", "path", "query", "operation"),
    [
        ("s3", "PUT", "/b", "", "CreateBucket"),
        ("s3", "PUT", "/b", "policy", "PutBucketPolicy"),
        ("s3", "HEAD", "/b", "", "HeadBucket"),
        ("s3", "GET", "/b/artifacts/1/model", "", "GetObject"),
        ("s3", "POST", "/b", "delete", "DeleteObjects"),
        ("efs", "GET", "/2015-02-01/file-systems", "CreationToken=a", "DescribeFileSystems"),
        ("efs", "DELETE", "/2015-02-01/file-systems/fs-1", "", "DeleteFileSystem"),
    ],
)
def test_a_rest_request_is_an_operation(service: str, method: str, path: str, query: str, operation: str) -> None:
    assert generated.rest_operation(service, method, path, query) == operation


def test_an_operation_that_nobody_knows_is_no_right() -> None:
    with pytest.raises(LookupError):
        generated.rest_operation("efs", "GET", "/elsewhere", "")
    with pytest.raises(LookupError, match=r"add one to SCOPES"):
        generated.scopes_of("lambda:CreateFunction")


# --- how far they reach ----------------------------------------------------------------------------------------------

# What AWS has no resource and no condition for, or what harms nothing of others.
ANYWHERE = re.compile(
    r"\w[\w-]*:(Describe|Get|List)\w*|ecs:DeregisterTaskDefinition|ec2:CreateTags|elasticfilesystem:TagResource"
    r"|elasticloadbalancing:AddTags|ecs:TagResource"
)


def test_what_changes_something_is_held_to_a_name_or_a_tag() -> None:
    for file in DEPLOYER:
        for one in statements(file):
            for action in listed(one["Action"]):
                free = one["Resource"] == "*" and "Condition" not in one
                assert not free or ANYWHERE.fullmatch(action), (file.name, action)


@pytest.mark.parametrize(
    "action",
    ["rds:DeleteDBInstance", "ec2:DeleteVpc", "elasticfilesystem:DeleteFileSystem", "ecs:DeleteService",
     "elasticloadbalancing:DeleteLoadBalancer", "ec2:DeleteTags", "rds:ModifyDBInstance"],
)  # fmt: skip
def test_what_is_deleted_has_our_tags(action: str) -> None:
    found = having(action)
    assert found
    assert all(one.get("Condition") == generated.OURS for one in found)
    assert generated.OURS["StringEquals"] == {
        "aws:ResourceTag/Project": "mlflow",
        "aws:ResourceTag/ManagedBy": "ansible",
    }


def test_tags_are_set_on_what_is_ours_or_being_made() -> None:
    for action in (
        "ec2:CreateTags",
        "elasticloadbalancing:AddTags",
        "ecs:TagResource",
        "elasticfilesystem:TagResource",
    ):
        service = action.partition(":")[0]
        for one in having(action):
            making = list(one["Condition"]["StringEquals"]) == [f"{service}:CreateAction"]
            assert making or one["Condition"] == generated.OURS


@pytest.mark.parametrize(
    ("action", "theirs"),
    [
        ("s3:DeleteBucket", "arn:aws:s3:::company-logs-2024"),
        ("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/admin-AbCdEf"),
        ("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mlflow/a/flask-AbCdEf"),
        ("secretsmanager:DeleteSecret", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/admin-AbCdEf"),
        ("iam:PutRolePolicy", "arn:aws:iam::123456789012:role/administrator"),
        ("iam:PassRole", "arn:aws:iam::123456789012:role/administrator"),
        ("logs:DeleteLogGroup", "arn:aws:logs:eu-west-1:123456789012:log-group:shop"),
        ("ssm:PutParameter", "arn:aws:ssm:eu-west-1:123456789012:parameter/shop/key"),
        ("cloudwatch:DeleteAlarms", "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:shop"),
    ],
)
def test_what_others_have_is_out_of_reach(action: str, theirs: str) -> None:
    found = having(action)
    assert found
    for one in found:
        assert not [pattern for pattern in listed(one["Resource"]) if fnmatch.fnmatchcase(theirs, pattern)]


def test_the_deployer_cannot_make_an_administrator() -> None:
    assert not having("iam:AttachRolePolicy")
    assert not having("iam:CreatePolicyVersion")
    assert having("iam:DetachRolePolicy")
    (passing,) = having("iam:PassRole")
    assert passing["Condition"]["StringEquals"]["iam:PassedToService"] == [
        "ecs-tasks.amazonaws.com",
        "vpc-flow-logs.amazonaws.com",
    ]


def test_a_required_boundary_holds_for_every_way_to_a_role() -> None:
    refused = statements(ROOT / "policies/require-boundary.json")
    assert all(one["Effect"] == "Deny" and one["Resource"] == "*" for one in refused)
    actions = {action for one in refused for action in listed(one["Action"])}
    writes = {"iam:CreateRole", "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy", "iam:PutRolePermissionsBoundary"}
    assert actions == writes | {"iam:DeleteRolePermissionsBoundary"}
    (condition,) = [one["Condition"] for one in refused if "Condition" in one]
    assert condition == {"ArnNotLike": {"iam:PermissionsBoundary": "arn:*:iam::*:policy/mlflow-boundary"}}


@pytest.mark.parametrize(
    ("action", "boundary", "allowed"),
    [
        ("iam:CreateRole", "arn:aws:iam::123456789012:policy/mlflow-boundary", True),
        ("iam:CreateRole", None, False),
        ("iam:CreateRole", "arn:aws:iam::aws:policy/AdministratorAccess", False),
        ("iam:PutRolePolicy", "arn:aws:iam::123456789012:policy/mlflow-boundary", True),
        ("iam:PutRolePolicy", None, False),
        ("iam:DeleteRolePermissionsBoundary", "arn:aws:iam::123456789012:policy/mlflow-boundary", False),
        ("iam:DeleteRole", None, True),
    ],
)
def test_a_role_without_the_required_boundary_is_refused(action: str, boundary: str | None, allowed: bool) -> None:
    files = [*DEPLOYER, ROOT / "policies/require-boundary.json"]
    asked: Any = iam_evaluator.EvalContext(
        principal_arn="", principal_type="AssumedRole", principal_account="123456789012", action=action,
        resource_arn="arn:aws:iam::123456789012:role/mlflow/mlflow-a-eu-west-1-task", region="eu-west-1",
        service_context={"iam:permissionsboundary": boundary} if boundary else {},
    )  # fmt: skip
    parsed = [iam_evaluator.parse_policy_document(file.read_text()) for file in files]
    assert (iam_evaluator.evaluate(asked, parsed).decision == "Allow") is allowed


ROLE_TEMPLATES = sorted((ROOT / "roles").rglob("*_policy.json.j2"))
OF_ROLES = [
    file
    for file in ROLE_TEMPLATES
    if file.name in ("execution_policy.json.j2", "task_policy.json.j2", "flow_logs_policy.json.j2")
]


def test_the_boundary_leaves_a_stacks_roles_what_they_need() -> None:
    assert len(OF_ROLES) == 3
    named = {action for file in OF_ROLES for action in re.findall(r'"([a-z0-9-]+:[A-Z]\w+)"', file.read_text())}
    allowed = {action for one in statements(ROOT / "policies/boundary.json") for action in listed(one["Action"])}
    assert {action for action in named if not action.startswith("elasticfilesystem:Access")} - allowed == set()
