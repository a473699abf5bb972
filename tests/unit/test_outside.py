"""Only settings come from outside: what an inventory or -e sets of a role's or the wiring's own is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.plugin_utils import outside
from plugins.plugin_utils.outside import Given

ROOT = Path(__file__).resolve().parents[2]
SETTINGS: dict[str, Any] = yaml.safe_load((ROOT / "roles/preflight/meta/argument_specs.yml").read_text("utf-8"))[
    "argument_specs"
]["main"]["options"]
WIRING: dict[str, Any] = yaml.safe_load((ROOT / "group_vars/all/wiring.yml").read_text("utf-8"))
OURS = outside.own(ROOT)


def refused(allowed: list[str] | None = None, source: str = "group web", **values: Any) -> dict[str, str]:
    """The sentences on variables of one source, by variable."""
    given = {name: [Given(value, source)] for name, value in values.items()}
    found = outside.problems(given, SETTINGS, ROOT, allowed or [])
    return {problem.variable: str(problem) for problem in found}


def inputs() -> set[str]:
    """Every input of every role that knows a stack."""
    specs = [path for path in ROOT.glob("roles/*/meta/argument_specs.yml") if path.parents[1].name != "awx"]
    entries = [entry for path in specs for entry in yaml.safe_load(path.read_text())["argument_specs"].values()]
    return {name for entry in entries for name in entry.get("options", {})} - set(SETTINGS)


def test_every_input_of_every_role_and_the_whole_wiring_is_refused() -> None:
    names = inputs() | {name for name in WIRING if not name.startswith("ansible_")}
    assert len(names) > 120
    assert set(refused(**dict.fromkeys(names, "another"))) == names


def test_every_output_and_internal_name_of_a_role_is_refused() -> None:
    texts = [path.read_text() for path in ROOT.glob("roles/*/tasks/*.yml") if path.parents[1].name != "awx"]
    registered = {name for text in texts for name in re.findall(r"register: (\w+)", text)}
    outputs = {name for path in ROOT.glob("roles/*/vars/main.yml") for name in yaml.safe_load(path.read_text()) or {}}
    names = {name for name in registered | outputs if not name.startswith(("awx_", "__awx_"))} | {"mlflow"}
    assert len(names) > 50
    assert set(refused(**dict.fromkeys(names, "x"))) == names


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("alb_scheme", "set mlflow_exposure in its place"),
        ("ecs_service_auth", "set mlflow_auth in its place"),
        ("network_load_balancer_cidrs", "set mlflow_allowed_cidrs in its place"),
        ("ecs_service_cpu", "set mlflow_size in its place"),
        ("rds_keep_secret", "set mlflow_keep_artifacts or mlflow_final_snapshot or mlflow_storage in its place"),
        ("network_vpc_id", "remove it"),
        ("move_copied", "remove it"),
        ("mlfow_region", "did you mean mlflow_region"),
        ("MLFLOW_STORAGE", "did you mean mlflow_storage"),
        ("ml_flow_size", "did you mean mlflow_size"),
        ("mlflowregion", "did you mean mlflow_region"),
        ("mflow_storge", "did you mean mlflow_storage"),
        ("alb_shceme", "set mlflow_exposure in its place"),
        ("rds_ports", "set mlflow_database_port in its place"),
    ],
)
def test_the_setting_that_was_probably_meant_is_named(name: str, remedy: str) -> None:
    sentence = refused(**{name: "hunter2"})[name]
    assert sentence.startswith(f"{name} is set by group web: ") and sentence.endswith(f"; {remedy}.")
    assert "hunter2" not in sentence


def test_a_setting_that_a_sentence_names_is_one() -> None:
    named = {setting for name in OURS.wiring for setting in OURS.settings(name)}
    # What only AWS knows is in the fact `mlflow` as well.
    assert named - set(SETTINGS) <= {"mlflow_partition", "mlflow_subnets"}


@pytest.mark.parametrize(
    "name",
    ["team_networks", "flow_logs", "workflow_id", "region", "network_team_cidrs", "awx_job_id", "tower_user_name",
     "ansible_user", "planned_revision_mlflow_dev", "remote_tower_enabled", "endpoint", "mlflow_region"],
)  # fmt: skip
def test_names_of_the_operators_own_are_taken(name: str) -> None:
    assert not refused(**{name: "x"})


@pytest.mark.parametrize("value", [False, None, 5433, [], "{{ mlflow.exposure }}"])
def test_a_value_of_any_type_is_found(value: Any) -> None:
    assert set(refused(alb_deletion_protection=value)) == {"alb_deletion_protection"}


def test_the_wiring_itself_is_taken_also_by_way_of_an_inventory() -> None:
    assert not refused(**{name: value for name, value in WIRING.items() if not name.startswith("ansible_")})


def test_the_switch_is_for_inputs_of_a_role_by_e_alone() -> None:
    given = {
        "move_waited": [Given(True, outside.EXTRA)],
        "mlfow_region": [Given("x", outside.EXTRA)],
        "mlflow": [Given({}, outside.EXTRA)],
        "alb_scheme": [Given("internal", "host a")],
    }
    for switch in (None, "", "0", "true"):
        assert outside.allowed(given, SETTINGS, ROOT, switch) == []
    assert outside.allowed(given, SETTINGS, ROOT, "1") == ["move_waited"]
    assert set(refused(["move_waited"], **dict.fromkeys(given, 1))) == {"mlfow_region", "mlflow", "alb_scheme"}
    assert "MLFLOW_TEST_INPUTS=1, so -e goes past every check of the settings with move_waited. " in outside.loud(
        ["move_waited"]
    )
