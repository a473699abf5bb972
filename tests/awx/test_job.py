"""The playbooks as jobs of AWX, against an AWS."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from bench import sides
from tests.awx import jobs, rules


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sides.Cloud]:
    with sides.Cloud(tmp_path_factory.mktemp("aws")) as one:
        yield one


def job(cloud: sides.Cloud, folder: Path, name: str, path: str = "", **handed: Any) -> jobs.Job:
    """Run the job template of dev that is called so, limited to one of two stacks; `path` for another PATH."""
    template = next(one for one in rules.load()["templates"] if one["name"] == f"mlflow_{name}_dev")
    inventory = jobs.flattened(rules.ROOT / "bench/inventory/hosts")
    inventory["mlflow"]["hosts"].append("bench-2")
    credential = sides.AWS | {"AWS_ENDPOINT_URL": cloud.url} | ({"PATH": path} if path else {})
    done = jobs.run(folder, rules.ROOT, template, inventory, credential, limit=sides.STACK, **handed)
    assert sides.STACK in done.said
    assert "bench-2" not in done.said
    return done


def aws(cloud: sides.Cloud, service: str) -> Any:
    """A client of our own."""
    keys = (sides.AWS["AWS_ACCESS_KEY_ID"], sides.AWS["AWS_SECRET_ACCESS_KEY"], None, sides.REGION)
    return boto3.Session(*keys).client(service, endpoint_url=cloud.url)


@pytest.mark.parametrize("name", ["plan", "deploy"])
def test_an_image_that_no_engine_can_make_is_said_before_anything_is_made(
    cloud: sides.Cloud, tmp_path: Path, name: str
) -> None:
    before = len(cloud.calls())
    base = f"example.org/python:3.13@sha256:{'0' * 64}"
    programs = str(Path(sys.executable).parent)
    refused = job(cloud, tmp_path / name, name, programs, mlflow_image="build", mlflow_image_base=base)
    assert refused.status == "failed"
    assert f"{sides.STACK} does not hold the image slim-amd64-" in refused.said
    assert "There is no command docker on this machine" in refused.said
    assert [call for call in cloud.calls()[before:] if not re.search(r" (Describe|Get|List|GET)", call)] == []


def test_release(cloud: sides.Cloud, tmp_path: Path) -> None:
    """Plan, approval, deployment, nightly look, a change by hand, nightly look; verify, inspect, destroy."""
    plan = job(cloud, tmp_path / "plan", "plan", mlflow_release_image="")
    assert plan.status == "successful", plan.said
    assert plan.artifacts == {"planned_revision_mlflow_dev": jobs.REVISION}
    assert plan.warm

    before = len(cloud.calls())
    other = job(cloud, tmp_path / "other", "deploy", planned_revision_mlflow_dev="f" * 40)
    assert other.status == "failed"
    assert f"was made for commit {'f' * 40}" in other.said
    assert len(cloud.calls()) - before == 1

    night = job(cloud, tmp_path / "empty", "drift")
    assert night.status == "failed"
    assert f"{sides.STACK} is not what git says" in night.said

    # What a promotion hands on from an environment before this one is not this one's.
    handed = plan.artifacts | {"planned_revision_mlflow_test": "f" * 40}
    deployed = job(cloud, tmp_path / "deploy", "deploy", mlflow_release_image="", **handed)
    assert deployed.status == "successful", deployed.said

    night = job(cloud, tmp_path / "night", "drift")
    assert night.status == "successful", night.said
    assert f"{sides.STACK} is what git says" in night.said

    aws(cloud, "ecs").update_service(cluster=sides.STACK, service=sides.STACK, desiredCount=0)
    night = job(cloud, tmp_path / "changed", "drift")
    assert night.status == "failed"
    assert f"{sides.STACK} is not what git says; this would change:" in night.said

    # The inventory says that nobody reaches the server from here.
    verify = job(cloud, tmp_path / "none", "verify")
    assert verify.status == "failed"
    assert f"{sides.STACK} has no healthy task (none is registered)" in verify.said

    elb = aws(cloud, "elbv2")
    [group] = elb.describe_target_groups(Names=[sides.STACK])["TargetGroups"]
    elb.register_targets(TargetGroupArn=group["TargetGroupArn"], Targets=[{"Id": "10.0.0.9"}])
    verify = job(cloud, tmp_path / "one", "verify")
    assert verify.status == "successful", verify.said
    assert f"{sides.STACK} has 1 healthy tasks. The server itself was not asked" in verify.said

    inspect = job(cloud, tmp_path / "inspect", "inspect")
    assert inspect.status == "failed"
    assert "still runs, and has healthy tasks" in inspect.said

    kept = job(cloud, tmp_path / "kept", "destroy", mlflow_destroy_confirm="other")
    assert kept.status == "failed"
    assert elb.describe_load_balancers()["LoadBalancers"]
    gone = job(cloud, tmp_path / "gone", "destroy", mlflow_destroy_confirm=sides.STACK)
    assert gone.status == "successful", gone.said
    assert not elb.describe_load_balancers()["LoadBalancers"]
