"""MiniStack's registry and deployments as this repository needs them."""

from __future__ import annotations

import asyncio
import base64
import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ministack.core import iam_evaluator
from ministack.services import ecr, ecs

from local import ministack_deployments, ministack_registry, rolling

ENDPOINT = "https://127.0.0.1:4566"
BLOB = b"a layer"
DIGEST = "sha256:" + hashlib.sha256(BLOB).hexdigest()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A registry with the repository `app`; `refused` holds the actions that the caller may not do."""
    kept = ("_layer_blobs", "handle_request", "handle_registry_request", "_delete_repository")
    before = {name: getattr(ecr, name) for name in kept}
    world: dict[str, Any] = {"root": tmp_path / "registry", "refused": set(), "asked": []}

    def enforce(key: str, action: str, service: str, region: str, resource_arn: str) -> Any:
        world["asked"].append((key, action, resource_arn))
        return iam_evaluator.EvalResult("Deny", "arn:who") if action in world["refused"] else None

    monkeypatch.setattr(iam_evaluator, "enforce", enforce)
    ministack_registry.fill(world["root"], ENDPOINT)
    ecr._create_repository({"repositoryName": "app"})
    yield world
    for name, value in before.items():
        setattr(ecr, name, value)
    ecr.reset()


def login() -> str:
    """An Authorization header made of a token that the API gave to AKIAONE."""
    headers = {
        "x-amz-target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIAONE/20260101/eu-west-1/ecr/aws4_request",
    }
    status, _, body = asyncio.run(ecr.handle_request("POST", "/", headers, b"{}", {}))
    (data,) = json.loads(body)["authorizationData"]
    assert (status, data["proxyEndpoint"]) == (200, ENDPOINT)
    assert base64.b64decode(data["authorizationToken"]).startswith(b"AWS:")
    return f"Basic {data['authorizationToken']}"


def ask(method: str, path: str, authorization: str, body: bytes = b"", **query: str) -> tuple[int, dict[str, str], Any]:
    """One request of an engine."""
    headers = {"authorization": authorization} if authorization else {}
    pairs = {name: [value] for name, value in query.items()}
    answer: tuple[int, dict[str, str], Any] = asyncio.run(
        ecr.handle_registry_request(method, path, headers, body, pairs)
    )
    return answer


def push(authorization: str) -> None:
    """Upload the layer in two pieces."""
    status, headers, _ = ask("POST", "/v2/app/blobs/uploads/", authorization)
    assert status == 202
    assert ask("PATCH", headers["Location"], authorization, BLOB[:3])[0] == 202
    assert ask("PUT", headers["Location"], authorization, BLOB[3:], digest=DIGEST)[0] == 201


def test_a_layer_is_a_file_and_not_in_the_saved_state(registry: dict[str, Any]) -> None:
    who = login()
    push(who)
    assert [path.read_bytes() for path in registry["root"].rglob("*") if path.is_file()] == [BLOB]
    status, headers, _ = ask("HEAD", f"/v2/app/blobs/{DIGEST}", who)
    assert (status, headers["Content-Length"]) == (200, str(len(BLOB)))
    state = ecr.get_state()
    assert not list(state["layer_blobs"].all_items())
    # What a later life finds without being told.
    ecr.load_persisted_state(copy.deepcopy(state))
    assert ask("GET", f"/v2/app/blobs/{DIGEST}", who)[2] == BLOB
    ecr._delete_repository({"repositoryName": "app", "force": True})
    assert not [path for path in registry["root"].rglob("*") if path.is_file()]


@pytest.mark.parametrize("digest", ["sha256:../../keys.json", "sha256:" + "a" * 63, "../../keys.json", DIGEST.upper()])
def test_a_digest_never_leads_out_of_the_folder(registry: dict[str, Any], digest: str) -> None:
    (registry["root"].parent / "keys.json").write_text("secret")
    assert ask("GET", f"/v2/app/blobs/{digest}", login())[0] == 404
    layers = ministack_registry.Store(registry["root"]).get("app")
    assert digest not in layers
    with pytest.raises(KeyError):
        layers[digest] = b"x"


def test_repositories_do_not_share_layers(registry: dict[str, Any]) -> None:
    store = ministack_registry.Store(registry["root"])
    for name in ("team/app", "team%2Fapp", ".."):
        store.get(name)[DIGEST] = BLOB
        assert store.get(name).folder.parent == registry["root"]
        store.drop(name)
        assert list(store.get(name)) == []
    assert DIGEST not in store.get("app")


@pytest.mark.parametrize(
    "authorization",
    ["", "Basic", "Basic !", "Bearer QVdTOng=", "Basic " + base64.b64encode(b"AWS:ministack-auth-token").decode()],
)
@pytest.mark.usefixtures("registry")
def test_nobody_gets_in_without_a_token(authorization: str) -> None:
    login()
    status, headers, _ = ask("GET", "/v2/", authorization)
    assert status == 401
    assert headers["Www-Authenticate"].startswith("Basic realm=")


def test_a_token_ends(registry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    who = login()
    assert ask("GET", "/v2/", who)[0] == 200
    now = ministack_registry.time.time()
    monkeypatch.setattr(ministack_registry.time, "time", lambda: now + ministack_registry.LIFETIME + 1)
    assert ask("GET", "/v2/", who)[0] == 401


def test_a_token_may_what_its_owner_may(registry: dict[str, Any]) -> None:
    who = login()
    registry["refused"] = {"ecr:UploadLayerPart"}
    _, headers, _ = ask("POST", "/v2/app/blobs/uploads/", who)
    status, _, body = ask("PATCH", headers["Location"], who, BLOB)
    assert status == 403
    assert "arn:who is not authorized to perform: ecr:UploadLayerPart" in body.decode()
    key, action, resource = registry["asked"][0]
    assert (key, action) == ("AKIAONE", "ecr:InitiateLayerUpload")
    assert resource.endswith(":repository/app")


@pytest.mark.parametrize(("method", "path"), [("GET", "/v2/_catalog"), ("DELETE", f"/v2/app/blobs/{DIGEST}")])
@pytest.mark.usefixtures("registry")
def test_what_ecr_does_not_do_is_refused(method: str, path: str) -> None:
    assert ask(method, path, login())[0] == 403


# ---------------------------------------------------------------- deployments


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The service c/s with one task of s:1, and the definition s:2."""
    for name in ("DiscoverPollEndpoint", "SubmitTaskStateChange"):
        monkeypatch.setitem(ecs._ACTION_MAP, name, ecs._ACTION_MAP[name])
    monkeypatch.setattr(ecs, "_complete_service_deployment", ecs._complete_service_deployment)
    monkeypatch.setattr(ecs, "_get_docker", lambda: None)
    ministack_deployments.fill()
    ecs._create_cluster({"clusterName": "c"})
    for _ in range(2):
        ecs._register_task_definition({"family": "s", "containerDefinitions": [{"name": "x", "image": "y"}]})
    breaker = {"enable": True, "rollback": True}
    ecs._create_service(
        {
            "cluster": "c", "serviceName": "s", "taskDefinition": "s:1", "desiredCount": 1,
            "deploymentConfiguration": {"deploymentCircuitBreaker": breaker},
        }
    )  # fmt: skip
    yield
    ecs.reset()


