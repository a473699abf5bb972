"""A host has the same variables in AWX, which flattens the inventory into a script, as on a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.awx import jobs, rules

# Where the inventory lies is the one thing that has to differ.
PLACE = ("inventory_dir", "inventory_file")


def variables(inventory: Path, host: str) -> dict[str, Any]:
    """The variables of a host as a play in this repository sees them."""
    found = jobs.ansible_inventory("-i", str(inventory), "--playbook-dir", str(rules.ROOT), "--host", host)
    return {name: value for name, value in found.items() if name not in PLACE}


@pytest.mark.parametrize("environment", rules.environments())
def test_same_variables_in_awx(environment: str, tmp_path: Path) -> None:
    source = rules.ROOT / "inventories" / environment / "hosts"
    script = jobs.write_script(jobs.flattened(source), tmp_path / "hosts")
    hosts = jobs.ansible_inventory("-i", str(source), "--list")["mlflow"]["hosts"]
    assert jobs.ansible_inventory("-i", str(script), "--list")["mlflow"]["hosts"] == hosts
    for host in hosts:
        expected = variables(source, host)
        assert "mlflow_stack_name" in expected
        assert "wiring_service_port" in expected
        assert variables(script, host) == expected


def test_nothing_of_the_wiring_is_named_as_a_setting() -> None:
    spec = yaml.safe_load((rules.ROOT / "roles/preflight/meta/argument_specs.yml").read_text())
    settings = set(spec["argument_specs"]["main"]["options"])
    wiring = set(yaml.safe_load((rules.ROOT / "group_vars/all/wiring.yml").read_text()))
    given = {
        name
        for path in (rules.ROOT / "inventories").glob("*/group_vars/**/*.yml")
        for name in yaml.safe_load(path.read_text()) or {}
    }
    assert not wiring & (settings | given)
