"""The data of awx/ as AWX would get it, and what a real AWX demands of it, as functions that name what is wrong."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from dateutil.rrule import rrulestr

from tests.awx import stub

ROOT = Path(__file__).resolve().parents[2]
# By its file: a filter plugin lives outside of any package, and awx/ is a folder of data.
_spec = importlib.util.spec_from_file_location("awx_filters", ROOT / "plugins/filter/awx.py")
assert _spec is not None
assert _spec.loader is not None
filters = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(filters)

Data = dict[str, list[dict[str, Any]]]
# Where each kind's module is, without `controller_`.
MODULES = {
    "labels": "label",
    "notifications": "notification_template",
    "credential_types": "credential_type",
    "credentials": "credential",
    "execution_environments": "execution_environment",
    "projects": "project",
    "inventories": "inventory",
    "inventory_sources": "inventory_source",
    "templates": "job_template",
    "workflows": "workflow_job_template",
    "schedules": "schedule",
}
NODE_MODULE = "workflow_job_template_node"
# Which kind the names in a field are of.
REFERENCES = {
    "labels": "labels",
    "credentials": "credentials",
    "credential_type": "credential_types",
    "execution_environment": "execution_environments",
    "default_environment": "execution_environments",
    "project": "projects",
    "source_project": "projects",
    "inventory": "inventories",
    "notification_templates_error": "notifications",
    "notification_templates_approvals": "notifications",
}
BUILT_IN = {"Red Hat Ansible Automation Platform", "Amazon Web Services", "Source Control"}
# AWX offers a file as a playbook that has such a line (awx/main/utils/ansible.py).
PLAYBOOK = re.compile(r"^\s*?(?:-\s+)?(hosts|(ansible\.builtin\.)?import_playbook|include):", re.MULTILINE)
SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN|(password|token|secret_key|secret)\s*[:=]\s*[\"']?[^\s\"'{]{6,}", re.I
)
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


class _Loader(yaml.SafeLoader):
    """Knows `!unsafe`, Ansible's word for text that is no template."""


_Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def environments(root: Path = ROOT) -> list[str]:
    """The folders of inventories/ that AWX gets."""
    return sorted(path.parent.name for path in (root / "inventories").glob("*/hosts") if path.parent.name != "local")


def surveys(root: Path = ROOT) -> dict[str, Any]:
    """The surveys by name."""
    return {path.stem: yaml.load(path.read_text(), _Loader) for path in sorted((root / "awx/surveys").glob("*.yml"))}


def load(root: Path = ROOT) -> Data:
    """All objects by kind (without `controller_`), one for each environment."""
    found: Data = {}
    for path in sorted((root / "awx").glob("*.yml")):
        if path.name != "execution-environment.yml":
            for name, objects in yaml.load(path.read_text(), _Loader).items():
                expanded = filters.per_environment(objects, environments(root))
                found[name.removeprefix("controller_")] = filters.with_surveys(expanded, surveys(root))
    return found


def options(module: str) -> set[str]:
    """The options of a module of awx.awx, with their aliases."""
    import ansible_collections.awx.awx.plugins.modules as modules

    text = (Path(next(iter(modules.__path__))) / f"{module}.py").read_text()
    match = re.search(r"DOCUMENTATION = ('''|\"\"\")(.*?)\1", text, re.DOTALL)
    assert match
    known = yaml.safe_load(match[2])["options"]
    return set(known) | {alias for option in known.values() for alias in option.get("aliases", [])}


def names(data: Data, kind: str) -> set[str]:
    """The names of all objects of a kind."""
    return {one["name"] for one in data[kind]}


def launchable(data: Data) -> set[str]:
    """The names of all that a node or a schedule may start."""
    return names(data, "templates") | names(data, "workflows")


