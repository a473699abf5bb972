"""What the walks of tests/paths go by: every setting has values or a reason, and drawn ids do not count."""

from __future__ import annotations

from typing import Any

import pytest

from tests.paths import account, values, walk
from tests.paths.account import Resource

FAMILY = values.FAMILIES[0]


def test_every_setting_has_values_or_a_reason_for_none() -> None:
    missing = set(walk.spec()) - set(values.SETTINGS)
    assert not missing, f"tests/paths/values.py needs an entry for each of {sorted(missing)}"
    assert set(values.SETTINGS) <= set(walk.spec()), "an entry of tests/paths/values.py is for no setting"


@pytest.mark.parametrize("name", [name for name, entry in values.SETTINGS.items() if isinstance(entry, values.Walked)])
def test_a_setting_that_is_walked_has_pairs(name: str) -> None:
    assert [pair for family in values.FAMILIES for pair in walk.pairs(family) if pair[0] == name]


@pytest.mark.parametrize("family", values.FAMILIES, ids=lambda family: "-".join(family.values()))
def test_a_walk_is_the_same_every_time_and_preflight_takes_each_step(family: values.Config) -> None:
    path = walk.walk(family, 2)
    assert path == walk.walk(family, 2)
    assert [walk.refused(config) for config in path] == [[]] * 3
    for before, after in walk.steps(path):
        assert len(walk.tried(family, before, after)) > 1


def test_a_walk_has_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    few = ("mlflow_capacity_min", "mlflow_capacity_max", "mlflow_egress", "mlflow_certificate_arn", "mlflow_domain")
    monkeypatch.setattr(walk, "RESTING", frozenset(values.SETTINGS) - set(few))
    left = walk.pairs(FAMILY)
    assert left
    for before, after in walk.steps(walk.walk(FAMILY)):
        left -= walk.tried(FAMILY, before, after)
    assert not left


# --- the second reader ---


def vpc(number: str, **fields: Any) -> Resource:
    """A VPC that is called team."""
    return Resource("ec2/vpc", "team", {"VpcId": f"vpc-{number}", **fields}, [f"vpc-{number}"])


def test_ids_read_as_what_they_name() -> None:
    def made(one: str) -> account.Account:
        group = Resource("ec2/group", f"default of vpc-{one}", {"Vpc": f"vpc-{one}", "ARN": f"arn:x:vpc-{one}/y"})
        return account.described([vpc(one, Cidr="10.0.0.0/16"), group])

    assert made("1") == made("22")
    assert made("1")["ec2/group/default of <vpc team>"] == {"Vpc": "<vpc team>", "ARN": "arn:x:<vpc team>/y"}


def test_two_of_one_name_are_both_there_in_either_order() -> None:
    one, other = vpc("1", Cidr="10.0.0.0/16"), vpc("2", Cidr="10.1.0.0/16")
    both = account.described([one, other])
    assert sorted(both) == ["ec2/vpc/team", "ec2/vpc/team #2"]
    swapped = account.described([vpc("9", Cidr="10.1.0.0/16"), vpc("8", Cidr="10.0.0.0/16")])
    assert both == swapped
    assert account.differences(both, account.described([one])) == [
        "ec2/vpc/team #2: is there, a fresh account has none"
    ]


@pytest.mark.parametrize(
    ("value", "same"),
    [
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]}, True),
        ({"Tags": [{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "1"}]}, True),
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "3"}]}, False),
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "c", "Value": "2"}]}, False),
        ({"Tags": [{"Key": "a", "Value": "1"}]}, False),
    ],
)
def test_lists_without_an_order_are_compared_without(value: dict[str, Any], same: bool) -> None:
    tags = {"Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]}
    lines = account.differences(account.described([vpc("1", **value)]), account.described([vpc("1", **tags)]))
    assert (lines == []) is same


def test_the_order_of_a_command_is_compared() -> None:
    first, second = ({"command": command} for command in (["a", "b"], ["b", "a"]))
    assert account.differences(account.described([vpc("1", **first)]), account.described([vpc("1", **second)]))


def test_a_difference_says_resource_field_and_both_values() -> None:
    is_, fresh = (account.described([vpc("1", Dns={"Support": value})]) for value in (False, True))
    assert account.differences(is_, fresh) == ["ec2/vpc/team: Dns/Support is false, a fresh account has true"]


def test_revisions_and_drawn_ids_read_the_same() -> None:
    texts = [f"arn:aws:ecs:r:1:task-definition/a:{n} {n * 8}-0000-0000-0000-000000000000" for n in "12"]
    one, other = (account.described([vpc("1", What=text)]) for text in texts)
    assert one == other
