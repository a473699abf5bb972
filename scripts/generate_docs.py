"""Write the generated parts of the documentation from the roles' argument specs and the container's table of variables.

roles/<role>/README.md gets inputs by entry point and outputs; README.md gets the operator's table, docs/moving.md the
container's. `--check` writes nothing and exits 1 with the names of the files that are not up to date.
"""

from __future__ import annotations

import argparse
import re
import runpy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
OPERATOR_ROLE = "preflight"
ROLE_MARKERS = ("<!-- generated from meta/argument_specs.yml: start -->", "<!-- generated: end -->")
MOVING_MARKERS = ("<!-- docker/contracts.py: start -->", "<!-- docker/contracts.py: end -->")
WORKFLOW_MARKERS = ("<!-- workflows: start -->", "<!-- workflows: end -->")
OPERATOR_MARKERS = ("<!-- operator variables: start -->", "<!-- operator variables: end -->")


class Unwritable(Exception):
    """A file that has no place for the generated part."""


def cell(text: object) -> str:
    """Text that cannot break a table's row."""
    return " ".join(str(text).split()).replace("|", "\\|")


def prose(description: object) -> str:
    """The description as Markdown; C(x) is how Ansible marks code."""
    text = " ".join(map(str, description)) if isinstance(description, list) else str(description or "")
    return re.sub(r"\bC\(([^)]*)\)", r"`\1`", text)


def type_of(option: Mapping[str, Any]) -> str:
    kind = str(option.get("type", "str"))
    kind = f"list of {option['elements']}" if "elements" in option else kind
    choices = option.get("choices")
    return f"{kind}: {', '.join(f'`{choice}`' for choice in choices)}" if choices else kind


def default_of(option: Mapping[str, Any]) -> str:
    if option.get("required"):
        return "required"
    default = option.get("default")
    if default is None or default == "":
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def input_table(options: Mapping[str, Any]) -> list[str]:
    """The rows of a Markdown table, nothing for no options."""
    if not options:
        return ["No inputs."]
    return ["| variable | type | default | what it is |", "|---|---|---|---|", *input_rows(options)]


def input_rows(options: Mapping[str, Any], parent: str = "") -> Iterator[str]:
    for name, option in options.items():
        cells = (f"`{parent}{name}`", type_of(option), default_of(option), prose(option.get("description")))
        yield f"| {' | '.join(map(cell, cells))} |"
        yield from input_rows(option.get("options") or {}, f"{parent}{name}.")


def outputs(role: Path) -> list[tuple[str, str]]:
    """Names in vars/main.yml that start with the role's name, and the comment above each."""
    path = role / "vars" / "main.yml"
    found: list[tuple[str, str]] = []
    comment: list[str] = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else []:
        if line.startswith("#"):
            comment.append(line.lstrip("# ").strip())
            continue
        name = re.match(rf"({re.escape(role.name)}_\w+):", line)
        if name:
            found.append((name[1], comment[-1] if comment else ""))
        comment = []
    return found


def role_part(role: Path) -> str:
    specs: dict[str, Any] = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text("utf-8"))["argument_specs"]
    lines: list[str] = []
    for entry, spec in specs.items():
        lines += [f"## `{entry}`: {cell(spec.get('short_description', ''))}", ""]
        if spec.get("description"):
            lines += [prose(spec["description"]), ""]
        lines += [*input_table(spec.get("options") or {}), ""]
    found = outputs(role)
    if found:
        lines += ["## Outputs", "", "| variable | what it is |", "|---|---|"]
        lines += [f"| `{name}` | {cell(comment)} |" for name, comment in found] + [""]
    return "\n".join(lines)


def operator_part(root: Path) -> str:
    path = root / "roles" / OPERATOR_ROLE / "meta" / "argument_specs.yml"
    spec: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))["argument_specs"]["main"]
    return "\n".join(input_table(spec["options"])) + "\n"


def moving_part(root: Path) -> str:
    """The table of docker/contracts.py, which runs in the image and so is no module of a package."""
    table = runpy.run_path(str(root / "docker" / "contracts.py"))["markdown"]()
    return str(table)


def workflow_part(root: Path) -> str:
    """The workflows of AWX as pictures, drawn from awx/workflows.yml."""
    workflows = yaml.safe_load((root / "awx" / "workflows.yml").read_text("utf-8"))["controller_workflows"]
    return "\n".join("\n".join(picture(workflow)) + "\n" for workflow in workflows)


def picture(workflow: Mapping[str, Any]) -> Iterator[str]:
    """One workflow as a Mermaid flow chart: a solid arrow on success, a dotted one on failure."""
    yield f"`{workflow['name']}`: {prose(workflow['description'])}"
    yield from ("", "```mermaid", "flowchart LR")
    for node in workflow["simplified_workflow_nodes"]:
        asks = "approval_node" in node
        words = (
            f"{node['identifier']}<br/><small>{'somebody says yes' if asks else node['unified_job_template']}</small>"
        )
        yield f'  {node["identifier"]}{"{{" if asks else "["}"{words}"{"}}" if asks else "]"}'
    for node in workflow["simplified_workflow_nodes"]:
        for key, arrow in (
            ("success_nodes", "-->"),
            ("failure_nodes", "-. fails .->"),
            ("always_nodes", "-- always -->"),
        ):
            yield from (f"  {node['identifier']} {arrow} {after}" for after in node.get(key, []))
    yield "```"


def replaced(text: str, markers: tuple[str, str], part: str, path: Path) -> str:
    """The text with the part between the markers. Raises Unwritable when they are not there, once each and in order."""
    start, end = markers
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise Unwritable(f"{path}: needs one line `{start}` and, after it, one line `{end}`")
    return f"{text[: text.index(start)]}{start}\n\n{part}\n{text[text.index(end) :]}"


def wanted(root: Path) -> Iterator[tuple[Path, str]]:
    """Every generated file with the text it should have."""
    for spec in sorted(root.glob("roles/*/meta/argument_specs.yml")):
        role = spec.parents[1]
        path = role / "README.md"
        text = path.read_text("utf-8") if path.exists() else f"# {role.name}\n\n{ROLE_MARKERS[0]}\n{ROLE_MARKERS[1]}\n"
        yield path, replaced(text, ROLE_MARKERS, role_part(role), path)
    path = root / "README.md"
    if not path.exists():
        raise Unwritable(f"{path}: is not there")
    yield path, replaced(path.read_text("utf-8"), OPERATOR_MARKERS, operator_part(root), path)
    path = root / "docs" / "moving.md"
    if path.exists():
        yield path, replaced(path.read_text("utf-8"), MOVING_MARKERS, moving_part(root), path)
    path = root / "docs" / "awx.md"
    if path.exists():
        yield path, replaced(path.read_text("utf-8"), WORKFLOW_MARKERS, workflow_part(root), path)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write or check. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when a file is not up to date")
    check = parser.parse_args(arguments).check
    stale = 0
    try:
        for path, text in wanted(root):
            if path.exists() and path.read_text("utf-8") == text:
                continue
            stale += 1
            print(f"{path.relative_to(root)}: {'not up to date, run scripts/generate_docs.py' if check else 'written'}")
            if not check:
                path.write_text(text, "utf-8")
    except Unwritable as error:
        print(error, file=sys.stderr)
        return 1
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
