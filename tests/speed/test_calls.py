"""The figures that no machine makes noisy: how many calls a run makes, of which kind, and in which order.

`make calls` writes calls.json after a change that is meant to make more, or fewer; say why in the commit.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bench import sides, waits
from scripts import generate_policies

EXPECTED = Path(__file__).with_name("calls.json")
PENDING_SECONDS = 60
# Calls of a no-op apply of the yardstick on the same emulator: AWS provider 5.100, refresh of 53 resources; the number
# is the same in every run, and `make bench` counts it anew.
TERRAFORMS_CALLS = 97
READS = ("Describe", "Get", "List", "Head", "Lookup", "BatchGet", "HEAD")

# What tasks read and the look for drift does not, and why nothing that somebody can change is missed by that.
NOT_LOOKED_AT = {
    "ec2 DescribeAvailabilityZones": "the account's, not the stack's",
    "ecr DescribeImages": "the images are listed",
    "rds DescribeOrderableDBInstanceOptions": "what AWS offers",
    "servicequotas GetServiceQuota": "the account's, not the stack's",
    "s3 HEAD": "whether there is a bucket, which every other question tells",
    "ssm GetParameter": "the lock",
    "ssm GetParameters": "the outputs, which are read by their path",
    "tagging GetResources": "tags of the outputs: this answer is some seconds behind; a plan and a full run ask",
}


class Runs(NamedTuple):
    """The calls of each run."""

    first: list[waits.Call]
    second: list[waits.Call]
    third: list[waits.Call]
    every_task: list[waits.Call]
    destroy: list[waits.Call]
    records: list[str]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """From nothing, three times more with nothing changed, and to nothing, in an AWS where things take their time."""
    calls: list[list[waits.Call]] = []
    with sides.Cloud(tmp_path_factory.mktemp("aws"), pending=PENDING_SECONDS) as cloud:
        commands = {
            "converge": sides.converge(),
            "noop": sides.converge(),
            "again": sides.converge(),
            "full": sides.every_task(),
            "destroy": sides.destroy(),
        }
        for step, command in commands.items():
            known = len(cloud.calls())
            sides.measure(cloud, 1, "ours", step, command)
            calls.append(waits.parse(cloud.calls()[known:]))
            cloud.finish()
        records = cloud.records()
    sides.remove_outputs()
    yield Runs(*calls, records)


def by_service(calls: list[waits.Call]) -> dict[str, dict[str, int]]:
    """How often each action of each service was called."""
    counted: dict[str, dict[str, int]] = {}
    for name, count in sorted(Counter(call.name for call in calls).items()):
        service, _, action = name.partition(" ")
        counted.setdefault(service, {})[action] = count
    return counted


def is_read(call: waits.Call) -> bool:
    service, _, action = call.name.partition(" ")
    # The action of a REST service is its method.
    return action.startswith((*READS, "GET") if service in ("s3", "elasticfilesystem") else READS)


@pytest.mark.parametrize("run", ["second", "every_task"])
def test_a_run_with_nothing_to_do_makes_the_expected_calls_and_no_more(runs: Runs, run: str) -> None:
    counted = by_service(getattr(runs, run))
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    if os.environ.get("WRITE_CALLS"):
        expected[run] = counted
        EXPECTED.write_text(json.dumps(expected, indent=2) + "\n")
    assert counted == expected.get(run), (
        f"{len(getattr(runs, run))} calls: if the change is meant, write {EXPECTED.name} with `make calls` and say why"
    )


def test_nothing_to_do_is_the_same_every_time(runs: Runs) -> None:
    assert by_service(runs.third) == by_service(runs.second)


@pytest.mark.parametrize("run", ["second", "third", "every_task"])
def test_a_run_with_nothing_to_do_writes_nothing(runs: Runs, run: str) -> None:
    calls: list[waits.Call] = getattr(runs, run)
    assert calls
    # Every run that goes through its tasks takes the lock and marks its beginning; both go when it writes the record.
    record = [*["ssm PutParameter"] * 3, "ssm DeleteParameters"] if run == "every_task" else []
    assert [call.name for call in calls if not is_read(call)] == record


def test_the_look_for_drift_reads_whatever_a_task_reads(runs: Runs) -> None:
    tasks, look = ({call.name for call in calls if is_read(call)} for calls in (runs.every_task, runs.second))
    assert tasks - look == set(NOT_LOOKED_AT)


def test_a_run_with_nothing_to_do_makes_no_more_calls_than_terraform(runs: Runs) -> None:
    assert len(runs.second) <= TERRAFORMS_CALLS


def test_the_first_converge_waits_for_nothing_before_all_is_begun(runs: Runs) -> None:
    # Nothing is learnt from an order in which nothing was pending.
    assert {call.pending for call in runs.first} >= set(waits.MAY_FOLLOW)
    assert waits.early(runs.first) == []


def test_the_first_converge_does_wait_for_the_database(runs: Runs) -> None:
    assert "DBInstance" in {wait.kind for wait in waits.waits(runs.first)}


def test_destroying_leaves_nothing_that_costs(runs: Runs) -> None:
    names = [call.name for call in runs.destroy]
    for made, gone in (
        ("ec2 CreateNatGateway", "ec2 DeleteNatGateway"),
        ("rds CreateDBInstance", "rds DeleteDBInstance"),
        ("elasticloadbalancing CreateLoadBalancer", "elasticloadbalancing DeleteLoadBalancer"),
        ("ecs CreateService", "ecs DeleteService"),
    ):
        assert [call.name for call in runs.first].count(made) == names.count(gone) > 0, gone


def test_the_deployer_may_make_every_call(runs: Runs) -> None:
    allowed = generate_policies.rights()
    made = {
        action
        for service, operation, _ in generate_policies.operations(runs.records)
        for action in generate_policies.actions_of(service, operation)
    }
    assert made
    assert made - allowed == set(), "write them with `make policies`"