def call(action: str, **data: Any) -> dict[str, Any]:
    """The answer of an API call."""
    status, _, body = ecs._ACTION_MAP[action](data)
    assert status == 200
    answer: dict[str, Any] = json.loads(body)
    return answer


def update(revision: str) -> None:
    """Ask for another revision."""
    call("UpdateService", cluster="c", service="s", taskDefinition=revision)


def tell(status: str, revision: str) -> None:
    """Say how a task fares, as the agent does."""
    arn = f"arn:aws:ecs:{ecs.get_region()}:{ecs.get_account_id()}:task-definition/{revision}"
    call("SubmitTaskStateChange", cluster="c", task=rolling.task_name("s", arn), status=status, reason="because")


def standing() -> tuple[str, str]:
    """(revision, rollout state) of the primary deployment."""
    (found,) = call("DescribeServices", cluster="c", services=["s"])["services"]
    (primary,) = [one for one in found["deployments"] if one["status"] == "PRIMARY"]
    assert primary["taskDefinition"] == found["taskDefinition"]
    return found["taskDefinition"].rpartition("/")[2], rolling.rollout(found)


@pytest.mark.usefixtures("service")
def test_without_an_agent_a_deployment_is_over_at_once() -> None:
    update("s:2")
    assert standing() == ("s:2", "COMPLETED")


@pytest.mark.usefixtures("service")
def test_a_deployment_is_over_when_the_agent_says_so() -> None:
    call("DiscoverPollEndpoint")
    assert standing() == ("s:1", "COMPLETED")
    update("s:2")
    tell("RUNNING", "s:1")
    assert standing() == ("s:2", "IN_PROGRESS")
    tell("RUNNING", "s:2")
    assert standing() == ("s:2", "COMPLETED")


@pytest.mark.usefixtures("service")
def test_three_failed_tasks_bring_the_last_revision_back() -> None:
    call("DiscoverPollEndpoint")
    update("s:2")
    for status, revision in (("STOPPED", "s:2"), ("STOPPED", "s:1"), ("STOPPED", "s:2")):
        tell(status, revision)
        assert standing() == ("s:2", "IN_PROGRESS")
    tell("STOPPED", "s:2")
    assert standing() == ("s:1", "IN_PROGRESS")
    tell("RUNNING", "s:1")
    assert standing() == ("s:1", "COMPLETED")
    (found,) = call("DescribeServices", cluster="c", services=["s"])["services"]
    assert "FAILED" in [one["rolloutState"] for one in found["deployments"]]


@pytest.mark.usefixtures("service")
def test_a_deployment_of_no_tasks_waits_for_nobody() -> None:
    call("DiscoverPollEndpoint")
    call("UpdateService", cluster="c", service="s", desiredCount=0, taskDefinition="s:2")
    assert standing() == ("s:2", "COMPLETED")


@pytest.mark.usefixtures("service")
def test_tasks_of_a_service_that_is_gone_are_nothing() -> None:
    call("DiscoverPollEndpoint")
    call("SubmitTaskStateChange", cluster="c", task="nobody arn", status="STOPPED")
    call("SubmitTaskStateChange", cluster="c", task="", status="RUNNING")
