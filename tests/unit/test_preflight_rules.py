"""What the operator may set, and the sentence for what not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.module_utils import mlflow_settings as rules

ROOT = Path(__file__).resolve().parents[2]
SPEC: dict[str, Any] = yaml.safe_load((ROOT / "roles/preflight/meta/argument_specs.yml").read_text("utf-8"))[
    "argument_specs"
]["main"]["options"]
IMAGE = "registry.example.org:5000/team/mlflow@sha256:" + "0a" * 32
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b-2c3d"
PUBLIC = {"exposure": "public", "allowed_cidrs": ["203.0.113.0/24"]}
SHORT = "sun:05:00-sun:05:20"
LARGE = {"database_storage_gb": 400}
TLS = {"certificate_arn": CERTIFICATE, "domain": "mlflow.example.org"}


def settle(**overrides: Any) -> tuple[rules.Settings, list[rules.Problem]]:
    """The result for a sound host of which some variables (without prefix) are changed; ... removes one."""
    given = {"stack_name": "team-a", "region": "eu-west-1", "image": IMAGE} | overrides
    return rules.settle(SPEC, {f"mlflow_{name}": value for name, value in given.items() if value is not ...})


def fact(**overrides: Any) -> dict[str, Any]:
    settings, problems = settle(**overrides)
    assert [str(problem) for problem in problems] == []
    return rules.derive(settings)


# What is set, the variable blamed, the value shown, a piece of the remedy.
BAD: list[tuple[dict[str, Any], str, str, str]] = [
    # required, empty and unknown
    ({"stack_name": ...}, "mlflow_stack_name", "not set", "such as team-a"),
    ({"stack_name": ""}, "mlflow_stack_name", "not set", "such as team-a"),
    ({"region": "  "}, "mlflow_region", "not set", "set mlflow_region"),
    ({"storag": "rds"}, "mlflow_storag", "set", "did you mean mlflow_storage"),
    ({"database_backup_days": 3}, "mlflow_database_backup_days", "set", "did you mean mlflow_"),
    ({"zzz": "hunter2"}, "mlflow_zzz", "set", "remove it"),
    # types
    ({"verify": "maybe"}, "mlflow_verify", "maybe", "true or false"),
    ({"verify": 2}, "mlflow_verify", "2", "true or false"),
    ({"verify": [True]}, "mlflow_verify", "[true]", "true or false"),
    ({"backup_days": "7d"}, "mlflow_backup_days", "7d", "digits only"),
    ({"backup_days": 1.5}, "mlflow_backup_days", "1.5", "digits only"),
    ({"backup_days": True}, "mlflow_backup_days", "true", "digits only"),
    ({"auth": False}, "mlflow_auth", "false", "none or basic"),
    ({"verify_url": "https://a\u200b.example"}, "mlflow_verify_url", "https://a\\u200b.example", "on one line"),
    ({"verify_url": "https://a.exa\nmple"}, "mlflow_verify_url", "https://a.exa mple", "on one line"),
    ({"allowed_cidrs": ["10.0.0.0/8\x00"]}, "mlflow_allowed_cidrs", '["10.0.0.0/8\\u0000"]', "on one line"),
    ({"backup_days": "\u0667"}, "mlflow_backup_days", "\u0667", "digits only"),
    ({"backup_days": "9" * 5000}, "mlflow_backup_days", "9" * 97 + "...", "digits only"),
    ({"database_password": "x"}, "mlflow_database_password", "set", "remove it"),
    ({"admin_token": "x"}, "mlflow_admin_token", "set", "remove it"),
    ({"release_image": "latest"}, "mlflow_release_image", "latest", "use build, or give <name>@sha256:"),
    ({"database_engine_version": 16.1}, "mlflow_database_engine_version", "16.1", "in quotes"),
    ({"allowed_cidrs": {"a": 1}}, "mlflow_allowed_cidrs", '{"a": 1}', "YAML list"),
    ({"allowed_cidrs": "[1,"}, "mlflow_allowed_cidrs", "[1,", "YAML list"),
    ({"allowed_cidrs": [10]}, "mlflow_allowed_cidrs", "[10]", "YAML list"),
    ({"tags": "team=a"}, "mlflow_tags", "team=a", "key: value"),
    ({"tags": {"team": ["a"]}}, "mlflow_tags", '{"team": ["a"]}', "key: value"),
    # choices
    ({"storage": "efss"}, "mlflow_storage", "efss", "efs or rds"),
    ({"storage": "aurora"}, "mlflow_storage", "aurora", "efs or rds"),
    ({"exposure": "Public"}, "mlflow_exposure", "Public", "internal or public"),
    ({"auth": "oidc"}, "mlflow_auth", "oidc", "none or basic"),
    ({"egress": "nat-per-az"}, "mlflow_egress", "nat-per-az", "nat_per_az (of nat, nat_per_az or endpoints)"),
    ({"size": "xlarge"}, "mlflow_size", "xlarge", "large (of small, medium or large)"),
    ({"log_retention_days": 31}, "mlflow_log_retention_days", "31", "use 30 (of"),
    ({"log_retention_days": "0"}, "mlflow_log_retention_days", "0", "3653"),
    # database
    ({"database_storage_max_gb": 21}, "mlflow_database_storage_max_gb", "21", "use 22 or more, or 0"),
    ({"database_storage_max_gb": 110, "database_storage_gb": 101}, "mlflow_database_storage_max_gb", "110", "use 112"),
    ({"database_storage_max_gb": 70000}, "mlflow_database_storage_max_gb", "70000", "use 0 to 65536"),
    ({"database_iops": 12000}, "mlflow_database_iops", "12000", "or mlflow_database_storage_gb 400"),
    ({"database_iops": 3000, **LARGE}, "mlflow_database_iops", "3000", "use one of those, or 0"),
    ({"database_iops": 64001, **LARGE}, "mlflow_database_iops", "64001", "use 0 to 64000"),
    ({"database_log_exports": ["slow"]}, "mlflow_database_log_exports", "slow", "postgresql"),
    ({"database_backup_window": "3:00-4:00"}, "mlflow_database_backup_window", "3:00-4:00", "as 03:00-04:00"),
    ({"database_backup_window": "23:50-00:10"}, "mlflow_database_backup_window", "23:50-00:10", "end later"),
    ({"database_maintenance_window": "sun:05:00"}, "mlflow_database_maintenance_window", "sun:05:00", "as sun:05:00-"),
    ({"database_maintenance_window": SHORT}, "mlflow_database_maintenance_window", SHORT, "later"),
    (
        {"database_backup_window": "23:50-00:30", "database_maintenance_window": "sun:00:29-sun:01:00"},
        "mlflow_database_backup_window",
        "23:50-00:30",
        "do not overlap",
    ),
    (
        {"database_backup_window": "01:00-02:00", "database_maintenance_window": "mon:23:30-tue:01:01"},
        "mlflow_database_backup_window",
        "01:00-02:00",
        "do not overlap",
    ),
    # names
    ({"stack_name": "Team-A"}, "mlflow_stack_name", "Team-A", "lower-case"),
    ({"stack_name": "1team"}, "mlflow_stack_name", "1team", "starting with a letter"),
    ({"stack_name": "team-"}, "mlflow_stack_name", "team-", "single hyphens"),
    ({"stack_name": "team--a"}, "mlflow_stack_name", "team--a", "single hyphens"),
    ({"stack_name": "team_a"}, "mlflow_stack_name", "team_a", "single hyphens"),
    ({"stack_name": "a"}, "mlflow_stack_name", "a", "2 or more"),
    ({"stack_name": "a" * 25}, "mlflow_stack_name", "a" * 25, "at most 24"),
    ({"stack_name": "internal-ml"}, "mlflow_stack_name", "internal-ml", "start it with another word"),
    ({"stack_name": "sg-abc"}, "mlflow_stack_name", "sg-abc", "start it with another word"),
    ({"stack_name": "default"}, "mlflow_stack_name", "default", "use another word"),
    ({"environment": "pre prod"}, "mlflow_environment", "pre prod", "dev or prod"),
    ({"region": "eu-west"}, "mlflow_region", "eu-west", "such as eu-west-1"),
    ({"region": "eu-west-1a"}, "mlflow_region", "eu-west-1a", "such as eu-west-1"),
    # account
    ({"account_id": "12345678901"}, "mlflow_account_id", "12345678901", "12 digits in quotes"),
    ({"account_id": "1234-5678-9012"}, "mlflow_account_id", "1234-5678-9012", "12 digits in quotes"),
    ({"account_id": "\u0661" * 12}, "mlflow_account_id", "\u0661" * 12, "12 digits in quotes"),
    ({"account_id": 123456789012}, "mlflow_account_id", "123456789012", "write it in quotes"),
    ({"account_id": ["123456789012", "prod"]}, "mlflow_account_id", "prod", "12 digits in quotes"),
    # image
    ({"image": "built"}, "mlflow_image", "built", "use build, or give <name>@sha256:"),
    ({"image": "build", "image_copy": "yes"}, "mlflow_image_copy", "true", "remove it"),
    ({"image_engine": "lxc"}, "mlflow_image_engine", "lxc", "docker or podman"),
    ({"image_base": "python 3"}, "mlflow_image_base", "python 3", "best by digest"),
    ({"image_base": "-v"}, "mlflow_image_base", "-v", "best by digest"),
    ({"image_base": "python@sha256:0a"}, "mlflow_image_base", "python@sha256:0a", "64 hex digits"),
    ({"image_variant": "thin"}, "mlflow_image_variant", "thin", "slim or full"),
    ({"image_ca_bundle": "ca.pem"}, "mlflow_image_ca_bundle", "ca.pem", "full path"),
    ({"image_ca_bundle": "http://example.org/ca"}, "mlflow_image_ca_bundle", "http://example.org/ca", "https URL"),
    ({"image_ca_bundle": "https://u:p@x.org/ca"}, "mlflow_image_ca_bundle", "https://...@x.org/ca", "https URL"),
    ({"image_scan_gate": "severe"}, "mlflow_image_scan_gate", "severe", "critical"),
    ({"image_scan_gate": "high"}, "mlflow_image_scan_gate", "high", "mlflow_image_copy to true"),
    ({"architecture": "amd64"}, "mlflow_architecture", "amd64", "x86_64 or arm64"),
    ({"image": "mlflow:3.17.2"}, "mlflow_image", "mlflow:3.17.2", "@sha256:"),
    ({"image": "mlflow"}, "mlflow_image", "mlflow", "@sha256:"),
    ({"image": "mlflow@sha256:" + "a" * 63}, "mlflow_image", "mlflow@sha256:" + "a" * 63, "64 hex digits"),
    ({"image": "mlflow@sha256:" + "A" * 64}, "mlflow_image", "mlflow@sha256:" + "A" * 64, "64 hex digits"),
    ({"image": "mlflow:3@sha256:" + "a" * 64}, "mlflow_image", "mlflow:3@sha256:" + "a" * 64, "without a tag"),
    ({"image": "@sha256:" + "a" * 64}, "mlflow_image", "@sha256:" + "a" * 64, "<name>"),
    # exposure, login, TLS
    ({**PUBLIC, **TLS, "auth": "none"}, "mlflow_auth", "none", "mlflow_auth to basic or mlflow_exposure to internal"),
    ({**PUBLIC}, "mlflow_exposure", "public", "mlflow_allow_plain_http true"),
    ({**PUBLIC, "allow_plain_http": "false"}, "mlflow_exposure", "public", "mlflow_certificate_arn"),
    ({**PUBLIC, **TLS, "allowed_cidrs": []}, "mlflow_allowed_cidrs", "not set", "203.0.113.0/24"),
    ({**PUBLIC, **TLS, "allowed_cidrs": ""}, "mlflow_allowed_cidrs", "not set", "203.0.113.0/24"),
    ({"certificate_arn": CERTIFICATE}, "mlflow_certificate_arn", CERTIFICATE, "set mlflow_domain"),
    ({**TLS, "region": "eu-west-2"}, "mlflow_certificate_arn", CERTIFICATE, "certificate in eu-west-2"),
    ({**TLS, "certificate_arn": "issue"}, "mlflow_certificate_arn", "issue", "arn:aws:acm:"),
    ({**TLS, "certificate_arn": "arn:aws:iam::123456789012:server-certificate/x"}, "mlflow_certificate_arn",
     "arn:aws:iam::123456789012:server-certificate/x", "certificate in ACM"),
    ({"domain": "https://mlflow.example.org"}, "mlflow_domain", "https://mlflow.example.org", "without scheme"),
    ({"domain": "mlflow.example.org:443"}, "mlflow_domain", "mlflow.example.org:443", "without scheme and port"),
    ({"domain": "mlflow"}, "mlflow_domain", "mlflow", "full host name"),
    ({"domain": "*.example.org"}, "mlflow_domain", "*.example.org", "full host name"),
    # who may reach it
    ({"allowed_cidrs": ["0.0.0.0/0"]}, "mlflow_allowed_cidrs", "0.0.0.0/0", "10.0.0.0/8"),
    ({"allowed_cidrs": ["10.0.0.1/8"]}, "mlflow_allowed_cidrs", "10.0.0.1/8", "write 10.0.0.0/8"),
    ({"allowed_cidrs": ["10.0.0.1"]}, "mlflow_allowed_cidrs", "10.0.0.1", "such as 10.0.0.1/32"),
    ({"allowed_cidrs": ["::/0"]}, "mlflow_allowed_cidrs", "::/0", "203.0.113.0/24"),
    ({"allowed_cidrs": ["office"]}, "mlflow_allowed_cidrs", "office", "address/length"),
    ({"allowed_cidrs": "10.0.0.0/8, 10.0.0.0/8"}, "mlflow_allowed_cidrs", "10.0.0.0/8", "remove one"),
    # network
    ({"vpc_cidr": "10.42.0.1/16"}, "mlflow_vpc_cidr", "10.42.0.1/16", "write 10.42.0.0/16"),
    ({"vpc_cidr": "10.42.0.0"}, "mlflow_vpc_cidr", "10.42.0.0", "such as 10.42.0.0/16"),
    ({"vpc_cidr": "10.42/16"}, "mlflow_vpc_cidr", "10.42/16", "address/length"),
    ({"vpc_cidr": "10.0.0.0/8"}, "mlflow_vpc_cidr", "10.0.0.0/8", "write 10.0.0.0/16"),
    ({"vpc_cidr": "10.42.0.0/8"}, "mlflow_vpc_cidr", "10.42.0.0/8", "write 10.42.0.0/16"),
    ({"vpc_cidr": "10.42.7.0/255.0.0.0"}, "mlflow_vpc_cidr", "10.42.7.0/255.0.0.0", "write 10.42.0.0/16"),
    ({"vpc_cidr": "10.42.7.9"}, "mlflow_vpc_cidr", "10.42.7.9", "such as 10.42.0.0/16"),
    ({"vpc_cidr": "10.42.7.8/29"}, "mlflow_vpc_cidr", "10.42.7.8/29", "write 10.42.0.0/16"),
    ({"vpc_cidr": "127.0.0.0/16"}, "mlflow_vpc_cidr", "127.0.0.0/16", "such as 10.42.0.0/16"),
    ({"vpc_cidr": "224.0.0.0/16"}, "mlflow_vpc_cidr", "224.0.0.0/16", "such as 10.42.0.0/16"),
    ({"vpc_cidr": "169.254.0.0/16"}, "mlflow_vpc_cidr", "169.254.0.0/16", "such as 10.42.0.0/16"),
    ({"vpc_cidr": "0.0.0.0/16"}, "mlflow_vpc_cidr", "0.0.0.0/16", "such as 10.42.0.0/16"),
    ({"vpc_cidr": "10.42.0.0/24"}, "mlflow_vpc_cidr", "10.42.0.0/24", "use a /23 or larger"),
    ({"vpc_cidr": "10.42.0.0/29"}, "mlflow_vpc_cidr", "10.42.0.0/29", "/16"),
    ({"public_subnet_cidrs": ["10.42.0.0/24"]}, "mlflow_public_subnet_cidrs", '["10.42.0.0/24"]', "each zone"),
    ({"private_subnet_cidrs": ["10.42.200.0/24", "10.43.0.0/24"]}, "mlflow_private_subnet_cidrs", "10.43.0.0/24",
     "inside the VPC"),
    ({"private_subnet_cidrs": ["10.42.200.0/24", "10.42.0.0/24"]}, "mlflow_private_subnet_cidrs", "10.42.0.0/24",
     "do not overlap"),
    ({"public_subnet_cidrs": ["10.42.200.0/24", "10.42.32.0/24"]}, "mlflow_public_subnet_cidrs", "10.42.32.0/24",
     "do not overlap"),
    ({"public_subnet_cidrs": ["10.42.200.0/24", "10.42.200.0/24"]}, "mlflow_public_subnet_cidrs", "10.42.200.0/24",
     "do not overlap"),
    ({"private_subnet_cidrs": ["10.42.200.0/28", "10.42.201.0/24"]}, "mlflow_private_subnet_cidrs", "10.42.200.0/28",
     "/27 or larger"),
    ({"database_subnet_cidrs": ["10.42.200.0/29", "10.42.201.0/24"]}, "mlflow_database_subnet_cidrs",
     "10.42.200.0/29", "/28 or larger"),
    ({"database_subnet_cidrs": "10.42.200.0/24,x"}, "mlflow_database_subnet_cidrs", "x", "address/length"),
    ({"availability_zones": ["eu-west-1a"]}, "mlflow_availability_zones", '["eu-west-1a"]', "two different"),
    ({"availability_zones": ["eu-west-1a", "eu-west-1a"]}, "mlflow_availability_zones",
     '["eu-west-1a", "eu-west-1a"]', "two different"),
    ({"availability_zones": ["eu-west-1a", "us-east-1b"]}, "mlflow_availability_zones", "us-east-1b", "eu-west-1b"),
    ({"availability_zones": "eu-west-1a,eu-west-1"}, "mlflow_availability_zones", "eu-west-1", "eu-west-1a"),
    # size
    ({"cpu": 512}, "mlflow_cpu", "512", "set mlflow_memory as well"),
    ({"memory": "2048"}, "mlflow_memory", "2048", "set mlflow_cpu as well"),
    ({"storage": "rds", "size": "medium", "workers": 65}, "mlflow_workers", "65", "use 1 to 3"),
    ({"size": "small", "cpu": 512, "memory": 1024}, "mlflow_size", "small", "remove mlflow_size"),
    ({"cpu": 500, "memory": 1024}, "mlflow_cpu", "500", "512"),
    ({"cpu": 256, "memory": 512}, "mlflow_memory", "512", "1024 or more"),
    ({"cpu": 256, "memory": 4096}, "mlflow_memory", "4096", "mlflow_memory 1024 or 2048, or mlflow_cpu 512"),
    ({"cpu": 1024, "memory": 1024}, "mlflow_memory", "1024", "mlflow_memory 2048 or 3072, or mlflow_cpu 256 or 512"),
    ({"cpu": 8192, "memory": 17408}, "mlflow_memory", "17408", "mlflow_memory 16384 or 20480, or mlflow_cpu 4096"),
    ({"cpu": 512, "memory": 1500}, "mlflow_memory", "1500", "mlflow_memory 1024 or 2048"),
    ({"storage": "rds", "workers": 2}, "mlflow_workers", "2", "at most 1, or 1500 MiB"),
    ({"storage": "rds", "size": "medium", "workers": "4"}, "mlflow_workers", "4", "at most 3"),
    ({"storage": "efs", "size": "large", "workers": 2}, "mlflow_workers", "2", "mlflow_storage rds"),
    ({"storage": "rds", "workers": 0}, "mlflow_workers", "0", "use 1"),
    # capacity
    ({"capacity_max": 2}, "mlflow_capacity_max", "2", "mlflow_storage rds"),
    ({"capacity_min": "2", "capacity_max": "2"}, "mlflow_capacity_min", "2", "mlflow_storage rds"),
    ({"storage": "rds", "capacity_min": 3, "capacity_max": 2}, "mlflow_capacity_min", "3", "raise mlflow_capacity_max"),
    ({"storage": "rds", "capacity_max": 101}, "mlflow_capacity_max", "101", "1 to 100"),
    ({"storage": "rds", "capacity_min": 0, "capacity_max": 4}, "mlflow_capacity_min", "0", "use 1 to 4"),
    ({"auth_cache_seconds": 3601}, "mlflow_auth_cache_seconds", "3601", "0 to 3600"),
    ({"auth_cache_seconds": -1}, "mlflow_auth_cache_seconds", "-1", "0 to 3600"),
    ({"storage": "rds", "capacity_cpu_target": 100}, "mlflow_capacity_cpu_target", "100", "10 to 90"),
    # database
    ({"database_instance_class": "t4g.small"}, "mlflow_database_instance_class", "t4g.small", "db.t4g.small"),
    ({"database_engine_version": "sixteen"}, "mlflow_database_engine_version", "sixteen", '"16"'),
    ({"database_engine_version": 9}, "mlflow_database_engine_version", "9", "from 13 on"),
    ({"database_storage_gb": 10}, "mlflow_database_storage_gb", "10", "20 to 65536"),
    ({"database_port": 80}, "mlflow_database_port", "80", "1150 to 65535"),
    ({"database_port": 70000}, "mlflow_database_port", "70000", "1150 to 65535"),
    ({"backup_days": 36}, "mlflow_backup_days", "36", "0 to 35"),
    ({"backup_days": -1}, "mlflow_backup_days", "-1", "0 to 35"),
    # the rest
    ({"artifact_noncurrent_days": 0}, "mlflow_artifact_noncurrent_days", "0", "1 to 36500"),
    ({"access_log_days": 0}, "mlflow_access_log_days", "0", "1 to 36500"),
    ({"permissions_boundary_arn": "boundary"}, "mlflow_permissions_boundary_arn", "boundary", "arn:aws:iam::"),
    ({"permissions_boundary_arn": "arn:aws:iam::123456789012:role/x"}, "mlflow_permissions_boundary_arn",
     "arn:aws:iam::123456789012:role/x", "policy/<name>"),
    ({"tags": {"Stack": "x"}}, "mlflow_tags", "Stack", "another key"),
    ({"tags": {"stack": "x"}}, "mlflow_tags", "stack", "another key"),
    ({"tags": {"Tier": "x"}}, "mlflow_tags", "Tier", "another key"),
    ({"tags": {"autoscaled": "x"}}, "mlflow_tags", "autoscaled", "another key"),
    ({"tags": {"Team": "x", "team": "y"}}, "mlflow_tags", "team", "drop one"),
    ({"tags": {"AWS:x": "y"}}, "mlflow_tags", "AWS:x", "another key"),
    ({"tags": {"k": "v" * 257}}, "mlflow_tags", "k", "shorten"),
    ({"tags": {"": "v"}}, "mlflow_tags", '{"": "v"}', "write one before the colon"),
    ({"tags": {"k": "a&b"}}, "mlflow_tags", "k=a&b", "other characters"),
    ({"tags": {f"k{n}": "" for n in range(45)}}, "mlflow_tags", "45 tags", "at most 44"),
    ({"verify_url": "127.0.0.1:8080"}, "mlflow_verify_url", "127.0.0.1:8080", "scheme, host and port"),
    ({"verify_url": "https://host/mlflow"}, "mlflow_verify_url", "https://host/mlflow", "scheme, host and port"),
    ({"verify_url": "https://host:99999"}, "mlflow_verify_url", "https://host:99999", "scheme, host and port"),
    ({"verify_url": "https://host/?a=1"}, "mlflow_verify_url", "https://host/?a=1", "scheme, host and port"),
    ({"verify_url": "https://admin:hunter2@host"}, "mlflow_verify_url", "https://...@host", "before the @"),
    ({"destroy_confirm": "team-b"}, "mlflow_destroy_confirm", "team-b", "write that name"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "variable", "value", "remedy"), BAD, ids=[f"{row[1]}-{n}" for n, row in enumerate(BAD)]
)
def test_bad_input_gives_one_sentence_with_variable_value_and_remedy(
    overrides: dict[str, Any], variable: str, value: str, remedy: str
) -> None:
    _, problems = settle(**overrides)
    sentences = [str(problem) for problem in problems]
    hits = [
        line for line in sentences if line.startswith(f"{variable} is {value}: ") and remedy in line.split("; ")[-1]
    ]
    assert len(hits) == 1, sentences
    assert all("\n" not in line and line.endswith(".") and line.count("; ") == 1 for line in sentences)
    assert "hunter2" not in "".join(sentences)


@pytest.mark.parametrize("overrides", [row[0] for row in BAD], ids=[f"{row[1]}-{n}" for n, row in enumerate(BAD)])
def test_one_mistake_is_not_reported_under_several_names(overrides: dict[str, Any]) -> None:
    _, problems = settle(**overrides)
    blamed = {problem.variable for problem in problems}
    assert blamed <= {f"mlflow_{name}" for name in overrides} | {
        # The mistake is what was left out, or the value that was not changed.
        "mlflow_exposure",
        "mlflow_capacity_max",
    }


def test_every_problem_is_reported_at_once() -> None:
    _, problems = settle(
        stack_name="A",
        image="built",
        verify="x",
        exposure="public",
        auth="none",
        vpc_cidr="10.0.0.0/8",
        capacity_max="3",
        typo="1",
    )
    assert sorted({problem.variable.removeprefix("mlflow_") for problem in problems}) == sorted(
        ["stack_name", "image", "verify", "exposure", "auth", "allowed_cidrs", "vpc_cidr", "capacity_max", "typo"]
    )


def test_vaulted_value_is_not_shown() -> None:
    for bad in ("hunter2", ["hunter2"]):
        _, problems = settle(domain=rules.Hidden(bad))
        assert [problem.variable for problem in problems] == ["mlflow_domain"]
        assert "mlflow_domain is (vaulted): " in str(problems[0]) and "hunter2" not in str(problems[0])


def test_a_vaulted_value_is_not_shown_in_a_sentence_about_another() -> None:
    _, problems = settle(storage="rds", capacity_min=7, capacity_max=rules.Hidden(5))
    assert [str(problem) for problem in problems] == [
        "mlflow_capacity_min is 7: it is more than mlflow_capacity_max, (vaulted); "
        "raise mlflow_capacity_max or lower this."
    ]
    _, problems = settle(vpc_cidr=rules.Hidden("10.77.0.0/16"), private_subnet_cidrs=["10.1.0.0/24", "10.77.1.0/24"])
    assert problems and "10.77.0.0/16" not in "".join(map(str, problems))


def test_long_values_are_cut() -> None:
    _, problems = settle(domain="x" * 5000)
    assert len(str(problems[0])) < 400


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"vpc_cidr": "10.43.0.0/255.255.0.0"}, {"vpc_cidr": "10.43.0.0/16", "allowed_cidrs": ["10.43.0.0/16"]}),
        ({"allowed_cidrs": ["10.0.0.0/255.0.0.0"]}, {"allowed_cidrs": ["10.0.0.0/8"]}),
        ({"allowed_cidrs": "10.0.0.0/08"}, {"allowed_cidrs": ["10.0.0.0/8"]}),
        ({"domain": "MLflow.Example.org."}, {"domain": "mlflow.example.org"}),
        ({"database_storage_gb": "0040"}, {"database_storage_gb": 40}),
        ({"tags": {"c": None}}, {"tags": fact()["tags"] | {"c": ""}}),
    ],
)
def test_values_are_handed_on_as_aws_takes_them(given: dict[str, Any], expected: dict[str, Any]) -> None:
    found = fact(**given)
    assert {name: found[name] for name in expected} == expected


def followed(problem: rules.Problem, overrides: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The settings with each value that a remedy names, letter by letter; none for one that names no value."""
    name = problem.variable.removeprefix("mlflow_")
    words = "true|false|none|basic|internal|rds|nat|[0-9]+"
    for variable, value in re.findall(rf"\b(mlflow_\w+) (?:to )?({words})\b", problem.remedy):
        yield overrides | {variable.removeprefix("mlflow_"): value}
    listed = re.match(r"use (\d+) to (\d+)$", problem.remedy)
    if listed:
        yield from (overrides | {name: int(end)} for end in listed.groups())
    choices = re.match(r"use (?:.*\(of )?([\w, -]+?)\)?$", problem.remedy)
    if choices and not listed and SPEC[problem.variable].get("choices"):
        names = re.split(r", | or ", choices[1])
        yield from (overrides | {name: [one] if SPEC[problem.variable]["type"] == "list" else one} for one in names)
    network = re.search(r"(?:write|such as) (\d[\d./]+/\d+)$", problem.remedy)
    if network:
        old = overrides.get(name) or [problem.value]
        listed_before = re.split(r"[, ]+", old) if isinstance(old, str) else old
        new = [network[1] if each == problem.value else each for each in listed_before]
        yield overrides | {name: new if SPEC[problem.variable]["type"] == "list" else network[1]}


