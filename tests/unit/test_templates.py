"""The policies and the task definition as Ansible renders them from settings, through the wiring, without a run."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import filter_loader, init_plugin_loader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("network", "ecr_image", "rds", "efs", "s3_artifacts", "alb", "ecs_service")
ACCOUNT = "123456789012"
ECR = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/mlflow@sha256:" + "0" * 64
MLFLOW = {
    "stack_name": "team-a",
    "environment": "test",
    "region": "eu-west-1",
    "partition": "aws",
    "account_id": ACCOUNT,
    "storage": "rds",
    "exposure": "internal",
    "auth": "basic",
    "auth_cache_seconds": 60,
    "default_permission": "READ",
    "image": ECR,
    "image_copy": False,
    "architecture": "x86_64",
    "domain": "",
    "certificate_arn": "",
    "size": {"cpu": 512, "memory": 1024, "workers": 1},
    "capacity_min": 1,
    "capacity_max": 1,
    "tags": {"Stack": "team-a"},
    "access_logs": True,
    "vpc_cidr": "10.42.0.0/16",
    "subnets": {
        "public": ["10.42.0.0/20", "10.42.16.0/20"],
        "private": ["10.42.32.0/20", "10.42.48.0/20"],
        "database": [],
    },
    "permissions_boundary_arn": "",
    "egress": "nat",
}
SECRET = f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:mlflow/team-a"
FOUND: dict[str, dict[str, Any]] = {
    "network": {"vpc_id": "vpc-1", "private_subnet_ids": ["subnet-p"], "public_subnet_ids": ["subnet-o"]},
    "s3_artifacts": {"bucket_name": f"mlflow-team-a-{ACCOUNT}-eu-west-1"},
    "rds": {"endpoint": "db.example", "port": 5432, "secret_arn": f"{SECRET}/database-AbCdEf", "instance_arn": "arn"},
    "efs": {
        "file_system_id": "fs-1",
        "file_system_arn": f"arn:aws:elasticfilesystem:eu-west-1:{ACCOUNT}:file-system/fs-1",
        "access_point_id": "fsap-1",
        "access_point_arn": f"arn:aws:elasticfilesystem:eu-west-1:{ACCOUNT}:access-point/fsap-1",
    },
    "alb": {
        "load_balancer_dns_name": "team-A-1.elb.example",
        "target_group_arn": "arn:tg",
        "load_balancer_arn": "arn:lb",
    },
    "ecs_service": {
        "admin_secret_arn": f"{SECRET}/admin-AbCdEf",
        "flask_secret_arn": f"{SECRET}/flask-AbCdEf",
        "task_definition_arn": None,
    },
    "ecr_image": {},
}


def trusted(value: Any) -> Any:
    """The same value with every string allowed to be a template, as what comes from files is."""
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    return [trusted(item) for item in value] if isinstance(value, list) else value


@cache
def load_plugins() -> None:
    """Make the repository's filters known to Ansible, once a process."""
    init_plugin_loader()
    filter_loader.add_directory(str(ROOT / "plugins/filter"))


def templar(**settings: Any) -> Templar:
    """A Templar that knows roles, wiring and what a run would have found; `settings` change those of the stack."""
    load_plugins()
    variables: dict[str, Any] = {"ansible_check_mode": False, "ansible_playbook_python": "python"}
    files = [ROOT / f"roles/{role}/{kind}/main.yml" for role in ROLES for kind in ("defaults", "vars")]
    for file in [*files, ROOT / "group_vars/all/wiring.yml"]:
        variables |= trusted(yaml.safe_load(file.read_text()) or {})
    variables["mlflow"] = MLFLOW | settings
    for role, values in FOUND.items():
        variables[f"__{role}_found"] = {"stack": {role: values}, "missing": []}
    return Templar(loader=DataLoader(), variables=variables)


def policy(role: str, name: str, **settings: Any) -> dict[str, dict[str, Any]]:
    """The statements of a rendered policy by Sid, or by number."""
    text = (ROOT / f"roles/{role}/templates/{name}.json.j2").read_text()
    document = templar(**settings).template(trust_as_template(text))
    if isinstance(document, str):
        document = json.loads(document)
    assert document["Version"] == "2012-10-17"
    return {one.get("Sid", str(at)): one for at, one in enumerate(document["Statement"])}


def value(expression: str, **settings: Any) -> Any:
    return templar(**settings).template(trust_as_template("{{ " + expression + " }}"))


