"""Whatever preflight accepts converges: configurations that nobody has written, drawn anew in every run.

A run prints PREFLIGHT_SEED, with which the same configurations come again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from bench import sides
from plugins.module_utils import mlflow_settings as rules
from tests.paths import account, runs, values
from tests.paths.conftest import TRIED
from tests.paths.values import Config, Walked
from tests.unit.test_preflight_properties import SEED, SPEC, likely

# As many as fit into a sample; PATHS=all for more.
EXAMPLES = 10 if os.environ.get("PATHS") == "all" else 1
# They name what has to be there, which the walks have.
ELSEWHERE = {"mlflow_image", "mlflow_image_copy", "mlflow_certificate_arn", "mlflow_permissions_boundary_arn"}
FREE = sorted({name for name, entry in values.SETTINGS.items() if isinstance(entry, Walked)} - ELSEWHERE)
# Forms that people write and AWS does not take as they are.
ODD: Config = {
    "mlflow_vpc_cidr": ["10.43.0.0/255.255.0.0", "172.20.0.0/016", "100.64.0.0/20"],
    "mlflow_domain": ["MLflow.Example.org.", "a.b.c.example", ""],
    "mlflow_tags": [{"c": None, "Ünïcode": "é 1", "n": 7, "on": True}, '{"a:b": "x=y"}', {}],
    "mlflow_allowed_cidrs": ["203.0.113.0/255.255.255.0, 198.51.100.7/32", ["10.0.0.0/8"], ""],
    "mlflow_database_storage_gb": ["0040", 400, 21],
    "mlflow_database_instance_class": ["db.m7g.large", "db.t3.micro"],
    "mlflow_database_engine_version": [17, "16.4", "15"],
    "mlflow_database_backup_window": ["23:45-00:15", ""],
    "mlflow_database_maintenance_window": ["sun:23:30-mon:00:30", ""],
}


def value(name: str) -> st.SearchStrategy[object]:
    """Odd values of a setting where there are some, else likely ones."""
    return st.sampled_from(ODD[name]) if name in ODD else likely(name)


@st.composite
def accepted(draw: st.DrawFn) -> Config:
    """A configuration without a problem, of which every setting that may be drawn was tried."""
    config: Config = dict(values.GIVEN) | dict(draw(st.sampled_from(values.FAMILIES)))
    for name in draw(st.permutations([*FREE, "mlflow_vpc_cidr"])):
        if name in config:
            continue
        more = config | {name: draw(value(name))}
        if not rules.settle(SPEC, more)[1]:
            config = more
    return config


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where the runs write. What is said here is shown with a failure."""
    print(f"PREFLIGHT_SEED={SEED}")
    with runs.engine() as made:
        yield made


@seed(SEED)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(config=accepted())
def test_what_is_accepted_converges(folder: Path, config: Config) -> None:
    given_ = {"mlflow_certificate_arn": ""} | config
    # moto makes an image's repository only where it is asked to, and this one is run from where it is.
    assert not rules.settle(SPEC, given_)[1]
    place = folder / f"drawn-{len(list(folder.glob('drawn-*')))}"
    with sides.Cloud(place) as cloud:
        runs.converge(cloud, given_)
        [vpc] = account.clients(cloud.url, sides.AWS)["ec2"].describe_vpcs(
            Filters=[{"Name": "tag:Name", "Values": [sides.STACK]}]
        )["Vpcs"]
    fact = rules.derive(rules.settle(SPEC, given_)[0])
    assert vpc["CidrBlock"] == fact["vpc_cidr"]
    assert {tag["Key"]: tag.get("Value", "") for tag in vpc["Tags"]}.items() >= fact["tags"].items()
    TRIED.append(f"drawn with PREFLIGHT_SEED={SEED}: {len(config)} settings")