FOLLOWED = [(row[0], problem) for row in BAD for problem in settle(**row[0])[1]]


@pytest.mark.parametrize(
    ("overrides", "problem"), FOLLOWED, ids=[f"{row[1].variable}-{n}" for n, row in enumerate(FOLLOWED)]
)
def test_advice_that_is_followed_to_the_letter_is_accepted(overrides: dict[str, Any], problem: rules.Problem) -> None:
    for better in followed(problem, overrides):
        changed = {f"mlflow_{name}" for name, value in better.items() if overrides.get(name, ...) != value}
        still = {
            str(each)
            for each in settle(**better)[1]
            if each.variable in {problem.variable, *changed}
            # A choice that is one may ask for another setting.
            and (each.reason == problem.reason or problem.reason != "there is no such choice")
        }
        assert still <= {str(each) for each in settle(**overrides)[1]} - {str(problem)}, better


def test_much_advice_can_be_followed() -> None:
    assert sum(len(list(followed(problem, overrides))) for overrides, problem in FOLLOWED) > 60


IDENTITY = {"account_id": "123456789012", "partition": "aws"}


@pytest.mark.parametrize("accounts", ["", "123456789012", ["000000000001", "123456789012"], "1" * 12 + ",123456789012"])
def test_the_login_may_be_for_a_named_account(accounts: str | list[str]) -> None:
    settings, problems = settle(account_id=accounts)
    assert problems == [] == rules.identity_problems(settings, IDENTITY)