def test_the_execution_role_reads_the_three_secrets_of_a_database_stack() -> None:
    found = policy("ecs_service", "execution_policy")["Secrets"]["Resource"]
    assert found == sorted(f"{SECRET}/{name}-AbCdEf" for name in ("admin", "database", "flask"))


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"storage": "efs"}, ["admin", "flask"]),
        ({"auth": "none"}, ["database"]),
    ],
)
def test_the_execution_role_reads_no_secret_that_the_task_does_not_get(
    settings: dict[str, str], names: list[str]
) -> None:
    found = policy("ecs_service", "execution_policy", **settings)["Secrets"]["Resource"]
    assert found == [f"{SECRET}/{name}-AbCdEf" for name in names]


def test_without_login_and_database_there_is_no_right_to_secrets() -> None:
    assert "Secrets" not in policy("ecs_service", "execution_policy", storage="efs", auth="none")


def test_only_an_image_in_ecr_gives_rights_in_ecr() -> None:
    assert policy("ecs_service", "execution_policy")["Image"]["Resource"].endswith(f"{ACCOUNT}:repository/mlflow")
    elsewhere = policy("ecs_service", "execution_policy", image="ghcr.io/x/mlflow@sha256:" + "0" * 64)
    assert not {"Registry", "Image"} & set(elsewhere)


def test_the_task_role_keeps_artifacts_under_its_prefix_and_mounts_only_its_file_system() -> None:
    found = policy("ecs_service", "task_policy")
    assert found["KeepArtifacts"]["Resource"] == f"arn:aws:s3:::mlflow-team-a-{ACCOUNT}-eu-west-1/artifacts/*"
    assert "MountData" not in found
    mount = policy("ecs_service", "task_policy", storage="efs")["MountData"]
    assert mount["Resource"].endswith("file-system/fs-1")
    assert mount["Condition"]["StringEquals"]["elasticfilesystem:AccessPointArn"].endswith("access-point/fsap-1")


@pytest.mark.parametrize("name", ["artifacts_policy", "logs_policy"])
def test_every_bucket_refuses_plain_http(name: str) -> None:
    deny = policy("s3_artifacts", name)["TlsOnly"]
    assert deny["Effect"] == "Deny"
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert {resource.endswith("/*") for resource in deny["Resource"]} == {True, False}


def test_nobody_but_aws_writes_logs() -> None:
    allowed = [one for one in policy("s3_artifacts", "logs_policy").values() if one["Effect"] == "Allow"]
    assert {one["Principal"]["Service"] for one in allowed} == {
        "logdelivery.elasticloadbalancing.amazonaws.com",
        "logging.s3.amazonaws.com",
    }
    assert {one["Action"] for one in allowed} == {"s3:PutObject"}


def test_the_environment_names_the_database_and_no_secret() -> None:
    told = value("__ecs_service_environment")
    assert told["MLFLOW_DB_HOST"] == "db.example"
    assert told["MLFLOW_DB_PORT"] == "5432"
    assert told["MLFLOW_ARTIFACTS_DESTINATION"] == f"s3://mlflow-team-a-{ACCOUNT}-eu-west-1/artifacts"
    assert all(isinstance(text, str) for text in told.values())
    assert "MLFLOW_DATA_DIR" not in told
    assert value("__ecs_service_secrets")["MLFLOW_DB_PASSWORD"] == f"{SECRET}/database-AbCdEf:password::"


def test_the_environment_of_efs_names_the_mount_and_no_database() -> None:
    told = value("__ecs_service_environment", storage="efs")
    assert told["MLFLOW_DATA_DIR"] == "/mlflow"
    assert not [name for name in told if name.startswith("MLFLOW_DB_")]
    assert value("__ecs_service_deployment", storage="efs")["maximum_percent"] == 100


def test_the_allowed_hosts_are_the_domain_and_the_load_balancers_name_in_both_spellings() -> None:
    told = value("__ecs_service_environment", domain="mlflow.example.com")["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert told[:2] == ["mlflow.example.com", "mlflow.example.com:*"]
    assert {"team-A-1.elb.example", "team-a-1.elb.example:*"} <= set(told)


@pytest.mark.parametrize(
    ("settings", "url", "scheme", "ports"),
    [
        ({}, "http://team-A-1.elb.example", "internal", [80]),
        (
            {"exposure": "public", "domain": "m.example", "certificate_arn": "arn:aws:acm:x"},
            "https://m.example",
            "internet-facing",
            [80, 443],
        ),
    ],
)
def test_exposure_decides_address_scheme_and_ports(
    settings: dict[str, str], url: str, scheme: str, ports: list[int]
) -> None:
    assert value("wiring_tracking_url", **settings) == url
    assert value("alb_scheme", **settings) == scheme
    assert value("network_load_balancer_ports", **settings) == ports
    subnets = value("alb_subnet_ids", **settings)
    assert subnets == (["subnet-o"] if scheme == "internet-facing" else ["subnet-p"])
