"""The execution environment: its definition renders without a network, from the pins of everything else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.awx import rules

DEFINITION = rules.ROOT / "awx/execution-environment.yml"


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build context that ansible-builder writes."""
    folder = tmp_path_factory.mktemp("context")
    program = Path(sys.executable).with_name("ansible-builder")
    command = [
        str(program),
        "create",
        "--file",
        str(DEFINITION),
        "--context",
        str(folder),
        "--output-filename",
        "Dockerfile",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_renders_with_the_pins_and_without_galaxy(context: Path) -> None:
    recipe = (context / "Dockerfile").read_text()
    assert "ansible-galaxy" not in recipe
    assert "requirements.yml" not in recipe
    assert (context / "_build/requirements.txt").read_text() == (rules.ROOT / "requirements.txt").read_text()


def test_same_base_and_core_as_elsewhere() -> None:
    definition = yaml.safe_load(DEFINITION.read_text())
    base = definition["images"]["base_image"]["name"]
    assert f"ARG BASE_IMAGE={base}\n" in (rules.ROOT / "docker/Dockerfile").read_text()
    core = definition["dependencies"]["ansible_core"]["package_pip"]
    assert f"{core} ; python_version" in (rules.ROOT / "requirements.txt").read_text()
    assert (DEFINITION.parent / definition["dependencies"]["python"]).resolve() == rules.ROOT / "requirements.txt"


def test_navigator_names_the_image_of_the_page() -> None:
    settings = yaml.safe_load((rules.ROOT / "ansible-navigator.yml").read_text())["ansible-navigator"]
    image = settings["execution-environment"]["image"]
    assert f"-t {image}" in (rules.ROOT / "docs/awx.md").read_text()
