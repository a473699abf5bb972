"""The filters of the roles."""

from __future__ import annotations

import pytest

from plugins.filter import ecs_service, network

SUBNETS = [
    {"tier": "public", "cidr": "10.0.0.0/24", "az": "a"},
    {"tier": "private", "cidr": "10.0.1.0/24", "az": "a"},
    {"tier": "private", "cidr": "10.0.2.0/24", "az": "b"},
]


def test_subnets_are_chosen_by_tier_in_order() -> None:
    assert network.tier_ids(SUBNETS, "private", ["subnet-1", "subnet-2", "subnet-3"]) == ["subnet-2", "subnet-3"]


def test_a_check_run_gets_ids_of_valid_form() -> None:
    predicted = network.tier_ids(SUBNETS, "private", [None] * 3)
    assert predicted == ["subnet-00000000000000000", "subnet-00000000000000001"]


def test_subnets_are_named_by_tier_and_zone() -> None:
    assert network.named_subnets(SUBNETS, "team-a")[2] == {
        "cidr": "10.0.2.0/24",
        "az": "b",
        "tags": {"Name": "team-a-private-b", "Tier": "private"},
    }


def test_each_private_subnet_has_its_table_and_its_routes_are_another_tasks() -> None:
    assert network.private_tables(["subnet-2", "subnet-3"], "team-a", ["a", "b"]) == [
        {"name": "team-a-private-a", "subnet_ids": ["subnet-2"]},
        {"name": "team-a-private-b", "subnet_ids": ["subnet-3"]},
    ]


def test_without_a_nat_gateway_a_private_subnet_has_no_route() -> None:
    tables = network.nat_routes(["a", "b"], "team-a", [], [])
    assert [table["routes"] for table in tables] == [{}, {}]


def test_each_zone_has_its_public_subnet() -> None:
    subnets = [{"tier": tier, "az": zone} for tier in ("private", "public") for zone in "ab"]
    found = network.zone_subnets(["b"], subnets, ["subnet-0", "subnet-1", "subnet-2", "subnet-3"])
    assert found == [{"zone": "b", "subnet_id": "subnet-3"}]


@pytest.mark.parametrize(
    ("partition", "services"),
    [
        ("aws", ["com.amazonaws.r.ecr.api", "com.amazonaws.r.logs"]),
        ("aws-cn", ["cn.com.amazonaws.r.ecr.api", "com.amazonaws.r.logs"]),
    ],
)
def test_endpoint_services_are_named_as_in_the_partition(partition: str, services: list[str]) -> None:
    made = network.interface_endpoints(["ecr.api", "logs"], "team-a", "r", partition, ["subnet-1"], ["sg-1"])
    assert [each["service"] for each in made] == services
    assert made[0] == {
        "name": "team-a-ecr.api",
        "service": services[0],
        "subnet_ids": ["subnet-1"],
        "security_group_ids": ["sg-1"],
    }


@pytest.mark.parametrize(
    ("nat_zones", "found", "expected"),
    [
        (["a"], "a", ["nat-a", "nat-a"]),
        (["a", "b"], "ab", ["nat-a", "nat-b"]),
        # The second zone's gateway is not used for being left over.
        (["a"], "ab", ["nat-a", "nat-a"]),
        (["a", "b"], "", ["nat-00000000000000000"] * 2),
    ],
)
def test_a_private_subnet_leaves_by_its_zones_gateway_or_the_only_one(
    nat_zones: list[str], found: str, expected: list[str]
) -> None:
    gateways = [{"name": f"team-a-{zone}", "id": f"nat-{zone}"} for zone in found]
    tables = network.nat_routes(["a", "b"], "team-a", nat_zones, gateways)
    assert [table["name"] for table in tables] == ["team-a-private-a", "team-a-private-b"]
    assert [table["routes"]["0.0.0.0/0"] for table in tables] == expected


def test_tiers_become_one_list() -> None:
    tiers = {"public": ["10.0.0.0/24", "10.0.1.0/24"], "database": ["10.0.2.0/24", "10.0.3.0/24"]}
    assert network.tiered_subnets(tiers, ["a", "b"]) == [
        {"tier": "public", "cidr": "10.0.0.0/24", "az": "a"},
        {"tier": "public", "cidr": "10.0.1.0/24", "az": "b"},
        {"tier": "database", "cidr": "10.0.2.0/24", "az": "a"},
        {"tier": "database", "cidr": "10.0.3.0/24", "az": "b"},
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.example"], "a.example,a.example:*"),
        (["a.example", "b.example"], "a.example,a.example:*,b.example,b.example:*"),
        (["Mixed.example"], "Mixed.example,Mixed.example:*,mixed.example,mixed.example:*"),
        (["", "a.example"], "a.example,a.example:*"),
        (["a.example", "a.example"], "a.example,a.example:*"),
    ],
)
def test_every_name_is_allowed_alone_and_with_any_port(names: list[str], expected: str) -> None:
    assert ecs_service.allowed_hosts(names) == expected


def test_a_secrets_key_is_cut_off_its_arn() -> None:
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:team-a/admin-AbCdEf"
    assert ecs_service.secret_arn(f"{arn}:password::") == arn
    assert ecs_service.secret_arn(arn) == arn


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/mlflow@sha256:0",
            "arn:aws:ecr:eu-west-1:123456789012:repository/team/mlflow",
        ),
        (
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mlflow:tag@sha256:0",
            "arn:aws:ecr:eu-west-1:123456789012:repository/mlflow",
        ),
        ("ghcr.io/mlflow/mlflow@sha256:0", None),
        ("mlflow@sha256:0", None),
    ],
)
def test_only_an_image_in_ecr_needs_a_right_to_be_pulled(image: str, expected: str | None) -> None:
    assert ecs_service.image_arn(image, "aws") == expected