@pytest.mark.parametrize("accounts", ["210987654321", ["000000000001", "210987654321"]])
def test_the_login_for_another_account_is_refused(accounts: str | list[str]) -> None:
    [problem] = rules.identity_problems(settle(account_id=accounts)[0], IDENTITY)
    assert "210987654321: the AWS login is for account 123456789012; log in to the right account" in str(problem)


@pytest.mark.parametrize(
    ("name", "arn", "sentence"),
    [
        ("certificate_arn", "arn:aws:acm:eu-west-1:210987654321:certificate/1", "it is in account 210987654321, and "),
        ("certificate_arn", "arn:aws-cn:acm:eu-west-1:123456789012:certificate/1", "it is in partition aws-cn, and "),
        ("permissions_boundary_arn", "arn:aws:iam::210987654321:policy/x", "it is in account 210987654321, and "),
        ("permissions_boundary_arn", "arn:aws-cn:iam::aws:policy/x", "it is in partition aws-cn, and "),
    ],
)
def test_what_is_in_another_account_or_partition_is_refused(name: str, arn: str, sentence: str) -> None:
    given = {"domain": "mlflow.example.org", name: arn}
    [problem] = rules.identity_problems(settle(**given)[0], IDENTITY)
    assert str(problem).startswith(f"mlflow_{name} is {arn}: {sentence}")
    for good in (arn.replace("210987654321", "123456789012").replace("aws-cn", "aws"), ""):
        assert not rules.identity_problems(settle(**given | {name: good})[0], IDENTITY)


