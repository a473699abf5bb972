"""What is left of other people's modules in front of the service: each input that the roles pass, alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.community.aws.plugins.modules import elb_target_group_info

from tests.own_modules import Run, client, empty_aws, runner

MODULES = {"community.aws.elb_target_group_info": elb_target_group_info}
NAME = "community.aws.elb_target_group_info"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with empty_aws(monkeypatch):
        yield runner(MODULES, capsys, monkeypatch, {})


@pytest.fixture
def groups(run: Run) -> list[str]:
    """Two target groups with a target each."""
    vpc = client("ec2").create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    elb = client("elbv2")
    names = ["team-a", "team-b"]
    for number, name in enumerate(names):
        made = elb.create_target_group(Name=name, Protocol="HTTP", Port=5000, VpcId=vpc, TargetType="ip")
        arn = made["TargetGroups"][0]["TargetGroupArn"]
        elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": f"10.20.0.{number + 1}", "Port": 5000}])
    return names


def targets(group: dict[str, Any]) -> list[str]:
    """The addresses of the targets that the module shows of a group."""
    return [each["target"]["id"] for each in group["targets_health_description"]]


def test_the_group_that_is_named_is_shown_with_the_health_of_its_targets(run: Run, groups: list[str]) -> None:
    for number, name in enumerate(groups):
        answer = run(NAME, names=[name], collect_targets_health=True)
        [group] = answer["target_groups"]
        assert (group["target_group_name"], targets(group)) == (name, [f"10.20.0.{number + 1}"])
        [health] = group["targets_health_description"]
        seen = client("elbv2").describe_target_health(TargetGroupArn=group["target_group_arn"])
        assert health["target_health"]["state"] == seen["TargetHealthDescriptions"][0]["TargetHealth"]["State"]
        assert answer.writes == []


def test_health_is_shown_only_where_it_is_asked_for(run: Run, groups: list[str]) -> None:
    [group] = run(NAME, names=groups[:1], collect_targets_health=False)["target_groups"]
    assert "targets_health_description" not in group
