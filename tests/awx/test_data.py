"""The data of awx/ keeps each rule, and each rule notices when it does not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.awx import rules


@pytest.fixture(scope="module")
def data() -> rules.Data:
    return rules.load()


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Callable[..., Any], data: rules.Data) -> None:
    assert list(rule(data)) == []


def first(data: rules.Data, kind: str, name: str) -> dict[str, Any]:
    """The object of that name."""
    return next(one for one in data[kind] if one["name"] == name)


def node(data: rules.Data, workflow: str, identifier: str) -> dict[str, Any]:
    """A node of a workflow."""
    found = first(data, "workflows", workflow)["simplified_workflow_nodes"]
    return next(one for one in found if one["identifier"] == identifier)


def _set(kind: str, name: str, /, **changes: Any) -> Callable[[rules.Data], None]:
    return lambda data: first(data, kind, name).update(changes)


def _node(workflow: str, identifier: str, /, **changes: Any) -> Callable[[rules.Data], None]:
    return lambda data: node(data, workflow, identifier).update(changes)


def _question(name: str, /, **changes: Any) -> Callable[[rules.Data], None]:
    return lambda data: first(data, "templates", name)["survey_spec"]["spec"][0].update(changes)


MUTATIONS: list[tuple[Callable[..., Any], Callable[[rules.Data], Any]]] = [
    (rules.rule_references, _set("templates", "mlflow_plan_dev", inventory="mlflow_gone")),
    (rules.rule_references, _set("templates", "mlflow_plan_dev", credentials=["mlflow_gone"])),
    (rules.rule_references, _set("inventory_sources", "mlflow_dev", source_project="gone")),
    (rules.rule_references, _set("credentials", "mlflow_awx", credential_type="gone")),
    (rules.rule_references, _set("schedules", "mlflow_nightly_plan_dev", unified_job_template="gone")),
    (rules.rule_references, _set("workflows", "mlflow_promote", labels=["gone"])),
    (rules.rule_workflows, _node("mlflow_release_dev", "plan", unified_job_template="gone")),
    (rules.rule_workflows, _node("mlflow_release_dev", "verify", success_nodes=["plan"])),
    (rules.rule_workflows, _node("mlflow_release_dev", "deploy", success_nodes=["gone"])),
    (rules.rule_workflows, _node("mlflow_release_dev", "plan", success_nodes=[])),
    (rules.rule_workflows, _node("mlflow_release_dev", "plan", approval_node={"name": "x"})),
    (rules.rule_playbooks, _set("templates", "mlflow_plan_dev", playbook="playbooks/gone.yml")),
    (rules.rule_playbooks, _set("templates", "mlflow_plan_dev", playbook="group_vars/all/wiring.yml")),
    (rules.rule_playbooks, lambda data: data["templates"].pop()),
    (rules.rule_options, _set("projects", "mlflow", scm_adress="x")),
    (rules.rule_options, _node("mlflow_promote", "dev", next_nodes=[])),
    (rules.rule_surveys, _question("mlflow_plan_dev", variable="mlflow_unknown")),
    (rules.rule_surveys, _question("mlflow_plan_dev", variable="mlflow_verify")),
    (rules.rule_surveys, _question("mlflow_plan_dev", type="line")),
    (rules.rule_surveys, _set("templates", "mlflow_plan_dev", survey_enabled=False)),
    (rules.rule_extra_vars, _set("templates", "mlflow_verify_dev", extra_vars={"mlflow_unknown": 1})),
    (rules.rule_schedules, _set("schedules", "mlflow_nightly_plan_dev", rrule="RRULE:FREQ=DAILY;INTERVAL=1")),
    (
        rules.rule_schedules,
        _set("schedules", "mlflow_nightly_plan_dev", rrule="DTSTART:20260101T020000Z RRULE:FREQ=DAILY"),
    ),
    (
        rules.rule_schedules,
        _set("schedules", "mlflow_nightly_plan_dev", rrule="DTSTART:20261301T020000Z RRULE:FREQ=DAILY;INTERVAL=1"),
    ),
    (rules.rule_schedules, _set("schedules", "mlflow_nightly_plan_dev", unified_job_template="mlflow_destroy_dev")),
    (rules.rule_credentials, _set("credentials", "mlflow_aws_dev", inputs={"role_arn": "x"})),
    (rules.rule_credentials, _set("credentials", "mlflow_aws_dev", update_secrets=True)),
    (rules.rule_credentials, _set("credential_types", "mlflow_aws", injectors={"env": {"X": "{{ unknown }}"}})),
    (rules.rule_credentials, _set("credential_types", "mlflow_aws", injectors={"env": {"ANSIBLE_X": "1"}})),
    (rules.rule_inventories, _set("inventory_sources", "mlflow_dev", source_path="inventories/dev/group_vars")),
    (rules.rule_inventories, lambda data: data["inventory_sources"].pop()),
    (rules.rule_names, _set("templates", "mlflow_plan_dev", name="Plan dev")),
    (rules.rule_names, _set("templates", "mlflow_plan_dev", name="mlflow_plan_prod")),
]


@pytest.mark.parametrize(
    ("rule", "mutate"), MUTATIONS, ids=[f"{rule.__name__}-{at}" for at, (rule, _) in enumerate(MUTATIONS)]
)
def test_rule_notices(rule: Callable[..., Any], mutate: Callable[[rules.Data], Any], data: rules.Data) -> None:
    changed = copy.deepcopy(data)
    mutate(changed)
    assert changed != data
    assert list(rule(changed)) != []


@pytest.mark.parametrize(
    "line",
    ["access_key: AKIAIOSFODNN7EXAMPLE", "password: hunter2hunter2", "key: -----BEGIN RSA PRIVATE KEY-----"],
)
def test_secrets_are_noticed(line: str, data: rules.Data, tmp_path: Path) -> None:
    (tmp_path / "awx").mkdir()
    (tmp_path / "awx/credentials.yml").write_text(line + "\n")
    assert list(rules.rule_no_secret(data, tmp_path)) != []


def test_every_environment_has_its_objects(data: rules.Data) -> None:
    assert {"dev", "staging", "prod"} <= set(rules.environments())
    for environment in rules.environments():
        for action in ("plan", "deploy", "verify", "destroy"):
            assert f"mlflow_{action}_{environment}" in rules.names(data, "templates")
        assert f"mlflow_release_{environment}" in rules.names(data, "workflows")
        assert f"mlflow_nightly_plan_{environment}" in rules.names(data, "schedules")


def test_release_asks_between_plan_and_deployment(data: rules.Data) -> None:
    known = rules.nodes(first(data, "workflows", "mlflow_release_prod"))
    assert known["plan"]["success_nodes"] == ["approval"]
    assert "approval_node" in known["approval"]
    assert known["approval"]["success_nodes"] == ["deploy"]
    assert first(data, "templates", "mlflow_plan_prod")["job_type"] == "check"
    assert first(data, "templates", "mlflow_deploy_prod")["job_type"] == "run"
