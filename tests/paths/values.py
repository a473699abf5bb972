"""The values that each setting of the argument spec takes in the walks, or why it takes none.

A setting that is new needs an entry in SETTINGS; tests/unit/test_paths.py fails until it has one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import sides

Config = dict[str, Any]
# The one way to leave a setting out that also stands above an inventory: an empty value says nothing.
UNSET = ""
ACCOUNT = sides.ACCOUNT
REGION = sides.REGION


@dataclass(frozen=True)
class Walked:
    """A property of the stack: a walk goes from each of `values` to each other.

    `where` has settings without which this one means nothing. With `one_way` only forwards, since AWS has no way back.
    """

    values: tuple[Any, ...]
    where: Mapping[str, Any] | None = None
    one_way: bool = False


@dataclass(frozen=True)
class Refused:
    """What a stack keeps for its life: from the first of `values` to the second is refused, before anything is changed.

    `fixed` are other settings that the second needs; `why` is what stands in the way.
    """

    values: tuple[Any, Any]
    why: str
    fixed: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class NoProperty:
    """Nothing of the account follows from it; `why`."""

    why: str


OF_ONE_RUN = "it says what one run does, and the account is the same afterwards"
ANOTHER_STACK = "another value names another stack, which may stand beside this one"
OF_THE_BUILD = "it is read when an image is built, and an image that is another is walked with mlflow_image"
OF_DESTROY = "only destroy reads it"

RDS = {"mlflow_storage": "rds"}
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
CERTIFICATES = [f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/{digit * 8}" for digit in "12"]
BOUNDARIES = ("arn:aws:iam::aws:policy/PowerUserAccess", "arn:aws:iam::aws:policy/ReadOnlyAccess")
BOOLEAN = (False, True)

SETTINGS: dict[str, Walked | Refused | NoProperty] = {
    "mlflow_stack_name": NoProperty(ANOTHER_STACK),
    "mlflow_environment": Walked(("dev", "prod")),
    "mlflow_region": NoProperty(ANOTHER_STACK),
    "mlflow_account_id": NoProperty("it is compared with the AWS login, and changes nothing"),
    "mlflow_storage": Refused(("rds", "efs"), "the data would stay behind",
                              {"mlflow_capacity_min": 1, "mlflow_capacity_max": 1}),
    "mlflow_exposure": Refused(("internal", "public"), "AWS makes a load balancer for one of the two",
                               {"mlflow_auth": "basic", "mlflow_allow_plain_http": True}),
    "mlflow_auth": Walked(("none", "basic")),
    "mlflow_default_permission": Walked(("READ", "NO_PERMISSIONS", "MANAGE")),
    "mlflow_auth_cache_seconds": Walked((60, 0, 300)),
    "mlflow_image": Walked(tuple(f"{REGISTRY}/mlflow@sha256:{digit * 64}" for digit in "01")),
    "mlflow_image_copy": Walked(BOOLEAN),
    "mlflow_image_engine": NoProperty("it is a program of the machine that runs"),
    "mlflow_image_base": NoProperty(OF_THE_BUILD),
    "mlflow_image_variant": NoProperty(OF_THE_BUILD),
    "mlflow_image_ca_bundle": NoProperty(OF_THE_BUILD),
    "mlflow_image_scan_gate": NoProperty("it judges the findings of a scan that is made in any case"),
    "mlflow_architecture": Walked(("x86_64", "arm64")),
    "mlflow_domain": Walked((UNSET, "mlflow.example.org", "mlflow.example.com")),
    "mlflow_certificate_arn": Walked((UNSET, *CERTIFICATES)),
    "mlflow_allow_plain_http": NoProperty("it allows what mlflow_certificate_arn says, and changes nothing itself"),
    "mlflow_allowed_cidrs": Walked((["203.0.113.0/24"], ["198.51.100.0/24"], ["198.51.100.0/24", "203.0.113.0/24"],
                                    UNSET)),
    "mlflow_vpc_cidr": Refused(("10.42.0.0/16", "10.43.0.0/16"), "a VPC keeps its range"),
    "mlflow_availability_zones": Refused((UNSET, [f"{REGION}b", f"{REGION}c"]), "a subnet keeps its zone"),
    "mlflow_public_subnet_cidrs": Refused((UNSET, ["10.42.200.0/24", "10.42.201.0/24"]), "a subnet keeps its range"),
    "mlflow_private_subnet_cidrs": Refused((UNSET, ["10.42.202.0/24", "10.42.203.0/24"]), "a subnet keeps its range"),
    "mlflow_database_subnet_cidrs": Refused((UNSET, ["10.42.204.0/24", "10.42.205.0/24"]), "a subnet keeps its range"),
    "mlflow_egress": Walked(("nat", "nat_per_az", "endpoints")),
    "mlflow_flow_logs": Walked(BOOLEAN),
    "mlflow_size": Walked((UNSET, "medium", "large")),
    "mlflow_cpu": Walked((UNSET, 1024, 2048)),
    "mlflow_memory": Walked((UNSET, 4096, 8192)),
    "mlflow_workers": Walked((UNSET, 1, 2), RDS),
    "mlflow_capacity_min": Walked((1, 2), RDS),
    "mlflow_capacity_max": Walked((1, 2, 4), RDS),
    "mlflow_capacity_cpu_target": Walked((60, 75), RDS),
    "mlflow_database_instance_class": Walked(("db.t4g.small", "db.t4g.medium"), RDS),
    "mlflow_database_engine_version": Walked(("16.4", "16.6"), RDS, one_way=True),
    "mlflow_database_storage_gb": Walked((20, 400), RDS),
    "mlflow_database_storage_max_gb": Walked((UNSET, 0, 500), RDS),
    "mlflow_database_iops": Walked((0, 13000), RDS),
    "mlflow_database_multi_az": Walked(BOOLEAN, RDS),
    "mlflow_database_port": Walked((5432, 5433), RDS),
    "mlflow_database_insights": Walked((True, False), RDS),
    "mlflow_database_log_exports": Walked((["postgresql", "upgrade"], ["upgrade"], []), RDS),
    "mlflow_database_backup_window": Walked((UNSET, "02:00-02:30", "03:00-04:00"), RDS),
    "mlflow_database_maintenance_window": Walked((UNSET, "sun:05:00-sun:06:00", "mon:05:00-mon:06:00"), RDS),
    "mlflow_database_minor_upgrades": Walked((True, False), RDS),
    "mlflow_deletion_protection": Walked(BOOLEAN),
    "mlflow_backup_days": Walked((7, 0, 14)),
    "mlflow_final_snapshot": NoProperty(OF_DESTROY),
    "mlflow_keep_artifacts": Walked((True, False)),
    "mlflow_keep_backups": NoProperty(OF_DESTROY),
    "mlflow_log_retention_days": Walked((30, 7)),
    "mlflow_artifact_noncurrent_days": Walked((30, 7)),
    "mlflow_access_logs": Walked(BOOLEAN),
    "mlflow_access_log_days": Walked((90, 30)),
    "mlflow_permissions_boundary_arn": Walked((UNSET, *BOUNDARIES)),
    "mlflow_tags": Walked(({}, {"Team": "a", "Cost": "7"}, {"Team": "b"})),
    "mlflow_release_image": NoProperty("it is what mlflow_image is, for one run"),
    "mlflow_deployment_failed": NoProperty(OF_ONE_RUN),
    "mlflow_fail_on_changes": NoProperty(OF_ONE_RUN),
    "mlflow_accept_drift": NoProperty(OF_ONE_RUN),
    "mlflow_wait": NoProperty(OF_ONE_RUN),
    "mlflow_full_run": NoProperty(OF_ONE_RUN),
    "mlflow_verify": NoProperty(OF_ONE_RUN),
    "mlflow_verify_url": NoProperty(OF_ONE_RUN),
    "mlflow_destroy_confirm": NoProperty(OF_ONE_RUN),
}  # fmt: skip

# What a stack is for its life: a walk stays in one of them. The first is that of the sample, with the second.
FAMILIES: tuple[Config, ...] = (
    {"mlflow_storage": "rds", "mlflow_exposure": "internal"},
    {"mlflow_storage": "efs", "mlflow_exposure": "public"},
    {"mlflow_storage": "rds", "mlflow_exposure": "public"},
    {"mlflow_storage": "efs", "mlflow_exposure": "internal"},
)
# What every run is given beside its configuration.
GIVEN: Config = {
    "mlflow_stack_name": sides.STACK,
    "mlflow_region": REGION,
    "mlflow_allow_plain_http": True,
    "mlflow_image_scan_gate": UNSET,
    "mlflow_final_snapshot": False,
    "mlflow_wait": False,
    "mlflow_verify": False,
}


@dataclass(frozen=True)
class Difference:
    """What may differ from a fresh account after some paths.

    Lines of `account.differences` that `pattern` matches are passed over where `when(path)` holds; the path is all
    configurations so far, the last is the one that was just converged. One that holds and passes nothing over is wrong.
    """

    why: str
    pattern: re.Pattern[str]
    when: Callable[[Sequence[Config]], bool]


def once_more(name: str) -> Callable[[Sequence[Config]], bool]:
    """Whether a number was larger before."""
    return lambda path: any(config[name] > path[-1][name] for config in path)


def log_bucket_kept(path: Sequence[Config]) -> bool:
    """Whether access logs were on, are off, and were to be kept in every run since."""
    for config in reversed(path):
        if config["mlflow_access_logs"]:
            return config is not path[-1]
        if not config["mlflow_keep_artifacts"]:
            return False
    return False


def drawn(name: str) -> Callable[[Sequence[Config]], bool]:
    """Whether a setting that AWS draws a value for was set before and no longer is."""
    return lambda path: path[-1].get(name) == UNSET and any(config[name] != UNSET for config in path)


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "RDS cannot make a disk smaller",
        # How fast it is and how far it may grow follow from its size.
        re.compile(r"^rds/instance/bench-1: (AllocatedStorage|MaxAllocatedStorage|Iops|StorageThroughput) is "),
        lambda path: path[-1]["mlflow_storage"] == "rds" and once_more("mlflow_database_storage_gb")(path),
    ),
    Difference(
        "AWS draws a window once, and one that was set stays when nobody sets one any more",
        re.compile(r"^rds/instance/bench-1: PreferredBackupWindow is "),
        drawn("mlflow_database_backup_window"),
    ),
    Difference(
        "AWS draws a window once, and one that was set stays when nobody sets one any more",
        re.compile(r"^rds/instance/bench-1: PreferredMaintenanceWindow is "),
        drawn("mlflow_database_maintenance_window"),
    ),
    Difference(
        "a load balancer remembers the bucket of logs that are off, and writes to none",
        re.compile(r"^elbv2/load-balancer/bench-1: Attributes/access_logs\.s3\.(bucket|prefix) is "),
        lambda path: not path[-1]["mlflow_access_logs"] and any(config["mlflow_access_logs"] for config in path),
    ),
    Difference(
        "users stay in the database, and their administrator's password and the key of their sessions with them",
        re.compile(r"^secretsmanager/secret/mlflow/bench-1/(admin|flask): is there, "),
        lambda path: path[-1]["mlflow_auth"] == "none" and any(config["mlflow_auth"] == "basic" for config in path),
    ),
    Difference(
        "access logs that were written are kept while mlflow_keep_artifacts says so",
        re.compile(r"^s3/bucket/mlflow-bench-1-\d+-[\w-]+-logs: is there, "),
        log_bucket_kept,
    ),
)
