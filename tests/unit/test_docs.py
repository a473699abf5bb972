"""The generated parts of the documentation are those of the specs."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import generate_docs

SPEC = """
argument_specs:
  main:
    short_description: Does it
    description: [One., Two is C(2).]
    options:
      thing_name: {type: str, required: true, description: "The name, a | b"}
      thing_kinds: {type: list, elements: str, default: [a], choices: [a, b], description: Kinds}
      thing_on: {type: bool, default: false, description: Switch}
      thing_more:
        type: dict
        description: More
        options: {deep: {type: int, description: Deep}}
  read:
    short_description: Looks
"""
VARS = """
---
# Heading of the file.
# Id of it
thing_id: "{{ __thing.id }}"
thing_plain: 1
# Not an output
__thing_x: 1
"""
OPERATOR = "argument_specs: {main: {options: {mlflow_x: {type: str, default: y, description: An x}}}}"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for path, text in {
        "roles/thing/meta/argument_specs.yml": SPEC,
        "roles/thing/vars/main.yml": VARS,
        "roles/preflight/meta/argument_specs.yml": OPERATOR,
        "README.md": "Before\n{}\nold\n{}\nAfter\n".format(*generate_docs.OPERATOR_MARKERS),
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_documentation_of_this_repository_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    code = generate_docs.main(["--check"])
    assert code == 0, "".join(capsys.readouterr())


def test_role_page(repository: Path) -> None:
    assert generate_docs.main([], repository) == 0
    page = (repository / "roles/thing/README.md").read_text()
    for line in (
        "# thing",
        "## `main`: Does it",
        "One. Two is `2`.",
        "| `thing_name` | str | required | The name, a \\| b |",
        "| `thing_kinds` | list of str: `a`, `b` | `['a']` | Kinds |",
        "| `thing_on` | bool | `false` | Switch |",
        "| `thing_more.deep` | int |  | Deep |",
        "## `read`: Looks",
        "No inputs.",
        "| `thing_id` | Id of it |",
        "| `thing_plain` |  |",
    ):
        assert line in page.splitlines(), line
    assert "__thing" not in page


def test_operator_table_replaces_only_what_is_between_the_markers(repository: Path) -> None:
    assert generate_docs.main([], repository) == 0
    text = (repository / "README.md").read_text()
    assert text.startswith("Before\n") and text.endswith("\nAfter\n") and "old" not in text
    assert "| `mlflow_x` | str | `y` | An x |" in text


def test_check_writes_nothing_and_names_stale_files(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate_docs.main(["--check"], repository) == 1
    named = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert named == ["roles/preflight/README.md", "roles/thing/README.md", "README.md"]
    assert not (repository / "roles/thing/README.md").exists()
    assert generate_docs.main([], repository) == 0
    assert generate_docs.main(["--check"], repository) == 0


def test_hand_written_text_of_a_role_stays(repository: Path) -> None:
    generate_docs.main([], repository)
    page = repository / "roles/thing/README.md"
    page.write_text(page.read_text() + "\nBy hand\n")
    assert generate_docs.main(["--check"], repository) == 0


@pytest.mark.parametrize("path", ["README.md", "roles/thing/README.md"])
def test_page_without_markers_is_named(repository: Path, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / path).write_text("nothing")
    assert generate_docs.main([], repository) == 1
    assert path in capsys.readouterr().err


def test_missing_readme_is_named(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "README.md").unlink()
    assert generate_docs.main(["--check"], repository) == 1
    assert "README.md: is not there" in capsys.readouterr().err
