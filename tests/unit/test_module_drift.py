"""stack_drift from run to run, in-process against moto, with its parameters kept as role drift keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.own_modules import Run, client, empty_aws, load, load_backends, runner

GROUP = "/mlflow/team-a"
PATH = "/mlflow-drift/team-a/"
RETENTION = "log_groups: /mlflow/team-a/group/retentionInDays: was 30, is 7"
CLASS = "log_groups: /mlflow/team-a/tags/Team: was absent, is x"
STACK = {"name": "team-a", "account_id": "123456789012"}


class Runs:
    """Runs of a play on one log group, which is all that there is of the stack."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def look(self, **given: Any) -> Any:
        """The read at the beginning, as a plan has it: nothing is written."""
        told = {"inputs": "i", "reads": "r", "settings": {"log_retention_days": 30}}
        answer = self.run("stack_drift", **STACK, **(told | given))
        assert answer.writes == []
        return answer

    def begin(self, **given: Any) -> Any:
        """The read at the beginning, and the mark."""
        answer = self.look(**given)
        self.keep("begun/", answer["marker"])
        return answer

    def end(self, begun: Any, accept: bool = False) -> list[str]:
        """The end: the lines of what stays changed."""
        answer = self.run("stack_drift", **STACK, before=begun["begun"], accept=accept)
        assert answer.writes == []
        self.keep("", answer["record"])
        return list(answer["unrepaired"])

    def keep(self, below: str, values: dict[str, str]) -> None:
        """What role drift does with parameters."""
        answer = self.run("ssm_parameters", path=f"{PATH}{below}", values=values, purge=True)
        assert "written" in answer, answer

    def whole(self, **given: Any) -> list[str]:
        """A run that changes nothing."""
        return self.end(self.begin(**given))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Runs]:
    """A stack in its last good state."""
    modules = {name: load("modules", name) for name in ("stack_drift", "ssm_parameters")}
    load_backends(*modules["stack_drift"].SERVICES)
    with empty_aws(monkeypatch):
        client("logs").create_log_group(logGroupName=GROUP)
        retain(30)
        made = Runs(runner(modules, capsys, monkeypatch, {}))
        assert made.whole() == []
        yield made


def retain(days: int) -> None:
    """Keep the lines for so many days."""
    client("logs").put_retention_policy(logGroupName=GROUP, retentionInDays=days)


def tag() -> None:
    """Tag the group."""
    client("logs").tag_log_group(logGroupName=GROUP, tags={"Team": "x"})


def test_nothing_differs_right_after_a_run(runs: Runs) -> None:
    answer = runs.look()
    assert (answer["differs"], answer["fields"], answer["suspects"]) == ([], [], {})


def test_a_change_by_hand_that_stays_is_named_until_it_is_taken_back(runs: Runs) -> None:
    retain(7)
    for _ in range(2):
        assert runs.look()["suspects"] == {"log_groups": [RETENTION]}
        assert runs.whole() == [RETENTION]
        assert runs.look()["differs"] == ["log_groups"]
    retain(30)
    # The record does not hold, since nobody knows whether the last run has set it back.
    assert runs.look()["suspects"] == {}
    assert runs.whole() == []
    assert runs.look()["differs"] == []


def test_a_change_by_hand_is_named_beside_a_change_of_git(runs: Runs) -> None:
    retain(7)
    begun = runs.begin(inputs="j")
    tag()
    assert runs.end(begun) == [RETENTION]
    # What the run has done is right from now on, and what somebody does then is seen.
    assert runs.look(inputs="j")["suspects"] == {"log_groups": [RETENTION]}
    client("logs").untag_log_group(logGroupName=GROUP, tags=["Team"])
    assert runs.whole(inputs="j") == [RETENTION, CLASS.replace("was absent, is x", "was x, is absent")]


def test_what_is_repaired_is_right(runs: Runs) -> None:
    retain(7)
    begun = runs.begin()
    retain(30)
    assert runs.end(begun) == []
    assert runs.look()["differs"] == []


def test_a_run_that_did_not_end_has_changed_what_differs_beyond_its_beginning(runs: Runs) -> None:
    tag()
    runs.begin(inputs="j")
    retain(7)
    assert runs.look(inputs="j")["suspects"] == {"log_groups": [CLASS]}
    # The one that repeats it does not end either.
    runs.begin(inputs="j")
    assert runs.whole(inputs="j") == [CLASS]
    # From then on it counts again.
    retain(14)
    assert sorted(runs.whole(inputs="j")) == [RETENTION.replace("was 30, is 7", "was 7, is 14"), CLASS]


def test_what_is_accepted_is_said_and_recorded(runs: Runs) -> None:
    retain(7)
    assert runs.end(runs.begin(), accept=True) == [RETENTION]
    assert runs.look()["suspects"] == {}
    assert runs.whole() == []


def test_git_has_followed_the_hand(runs: Runs) -> None:
    retain(7)
    told = {"inputs": "j", "settings": {"log_retention_days": 7}}
    assert runs.look(**told)["suspects"] == {}
    assert runs.whole(**told) == []
    assert runs.look(**told)["differs"] == []


def test_a_record_without_descriptions_has_nothing_to_compare(runs: Runs) -> None:
    """As an older version has left it."""
    ssm = client("ssm")
    kept = ssm.get_parameters_by_path(Path=PATH, Recursive=True)["Parameters"]
    ssm.delete_parameters(Names=[each["Name"] for each in kept if "/good/" in each["Name"]])
    retain(7)
    answer = runs.look()
    assert (answer["differs"], answer["suspects"]) == (["log_groups"], {})
    assert runs.whole() == []


def test_a_part_that_was_not_read_is_neither_compared_nor_recorded(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: Any) -> Any:
        raise client("logs").exceptions.InvalidParameterException({"Error": {"Code": "Denied"}}, "DescribeLogGroups")

    retain(7)
    before = client("ssm").get_parameters_by_path(Path=PATH, Recursive=True)["Parameters"]
    with monkeypatch.context() as patch:
        patch.setattr(client("logs"), "can_paginate", lambda _: False)
        patch.setattr(client("logs"), "describe_log_groups", refused)
        begun = runs.look()
        assert (begun["differs"], begun["suspects"]) == (["what could not be read"], {})
        answer = runs.run("stack_drift", **STACK, before=begun["begun"])
    assert (answer["record"], answer["unrepaired"]) == ({}, [])
    assert client("ssm").get_parameters_by_path(Path=PATH, Recursive=True)["Parameters"] == before
    assert runs.whole() == [RETENTION]
