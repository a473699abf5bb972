"""The module ssm_parameters: values, types and tags of everything below one path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.own_modules import Run, client, empty_aws, four_steps, load, runner, tag_list

STACK = "team-a"
TAGS = {"Stack": STACK, "Name": STACK}


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    return {"ssm_parameters": load("modules", "ssm_parameters")}


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with empty_aws(monkeypatch):
        yield


def tags_of(name: str) -> dict[str, str]:
    """The tags of one parameter."""
    answer = client("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=name)
    return {tag["Key"]: tag["Value"] for tag in answer["TagList"]}


STUBS: dict[str, Callable[..., Any]] = {}


@pytest.fixture
def run(modules: dict[str, ModuleType], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(modules, capsys, monkeypatch, STUBS)


def parameters(path: str) -> dict[str, str]:
    """Return what stands below `path`."""
    pages = client("ssm").get_paginator("get_parameters_by_path").paginate(Path=path, Recursive=True)
    return {each["Name"]: each["Value"] for page in pages for each in page["Parameters"]}


def test_parameters_four_steps_and_absence(run: Run) -> None:
    values = {f"name{number}": str(number) for number in range(23)} | {"release/image": "x@sha256:1"}
    answer = four_steps(run, "ssm_parameters", path="/mlflow/team-a/", values=values, tags=TAGS)
    assert answer.writes == ["PutParameter"] * 24
    assert parameters("/mlflow/team-a") == {f"/mlflow/team-a/{name}": value for name, value in values.items()}
    tags = client("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId="/mlflow/team-a/name1")
    assert {tag["Key"]: tag["Value"] for tag in tags["TagList"]} == TAGS

    changed = four_steps(run, "ssm_parameters", path="/mlflow/team-a/", values={**values, "name1": "other"})
    assert (changed["written"], changed.writes) == (["name1"], ["PutParameter"])
    run("ssm_parameters", path="/mlflow/team-ab/", values={"name": "stays"})
    gone = four_steps(run, "ssm_parameters", path="/mlflow/team-a/", state="absent")
    assert gone.writes == ["DeleteParameters"] * 3
    assert parameters("/mlflow") == {"/mlflow/team-ab/name": "stays"}


def test_parameters_are_purged_only_when_told(run: Run) -> None:
    run("ssm_parameters", path="/a/b/", values={"one": "1", "two": "2"})
    assert run("ssm_parameters", path="/a/b/", values={"one": "1"})["changed"] is False
    answer = four_steps(run, "ssm_parameters", path="/a/b/", values={"one": "1"}, purge=True)
    assert answer["deleted"] == ["two"]


@pytest.mark.parametrize(
    ("path", "values", "sentence"),
    [
        ("/a", {"x": "1"}, "path is '/a'; it must begin and end with a slash, such as /mlflow/team-a/."),
        ("a/", {"x": "1"}, "path is 'a/'; it must begin and end with a slash, such as /mlflow/team-a/."),
        ("/", {"x": "1"}, "path is '/'; it must begin and end with a slash, such as /mlflow/team-a/."),
        ("/a/", {"x": 1}, "values.x is 1; SSM stores only strings that are not empty."),
        ("/a/", {"x": ""}, "values.x is ''; SSM stores only strings that are not empty."),
        ("/a/", {"x": None}, "values.x is None; SSM stores only strings that are not empty."),
    ],
)
def test_parameters_refuse_bad_input_before_any_call(run: Run, path: str, values: Any, sentence: str) -> None:
    answer = run("ssm_parameters", path=path, values=values)
    assert (answer["msg"], answer.calls) == (sentence, [])


PATH = "/mlflow/team-a/"
VALUES = {"one": "1", "two": "2", "three": "3"}


def test_tags_of_parameters_that_exist_are_exact(run: Run) -> None:
    run("ssm_parameters", path=PATH, values=VALUES, tags=TAGS)
    ssm = client("ssm")
    which = {"ResourceType": "Parameter", "ResourceId": f"{PATH}two"}
    ssm.add_tags_to_resource(**which, Tags=tag_list(Foreign="x", Name="other"))
    ssm.remove_tags_from_resource(ResourceType="Parameter", ResourceId=f"{PATH}three", TagKeys=["Stack"])
    answer = four_steps(run, "ssm_parameters", path=PATH, values=VALUES, tags=TAGS)
    assert answer["retagged"] == ["three", "two"]
    wanted = {"Stack": STACK, "Team": "a"}
    answer = four_steps(run, "ssm_parameters", path=PATH, values=VALUES, tags=wanted)
    assert answer.writes == ["AddTagsToResource", "RemoveTagsFromResource"] * 3
    assert [tags_of(PATH + name) for name in VALUES] == [wanted] * 3
    assert four_steps(run, "ssm_parameters", path=PATH, values=VALUES, tags={})["retagged"] == sorted(VALUES)
    assert [tags_of(PATH + name) for name in VALUES] == [{}] * 3


def test_tags_without_a_difference_cost_one_call(run: Run) -> None:
    values = {f"name{number}": "x" for number in range(9)}
    run("ssm_parameters", path=PATH, values=values, tags=TAGS)
    calls = run("ssm_parameters", path=PATH, values=values, tags=TAGS).calls
    assert calls == ["GetParametersByPath", "GetResources"]
    assert run("ssm_parameters", path=PATH, values=values).calls == ["GetParametersByPath"]


def test_a_list_of_tags_that_is_behind_changes_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("ssm_parameters", path=PATH, values=VALUES, tags=TAGS)
    monkeypatch.setitem(STUBS, "GetResources", lambda **_: {"ResourceTagMappingList": []})
    answer = run("ssm_parameters", path=PATH, values=VALUES, tags=TAGS)
    assert (answer["changed"], answer.writes) == (False, [])


def test_a_parameter_of_another_type_is_replaced(run: Run) -> None:
    client("ssm").put_parameter(Name=f"{PATH}one", Value="1", Type="SecureString")
    answer = four_steps(run, "ssm_parameters", path=PATH, values=VALUES, tags=TAGS)
    assert "DeleteParameters" in answer.writes
    assert client("ssm").get_parameter(Name=f"{PATH}one")["Parameter"]["Type"] == "String"
    assert tags_of(f"{PATH}one") == TAGS
