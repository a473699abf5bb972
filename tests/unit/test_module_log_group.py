"""The module log_group, in-process against moto."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from moto.logs.models import logs_backends

from tests.own_modules import REGION, Run, client, empty_aws, four_steps, load, runner

ACCOUNT, NAME = "123456789012", "/mlflow/team-a"
TAGS = {"Stack": "team-a", "ManagedBy": "ansible"}
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0a1b2c3d"
WANTED = {"name": NAME, "retention_days": 30, "tags": TAGS}


def _group() -> Any:
    return logs_backends[ACCOUNT][REGION].groups[NAME]


def _disassociate_kms_key(*, logGroupName: str) -> dict[str, Any]:
    _group().kms_key_id = None
    return {}


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    return {"log_group": load("modules", "log_group")}


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with empty_aws(monkeypatch):
        yield


@pytest.fixture
def stubs() -> dict[str, Callable[..., Any]]:
    return {"DisassociateKmsKey": _disassociate_kms_key}


@pytest.fixture
def run(
    modules: dict[str, ModuleType],
    stubs: dict[str, Callable[..., Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    return runner(modules, capsys, monkeypatch, stubs)


@pytest.fixture
def logs() -> Any:
    return client("logs")


def described(logs: Any) -> dict[str, Any]:
    """Everything that CloudWatch tells about the group, without ids and dates."""
    (group,) = logs.describe_log_groups(logGroupNamePrefix=NAME)["logGroups"]
    return {
        "retention": group.get("retentionInDays"),
        "key": group.get("kmsKeyId"),
        "subscriptions": logs.describe_subscription_filters(logGroupName=NAME)["subscriptionFilters"],
        "metrics": logs.describe_metric_filters(logGroupName=NAME)["metricFilters"],
        "tags": logs.list_tags_for_resource(resourceArn=group["arn"].removesuffix(":*"))["tags"],
    }


FRESH = {"retention": 30, "key": None, "subscriptions": [], "metrics": [], "tags": TAGS}


def test_a_group_is_made_once_with_retention_and_tags(run: Run, logs: Any) -> None:
    made = four_steps(run, "log_group", **WANTED)
    assert described(logs) == FRESH
    assert made["log_group_arn"] == f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{NAME}"
    assert run("log_group", check=True, **{**WANTED, "name": f"{NAME}/flow"})["log_group_arn"] is None


def test_a_group_whose_name_goes_on_is_another(run: Run, logs: Any) -> None:
    logs.create_log_group(logGroupName=f"{NAME}-b")
    run("log_group", **WANTED)
    run("log_group", name=NAME, state="absent")
    assert [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]] == [f"{NAME}-b"]


def _subscribe(logs: Any) -> None:
    logs.create_log_group(logGroupName="/elsewhere")
    stream = client("kinesis")
    stream.create_stream(StreamName="elsewhere", ShardCount=1)
    arn = stream.describe_stream(StreamName="elsewhere")["StreamDescription"]["StreamARN"]
    logs.put_subscription_filter(logGroupName=NAME, filterName="by-hand", filterPattern="", destinationArn=arn)


def _metric(logs: Any) -> None:
    change = [{"metricName": "errors", "metricNamespace": "by-hand", "metricValue": "1"}]
    logs.put_metric_filter(logGroupName=NAME, filterName="by-hand", filterPattern="x", metricTransformations=change)


def _encrypt(_: Any) -> None:
    _group().kms_key_id = KEY


BY_HAND: dict[str, Callable[[Any], Any]] = {
    "retention": lambda logs: logs.put_retention_policy(logGroupName=NAME, retentionInDays=90),
    "no retention": lambda logs: logs.delete_retention_policy(logGroupName=NAME),
    "subscription filter": _subscribe,
    "metric filter": _metric,
    "KMS key": _encrypt,
    "tag": lambda logs: logs.tag_log_group(logGroupName=NAME, tags={"Owner": "by-hand", "Stack": "team-b"}),
    "no tag": lambda logs: logs.untag_log_group(logGroupName=NAME, tags=["Stack"]),
}


@pytest.mark.parametrize("change", BY_HAND.values(), ids=BY_HAND)
def test_what_was_changed_by_hand_is_repaired(run: Run, logs: Any, change: Callable[[Any], Any]) -> None:
    run("log_group", **WANTED)
    change(logs)
    assert described(logs) != FRESH
    four_steps(run, "log_group", **WANTED)
    assert described(logs) == FRESH


def test_protections_that_nobody_asked_for_are_lifted(
    run: Run, logs: Any, stubs: dict[str, Callable[..., Any]]
) -> None:
    state: dict[str, Any] = {"dataProtectionStatus": "ACTIVATED", "deletionProtectionEnabled": True}
    run("log_group", **WANTED)

    def describe(**_: Any) -> dict[str, Any]:
        return {"logGroups": [{"logGroupName": NAME, "arn": f"arn:x:{NAME}:*", "retentionInDays": 30, **state}]}

    def delete_policy(*, logGroupIdentifier: str) -> dict[str, Any]:
        del state["dataProtectionStatus"]
        return {"group": logGroupIdentifier}

    def protect(*, logGroupIdentifier: str, deletionProtectionEnabled: bool) -> dict[str, Any]:
        state["deletionProtectionEnabled"] = deletionProtectionEnabled
        return {"group": logGroupIdentifier}

    stubs |= {
        "DescribeLogGroups": describe,
        "ListTagsForResource": lambda **_: {"tags": TAGS},
        "DeleteDataProtectionPolicy": delete_policy,
        "PutLogGroupDeletionProtection": protect,
    }
    four_steps(run, "log_group", **WANTED)
    assert state == {"deletionProtectionEnabled": False}
    state["deletionProtectionEnabled"] = True
    run("log_group", name=NAME, state="absent")
    assert state == {"deletionProtectionEnabled": False}


def test_tags_that_are_not_given_are_left_alone(run: Run, logs: Any) -> None:
    run("log_group", **WANTED)
    assert run("log_group", name=NAME, retention_days=30)["changed"] is False
    run("log_group", name=NAME, retention_days=30, tags={})
    assert described(logs)["tags"] == {}


def test_a_lost_answer_makes_no_failure(
    run: Run, logs: Any, stubs: dict[str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansible.module_utils.mlflow_aws.CREATE_PAUSE_SECONDS", 0)

    def lost(**request: Any) -> Any:
        del stubs["CreateLogGroup"]
        logs.create_log_group(**request)
        raise ConnectionClosedError(endpoint_url="logs")

    stubs["CreateLogGroup"] = lost
    assert run("log_group", **WANTED)["changed"] is True
    assert described(logs) == FRESH


def test_a_refusal_of_aws_is_one_sentence(run: Run, stubs: dict[str, Callable[..., Any]]) -> None:
    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "You may not."}}, "CreateLogGroup")

    stubs["CreateLogGroup"] = refuse
    answer = run("log_group", **WANTED)
    assert answer["msg"] == (
        f"Could not create the log group {NAME}: You may not (AccessDeniedException); the login lacks CreateLogGroup: "
        "attach to it the policies in policies/deployer/, which have it."
    )


def test_a_group_is_removed(run: Run, logs: Any) -> None:
    run("log_group", **WANTED)
    four_steps(run, "log_group", name=NAME, state="absent")
    assert logs.describe_log_groups()["logGroups"] == []
