"""Callback refuse_shared: two hosts of an inventory never share a name, or an address range by accident."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plugins.callback.refuse_shared import Stack, shared
from tests.unit.test_refuse_empty import ROOT, play

ONE = Stack("a", "team", "eu-west-1", (), "10.1.0.0/16")


@pytest.mark.parametrize(
    "other",
    [
        ONE._replace(host="b"),
        ONE._replace(host="b", accounts=("111111111111",)),
        ONE._replace(host="b", cidr="10.2.0.0/16"),
    ],
)
def test_two_hosts_with_one_name_are_refused(other: Stack) -> None:
    [sentence] = shared([ONE, other])
    assert sentence.startswith("mlflow_stack_name is team for a and for b: they would change each other's resources; ")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ONE, ONE._replace(host="b", name="other")),
        (ONE, ONE._replace(host="b", region="us-east-1")),
        (ONE._replace(accounts=("111111111111",)), ONE._replace(host="b", accounts=("222222222222",))),
        (ONE._replace(name=""), ONE._replace(host="b", name="")),
        (ONE, ONE._replace(host="b", name="other", cidr="")),
    ],
)
def test_two_hosts_that_are_apart_are_taken(one: Stack, other: Stack) -> None:
    assert not list(shared([one, other]))


def test_a_range_that_nobody_chose_is_not_shared() -> None:
    stacks = [ONE._replace(host=host, name=host, cidr="") for host in "abcdefg"]
    [sentence] = shared(stacks)
    assert sentence.startswith("mlflow_vpc_cidr is not set for a, b, c, d, e and others: all of them would get one ")


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ("{{ mlflow_environment }}", "mlflow_stack_name is x for a and for b:"),
        ("{{ nowhere }}", "mlflow_vpc_cidr is not set for a, b: all"),
    ],
)
def test_a_run_with_a_limit_is_refused_as_well(tmp_path: Path, second: str, sentence: str) -> None:
    hosts = {"a": {"mlflow_stack_name": "x"}, "b": {"mlflow_stack_name": second}}
    inventory = {"mlflow": {"hosts": hosts, "vars": {"mlflow_environment": "x"}}}
    (tmp_path / "hosts.yml").write_text(json.dumps(inventory))
    code, errors = play(ROOT, "-i", str(tmp_path / "hosts.yml"), "playbooks/verify.yml", "--limit", "a")
    assert code == 1
    assert len(errors) == 1 and errors[0].startswith(sentence), errors