# --- good input -----------------------------------------------------------------------------------------------------


def test_defaults_need_only_name_image_and_region() -> None:
    plain = fact()
    assert (plain["storage"], plain["exposure"], plain["auth"], plain["egress"]) == ("efs", "internal", "basic", "nat")
    assert plain["size"] == {"cpu": 512, "memory": 1024, "workers": 1}
    assert plain["allowed_cidrs"] == ["10.42.0.0/16"]
    assert plain["availability_zones"] == []
    assert plain["subnets"] == {
        "public": ["10.42.0.0/20", "10.42.16.0/20"],
        "private": ["10.42.32.0/20", "10.42.48.0/20"],
        "database": ["10.42.64.0/20", "10.42.80.0/20"],
    }
    assert plain["tags"] == {"Stack": "team-a", "Project": "mlflow", "ManagedBy": "ansible", "Environment": "dev"}
    assert (plain["certificate_arn"], plain["domain"]) == ("", "")
    assert not [name for name in plain if name.startswith("mlflow") or name in ("cpu", "memory", "workers")]


def test_every_setting_arrives_typed_from_strings() -> None:
    """A survey and an environment variable know strings only."""
    typed = {
        "storage": "rds",
        "allow_plain_http": True,
        "verify": False,
        "flow_logs": False,
        "keep_artifacts": False,
        "capacity_min": 2,
        "capacity_max": 4,
        "database_port": 55432,
        "log_retention_days": 7,
        "backup_days": 0,
        "database_engine_version": "16",
    }
    surveyed = {name: str(value).lower() for name, value in typed.items()}
    result = fact(**surveyed)
    assert {name: result[name] for name in typed} == typed
    assert {type(result[name]) for name in typed} == {str, bool, int}


