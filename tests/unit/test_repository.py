"""What must agree across files: pins, inventories, wiring, the deployer's rights."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
AWS_ROLES = ["network", "ecr_image", "rds", "efs", "s3_artifacts", "alb", "ecs_service"]


@cache
def load(path: str) -> Any:
    """The YAML of a file, by its path from the root."""
    return yaml.safe_load((ROOT / path).read_text())


def spec(role: str) -> dict[str, Any]:
    return dict(load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"])


def inventory_names(folder: Path) -> set[str]:
    return {name for file in folder.rglob("group_vars/**/*.yml") for name in yaml.safe_load(file.read_text()) or {}}


def test_every_pin_is_exact_and_stands_once() -> None:
    seen: dict[tuple[str, str], str] = {}
    for file in ("requirements.txt", "local/requirements.txt", "tests/requirements.txt"):
        for line in (ROOT / file).read_text().splitlines():
            text, _, marker = line.partition(";")
            if not text.strip() or text.lstrip().startswith(("#", "-r")):
                continue
            match = re.fullmatch(r"([A-Za-z0-9._\[\]-]+)==[\w.]+", text.strip())
            assert match, f"{file}: {line}"
            key = (match[1].lower(), marker.strip())
            assert key not in seen, f"{match[1]} is pinned in {file} and in {seen[key]}"
            seen[key] = file


@pytest.mark.parametrize("variant", ["slim", "full"])
def test_the_servers_lock_has_the_mlflow_that_was_measured(variant: str) -> None:
    lock = (ROOT / f"docker/requirements-{variant}.txt").read_text()
    version = re.findall(r"^mlflow==([\d.]+)", lock, re.M)
    assert version == ["3.17.2"]
    assert re.findall(r'image\.version="([\d.]+)"', (ROOT / "docker/Dockerfile").read_text()) == version


def test_the_slim_lock_is_the_full_one_without_what_is_excluded() -> None:
    """Every exclusion is of something that MLflow still asks for, and no version differs."""
    full, slim = (
        set(re.findall(r"^([a-z0-9-]+==[\w.]+)", (ROOT / f"docker/requirements-{variant}.txt").read_text(), re.M))
        for variant in ("full", "slim")
    )
    excluded = re.findall(r"^[a-z0-9-]+", (ROOT / "docker/excluded.txt").read_text(), re.M)
    assert slim < full
    assert len(excluded) > 5
    for name in excluded:
        assert any(one.startswith(f"{name}==") for one in full), f"{name} is not asked for any more"
        assert not any(one.startswith(f"{name}==") for one in slim), name


def test_playbooks_read_the_wiring() -> None:
    assert (ROOT / "playbooks/group_vars").resolve() == ROOT / "group_vars"


def test_the_wiring_sets_nothing_that_an_inventory_sets() -> None:
    wiring = set(load("group_vars/all/wiring.yml"))
    for folder in [*(ROOT / "inventories").iterdir(), ROOT / "molecule/site/inventory"]:
        assert not wiring & inventory_names(folder), folder.name
    assert not [name for name in wiring if name.startswith("mlflow_")]


def test_an_inventory_sets_only_what_the_operator_may() -> None:
    known = set(spec("preflight")["main"]["options"])
    for folder in (ROOT / "inventories").iterdir():
        assert inventory_names(folder) <= known, folder.name


def test_the_wiring_names_only_inputs_that_exist() -> None:
    inputs = {name for role in ROLES for entry in spec(role).values() for name in entry["options"]}
    own = ("ansible_", "wiring_")
    unknown = [name for name in load("group_vars/all/wiring.yml") if name not in inputs and not name.startswith(own)]
    assert unknown == []


@pytest.mark.parametrize("role", [role for role in ROLES if role != "preflight"])
def test_every_required_input_is_wired_or_defaulted(role: str) -> None:
    wired = set(load("group_vars/all/wiring.yml")) | set(load(f"roles/{role}/defaults/main.yml"))
    required = {
        name for entry in spec(role).values() for name, option in entry["options"].items() if option.get("required")
    }
    assert required <= wired


@pytest.mark.parametrize("role", [role for role in ROLES if role != "preflight"])
def test_defaults_are_those_of_the_spec(role: str) -> None:
    defaults = load(f"roles/{role}/defaults/main.yml")
    documented = {
        name: option["default"]
        for entry in spec(role).values()
        for name, option in entry["options"].items()
        if "default" in option
    }
    assert defaults == documented


@pytest.mark.parametrize("role", AWS_ROLES)
def test_every_role_has_its_three_entry_points(role: str) -> None:
    assert {"main", "read", "absent"} <= set(spec(role))
    for entry in spec(role):
        assert (ROOT / f"roles/{role}/tasks/{entry}.yml").is_file()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_no_other_roles_variables(role: str) -> None:
    others = [other for other in ROLES if other != role]
    pattern = re.compile(r"\b(?:__)?(" + "|".join(others) + r")_\w+|\bmlflow(?:\.|_)\w+")
    for file in (ROOT / "roles" / role).rglob("*"):
        if file.suffix not in (".yml", ".j2") or role == "preflight" or file.parent.name == "meta":
            continue
        text = file.read_text()
        templates = re.findall(r"\{\{.*?\}\}|\{%.*?%\}", text, re.S)
        conditions = re.findall(r"^ *(?:when|until|that|failed_when):.*$", text, re.M)
        for expression in templates + conditions:
            code = re.sub(r"'[^']*'", "", expression)
            assert not pattern.findall(code), f"{file.relative_to(ROOT)}: {expression}"


def test_nothing_outside_local_asks_whether_it_is_local() -> None:
    words = re.compile(r"ministack|moto|localhost|127\.0\.0\.1|LOCAL_|emulator", re.I)
    for folder in ("roles", "playbooks", "group_vars"):
        for file in (ROOT / folder).rglob("*"):
            # AWX is configured from whichever machine that runs on, and knows no stack.
            if file.name == "awx.yml":
                continue
            if file.is_file() and not file.is_symlink():
                assert not words.search(file.read_text()), file.relative_to(ROOT)
    assert not words.search((ROOT / "site.yml").read_text())


def test_requirements_yml_names_the_collections_that_are_brought_along() -> None:
    named = {each["name"]: each["version"] for each in load("requirements.yml")["collections"]}
    text = "".join(path.read_text() for path in ROOT.glob("roles/*/tasks/*.yml"))
    text += "".join(path.read_text() for path in (ROOT / "plugins").rglob("*.py"))
    used = set(re.findall(r"\b(amazon\.aws|community\.aws|awx\.awx|ansible\.posix|community\.general)\.\w", text))
    assert set(named) == used | {"amazon.aws", "community.aws"}
    for name, version in named.items():
        spec_of = importlib.util.find_spec(f"ansible_collections.{name}")
        assert spec_of is not None and spec_of.submodule_search_locations
        manifest = Path(next(iter(spec_of.submodule_search_locations))) / "MANIFEST.json"
        brought = json.loads(manifest.read_text())["collection_info"]["version"]
        # The pair for Python 3.11 brings older ones; what is named is the newest pair.
        assert brought == version or (sys.version_info < (3, 12) and brought.split(".")[0] == version.split(".")[0])


def test_every_module_of_others_that_a_role_uses_is_tested_input_by_input() -> None:
    used = {
        name
        for path in [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/*.yml"), ROOT / "site.yml"]
        for name in re.findall(r"^ +((?:amazon|community)\.aws\.\w+):", path.read_text(), re.MULTILINE)
    }
    tested = {
        name
        for path in (ROOT / "tests/unit").glob("test_upstream_*.py")
        for line in re.findall(r"^MODULES = \{.*?\}", path.read_text(), re.MULTILINE | re.DOTALL)
        for name in re.findall(r'"([\w.]+)":', line)
    }
    assert used == tested
