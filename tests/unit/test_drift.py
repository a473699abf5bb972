"""Role drift: what counts as different, what is kept, and what a run is told."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from tests.own_modules import load

MODULE, ACTION = load("modules", "stack_drift"), load("action", "stack_drift")
RECORD: dict[str, Any] = {"inputs": "i", "parts": {"alb": "1", "rds": "2"}, "until": None}


# --- what counts as different ---------------------------------------------------------------------------------------


def test_the_order_in_which_aws_lists_things_is_no_difference() -> None:
    """Lists come in any order, at any depth."""
    one = [{"Id": "a", "Groups": ["x", "y"]}, {"Id": "b"}]
    other = [{"Id": "b"}, {"Groups": ["y", "x"], "Id": "a"}]
    assert MODULE.digest(one) == MODULE.digest(other)


@pytest.mark.parametrize("key", sorted(MODULE.RESTLESS))
def test_what_changes_by_itself_is_no_difference(key: str) -> None:
    """Counters and dates of use, at any depth."""
    assert MODULE.digest([{"a": {key: 1, "b": 2}}]) == MODULE.digest([{"a": {key: 2, "b": 2}}])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": "1"}),
        ({"a": None}, {}),
        ({"a": []}, {"a": [{}]}),
        ({"a": ["x"]}, {"a": ["x", "x"]}),
        ({"a": datetime.datetime(2026, 1, 1)}, {"a": datetime.datetime(2026, 1, 2)}),
        ({"a": True}, {"a": 1}),
    ],
)
def test_everything_else_is_a_difference(one: Any, other: Any) -> None:
    """Values, types, presence, number and dates."""
    assert MODULE.digest(one) != MODULE.digest(other)


def test_a_number_of_tasks_within_the_scaling_is_no_difference() -> None:
    """What scaling changes is scaling's; a number outside is not."""
    targets = [{"MinCapacity": 1, "MaxCapacity": 4}]

    def described(count: int, targets: list[dict[str, int]]) -> str:
        deployments = [{"status": "PRIMARY", "desiredCount": count}, {"status": "ACTIVE", "desiredCount": 9}]
        service = {"desiredCount": count, "deployments": deployments}
        MODULE.steady(service, targets)
        return str(MODULE.digest(service))

    assert described(1, targets) == described(4, targets)
    assert described(5, targets) != described(4, targets)
    assert described(1, []) != described(2, [])


# --- the record -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "inputs", "parts", "expected"),
    [
        (RECORD, "i", {"alb": "1", "rds": "2"}, []),
        ({}, "i", {}, ["no record"]),
        (RECORD, "j", {"alb": "1", "rds": "2"}, ["settings or code"]),
        (RECORD, "i", {"alb": "9", "rds": "2"}, ["alb"]),
        (RECORD, "i", {"rds": "2"}, ["alb"]),
        (RECORD, "i", {"alb": "1", "efs": "3", "rds": "2"}, ["efs"]),
        (RECORD | {"until": 100}, "i", {"alb": "1", "rds": "2"}, []),
        (RECORD | {"until": 99}, "i", {"alb": "1", "rds": "2"}, ["age of the record"]),
        ({"inputs": "i"}, "i", {"alb": "1"}, ["alb"]),
    ],
)
def test_what_differs_is_named(record: dict[str, Any], inputs: str, parts: dict[str, str], expected: list[str]) -> None:
    """And nothing is taken for equal that was not recorded."""
    assert MODULE.differences(record, inputs, parts, now=100.0) == expected


def test_a_run_that_changed_nothing_is_believed_for_good_and_another_for_an_hour() -> None:
    """The stack before and after decides; the inputs are those of the beginning."""
    same = MODULE.kept(RECORD, "", {"alb": "1", "rds": "2"}, now=100.0)
    assert same == {"inputs": "i", "parts": {"alb": "1", "rds": "2"}, "until": None}
    assert MODULE.kept(RECORD, "", {"alb": "9", "rds": "2"}, now=100.0)["until"] == 3700


def test_a_look_that_failed_leaves_no_record() -> None:
    """Neither at the beginning nor at the end."""
    assert MODULE.kept({}, "", {"alb": "1"}, now=100.0) == {}


# --- what a run is told ---------------------------------------------------------------------------------------------


def test_any_file_of_the_code_changes_its_digest(tmp_path: Path) -> None:
    """Content, name and number of files; not what Python leaves beside them."""
    folder = tmp_path / "roles" / "alb"
    folder.mkdir(parents=True)
    (folder / "main.yml").write_text("a")
    first = ACTION.code(tmp_path)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("a")
    assert ACTION.code(tmp_path) == first
    (folder / "main.yml").write_text("b")
    second = ACTION.code(tmp_path)
    (folder / "main.yml").rename(folder / "other.yml")
    third = ACTION.code(tmp_path)
    (tmp_path / "site.yml").write_text("b")
    assert len({first, second, third, ACTION.code(tmp_path)}) == 4


def test_the_code_is_where_it_is_looked_for() -> None:
    """A folder that was renamed would be no part of the digest any more."""
    for name in ACTION.CODE:
        assert any(True for _ in ACTION.files(ACTION.ROOT, [name])), name


def test_the_image_and_its_bundle_are_part_of_what_is_told(tmp_path: Path) -> None:
    """A build differs by them, so a run that finds nothing else must not end early."""
    assert "docker" in ACTION.CODE
    bundle = tmp_path / "ca.pem"
    bundle.write_text("a")
    first = ACTION.content(str(bundle))
    bundle.write_text("b")
    assert len({first, ACTION.content(str(bundle)), ACTION.content(""), ACTION.content("https://example.org/ca")}) == 3


def test_whoever_sets_a_roles_variable_past_the_settings_is_seen() -> None:
    """Inputs, internals and wiring of the roles that converge; other variables are not theirs."""
    variables = {
        "alb_scheme": "internal",
        "__alb_x": [1],
        "wiring_x": True,
        "album": 1,
        "mlflow_x": 1,
        "inventory_dir": "/",
    }
    assert ACTION.overriding(variables, ["alb"]) == {"__alb_x": "[1]", "alb_scheme": "'internal'", "wiring_x": "True"}


@pytest.mark.parametrize(
    ("cli", "whole"),
    [
        ({"tags": ["all"], "skip_tags": [], "step": False, "start_at_task": None}, True),
        ({}, True),
        ({"tags": ["alb"]}, False),
        ({"tags": ["all", "never"]}, False),
        ({"tags": ["all"], "skip_tags": ["alb"]}, False),
        ({"step": True}, False),
        ({"start_at_task": "x"}, False),
    ],
)
def test_a_run_that_leaves_tasks_out_is_not_whole(cli: dict[str, Any], whole: bool) -> None:
    """Such a run may not say what the stack is like."""
    assert ACTION.is_whole(cli) is whole


def test_what_is_plain_is_json() -> None:
    """Whatever Ansible puts into a variable has one text."""
    assert json.dumps(ACTION.plain({"a": (1, Path("/x"), None)})) == '{"a": [1, "/x", null]}'