@pytest.mark.parametrize("empty", ["", "  ", None])
def test_empty_answer_means_the_default(empty: str | None) -> None:
    optional = {name.removeprefix("mlflow_"): empty for name, option in SPEC.items() if not option.get("required")}
    assert fact(**(optional | {"region": "eu-west-1"})) == fact(image="build")


@pytest.mark.parametrize(
    "image",
    [
        {
            "image": "build",
            "image_scan_gate": "low",
            "image_base": "localhost:5000/team/py:3.13-slim",
            "architecture": "arm64",
        },
        {"image": "build", "image_base": "python", "image_ca_bundle": "~/ca.pem", "image_engine": "podman"},
        {
            "image": "build",
            "image_base": f"python:3@sha256:{'0a' * 32}",
            "image_ca_bundle": "https://example.org/ca.pem",
        },
        {"image_scan_gate": "none"},
        {"image_copy": "true", "image_scan_gate": "high", "image_ca_bundle": "/etc/ca bundle.pem"},
    ],
)
def test_an_image_may_be_built_copied_or_run_from_where_it_is(image: dict[str, str]) -> None:
    assert fact(**image)["image"] in ("build", IMAGE)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(text, True) for text in ("true", "True", "yes", "on", "1", 1, True, " TRUE ")]
    + [(text, False) for text in ("false", "False", "no", "off", "0", 0, False)],
)
def test_booleans(value: object, expected: bool) -> None:
    assert fact(verify=value)["verify"] is expected


