"""A host has the same variables in AWX, which flattens the inventory into a script, as on a command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.awx import jobs, rules

# Where the inventory lies is the one thing that has to differ.
PLACE = ("inventory_dir", "inventory_file")


def ansible_inventory(*arguments: str) -> dict[str, Any]:
    """What ansible-inventory says under the repository's own configuration."""
    program = Path(sys.executable).with_name("ansible-inventory")
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    command = [str(program), *arguments]
    done = subprocess.run(command, cwd=rules.ROOT, env=env, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def flattened(source: Path) -> dict[str, Any]:
    """The inventory as AWX keeps it."""
    read = ansible_inventory("-i", str(source), "--list", "--export")
    flat: dict[str, Any] = {"all": {"hosts": [], "vars": {}}, "_meta": read["_meta"]}
    for name, group in read.items():
        if name == "_meta":
            continue
        # What AWX keeps of a group is its hosts, its children and its variables; those of `all` become the inventory's.
        target = flat.setdefault(name, {})
        target.update({key: group[key] for key in ("hosts", "children", "vars") if key in group})
    return flat


def variables(inventory: Path, host: str) -> dict[str, Any]:
    """The variables of a host as a play in this repository sees them."""
    found = ansible_inventory("-i", str(inventory), "--playbook-dir", str(rules.ROOT), "--host", host)
    return {name: value for name, value in found.items() if name not in PLACE}


@pytest.mark.parametrize("environment", rules.environments())
def test_same_variables_in_awx(environment: str, tmp_path: Path) -> None:
    source = rules.ROOT / "inventories" / environment / "hosts"
    script = jobs.write_script(flattened(source), tmp_path / "hosts")
    hosts = ansible_inventory("-i", str(source), "--list")["mlflow"]["hosts"]
    assert ansible_inventory("-i", str(script), "--list")["mlflow"]["hosts"] == hosts
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
