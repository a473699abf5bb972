"""Module stack_check: what AWS cannot change is refused before the first change; zones are those of the account."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.own_modules import Run, client, empty_aws, load, load_backends, runner, tag_list

STACK = "team-a"
SUBNETS = {
    "public": ["10.42.0.0/20", "10.42.16.0/20"],
    "private": ["10.42.32.0/20", "10.42.48.0/20"],
    "database": ["10.42.64.0/20", "10.42.80.0/20"],
}
SETTINGS = {
    "name": STACK,
    "storage": "rds",
    "scheme": "internal",
    "vpc_cidr": "10.42.0.0/16",
    "subnets": SUBNETS,
    "engine_version": "16.4",
}


@pytest.fixture(scope="module")
def module() -> ModuleType:
    return load("modules", "stack_check")


@pytest.fixture
def run(module: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    load_backends("ec2", "elbv2", "rds", "efs", "ssm")
    with empty_aws(monkeypatch):
        yield runner({"stack_check": module}, capsys, monkeypatch, {})


def make_network(zones: tuple[str, str] = ("eu-west-1b", "eu-west-1c"), subnets: dict[str, list[str]] = SUBNETS) -> str:
    """The VPC of the stack with its subnets; the VPC's id."""
    ec2 = client("ec2")
    vpc = str(ec2.create_vpc(CidrBlock="10.42.0.0/16")["Vpc"]["VpcId"])
    ec2.create_tags(Resources=[vpc], Tags=tag_list(Name=STACK, Stack=STACK))
    for tier, ranges in subnets.items():
        for cidr, zone in zip(ranges, zones, strict=True):
            made = ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=zone)["Subnet"]["SubnetId"]
            ec2.create_tags(Resources=[made], Tags=tag_list(Stack=STACK, Tier=tier))
    return vpc


def make_balancer() -> None:
    ec2 = client("ec2")
    subnets = [each["SubnetId"] for each in ec2.describe_subnets()["Subnets"]][:2]
    client("elbv2").create_load_balancer(Name=STACK, Subnets=subnets, Scheme="internal", Type="application")


def make_database() -> None:
    client("rds").create_db_instance(
        DBInstanceIdentifier=STACK, DBInstanceClass="db.t4g.small", Engine="postgres", EngineVersion="16.4",
        AllocatedStorage=20, MasterUsername="mlflow", MasterUserPassword="long-enough-1",
    )  # fmt: skip


def make_file_system() -> None:
    client("efs").create_file_system(CreationToken=STACK)


def test_a_new_stack_gets_the_first_two_zones_of_the_account(run: Run) -> None:
    answer = run("stack_check", **SETTINGS)
    assert answer["availability_zones"] == ["eu-west-1a", "eu-west-1b"]
    assert answer.writes == []


def test_a_new_stack_gets_the_zones_that_are_named(run: Run) -> None:
    answer = run("stack_check", **SETTINGS, availability_zones=["eu-west-1c", "eu-west-1a"])
    assert answer["availability_zones"] == ["eu-west-1c", "eu-west-1a"]