@pytest.mark.parametrize(
    ("exposure", "given", "expected"),
    [
        ("internal", None, False),
        ("public", None, True),
        ("public", "", True),
        ("internal", True, True),
        ("public", False, False),
    ],
)
def test_verify_follows_from_the_exposure_unless_it_is_said(exposure: str, given: object, expected: bool) -> None:
    public = {"allow_plain_http": True, "allowed_cidrs": "0.0.0.0/0"} if exposure == "public" else {}
    assert fact(exposure=exposure, verify=given, **public)["verify"] is expected


@pytest.mark.parametrize(
    "value",
    [
        ["10.0.0.0/8", "192.168.0.0/16"],
        "10.0.0.0/8,192.168.0.0/16",
        "10.0.0.0/8, 192.168.0.0/16,",
        "10.0.0.0/8\n192.168.0.0/16\n",
        '["10.0.0.0/8", "192.168.0.0/16"]',
    ],
)
def test_lists(value: object) -> None:
    assert fact(allowed_cidrs=value)["allowed_cidrs"] == ["10.0.0.0/8", "192.168.0.0/16"]


@pytest.mark.parametrize(
    "value", [{"cost": 7, "spot": True, "note": None}, '{"cost": "7", "spot": "true", "note": ""}']
)
def test_tags_are_texts_and_keep_those_of_the_stack(value: object) -> None:
    tags = fact(tags=value, environment="prod")["tags"]
    assert tags == {
        "cost": "7",
        "spot": "true",
        "note": "",
        "Stack": "team-a",
        "Project": "mlflow",
        "ManagedBy": "ansible",
        "Environment": "prod",
    }


