"""The module of a generated secret, in-process against moto."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from tests.own_modules import Run, client, empty_aws, four_steps, load, runner, tag_list

NAME = "mlflow/team-a/admin"
TAGS = {"Stack": "team-a", "ManagedBy": "ansible"}
SECRET: dict[str, Any] = {"name": NAME, "description": "Administrator of team-a", "username": "admin", "tags": TAGS}
MADE = {"description": "Administrator of team-a", "key": "", "deleted": False, "policy": None, "rotation": False}


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    return {"generated_secret": load("modules", "generated_secret")}


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with empty_aws(monkeypatch):
        yield


@pytest.fixture
def manager() -> Any:
    return client("secretsmanager")


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


def value(manager: Any, name: str = NAME) -> str:
    return str(manager.get_secret_value(SecretId=name)["SecretString"])


def secret(manager: Any) -> dict[str, Any] | None:
    """What the second reader finds of the secret: everything that somebody can set, but the value."""
    try:
        found = manager.describe_secret(SecretId=NAME)
    except manager.exceptions.ResourceNotFoundException:
        return None
    return {
        "description": found.get("Description", ""),
        "key": found.get("KmsKeyId", "").removeprefix("alias/aws/secretsmanager"),
        "deleted": bool(found.get("DeletedDate")),
        "policy": manager.get_resource_policy(SecretId=NAME).get("ResourcePolicy"),
        "rotation": found.get("RotationEnabled", False),
        "tags": {tag["Key"]: tag["Value"] for tag in found["Tags"]},
    }


def test_a_value_is_generated_once(run: Run, manager: Any) -> None:
    made = four_steps(run, "generated_secret", **SECRET)
    assert made.writes == ["CreateSecret"]
    assert made["secret_arn"] == manager.describe_secret(SecretId=NAME)["ARN"]
    assert secret(manager) == {**MADE, "tags": TAGS}
    first = json.loads(value(manager))
    assert first["username"] == "admin"
    assert len(first["password"]) == 32
    assert first["password"].isalnum()
    run("generated_secret", **{**SECRET, "description": "another"})
    assert json.loads(value(manager)) == first


def test_a_value_without_a_user_is_the_generated_one(run: Run, manager: Any) -> None:
    run("generated_secret", name=NAME, length=64)
    assert len(value(manager)) == 64
    assert value(manager).isalnum()


def test_two_secrets_have_two_values(run: Run, manager: Any) -> None:
    for name in (NAME, "mlflow/team-b/admin"):
        run("generated_secret", name=name)
    assert value(manager) != value(manager, "mlflow/team-b/admin")


def test_no_output_holds_the_value(run: Run, manager: Any) -> None:
    answers = [run("generated_secret", **SECRET), run("generated_secret", **{**SECRET, "description": "x"})]
    password = json.loads(value(manager))["password"]
    assert password not in json.dumps(answers)
    assert "GetSecretValue" not in [call for answer in answers for call in answer.calls]


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "description": ({"description": "another"}, {"description": "another"}),
    "key": ({"kms_key_id": "alias/ours"}, {"key": "alias/ours"}),
    "a tag": ({"tags": {**TAGS, "Stack": "team-b"}}, {"tags": {**TAGS, "Stack": "team-b"}}),
    "no tags": ({"tags": {}}, {"tags": {}}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_option_arrives_and_goes_again(run: Run, manager: Any, change: str) -> None:
    asked, standing = CHANGES[change]
    run("generated_secret", **SECRET)
    first = value(manager)
    four_steps(run, "generated_secret", **{**SECRET, **asked})
    assert secret(manager) == {**MADE, "tags": TAGS, **standing}
    four_steps(run, "generated_secret", **SECRET)
    assert secret(manager) == {**MADE, "tags": TAGS}
    assert value(manager) == first


def test_what_somebody_has_set_by_hand_goes(run: Run, manager: Any, stubs: dict[str, Callable[..., Any]]) -> None:
    run("generated_secret", **SECRET)
    first = value(manager)
    statement = {"Effect": "Allow", "Principal": "*", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    manager.put_resource_policy(SecretId=NAME, ResourcePolicy=policy)
    manager.update_secret(SecretId=NAME, Description="by hand", KmsKeyId="alias/theirs")
    manager.tag_resource(SecretId=NAME, Tags=tag_list(Extra="x", ManagedBy="hand"))
    mended = four_steps(run, "generated_secret", **SECRET)
    assert mended.writes[0] == "DeleteResourcePolicy"
    assert secret(manager) == {**MADE, "tags": TAGS}
    assert value(manager) == first


def test_a_rotation_and_a_replica_that_nobody_asked_for_go(
    run: Run, manager: Any, stubs: dict[str, Callable[..., Any]]
) -> None:
    run("generated_secret", **SECRET)
    described = manager.describe_secret(SecretId=NAME)
    standing = {**described, "RotationEnabled": True, "ReplicationStatus": [{"Region": "eu-central-1"}]}
    gone: list[Any] = []
    stubs["DescribeSecret"] = lambda **_: described if len(gone) > 1 else standing
    stubs["CancelRotateSecret"] = lambda **request: gone.append(request) or {}
    stubs["RemoveRegionsFromReplication"] = lambda **request: gone.append(request) or {}
    assert run("generated_secret", **SECRET)["changed"] is True
    assert gone == [{"SecretId": NAME}, {"SecretId": NAME, "RemoveReplicaRegions": ["eu-central-1"]}]
    assert run("generated_secret", **SECRET)["changed"] is False


def test_a_secret_without_a_value_gets_one(run: Run, manager: Any) -> None:
    manager.create_secret(Name=NAME, Description=SECRET["description"], Tags=tag_list(**TAGS))
    made = four_steps(run, "generated_secret", **SECRET)
    assert made.writes == ["PutSecretValue"]
    assert json.loads(value(manager))["username"] == "admin"


def test_one_that_is_scheduled_for_deletion_comes_back_with_its_value(run: Run, manager: Any) -> None:
    run("generated_secret", **SECRET)
    first = value(manager)
    gone = four_steps(run, "generated_secret", name=NAME, state="absent", recovery_days=7)
    assert gone["secret_arn"] is None
    assert manager.describe_secret(SecretId=NAME)["DeletedDate"]
    back = four_steps(run, "generated_secret", **SECRET)
    assert back.writes == ["RestoreSecret"]
    assert value(manager) == first


def test_without_recovery_days_it_is_gone_at_once_also_when_it_was_scheduled(run: Run, manager: Any) -> None:
    run("generated_secret", **SECRET)
    run("generated_secret", name=NAME, state="absent")
    four_steps(run, "generated_secret", name=NAME, state="absent", recovery_days=0)
    assert secret(manager) is None
    assert run("generated_secret", name=NAME, state="absent").calls == ["DescribeSecret"]


def test_days_that_aws_does_not_take_are_refused_before_any_call(run: Run) -> None:
    refused = run("generated_secret", name=NAME, state="absent", recovery_days=3)
    assert refused["msg"] == "recovery_days is 3: AWS takes 7 to 30; give one of those, or 0 to remove at once."
    assert refused.calls == []


def test_a_copy_has_the_value_of_the_other_and_is_made_once(run: Run, manager: Any) -> None:
    manager.create_secret(Name="team-a/admin", SecretString='{"username": "admin", "password": "old"}')
    made = four_steps(run, "generated_secret", **SECRET, copy_of="team-a/admin")
    assert "old" not in json.dumps(made)
    assert value(manager) == value(manager, "team-a/admin")
    manager.put_secret_value(SecretId="team-a/admin", SecretString="another")
    run("generated_secret", **SECRET, copy_of="team-a/admin")
    assert json.loads(value(manager))["password"] == "old"


def test_a_lost_answer_makes_one_value(
    run: Run, manager: Any, stubs: dict[str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)

    def lose(**request: Any) -> None:
        del stubs["CreateSecret"]
        manager.create_secret(**request)
        raise ReadTimeoutError(endpoint_url="secretsmanager")

    stubs["CreateSecret"] = lose
    made = run("generated_secret", **SECRET)
    assert made["secret_arn"] == manager.describe_secret(SecretId=NAME)["ARN"]
    assert made.calls.count("CreateSecret") == 1 + 1  # the lost one and the test's own
    assert secret(manager) == {**MADE, "tags": TAGS}


def test_a_name_that_aws_still_remembers_is_waited_for(
    run: Run, manager: Any, stubs: dict[str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)

    def remember(**_: Any) -> None:
        del stubs["CreateSecret"]
        error = {"Code": "InvalidRequestException", "Message": "already scheduled for deletion"}
        raise ClientError({"Error": error}, "CreateSecret")

    stubs["CreateSecret"] = remember
    assert run("generated_secret", **SECRET)["changed"] is True
    assert secret(manager) == {**MADE, "tags": TAGS}


def test_what_aws_refuses_is_one_sentence(run: Run, stubs: dict[str, Callable[..., Any]]) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "CreateSecret")

    stubs["CreateSecret"] = refuse
    answer = run("generated_secret", **SECRET)
    assert answer["msg"] == (
        f"Could not set the secret {NAME}: no (AccessDeniedException); the login lacks CreateSecret: "
        "attach to it the policies in policies/deployer/, which have it."
    )
