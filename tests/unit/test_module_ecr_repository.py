"""The module ecr_repository: each input alone, each change by hand, an answer that gets lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from tests.own_modules import Run, client, empty_aws, four_steps, load, runner, tag_list

STACK = "team-a"
ACCOUNT_ROOT = "arn:aws:iam::999999999999:root"
Stubs = dict[str, Callable[..., Any]]


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    return {"ecr_repository": load("modules", "ecr_repository")}


@pytest.fixture(autouse=True)
def aws(modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("ansible.module_utils.mlflow_aws.CREATE_PAUSE_SECONDS", 0.0)
    with empty_aws(monkeypatch):
        yield


@pytest.fixture
def stubs() -> Stubs:
    """What stands in for moto, by operation; a test may add to it."""
    return {}


@pytest.fixture
def run(
    modules: dict[str, ModuleType], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stubs: Stubs
) -> Run:
    return runner(modules, capsys, monkeypatch, stubs)


def lifecycle(keep: int) -> dict[str, Any]:
    """A lifecycle policy that keeps `keep` untagged images."""
    selection = {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": keep}
    return {"rules": [{"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}]}


def policy(action: str = "ecr:BatchGetImage") -> dict[str, Any]:
    """A repository policy that lets another account in."""
    statement = {"Sid": "x", "Effect": "Allow", "Principal": {"AWS": ACCOUNT_ROOT}, "Action": [action]}
    return {"Version": "2012-10-17", "Statement": [statement]}


ARGUMENTS = {"name": STACK, "lifecycle_policy": lifecycle(30), "tags": {"Stack": STACK, "Old": "x"}}


def described() -> dict[str, Any]:
    """The repository, as a second reader sees it, in the words of the module's options."""
    ecr = client("ecr")
    [found] = ecr.describe_repositories(repositoryNames=[STACK])["repositories"]
    seen = {
        "immutable_tags": found["imageTagMutability"] == "IMMUTABLE",
        "scan_on_push": found["imageScanningConfiguration"]["scanOnPush"],
        "tags": {
            tag["Key"]: tag["Value"] for tag in ecr.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
        },
        "lifecycle_policy": None,
        "policy": None,
    }
    for key, operation, field in (
        ("lifecycle_policy", ecr.get_lifecycle_policy, "lifecyclePolicyText"),
        ("policy", ecr.get_repository_policy, "policyText"),
    ):
        try:
            seen[key] = json.loads(operation(repositoryName=STACK)[field])
        except ClientError:
            continue
    return seen


def as_wanted(**changes: Any) -> dict[str, Any]:
    """What `described` shows of ARGUMENTS with `changes`."""
    defaults = {"immutable_tags": True, "scan_on_push": True, "policy": None}
    return {key: value for key, value in {**defaults, **ARGUMENTS, **changes}.items() if key != "name"}


def test_repository_four_steps_and_absence(run: Run) -> None:
    made = four_steps(run, "ecr_repository", **ARGUMENTS)
    assert made.writes == ["CreateRepository", "PutLifecyclePolicy"]
    assert described() == as_wanted()
    assert made["repository_uri"].endswith(f".amazonaws.com/{STACK}")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []}
    manifest["config"] = {"digest": "sha256:0", "size": 1}
    client("ecr").put_image(repositoryName=STACK, imageManifest=json.dumps(manifest), imageTag="one")
    refused = run("ecr_repository", name=STACK, state="absent")
    assert refused["msg"].startswith(f"Could not delete the repository {STACK}: ")
    gone = four_steps(run, "ecr_repository", name=STACK, state="absent", force=True)
    assert gone["repository_uri"] is None
    assert client("ecr").describe_repositories()["repositories"] == []


CHANGES: dict[str, tuple[Any, list[str]]] = {
    "immutable_tags": (False, ["PutImageTagMutability"]),
    "scan_on_push": (False, ["PutImageScanningConfiguration"]),
    "lifecycle_policy": (lifecycle(31), ["PutLifecyclePolicy"]),
    "policy": (policy(), ["SetRepositoryPolicy"]),
    "tags": ({"Stack": STACK, "Team": "a"}, ["TagResource", "UntagResource"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_repository_follows_each_input_there_and_back(run: Run, name: str) -> None:
    made = run("ecr_repository", **ARGUMENTS)
    value, writes = CHANGES[name]
    answer = four_steps(run, "ecr_repository", **{**ARGUMENTS, name: value})
    assert (answer["repository_arn"], answer.writes) == (made["repository_arn"], writes)
    assert described() == as_wanted(**{name: value})
    four_steps(run, "ecr_repository", **ARGUMENTS)
    assert described() == as_wanted()


def test_repository_takes_back_what_was_done_by_hand(run: Run) -> None:
    run("ecr_repository", **ARGUMENTS)
    ecr = client("ecr")
    arn = ecr.describe_repositories()["repositories"][0]["repositoryArn"]
    for change in (
        lambda: ecr.put_image_tag_mutability(repositoryName=STACK, imageTagMutability="MUTABLE"),
        lambda: ecr.put_image_scanning_configuration(
            repositoryName=STACK, imageScanningConfiguration={"scanOnPush": False}
        ),
        lambda: ecr.put_lifecycle_policy(repositoryName=STACK, lifecyclePolicyText=json.dumps(lifecycle(1))),
        lambda: ecr.delete_lifecycle_policy(repositoryName=STACK),
        lambda: ecr.set_repository_policy(repositoryName=STACK, policyText=json.dumps(policy("ecr:*"))),
        lambda: ecr.tag_resource(resourceArn=arn, tags=tag_list(Foreign="x", Stack="other")),
        lambda: ecr.untag_resource(resourceArn=arn, tagKeys=["Stack"]),
    ):
        change()
        four_steps(run, "ecr_repository", **ARGUMENTS)
        assert described() == as_wanted()


def test_repository_without_a_lifecycle_policy_has_none(run: Run) -> None:
    run("ecr_repository", **ARGUMENTS)
    answer = four_steps(run, "ecr_repository", name=STACK, tags=ARGUMENTS["tags"])
    assert answer.writes == ["DeleteLifecyclePolicy"]


def test_a_lost_answer_makes_one_repository(run: Run, stubs: Stubs) -> None:
    def lost(**request: Any) -> Any:
        stubs.clear()
        client("ecr").create_repository(**request)
        raise ReadTimeoutError(endpoint_url="https://aws")

    stubs["CreateRepository"] = lost
    assert run("ecr_repository", **ARGUMENTS)["changed"] is True
    assert described() == as_wanted()


def test_what_another_hand_has_made_meanwhile_is_repaired(run: Run, stubs: Stubs) -> None:
    def other(**request: Any) -> Any:
        stubs.clear()
        client("ecr").create_repository(repositoryName=request["repositoryName"])
        raise ClientError({"Error": {"Code": "RepositoryAlreadyExistsException", "Message": ""}}, "CreateRepository")

    stubs["CreateRepository"] = other
    assert run("ecr_repository", **ARGUMENTS)["changed"] is True
    assert described() == as_wanted()