@pytest.mark.parametrize(
    "good",
    [
        {"stack_name": "a" * 24},
        {"stack_name": "local-rds-internal"},
        {"stack_name": "a1"},
        {"region": "us-gov-west-1"},
        {"image": "mlflow@sha256:" + "0" * 64},
        {"image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mlflow@sha256:" + "f" * 64},
        {**PUBLIC, **TLS},
        {**PUBLIC, **TLS, "allowed_cidrs": "0.0.0.0/0"},
        {**PUBLIC, "allow_plain_http": "yes"},
        {**TLS},
        {"domain": "mlflow.example.org"},
        {"tags": {f"k{n}": "" for n in range(44)}},
        {"auth": "none"},
        {"vpc_cidr": "10.42.0.0/23"},
        {"vpc_cidr": "192.168.128.0/17"},
        {"database_engine_version": 17},
        {"database_engine_version": "16.10"},
        {"permissions_boundary_arn": "arn:aws:iam::123456789012:policy/team/boundary"},
        {"verify_url": "https://127.0.0.1:8443"},
        {"destroy_confirm": "team-a"},
        {"availability_zones": ["eu-west-1c", "eu-west-1a"]},
    ],
)
def test_good_input_is_taken(good: dict[str, Any]) -> None:
    fact(**good)


