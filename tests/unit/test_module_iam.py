"""The module of a service's role, in-process against moto."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from tests.own_modules import Run, client, empty_aws, four_steps, load, runner, tag_list

NAME, PATH = "mlflow-team-a-eu-west-1-task", "/mlflow/"
ADMINISTRATOR = "arn:aws:iam::123456789012:policy/administrator"
READER = "arn:aws:iam::123456789012:policy/reader"
TAGS = {"Stack": "team-a", "ManagedBy": "ansible"}


def trust(service: str = "ecs-tasks.amazonaws.com", **condition: Any) -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [{**statement, **condition}]}


def policy(*actions: str) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]}


ROLE: dict[str, Any] = {
    "name": NAME,
    "description": "Tracking server of team-a",
    "trust": trust(),
    "policies": {"keep": policy("s3:GetObject", "s3:PutObject")},
    "tags": TAGS,
}


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    return {"iam_service_role": load("modules", "iam_service_role")}


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with empty_aws(monkeypatch):
        for name, action in (("administrator", "*"), ("reader", "*:Get*")):
            client("iam").create_policy(PolicyName=name, PolicyDocument=json.dumps(policy(action)))
        yield


@pytest.fixture
def iam() -> Any:
    return client("iam")


@pytest.fixture
def stubs() -> dict[str, Callable[..., Any]]:
    """What stands in for moto, by operation."""
    return {}


@pytest.fixture
def run(
    modules: dict[str, ModuleType],
    stubs: dict[str, Callable[..., Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    return runner(modules, capsys, monkeypatch, stubs)


@pytest.fixture
def boundary(iam: Any) -> str:
    made: str = iam.create_policy(PolicyName="bound", PolicyDocument=json.dumps(policy("s3:*")))["Policy"]["Arn"]
    return made


def role(iam: Any) -> dict[str, Any] | None:
    """What the second reader finds of the role: everything that somebody can set."""
    try:
        found = iam.get_role(RoleName=NAME)["Role"]
    except iam.exceptions.NoSuchEntityException:
        return None
    names = iam.list_role_policies(RoleName=NAME)["PolicyNames"]
    attached = iam.list_attached_role_policies(RoleName=NAME)["AttachedPolicies"]
    return {
        "path": found["Path"],
        "description": found.get("Description", ""),
        "trust": found["AssumeRolePolicyDocument"],
        "boundary": found.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ""),
        "duration": found["MaxSessionDuration"],
        "policies": {name: iam.get_role_policy(RoleName=NAME, PolicyName=name)["PolicyDocument"] for name in names},
        "attached": sorted(each["PolicyArn"] for each in attached),
        "tags": {tag["Key"]: tag["Value"] for tag in iam.list_role_tags(RoleName=NAME)["Tags"]},
    }


MADE = {
    "path": PATH,
    "description": "Tracking server of team-a",
    "trust": ROLE["trust"],
    "boundary": "",
    "duration": 3600,
    "policies": ROLE["policies"],
    "attached": [],
    "tags": TAGS,
}


def test_a_role_is_made_in_two_calls_and_read_in_few(run: Run, iam: Any) -> None:
    made = four_steps(run, "iam_service_role", **ROLE)
    assert made.writes == ["CreateRole", "PutRolePolicy"]
    assert made["role_arn"] == f"arn:aws:iam::123456789012:role/mlflow/{NAME}"
    assert role(iam) == MADE
    read = ["GetRole", "ListRolePolicies", "GetRolePolicy", "ListAttachedRolePolicies"]
    assert run("iam_service_role", **ROLE).calls == read


def test_a_check_on_a_role_that_is_not_there_knows_no_arn(run: Run) -> None:
    assert run("iam_service_role", check=True, **ROLE)["role_arn"] is None


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "description": ({"description": "another"}, {"description": "another"}),
    "no description": ({"description": ""}, {"description": ""}),
    "trust": ({"trust": trust("vpc-flow-logs.amazonaws.com")}, {"trust": trust("vpc-flow-logs.amazonaws.com")}),
    "a policy": ({"policies": {"keep": policy("s3:GetObject", "s3:Delete*")}},) * 2,
    "a policy's name": ({"policies": {"other": ROLE["policies"]["keep"]}},) * 2,
    "no policy": ({"policies": {}},) * 2,
    "a managed policy": ({"managed_policy_arns": [READER]}, {"attached": [READER]}),
    "duration": ({"max_session_duration": 7200}, {"duration": 7200}),
    "a tag": ({"tags": {**TAGS, "Stack": "team-b"}},) * 2,
    "no tags": ({"tags": {}},) * 2,
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_option_arrives_and_goes_again(run: Run, iam: Any, change: str) -> None:
    asked, standing = CHANGES[change]
    run("iam_service_role", **ROLE)
    four_steps(run, "iam_service_role", **{**ROLE, **asked})
    assert role(iam) == {**MADE, **standing}
    four_steps(run, "iam_service_role", **ROLE)
    assert role(iam) == MADE


def test_a_boundary_is_set_changed_and_removed(run: Run, iam: Any, boundary: str) -> None:
    made = four_steps(run, "iam_service_role", **ROLE, boundary_arn=boundary)
    assert made.writes == ["CreateRole", "PutRolePolicy"]  # at no time is the role without it
    assert role(iam) == {**MADE, "boundary": boundary}
    other = iam.create_policy(PolicyName="other", PolicyDocument=json.dumps(policy("ecr:*")))["Policy"]["Arn"]
    four_steps(run, "iam_service_role", **ROLE, boundary_arn=other)
    assert role(iam) == {**MADE, "boundary": other}
    four_steps(run, "iam_service_role", **ROLE)
    assert role(iam) == MADE


def test_what_somebody_has_added_by_hand_goes(run: Run, iam: Any, boundary: str) -> None:
    run("iam_service_role", **ROLE)
    iam.attach_role_policy(RoleName=NAME, PolicyArn=ADMINISTRATOR)
    iam.put_role_policy(RoleName=NAME, PolicyName="all", PolicyDocument=json.dumps(policy("*")))
    iam.put_role_policy(RoleName=NAME, PolicyName="keep", PolicyDocument=json.dumps(policy("s3:*")))
    iam.put_role_permissions_boundary(RoleName=NAME, PermissionsBoundary=boundary)
    iam.update_assume_role_policy(RoleName=NAME, PolicyDocument=json.dumps(trust("ec2.amazonaws.com")))
    iam.update_role(RoleName=NAME, Description="by hand", MaxSessionDuration=43200)
    iam.tag_role(RoleName=NAME, Tags=tag_list(Extra="x", ManagedBy="hand"))
    mended = four_steps(run, "iam_service_role", **ROLE)
    assert role(iam) == MADE
    # The rights that nobody asked for go before anything is granted.
    assert mended.writes.index("DetachRolePolicy") < mended.writes.index("PutRolePolicy")


def test_documents_that_mean_the_same_are_no_change(run: Run, iam: Any) -> None:
    run("iam_service_role", **ROLE)
    written = trust()
    written["Statement"][0]["Action"] = ["sts:AssumeRole"]
    written["Statement"][0]["Principal"] = {"Service": ["ecs-tasks.amazonaws.com"]}
    iam.update_assume_role_policy(RoleName=NAME, PolicyDocument=json.dumps(written))
    turned = policy("s3:PutObject", "s3:GetObject")
    iam.put_role_policy(RoleName=NAME, PolicyName="keep", PolicyDocument=json.dumps(turned))
    assert run("iam_service_role", **ROLE)["changed"] is False


def test_a_condition_more_or_less_is_a_change(run: Run, iam: Any) -> None:
    condition = {"Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}}}
    run("iam_service_role", **ROLE)
    four_steps(run, "iam_service_role", **{**ROLE, "trust": trust(**condition)})
    assert (role(iam) or {})["trust"] == trust(**condition)
    four_steps(run, "iam_service_role", **ROLE)


def test_a_role_at_another_path_is_refused_and_not_removed(run: Run, iam: Any) -> None:
    iam.create_role(RoleName=NAME, AssumeRolePolicyDocument=json.dumps(trust()))
    for check in (True, False):
        refused = run("iam_service_role", check=check, **ROLE)
        assert refused["msg"] == (
            f"The role {NAME} is at the path / instead of /mlflow/, and AWS cannot move a role; "
            "delete it, or choose another name."
        )
        assert refused.calls[0] == "GetRole"
        assert refused.writes == []
    assert run("iam_service_role", name=NAME, state="absent")["changed"] is False
    assert role(iam) is not None


def test_absent_removes_the_role_with_all_that_hangs_on_it(run: Run, iam: Any, boundary: str) -> None:
    run("iam_service_role", **ROLE, boundary_arn=boundary)
    iam.attach_role_policy(RoleName=NAME, PolicyArn=ADMINISTRATOR)
    iam.create_instance_profile(InstanceProfileName="by-hand")
    iam.add_role_to_instance_profile(InstanceProfileName="by-hand", RoleName=NAME)
    gone = four_steps(run, "iam_service_role", name=NAME, state="absent")
    assert gone["role_arn"] is None
    assert role(iam) is None
    assert run("iam_service_role", name=NAME, state="absent").calls == ["GetRole"]


def test_a_lost_answer_makes_one_role_with_everything(
    run: Run, iam: Any, stubs: dict[str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)

    def lose(**request: Any) -> None:
        del stubs["CreateRole"]
        iam.create_role(**request)
        raise ReadTimeoutError(endpoint_url="iam")

    stubs["CreateRole"] = lose
    made = run("iam_service_role", **ROLE)
    assert made["changed"] is True
    assert role(iam) == MADE
    assert run("iam_service_role", **ROLE)["changed"] is False


def test_a_role_that_another_run_has_just_made_is_taken(
    run: Run, iam: Any, stubs: dict[str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)

    def late(**request: Any) -> None:
        del stubs["CreateRole"]
        iam.create_role(RoleName=NAME, Path=PATH, AssumeRolePolicyDocument=json.dumps(trust("ec2.amazonaws.com")))
        raise ClientError({"Error": {"Code": "EntityAlreadyExists", "Message": "there"}}, "CreateRole")

    stubs["CreateRole"] = late
    assert run("iam_service_role", **ROLE)["changed"] is True
    assert role(iam) == MADE


def test_what_aws_refuses_is_one_sentence(run: Run, stubs: dict[str, Callable[..., Any]]) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "CreateRole")

    stubs["CreateRole"] = refuse
    assert run("iam_service_role", **ROLE)["msg"] == (
        f"Could not set the role {NAME}: no (AccessDenied); the login lacks CreateRole: "
        "attach to it the policies in policies/deployer/, which have it."
    )
