"""What a setting changes in the task definition arrives: the role's own task, rendered, run against moto, read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import moto_server
from tests.own_modules import Answer, client, empty_aws, load, runner
from tests.unit import test_templates as rendered

SERVICE = Path(__file__).resolve().parents[2] / "roles/ecs_service/tasks/service.yml"
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a@sha256:"
SIZE = {"cpu": 512, "memory": 1024, "workers": 2}
ARCHITECTURE = "x86_64"
Converge = Callable[..., Answer]


def role(use: str) -> str:
    return f"arn:aws:iam::123456789012:role/mlflow/mlflow-team-a-eu-west-1-{use}"


def arguments(found: dict[str, Any], image: str, **settings: Any) -> dict[str, Any]:
    """What the role passes to ecs_task_definition, with what a run has found or made in `found`."""
    (task,) = [one for one in yaml.safe_load(SERVICE.read_text()) if "ecs_task_definition" in one]
    templar = rendered.templar(**{"size": SIZE, "architecture": ARCHITECTURE, "tags": {"Stack": "team-a"}, **settings})
    known = {
        **templar.available_variables,
        "__ecs_service_execution": {"role_arn": role("execution")},
        "__ecs_service_task": {"role_arn": role("task")},
        "ecs_service_image": image,
        **found,
    }
    templar.available_variables = known
    passed: dict[str, Any] = templar.template(rendered.trusted(task["ecs_task_definition"]))
    return passed


@pytest.fixture
def converge(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Converge]:
    """Yield converge(found, image, **settings) -> the module's answer."""
    moto_server.fill_ecs()
    with empty_aws(monkeypatch):
        run = runner({"ecs_task_definition": load("modules", "ecs_task_definition")}, capsys, monkeypatch, {})

        def call(found: dict[str, Any] | None = None, image: str = IMAGE + "0", **settings: Any) -> Answer:
            return run("ecs_task_definition", **arguments(found or {}, image, **settings))

        yield call


def described() -> dict[str, Any]:
    definition = client("ecs").describe_task_definition(taskDefinition="team-a")["taskDefinition"]
    drawn = ("taskDefinitionArn", "revision")
    return {key: value for key, value in definition.items() if key not in drawn}


def told(definition: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in definition["containerDefinitions"][0]["environment"]}


def secrets(definition: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["valueFrom"] for one in definition["containerDefinitions"][0]["secrets"]}


ADMIN = f"{rendered.SECRET}/admin-GhIjKl"
CHANGES: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], Any], Any]] = {
    "workers": ({"size": {**SIZE, "workers": 1}}, lambda d: told(d)["MLFLOW_WORKERS"], "1"),
    "domain": (
        {"domain": "mlflow.example.com"},
        lambda d: "mlflow.example.com" in told(d)["MLFLOW_SERVER_ALLOWED_HOSTS"].split(","),
        True,
    ),
    "secret made again": (
        {"found": {"__ecs_service_admin_secret": {"secret_arn": ADMIN}}},
        lambda d: secrets(d)["MLFLOW_AUTH_ADMIN_PASSWORD"],
        f"{ADMIN}:password::",
    ),
    "task role": (
        {"found": {"__ecs_service_task": {"role_arn": role("other")}}},
        lambda d: d["taskRoleArn"],
        role("other"),
    ),
    "execution role": (
        {"found": {"__ecs_service_execution": {"role_arn": role("other")}}},
        lambda d: d["executionRoleArn"],
        role("other"),
    ),
    "image": ({"image": IMAGE + "1"}, lambda d: d["containerDefinitions"][0]["image"], IMAGE + "1"),
    "cpu": ({"size": {**SIZE, "cpu": 1024}}, lambda d: d["cpu"], "1024"),
    "memory": ({"size": {**SIZE, "memory": 2048}}, lambda d: d["memory"], "2048"),
    "architecture": ({"architecture": "arm64"}, lambda d: d["runtimePlatform"]["cpuArchitecture"], "ARM64"),
    "login": ({"auth": "none"}, lambda d: "MLFLOW_AUTH_ADMIN_PASSWORD" in secrets(d), False),
    "default right": (
        {"default_permission": "NO_PERMISSIONS"},
        lambda d: told(d)["MLFLOW_DEFAULT_PERMISSION"],
        "NO_PERMISSIONS",
    ),
    "certificate": (
        {"certificate_arn": "arn:aws:acm:eu-west-1:123456789012:certificate/1"},
        lambda d: told(d)["MLFLOW_PUBLIC_SCHEME"],
        "https",
    ),
    "exposure": (
        {"exposure": "public"},
        # The load balancer's subnets and nothing beside them.
        lambda d: told(d)["FORWARDED_ALLOW_IPS"],
        "10.42.0.0/20,10.42.16.0/20",
    ),
    "remembered login": (
        {"auth_cache_seconds": 0},
        lambda d: told(d)["MLFLOW_AUTH_CACHE_SECONDS"],
        "0",
    ),
    "storage": ({"storage": "efs"}, lambda d: [one["name"] for one in d["volumes"]], ["tmp", "data"]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_setting_arrives_and_one_taken_back_goes(converge: Converge, what: str) -> None:
    changed, read, expected = CHANGES[what]
    first = converge()
    assert first.get("revision") == "team-a:1", first
    fresh = described()
    assert read(fresh) != expected
    assert converge(**changed)["revision"] == "team-a:2"
    assert read(described()) == expected
    assert converge(**changed)["changed"] is False
    assert converge()["revision"] == "team-a:3"
    assert described() == fresh