OURS = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mlflow@sha256:" + "0" * 64


@pytest.mark.parametrize(
    "image",
    [
        "ghcr.io/mlflow/mlflow@sha256:" + "0" * 64,
        OURS.replace("eu-west-1", "us-east-1"),
        OURS.replace("eu-west-1", "eu-west-10"),
        OURS.replace("123456789012.", "x.123456789012."),
    ],
)
def test_without_internet_an_image_of_another_registry_is_refused(image: str) -> None:
    fact(image=image, egress="nat")
    fact(image=image, egress="endpoints", image_copy=True)
    _, problems = settle(image=image, egress="endpoints")
    assert [problem.variable for problem in problems] == ["mlflow_image"]
    assert "no registry but ECR in eu-west-1" in str(problems[0])


@pytest.mark.parametrize(
    "host",
    [
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr-fips.eu-west-1.amazonaws.com",
        "123456789012.dkr-ecr.eu-west-1.on.aws",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.cn",
    ],
)
def test_without_internet_an_image_of_this_regions_ecr_is_taken(host: str) -> None:
    fact(image=f"{host}/mlflow@sha256:" + "0" * 64, egress="endpoints")


@pytest.mark.parametrize(("region", "most"), [("eu-west-1", 24), ("ap-southeast-1", 23), ("us-isof-south-1", 22)])
def test_a_name_is_as_long_as_the_buckets_of_its_region_allow(region: str, most: int) -> None:
    fact(stack_name="a" * most, region=region)
    _, problems = settle(stack_name="a" * (most + 1), region=region)
    assert [problem.remedy for problem in problems] == [f"use at most {most}"]
    assert len(f"mlflow-{'a' * most}-123456789012-{region}-logs") <= 63


def test_small_vpc_is_fine_with_all_subnets_given() -> None:
    nets = [f"10.42.0.{start}/27" for start in range(0, 192, 32)]
    given = {f"{kind}_subnet_cidrs": nets[2 * n : 2 * n + 2] for n, kind in enumerate(rules.SUBNET_KINDS)}
    subnets = fact(vpc_cidr="10.42.0.0/24", **given)["subnets"]
    assert [cidr for kind in rules.SUBNET_KINDS for cidr in subnets[kind]] == nets


def test_some_subnets_may_be_given_and_the_others_cut() -> None:
    subnets = fact(public_subnet_cidrs=["10.42.255.0/26", "10.42.255.64/26"])["subnets"]
    assert subnets["public"][1] == "10.42.255.64/26"
    assert subnets["database"][1] == "10.42.80.0/20"


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({}, (512, 1024, 1)),
        ({"size": "medium"}, (1024, 2048, 3)),
        ({"size": "large"}, (2048, 4096, 7)),
        ({"cpu": 256, "memory": 1024}, (256, 1024, 1)),
        ({"cpu": "4096", "memory": "30720"}, (4096, 30720, 8)),
        ({"size": "large", "workers": 2}, (2048, 4096, 2)),
        ({"cpu": 4096, "memory": 30720, "workers": 16}, (4096, 30720, 16)),
        ({"size": "large", "storage": "efs"}, (2048, 4096, 1)),
    ],
)
def test_workers_follow_from_memory(given: dict[str, Any], size: tuple[int, int, int]) -> None:
    assert tuple(fact(**({"storage": "rds"} | given))["size"].values()) == size


def test_sizes_are_pairs_that_fargate_has_and_above_the_floor() -> None:
    for cpu, memory in rules.SIZES.values():
        assert memory in rules.FARGATE[cpu] and memory >= rules.MEMORY_FLOOR


def test_plain_http_is_warned_of() -> None:
    settings, _ = settle(**PUBLIC, allow_plain_http=True)
    assert "plain HTTP" in rules.warnings(settings)[0]
    assert rules.warnings(settle(**PUBLIC, **TLS)[0]) == rules.warnings(settle()[0]) == []


def test_verify_url_ends_without_a_slash() -> None:
    assert fact(verify_url="http://127.0.0.1:8080/")["verify_url"] == "http://127.0.0.1:8080"


def test_rules_know_only_variables_of_the_spec() -> None:
    source = (ROOT / "plugins/module_utils/mlflow_settings.py").read_text("utf-8")
    named = set(re.findall(r'"(mlflow_[a-z_]+)"', source))
    assert named <= set(SPEC)
    assert set(rules.WHEN_MISSING) == {name for name, option in SPEC.items() if option.get("required")}
    assert set(rules.PATTERNS) | set(rules.RANGES) <= set(SPEC)


def test_spec_types_are_known_and_defaults_have_them() -> None:
    for name, option in SPEC.items():
        assert option["type"] in rules.CASTS and option["description"], name
        if "default" in option:
            assert rules.CASTS[option["type"]](option["default"]) == option["default"], name
