"""A stack that older code has made, moved by one run: values, artifacts and nothing of the old names afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import boto3
import pytest

from bench import sides
from scripts import generate_policies
from tests.own_modules import READS

SETTINGS = ["-e", json.dumps({"mlflow_auth": "basic", "mlflow_flow_logs": True, "mlflow_keep_artifacts": True})]
USES = ("admin", "flask", "database")
ROLES = [f"{sides.STACK}-{sides.REGION}-{use}" for use in ("execution", "task", "flow-logs")]
OLDER_BUCKET = f"{sides.STACK}-artifacts-{sides.ACCOUNT}-{sides.REGION}"
BUCKET = f"mlflow-{sides.STACK}-{sides.ACCOUNT}-{sides.REGION}"
OLDER_RIGHTS = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}]}
TRUST = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
]}  # fmt: skip


class Moved(NamedTuple):
    """An AWS in which a stack was moved: the secrets' values before, what was refused, and the runs' output."""

    cloud: sides.Cloud
    values: dict[str, str]
    refused: str
    written_when_refused: list[str]
    moved: str
    again: str


def client(cloud: sides.Cloud, service: str) -> Any:
    key, secret = sides.AWS["AWS_ACCESS_KEY_ID"], sides.AWS["AWS_SECRET_ACCESS_KEY"]
    session = boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret)
    return session.client(service, region_name=sides.REGION, endpoint_url=cloud.url)  # type: ignore[call-overload]


def age_secrets(cloud: sides.Cloud) -> dict[str, str]:
    """Have the secrets with their older names; their values."""
    manager, ssm = client(cloud, "secretsmanager"), client(cloud, "ssm")
    values = {}
    for use in USES:
        name = f"{sides.STACK}/{use}"
        values[use] = manager.get_secret_value(SecretId=f"mlflow/{name}")["SecretString"]
        arn = manager.create_secret(Name=name, SecretString=values[use])["ARN"]
        manager.delete_secret(SecretId=f"mlflow/{name}", ForceDeleteWithoutRecovery=True)
        ssm.put_parameter(Name=f"/mlflow/{sides.STACK}/{use}_secret_arn", Value=arn, Type="String", Overwrite=True)
    return values


def age_roles_and_bucket(cloud: sides.Cloud) -> None:
    """Have the older roles too, and the artifacts in a bucket with an older name."""
    iam, s3, ssm = client(cloud, "iam"), client(cloud, "s3"), client(cloud, "ssm")
    for role in ROLES:
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(TRUST))
        iam.put_role_policy(RoleName=role, PolicyName="older", PolicyDocument=json.dumps(OLDER_RIGHTS))
    where = {"LocationConstraint": sides.REGION}
    s3.create_bucket(Bucket=OLDER_BUCKET, CreateBucketConfiguration=where)
    s3.put_object(Bucket=OLDER_BUCKET, Key="artifacts/1/model", Body=b"model")
    s3.delete_bucket(Bucket=BUCKET)
    name = f"/mlflow/{sides.STACK}/artifact_bucket"
    ssm.put_parameter(Name=name, Value=OLDER_BUCKET, Type="String", Overwrite=True)


def age_record(cloud: sides.Cloud) -> None:
    """Have the record say no more than older code wrote: digests, and no description of what was right."""
    ssm = client(cloud, "ssm")
    path = f"/mlflow-drift/{sides.STACK}"
    answer = ssm.get_paginator("get_parameters_by_path").paginate(Path=path, Recursive=True).build_full_result()
    values = {each["Name"]: each["Value"] for each in answer["Parameters"]}
    record = json.loads(values.pop(f"{path}/record"))
    older = {key: record[key] for key in ("inputs", "parts", "until")}
    ssm.put_parameter(Name=f"{path}/record", Value=json.dumps(older), Type="String", Overwrite=True)
    assert values, "newer code describes what was right in further parameters"
    for name in values:
        ssm.delete_parameter(Name=name)


def run(cloud: sides.Cloud, step: str, command: list[str], **environment: str) -> str:
    sides.measure(cloud, 1, "ours", step, [*command, *SETTINGS], **environment)
    return (cloud.folder / f"1-ours-{step}.log").read_text()


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    """A stack of older code, refused, moved, and converged again."""
    with sides.Cloud(tmp_path_factory.mktemp("aws")) as cloud:
        run(cloud, "converge", sides.converge())
        values = age_secrets(cloud)
        age_roles_and_bucket(cloud)
        age_record(cloud)
        known = len(cloud.records())
        with pytest.raises(sides.Failed) as refused:
            run(cloud, "refused", sides.converge())
        written = [
            name for _, name, _ in generate_policies.operations(cloud.records()[known:]) if not READS.match(name)
        ]
        move = ["ansible-playbook", "-i", str(sides.INVENTORY), "playbooks/move.yml"]
        # No task ever starts here, so nothing is waited for.
        text = run(cloud, "move", [*move, "-e", "{move_waited: true}"], MLFLOW_TEST_INPUTS="1")
        yield Moved(cloud, values, str(refused.value), written, text, run(cloud, "again", sides.every_task()))
    sides.remove_outputs()


def test_a_run_without_the_move_is_refused_before_any_change(moved: Moved) -> None:
    assert "run playbooks/move.yml once" in moved.refused
    assert moved.written_when_refused == []


def test_the_secrets_have_their_values_and_no_output_has_them(moved: Moved) -> None:
    manager = client(moved.cloud, "secretsmanager")
    for use, value in moved.values.items():
        assert manager.get_secret_value(SecretId=f"mlflow/{sides.STACK}/{use}")["SecretString"] == value
        # It can be restored for a while.
        assert manager.describe_secret(SecretId=f"{sides.STACK}/{use}")["DeletedDate"]
        password = value if use == "flask" else json.loads(value)["password"]
        assert password not in moved.moved


def test_the_artifacts_stay_where_they_are_and_the_service_uses_them(moved: Moved) -> None:
    s3, ecs, ssm = (client(moved.cloud, service) for service in ("s3", "ecs", "ssm"))
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=OLDER_BUCKET)["Contents"]] == ["artifacts/1/model"]
    assert OLDER_BUCKET in [each["Name"] for each in s3.list_buckets()["Buckets"]]
    assert BUCKET not in [each["Name"] for each in s3.list_buckets()["Buckets"]]
    (service,) = ecs.describe_services(cluster=sides.STACK, services=[sides.STACK])["services"]
    definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    (container,) = definition["containerDefinitions"]
    environment = {each["name"]: each["value"] for each in container["environment"]}
    assert environment["MLFLOW_ARTIFACTS_DESTINATION"] == f"s3://{OLDER_BUCKET}/artifacts"
    assert all(f":secret:mlflow/{sides.STACK}/" in each["valueFrom"] for each in container["secrets"])
    assert ":role/mlflow/mlflow-" in definition["taskRoleArn"]
    published = ssm.get_parameter(Name=f"/mlflow/{sides.STACK}/artifact_bucket")["Parameter"]["Value"]
    assert published == OLDER_BUCKET


def test_the_roles_of_older_code_are_gone(moved: Moved) -> None:
    names = {each["RoleName"] for each in client(moved.cloud, "iam").list_roles()["Roles"]}
    assert names & set(ROLES) == set()
    assert {f"mlflow-{role}" for role in ROLES} <= names


def test_the_next_run_changes_nothing(moved: Moved) -> None:
    assert "changed=0" in moved.again
