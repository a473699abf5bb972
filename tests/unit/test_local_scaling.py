"""Application Auto Scaling: what moto is given from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from local import aws, config, moto_server

NAMES = {"ServiceNamespace": "ecs", "ResourceId": "service/c/s", "ScalableDimension": "ecs:service:DesiredCount"}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of our own, and a deployer who may register targets and read."""
    monkeypatch.setattr(config, "STATE", tmp_path)
    monkeypatch.setenv("MOTO_ACCOUNT_ID", config.ACCOUNT)
    statement = {
        "Effect": "Allow",
        "Action": ["application-autoscaling:Register*", "application-autoscaling:Describe*"],
        "Resource": "*",
    }
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "service.json").write_text(json.dumps({"Statement": [statement]}))
    monkeypatch.setattr(aws, "POLICIES", tmp_path / "policies")


def call(application: Any, action: str, body: dict[str, Any], key: str = "") -> tuple[int, dict[str, Any]]:
    """One request, as root unless `key` says otherwise: (status, answer)."""
    scope = f"{key or config.root_keys()[0]}/20260101/{config.REGION}/application-autoscaling/aws4_request"
    answer = Client(application).post(
        "/",
        data=json.dumps(body),
        headers={
            "X-Amz-Target": moto_server.PREFIX + action,
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
            "Host": f"application-autoscaling.{config.REGION}.amazonaws.com",
        },
    )
    return answer.status_code, json.loads(answer.get_data(as_text=True) or "{}")


def server(path: Path) -> Any:
    """moto as it is served, new and empty but for its journal."""
    from moto.applicationautoscaling import applicationautoscaling_backends
    from moto.server import DomainDispatcherApplication, create_backend_app

    applicationautoscaling_backends.reset()
    moto_server.TAGS.clear()
    moto_server.patch()
    found = moto_server.Journal(path, DomainDispatcherApplication(create_backend_app))
    found.replay()
    return found


def test_targets_policies_and_tags_survive_a_restart(tmp_path: Path) -> None:
    first = server(tmp_path / "journal")
    status, answer = call(
        first, "RegisterScalableTarget", {**NAMES, "MinCapacity": 1, "MaxCapacity": 2, "Tags": {"Stack": "s"}}
    )
    assert status == 200
    arn = answer["ScalableTargetARN"]
    assert f":{config.ACCOUNT}:" in arn
    tracking = {
        "TargetValue": 60.0,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
    }
    policy = {
        "PolicyName": "cpu",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": tracking,
    }
    assert call(first, "PutScalingPolicy", {**NAMES, **policy})[0] == 200
    second = server(tmp_path / "journal")
    targets = call(second, "DescribeScalableTargets", {"ServiceNamespace": "ecs"})[1]["ScalableTargets"]
    assert [(one["ResourceId"], one["MaxCapacity"], one["ScalableTargetARN"]) for one in targets] == [
        ("service/c/s", 2, arn)
    ]
    policies = call(second, "DescribeScalingPolicies", {"ServiceNamespace": "ecs"})[1]["ScalingPolicies"]
    assert [(one["PolicyName"], one["TargetTrackingScalingPolicyConfiguration"]) for one in policies] == [
        ("cpu", tracking)
    ]
    assert call(second, "ListTagsForResource", {"ResourceARN": arn})[1] == {"Tags": {"Stack": "s"}}
    assert call(second, "UntagResource", {"ResourceARN": arn, "TagKeys": ["Stack"]})[0] == 200
    assert call(second, "DeregisterScalableTarget", NAMES)[0] == 200
    third = server(tmp_path / "journal")
    assert call(third, "DescribeScalableTargets", {"ServiceNamespace": "ecs"})[1]["ScalableTargets"] == []
    assert call(third, "ListTagsForResource", {"ResourceARN": arn})[0] == 400


def test_a_target_that_is_registered_anew_has_no_tags_of_the_one_before(tmp_path: Path) -> None:
    application = server(tmp_path / "journal")
    target = {**NAMES, "MinCapacity": 1, "MaxCapacity": 2}
    call(application, "RegisterScalableTarget", {**target, "Tags": {"Cost": "7"}})
    assert call(application, "DeregisterScalableTarget", NAMES)[0] == 200
    arn = call(application, "RegisterScalableTarget", {**target, "Tags": {"Team": "b"}})[1]["ScalableTargetARN"]
    assert call(application, "ListTagsForResource", {"ResourceARN": arn})[1] == {"Tags": {"Team": "b"}}


def test_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    call(server(path), "RegisterScalableTarget", {**NAMES, "MinCapacity": 1, "MaxCapacity": 2})
    path.write_text(path.read_text() + '\n{"target": "AnyScaleFr')
    call(server(path), "RegisterScalableTarget", {**NAMES, "MinCapacity": 1, "MaxCapacity": 5})
    targets = call(server(path), "DescribeScalableTargets", {"ServiceNamespace": "ecs"})[1]["ScalableTargets"]
    assert [one["MaxCapacity"] for one in targets] == [5]


def test_a_refused_call_is_not_repeated(tmp_path: Path) -> None:
    application = server(tmp_path / "journal")
    assert call(application, "DeregisterScalableTarget", NAMES)[0] == 400
    assert not (tmp_path / "journal").exists()


def test_no_secret_in_the_journal(tmp_path: Path) -> None:
    application = server(tmp_path / "journal")
    call(application, "RegisterScalableTarget", {**NAMES, "MinCapacity": 1, "MaxCapacity": 2})
    text = (tmp_path / "journal").read_text()
    assert "Signature" not in text
    assert config.root_keys()[1] not in text


def test_the_deployer_may_what_its_policy_says(tmp_path: Path) -> None:
    application = server(tmp_path / "journal")
    body = {**NAMES, "MinCapacity": 1, "MaxCapacity": 2}
    assert call(application, "RegisterScalableTarget", body, key="ASIADEPLOYER")[0] == 200
    status, answer = call(application, "DeregisterScalableTarget", NAMES, key="ASIADEPLOYER")
    assert (status, answer["__type"]) == (400, "AccessDeniedException")
    assert "application-autoscaling:DeregisterScalableTarget" in answer["message"]