def nodes(workflow: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A workflow's nodes by identifier."""
    return {node["identifier"]: node for node in workflow["simplified_workflow_nodes"]}


def following(node: Mapping[str, Any]) -> list[str]:
    """The identifiers of the nodes that may come after a node."""
    return [each for when in ("success_nodes", "failure_nodes", "always_nodes") for each in node.get(when, [])]


def rule_references(data: Data) -> Iterator[str]:
    """What an object names is there."""
    for kind, objects in data.items():
        for one in objects:
            for field, to in REFERENCES.items():
                value = one.get(field, [])
                for name in value if isinstance(value, list) else [value]:
                    if name not in names(data, to) | (BUILT_IN if to == "credential_types" else set()):
                        yield f"{kind} {one['name']}: {field} {name} is not among {to}"
    for schedule in data["schedules"]:
        if schedule["unified_job_template"] not in launchable(data):
            yield f"schedule {schedule['name']}: {schedule['unified_job_template']} is not there"


def rule_workflows(data: Data) -> Iterator[str]:
    """Nodes start what is there, lead to nodes of their own workflow, without a circle, and each can be reached."""
    for workflow in data["workflows"]:
        known = nodes(workflow)
        followers = {each for node in known.values() for each in following(node)}
        for name, node in known.items():
            if ("approval_node" in node) == ("unified_job_template" in node):
                yield f"{workflow['name']} {name}: starts a template or asks for approval, one of the two"
            if "unified_job_template" in node and node["unified_job_template"] not in launchable(data):
                yield f"{workflow['name']} {name}: {node['unified_job_template']} is not there"
            for each in following(node):
                if each not in known:
                    yield f"{workflow['name']} {name}: node {each} is not there"
                elif name in _reached(known, each):
                    yield f"{workflow['name']} {name}: goes in a circle"
        if len(set(known) - followers) != 1:
            yield f"{workflow['name']}: begins with {sorted(set(known) - followers)}, which should be one node"


def _reached(known: Mapping[str, Mapping[str, Any]], start: str) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        here = todo.pop()
        if here in known and here not in found:
            found.add(here)
            todo += following(known[here])
    return found


def rule_playbooks(data: Data, root: Path = ROOT) -> Iterator[str]:
    """Every template's playbook is one that AWX offers, and every playbook has a template."""
    used = {template["playbook"] for template in data["templates"]}
    for name in sorted(used):
        path = root / name
        if not path.is_file() or path.suffix not in (".yml", ".yaml") or not PLAYBOOK.search(path.read_text()):
            yield f"{name} is not offered by AWX as a playbook"
    there = {"site.yml", *(f"playbooks/{path.name}" for path in (root / "playbooks").glob("*.yml"))}
    yield from (f"{name} has no job template" for name in sorted(there - used))


def rule_options(data: Data) -> Iterator[str]:
    """Every key is an option of the module that it is given to."""
    for kind, objects in data.items():
        known = options(MODULES[kind]) | ({"simplified_workflow_nodes"} if kind == "workflows" else set())
        for one in objects:
            yield from (f"{kind} {one['name']}: {key} is no option" for key in sorted(set(one) - known))
            for node in one.get("simplified_workflow_nodes", []):
                extra = sorted(set(node) - options(NODE_MODULE))
                yield from (f"{one['name']} {node['identifier']}: {key} is no option" for key in extra)


def rule_surveys(data: Data, root: Path = ROOT) -> Iterator[str]:
    """AWX takes each survey, and each variable is a setting that preflight knows, of a type that an answer can have."""
    spec = yaml.safe_load((root / "roles/preflight/meta/argument_specs.yml").read_text())
    known = spec["argument_specs"]["main"]["options"]
    fits = {"text": ("str",), "textarea": ("str",), "integer": ("int",), "multiplechoice": ("str", "bool")}
    for one in [*data["templates"], *data["workflows"]]:
        if one.get("survey_enabled", False) != ("survey_spec" in one):
            yield f"{one['name']}: survey_enabled and survey_spec go together"
        if "survey_spec" not in one:
            continue
        try:
            stub.check_survey(one["survey_spec"])
        except stub.Refused as refused:
            yield f"{one['name']}: {refused}"
            continue
        for question in one["survey_spec"]["spec"]:
            option = known.get(question["variable"])
            if option is None or option.get("type", "str") not in fits.get(question["type"], ()):
                yield f"{one['name']}: {question['variable']} is no setting that a {question['type']} answer fits"


def rule_extra_vars(data: Data, root: Path = ROOT) -> Iterator[str]:
    """What a template sets is an input of the playbook that it runs."""
    known = {
        name
        for role in ("preflight", "awx")
        for name in yaml.safe_load((root / f"roles/{role}/meta/argument_specs.yml").read_text())["argument_specs"][
            "main"
        ]["options"]
    }
    for template in data["templates"]:
        unknown = sorted(set(template.get("extra_vars", {})) - known)
        yield from (f"{template['name']}: nobody knows {name}" for name in unknown)


def rule_schedules(data: Data) -> Iterator[str]:
    """Each rule is one that AWX takes, and all required questions are answered."""
    for schedule in data["schedules"]:
        try:
            stub.check_rrule(schedule["rrule"])
            rrulestr(schedule["rrule"].replace(" ", "\n"))
        except (stub.Refused, ValueError) as error:
            yield f"{schedule['name']}: {error}"
        target = next(
            (
                one
                for one in [*data["templates"], *data["workflows"]]
                if one["name"] == schedule["unified_job_template"]
            ),
            {},
        )
        for question in target.get("survey_spec", {}).get("spec", []):
            if question["required"] and question["variable"] not in schedule.get("extra_data", {}):
                yield f"{schedule['name']}: {question['variable']} is asked for and not answered"


def rule_credentials(data: Data) -> Iterator[str]:
    """Shells only; AWX takes the types and can fill them in, with nothing given and with all."""
    for one in data["credentials"]:
        if "inputs" in one or one.get("update_secrets") is not False:
            yield f"{one['name']}: carries inputs, or would overwrite those that stand"
    for one in data["credential_types"]:
        try:
            stub.check_credential_type(one)
        except stub.Refused as refused:
            yield f"{one['name']}: {refused}"


def rule_inventories(data: Data, root: Path = ROOT) -> Iterator[str]:
    """Each source is a file that AWX offers as an inventory, and each environment has one."""
    for source in data["inventory_sources"]:
        path = root / source["source_path"]
        if not path.is_file() or path.name != "hosts":
            yield f"{source['name']}: {source['source_path']} is not offered by AWX as an inventory"
    used = {source["source_path"] for source in data["inventory_sources"]}
    yield from (f"{name} has no source" for name in environments(root) if f"inventories/{name}/hosts" not in used)


def rule_names(data: Data) -> Iterator[str]:
    """Names are lower case with underscores, begin with the project's, end with the environment's, and occur once."""
    for kind, objects in data.items():
        seen = [one["name"] for one in objects]
        yield from (f"{kind} {name} occurs twice" for name in sorted(set(seen)) if seen.count(name) > 1)
        if kind != "labels":
            wrong = (name for name in seen if not NAME.fullmatch(name) or not f"{name}_".startswith("mlflow_"))
            yield from (f"{kind} {name} is not named as the others" for name in wrong)


def rule_no_secret(data: Data, root: Path = ROOT) -> Iterator[str]:
    """No file of awx/ holds anything that looks like a secret."""
    del data
    for path in sorted((root / "awx").rglob("*.yml")):
        match = SECRET.search(path.read_text())
        if match:
            yield f"{path.name} holds what looks like a secret: {match[0][:12]}..."


RULES: tuple[Callable[[Data], Iterator[str]], ...] = (
    rule_references,
    rule_workflows,
    rule_playbooks,
    rule_options,
    rule_surveys,
    rule_extra_vars,
    rule_schedules,
    rule_credentials,
    rule_inventories,
    rule_names,
    rule_no_secret,
)