def test_an_account_without_zone_a_gets_those_that_it_has(
    module: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    zones = [{"ZoneName": name} for name in ("us-west-1c", "us-west-1b")]
    stubs: dict[str, Callable[..., Any]] = {"DescribeAvailabilityZones": lambda **_: {"AvailabilityZones": zones}}
    with empty_aws(monkeypatch):
        answer = runner({"stack_check": module}, capsys, monkeypatch, stubs)("stack_check", **SETTINGS)
        assert answer["availability_zones"] == ["us-west-1b", "us-west-1c"]
        zones.pop()
        assert (
            "needs two" in runner({"stack_check": module}, capsys, monkeypatch, stubs)("stack_check", **SETTINGS)["msg"]
        )


def test_a_stack_that_exists_keeps_its_zones(run: Run) -> None:
    make_network()
    assert run("stack_check", **SETTINGS)["availability_zones"] == ["eu-west-1b", "eu-west-1c"]


def test_a_run_that_was_interrupted_keeps_the_zone_it_has_used(run: Run) -> None:
    vpc, ec2 = make_network(subnets={}), client("ec2")
    made = ec2.create_subnet(VpcId=vpc, CidrBlock="10.42.16.0/20", AvailabilityZone="eu-west-1a")["Subnet"]["SubnetId"]
    ec2.create_tags(Resources=[made], Tags=tag_list(Stack=STACK, Tier="public"))
    assert run("stack_check", **SETTINGS)["availability_zones"] == ["eu-west-1b", "eu-west-1a"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"availability_zones": ["eu-west-1a", "eu-west-1z"]},
            "this account has no eu-west-1z; use two of eu-west-1a,",
        ),
        (
            {"availability_zones": ["eu-west-1a", "eu-west-1c"]},
            "the subnets are in eu-west-1b, eu-west-1c, and AWS cannot",
        ),
        ({"vpc_cidr": "10.43.0.0/16"}, "mlflow_vpc_cidr is 10.43.0.0/16: the VPC has 10.42.0.0/16"),
        (
            {"subnets": SUBNETS | {"private": ["10.42.96.0/20", "10.42.48.0/20"]}},
            "mlflow_private_subnet_cidrs is 10.42.96.0/20, 10.42.48.0/20: the subnets have 10.42.32.0/20, 10.42",
        ),
        ({"scheme": "internet-facing"}, "mlflow_exposure is public: the load balancer is internal"),
        ({"storage": "efs"}, "mlflow_storage is efs: team-a keeps its data in a database; set it back to rds"),
        ({"engine_version": "17"}, "mlflow_database_engine_version is 17: the database has 16.4"),
    ],
)
def test_what_aws_cannot_change_is_refused(run: Run, change: dict[str, Any], sentence: str) -> None:
    make_network()
    make_balancer()
    make_database()
    assert not run("stack_check", **SETTINGS).get("failed")
    for check in (False, True):
        answer = run("stack_check", check=check, **(SETTINGS | change))
        assert answer["failed"]
        assert sentence in answer["msg"]
        assert answer["msg"].splitlines()[0] == "team-a cannot be changed like that; nothing was changed:"
        assert answer.writes == []


def test_a_database_beside_a_file_system_is_refused(run: Run) -> None:
    make_file_system()
    assert "keeps its data in a file system; set it back to efs" in run("stack_check", **SETTINGS)["msg"]


def test_every_difference_is_said_at_once(run: Run) -> None:
    make_network()
    make_balancer()
    answer = run("stack_check", **(SETTINGS | {"vpc_cidr": "10.43.0.0/16", "scheme": "internet-facing"}))
    assert len(answer["msg"].splitlines()) == 3


def test_destroy_is_not_refused(run: Run) -> None:
    make_network()
    answer = run("stack_check", **(SETTINGS | {"vpc_cidr": "10.43.0.0/16", "refuse": False}))
    assert answer["availability_zones"] == ["eu-west-1b", "eu-west-1c"]


@pytest.mark.parametrize("refuse", [True, False])
def test_a_stack_of_older_code_is_refused_until_it_has_been_moved(run: Run, refuse: bool) -> None:
    ssm, arn = client("ssm"), "arn:aws:secretsmanager:eu-west-1:123456789012:secret:"
    for use in ("admin", "database"):
        ssm.put_parameter(Name=f"/mlflow/{STACK}/{use}_secret_arn", Value=f"{arn}{STACK}/{use}-AbCdEf", Type="String")
    answer = run("stack_check", **SETTINGS, refuse=refuse)
    assert answer["msg"].splitlines()[1] == (
        f"its secrets have names of older code ({STACK}/admin-AbCdEf, {STACK}/database-AbCdEf); run playbooks/move.yml "
        "once, which keeps their values and the artifacts (docs/upgrading.md)."
    )
    assert answer.writes == []
    assert "msg" not in run("stack_check", **SETTINGS, refuse=refuse, moved=True)
    for use in ("admin", "database"):
        value = f"{arn}mlflow/{STACK}/{use}-AbCdEf"
        ssm.put_parameter(Name=f"/mlflow/{STACK}/{use}_secret_arn", Value=value, Type="String", Overwrite=True)
    assert "msg" not in run("stack_check", **SETTINGS, refuse=refuse)
