"""service_scaling, run in-process against moto as `test_module_aws` runs the other modules."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from ansible.module_utils.testing import patch_module_args
from botocore.client import BaseClient
from moto import mock_aws

from local import moto_server
from tests.own_modules import load

PLUGINS = Path(__file__).parents[2] / "plugins"
REGION, RESOURCE = "eu-west-1", "service/team-a/team-a"
NAMES = {"cluster": "team-a", "service": "team-a"}
PRESENT = {**NAMES, "minimum": 1, "maximum": 4, "cpu_target": 60}
READS = re.compile(r"^(Describe|List)")
Run = Callable[..., tuple[dict[str, Any], list[str]]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Yield run(check=False, **arguments) -> (answer, write operations), in an empty AWS."""
    for name in ("AWS_ENDPOINT_URL", "AWS_URL", "AWS_PROFILE", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    loaded = load("modules", "service_scaling")
    calls: list[str] = []
    original = BaseClient._make_api_call  # type: ignore[attr-defined]

    def recorded(client: Any, operation: str, request: Any) -> Any:
        calls.append(operation)
        return original(client, operation, request)

    def call(check: bool = False, **arguments: Any) -> tuple[dict[str, Any], list[str]]:
        calls.clear()
        capsys.readouterr()
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            loaded.main()
        return json.loads(capsys.readouterr().out), [one for one in calls if not READS.match(one)]

    monkeypatch.setattr(BaseClient, "_make_api_call", recorded)
    monkeypatch.setattr(loaded.AnsibleAWSModule, "client", lambda _, service, **__: client(service))
    # moto itself has no tags there.
    moto_server.patch()
    with mock_aws():
        yield call


def client(service: str) -> Any:
    """Return a client for `service`."""
    return boto3.session.Session().client(service, region_name=REGION)  # type: ignore[call-overload]


@pytest.fixture
def service(run: Run) -> None:
    """Make the ECS service, which Application Auto Scaling asks for."""
    ecs = client("ecs")
    ecs.create_cluster(clusterName="team-a")
    ecs.register_task_definition(family="team-a", containerDefinitions=[{"name": "mlflow", "image": "x", "memory": 64}])
    ecs.create_service(cluster="team-a", serviceName="team-a", taskDefinition="team-a", desiredCount=1)


def standing() -> tuple[list[tuple[int, int]], list[dict[str, Any]]]:
    """Return (the bounds of every target, the configuration of every policy)."""
    scaling = client("application-autoscaling")
    targets = scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    policies = scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"]
    return (
        [(one["MinCapacity"], one["MaxCapacity"]) for one in targets],
        [one["TargetTrackingScalingPolicyConfiguration"] for one in policies],
    )


def four_steps(run: Run, **arguments: Any) -> list[str]:
    """Check predicts and writes nothing, the run makes it, both again change nothing; return the run's writes."""
    predicted, writes = run(check=True, **arguments)
    assert (predicted["changed"], writes) == (True, [])
    made, done = run(**arguments)
    assert made.get("changed") is True, made
    assert made["diff"] == predicted["diff"]
    for check in (True, False):
        again, writes = run(check=check, **arguments)
        assert (again["changed"], writes) == (False, []), again["diff"]
    return done


@pytest.mark.usefixtures("service")
def test_four_steps_drift_and_absence(run: Run) -> None:
    assert four_steps(run, **PRESENT) == ["RegisterScalableTarget", "PutScalingPolicy"]
    bounds, (policy,) = standing()
    assert bounds == [(1, 4)]
    assert policy["PredefinedMetricSpecification"] == {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}
    assert (policy["TargetValue"], policy["ScaleInCooldown"], policy["ScaleOutCooldown"]) == (60, 300, 60)
    assert four_steps(run, **NAMES, state="absent") == ["DeleteScalingPolicy", "DeregisterScalableTarget"]
    assert standing() == ([], [])


@pytest.mark.usefixtures("service")
def test_drift_is_repaired_where_it_is(run: Run) -> None:
    run(**PRESENT)
    scaling = client("application-autoscaling")
    target = {"ServiceNamespace": "ecs", "ResourceId": RESOURCE, "ScalableDimension": "ecs:service:DesiredCount"}
    scaling.register_scalable_target(**target, MinCapacity=2, MaxCapacity=9)
    assert four_steps(run, **PRESENT) == ["RegisterScalableTarget"]
    assert standing()[0] == [(1, 4)]
    drifted = {**standing()[1][0], "TargetValue": 95.0}
    kind = "TargetTrackingScaling"
    scaling.put_scaling_policy(
        PolicyName="cpu", PolicyType=kind, TargetTrackingScalingPolicyConfiguration=drifted, **target
    )
    assert four_steps(run, **PRESENT) == ["PutScalingPolicy"]
    assert [one["TargetValue"] for one in standing()[1]] == [60]
    # AWS may leave out what is false.
    del drifted["DisableScaleIn"]
    drifted["TargetValue"] = 60.0
    scaling.put_scaling_policy(
        PolicyName="cpu", PolicyType=kind, TargetTrackingScalingPolicyConfiguration=drifted, **target
    )
    assert run(**PRESENT)[0]["changed"] is False


def test_a_missing_service_fails_only_outside_a_check(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.applicationautoscaling import models

    def refuse(_backend: object, resource: str) -> bool:
        raise models.AWSValidationException(f"ECS service doesn't exist: {resource}")

    # As moto does it, unless a test of local/ has already taken this check away from the process.
    monkeypatch.setattr(models.ApplicationAutoscalingBackend, "_ecs_service_exists_for_target", refuse)
    client("ecs").create_cluster(clusterName="team-a")
    predicted, writes = run(check=True, **PRESENT)
    assert (predicted["changed"], writes) == (True, [])
    assert run(**NAMES, state="absent")[0]["changed"] is False
    message = run(**PRESENT)[0]["msg"]
    assert message.startswith(f"Could not set the scaling of {RESOURCE}: ")
    assert "\n" not in message


def test_present_needs_the_bounds(run: Run) -> None:
    assert "minimum" in run(**NAMES)[0]["msg"]
