"""A stand-in for AWX's REST API that refuses what a real AWX refuses.

Only what awx.awx asks for while it applies awx/. The rules are AWX's own (awx/main/fields.py, awx/api/serializers.py,
awx/api/views, awx/main/signals.py, awx/main/models); what is refused is answered with a reason. What AWX does in the
background happens later here too. It keeps everything in memory.
"""

from __future__ import annotations

import base64
import http.server
import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from dateutil.rrule import rrulestr
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

TOKEN = "token-of-the-administrator"
USER, PASSWORD = "admin", "password-of-the-administrator"
READER = "token-of-a-reader"
# What a webhook is made of, with the type that AWX insists on.
NOTIFICATION_KEYS: dict[str, type] = {
    "url": str,
    "http_method": str,
    "headers": dict,
    "username": str,
    "password": str,
    "disable_ssl_verification": bool,
}
# A page of a list, unless asked for otherwise, and at most.
PAGE, LONGEST_PAGE = 25, 200

# Per kind: its own fields with what a new object has, then fields that name other objects with their kind.
KINDS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "organizations": ({"description": ""}, {}),
    "labels": ({}, {"organization": "organizations"}),
    "credential_types": ({"description": "", "kind": "cloud", "inputs": {}, "injectors": {}, "managed": False}, {}),
    "credentials": (
        {"description": "", "inputs": {}},
        {"organization": "organizations", "credential_type": "credential_types"},
    ),
    "execution_environments": ({"description": "", "image": "", "pull": ""}, {"organization": "organizations"}),
    "projects": (
        {
            "description": "",
            "scm_type": "",
            "scm_url": "",
            "scm_branch": "",
            "scm_update_on_launch": False,
            "scm_update_cache_timeout": 0,
            "allow_override": False,
            "scm_revision": "",
        },
        {
            "organization": "organizations",
            "credential": "credentials",
            "default_environment": "execution_environments",
        },
    ),
    "inventories": (
        {"description": "", "kind": "", "variables": "", "host_filter": None, "pending_deletion": False},
        {"organization": "organizations"},
    ),
    "inventory_sources": (
        {
            "description": "",
            "source": "",
            "source_path": "",
            "source_vars": "",
            "overwrite": False,
            "overwrite_vars": False,
            "update_on_launch": False,
        },
        {
            "inventory": "inventories",
            "source_project": "projects",
            "execution_environment": "execution_environments",
        },
    ),
    "notification_templates": (
        {"description": "", "notification_type": "", "notification_configuration": {}, "messages": None},
        {"organization": "organizations"},
    ),
    "job_templates": (
        {
            "description": "",
            "job_type": "run",
            "playbook": "",
            "extra_vars": "",
            "diff_mode": False,
            "ask_limit_on_launch": False,
            "ask_job_type_on_launch": False,
            "ask_variables_on_launch": False,
            "survey_enabled": False,
        },
        {
            "organization": "organizations",
            "inventory": "inventories",
            "project": "projects",
            "execution_environment": "execution_environments",
        },
    ),
    "workflow_job_templates": (
        {
            "description": "",
            "extra_vars": "",
            "ask_limit_on_launch": False,
            "ask_variables_on_launch": False,
            "survey_enabled": False,
        },
        {"organization": "organizations"},
    ),
    "workflow_job_template_nodes": (
        {"identifier": "", "all_parents_must_converge": False, "extra_data": {}, "limit": None},
        {"workflow_job_template": "workflow_job_templates", "unified_job_template": "unified_job_templates"},
    ),
    "workflow_approval_templates": ({"description": "", "timeout": 0}, {}),
    "schedules": (
        {"description": "", "rrule": "", "extra_data": {}, "enabled": True},
        {"unified_job_template": "unified_job_templates"},
    ),
}
UNIFIED = {
    "projects": "project",
    "inventory_sources": "inventory_source",
    "job_templates": "job_template",
    "workflow_job_templates": "workflow_job_template",
    "workflow_approval_templates": "workflow_approval_template",
}
ASSOCIATIONS = {
    "credentials": "credentials",
    "labels": "labels",
    "notification_templates_started": "notification_templates",
    "notification_templates_success": "notification_templates",
    "notification_templates_error": "notification_templates",
    "notification_templates_approvals": "notification_templates",
    "success_nodes": "workflow_job_template_nodes",
    "failure_nodes": "workflow_job_template_nodes",
    "always_nodes": "workflow_job_template_nodes",
}
NEXT_NODES = ("success_nodes", "failure_nodes", "always_nodes")
# What no two objects of a kind may have in common.
UNIQUE = {
    "organizations": ("name",),
    "labels": ("name", "organization"),
    "credential_types": ("name", "kind"),
    "credentials": ("name", "organization", "credential_type"),
    "execution_environments": ("name",),
    "projects": ("name", "organization"),
    "inventories": ("name", "organization"),
    "inventory_sources": ("name", "inventory"),
    "notification_templates": ("name", "organization"),
    "job_templates": ("name", "organization"),
    "workflow_job_templates": ("name", "organization"),
    "workflow_job_template_nodes": ("identifier", "workflow_job_template"),
    "schedules": ("name", "unified_job_template"),
}
# Fields that may be given and are not taken: ever, and once the object stands.
NEVER_TAKEN = {
    "job_templates": {"organization"},
    "credential_types": {"managed"},
    "inventories": {"pending_deletion"},
}
TAKEN_ONCE = {"inventory_sources": {"inventory"}, "workflow_job_template_nodes": {"workflow_job_template"}}
# Who goes with whom they refer to; all others lose the reference.
GO_TOGETHER = {
    ("workflow_job_template_nodes", "workflow_job_template"),
    ("schedules", "unified_job_template"),
    ("inventory_sources", "inventory"),
    ("inventory_sources", "source_project"),
}
# A project is read again when one of these changes.
SCM = ("scm_type", "scm_url", "scm_branch")
REVISION = "0123456789abcdef"
WORD = r"[a-zA-Z_]+[a-zA-Z0-9_]*"
IMAGE = re.compile(
    r"((?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\d+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::\w[\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
)
# AWX sets these itself.
OWN_VARIABLES = {
    *("PATH", "PYTHONPATH", "VIRTUAL_ENV", "CACHE", "AWX_HOST", "PROJECT_REVISION", "SUPERVISOR_CONFIG_PATH"),
    *(
        "JOB_ID",
        "AD_HOC_COMMAND_ID",
        "INVENTORY_ID",
        "INVENTORY_SOURCE_ID",
        "INVENTORY_UPDATE_ID",
        "INVENTORY_HOSTVARS",
    ),
    *("REST_API_URL", "REST_API_TOKEN", "CALLBACK_QUEUE", "CALLBACK_CONNECTION", "JOB_CALLBACK_DEBUG", "MAX_EVENT_RES"),
}
FOR_JOBS = ("ssh", "vault", "cloud", "net", "kubernetes")
QUESTIONS: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "textarea": str,
    "password": str,
    "multiplechoice": str,
    "multiselect": str,
    "integer": int,
    "float": (int, float),
}


class Refused(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = body


def bad(name: str, why: str) -> Refused:
    """The answer to a field that is wrong."""
    return Refused(400, {name: [why]})


def coerced(name: str, default: Any, value: Any) -> Any:
    """What AWX stores of a value in place of the default: null is an empty text, and no text has blanks around it."""
    if isinstance(default, bool):
        return bool(value)
    if not isinstance(default, str):
        return value
    if isinstance(value, (bool, dict, list)):
        raise bad(name, "Not a valid string.")
    return "" if value is None else str(value).strip()


def paged(found: list[Any], path: str, query: Mapping[str, str]) -> dict[str, Any]:
    """A page of a list as the API answers it."""
    size = min(int(query.get("page_size") or PAGE), LONGEST_PAGE)
    page = int(query.get("page") or 1)
    more = len(found) > page * size
    after = f"{path}?{urlencode({**query, 'page': page + 1})}" if more else None
    return {"count": len(found), "next": after, "previous": None, "results": found[(page - 1) * size : page * size]}


def check_rrule(text: str) -> None:
    """Raise Refused unless AWX takes the rule: one start with a zone, and rules with an interval each."""
    starts = re.findall(r"DTSTART(?:;[^:]+)?:[0-9]+T[0-9]+Z?", text)
    if len(starts) != 1 or re.search(r"DTSTART:[0-9]+T[0-9]+ ", text):
        raise bad("rrule", "One start is needed, DTSTART:<date>T<time>Z or with a zone.")
    if "RRULE:" not in text or re.search(r"(?i)(exdate|rdate):", text):
        raise bad("rrule", "One or more rules, and nothing but rules, required in rrule.")
    for rule in re.findall(r"RULE:(\S*)", text):
        _check_one_rule(rule)
    try:
        start = rrulestr(text, forceset=True)[0]
    except (ValueError, IndexError) as error:
        raise bad("rrule", f"rrule parsing failed validation: {error}") from None
    if start.tzinfo is None:
        raise bad("rrule", "The start has no zone.")


def _check_one_rule(rule: str) -> None:
    parts = dict(part.split("=", 1) for part in rule.split(";") if "=" in part)
    if "INTERVAL" not in parts:
        raise bad("rrule", f"No INTERVAL: {rule}")
    if parts.get("FREQ") == "SECONDLY" or re.match(r"[0-9]", parts.get("BYDAY", "")):
        raise bad("rrule", f"SECONDLY and BYDAY with a number are not supported: {rule}")
    if ("COUNT" in parts and "UNTIL" in parts) or int(parts.get("COUNT", 1)) > 999:
        raise bad("rrule", f"COUNT is not supported together with UNTIL, nor above 999: {rule}")


def check_survey(survey: Mapping[str, Any]) -> None:
    """Raise Refused unless AWX takes the survey; drops what AWX drops."""
    for key, right in (("name", str), ("description", str), ("spec", list)):
        if not isinstance(survey.get(key), right):
            raise Refused(400, {"error": f"'{key}' missing from survey spec, or of the wrong type."})
    if not survey["spec"]:
        raise Refused(400, {"error": "'spec' doesn't contain any items."})
    seen = set()
    for at, question in enumerate(survey["spec"]):
        for key in ("type", "question_name", "variable", "required"):
            if not isinstance(question.get(key), bool if key == "required" else str):
                raise Refused(400, {"error": f"'{key}' missing from survey question {at}, or of the wrong type."})
        if question["variable"] in seen:
            raise Refused(400, {"error": f"'variable' '{question['variable']}' duplicated in survey question {at}."})
        seen.add(question["variable"])
        _check_question(at, question)


def _check_question(at: int, question: dict[str, Any]) -> None:
    kind = question["type"]
    if kind not in QUESTIONS:
        raise Refused(400, {"error": f"'{kind}' in survey question {at} is not one of the question types."})
    if question.get("default", "") != "" and not isinstance(question["default"], QUESTIONS[kind]):
        raise Refused(
            400, {"error": f"Default value {question['default']!r} in survey question {at} is of no such type."}
        )
    for key in ("min", "max"):
        if not isinstance(question.get(key), (int, type(None))):
            raise Refused(400, {"error": f"The {key} limit in survey question {at} expected to be integer."})
    if kind in ("multiplechoice", "multiselect"):
        for key in ("choices", "default"):
            if isinstance(question.get(key), str):
                question[key] = "\n".join(line for line in question[key].splitlines() if line.strip())
        choices = question.get("choices") or []
        choices = choices.splitlines() if isinstance(choices, str) else choices
        chosen = question.get("default", "").splitlines()
        if not choices or set(chosen) - set(choices) or (kind == "multiplechoice" and len(chosen) > 1):
            raise Refused(400, {"error": f"Survey question {at} of type {kind} must specify choices."})


class _Filenames:
    def __str__(self) -> str:
        raise TemplateError("There is no file without a name for `tower.filename`.")


class _Tower:
    def __init__(self) -> None:
        self.filename: Any = _Filenames()

    def __str__(self) -> str:
        raise TemplateError("`tower` is no value.")


def _check_field(one: dict[str, Any]) -> None:
    allowed = {
        "id": str,
        "label": str,
        "type": str,
        "choices": list,
        "help_text": str,
        "multiline": bool,
        "secret": bool,
    }
    allowed |= {"default": object, "format": str}
    if any(name not in allowed or not isinstance(value, allowed[name]) for name, value in one.items()):
        raise bad("inputs", f"{one.get('id')}: something that a field does not have")
    if not {"id", "label"} <= set(one) or not re.fullmatch(WORD, one["id"]) or one["id"] == "tower":
        raise bad("inputs", f"{one.get('id')} cannot be a name")
    kind = one.setdefault("type", "string")
    if kind not in ("string", "boolean") or one.get("format", "url") not in ("url", "ssh_private_key"):
        raise bad("inputs", f"{one['id']}: type or format")
    if kind == "boolean" and {"choices", "multiline", "format", "secret"} & set(one):
        raise bad("inputs", f"{one['id']}: not of a boolean")
    if "default" in one and type(one["default"]) is not {"string": str, "boolean": bool}[kind]:
        raise bad("inputs", f"{one['default']} is not a {kind}")
    choices = one.get("choices", ["any"])
    if not choices or len(set(choices)) < len(choices) or not all(isinstance(each, str) for each in choices):
        raise bad("inputs", f"{one['id']}: choices")


def _check_injector(kind: str, name: str, template: Any) -> None:
    right = {"file": rf"template(\.{WORD})?", "env": WORD, "extra_vars": r"[a-zA-Z_{}]+[a-zA-Z0-9_{}]*"}
    if kind not in right or not re.fullmatch(right[kind], name) or not isinstance(template, str):
        raise bad("injectors", f"{kind} {name} is not allowed")
    if kind == "env" and (name.startswith("ANSIBLE_") or name in OWN_VARIABLES or not template.isascii()):
        raise bad("injectors", f"Environment variable {name} is not allowed")


def check_credential_type(new: Mapping[str, Any]) -> None:
    """Raise Refused unless AWX takes the fields and can render the injectors; a field without a type gets AWX's."""
    fields = new["inputs"].get("fields", [])
    if set(new["inputs"]) - {"fields", "required"}:
        raise bad("inputs", "Something that belongs elsewhere")
    for one in fields:
        _check_field(one)
    if len({one["id"] for one in fields}) < len(fields):
        raise bad("inputs", "field IDs must be unique")
    if set(new["injectors"]) - {"file", "env", "extra_vars"}:
        raise bad("injectors", "Something that belongs elsewhere")
    tower = _Tower()
    files = new["injectors"].get("file", {})
    if "template" in files:
        tower.filename = "FILE"
        if len(files) > 1:
            raise bad("injectors", "Several files, and one of them without a name.")
    for name in files:
        if "." in name:
            setattr(tower.filename, name.split(".", 1)[1], "FILE")
    namespace = {one["id"]: "EXAMPLE" for one in fields} | {"tower": tower}
    sandbox = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    for kind, injector in new["injectors"].items():
        for name, template in injector.items():
            _check_injector(kind, name, template)
            try:
                sandbox.from_string(template).render(namespace)
            except TemplateError as error:
                raise bad("injectors", f"{name} uses an undefined field ({error})") from None


@dataclass
class Awx:
    """The objects, and what the project's branch holds."""

    playbooks: set[str]
    inventories: set[str]
    version: str = "24.6.1"
    objects: dict[str, dict[int, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    surveys: dict[int, dict[str, Any]] = field(default_factory=dict)
    links: dict[tuple[int, str], list[int]] = field(default_factory=dict)
    synced: set[int] = field(default_factory=set)
    # Of projects. Each look at one brings it forward.
    updates: dict[int, dict[str, Any]] = field(default_factory=dict)
    # How long AWX takes to remove an inventory in the background, and when which is due.
    deletion: float = 0.0
    doomed: dict[int, float] = field(default_factory=dict)
    # Whether AWX can read what a project names.
    readable: bool = True
    requests: list[tuple[str, str]] = field(default_factory=list)
    last: int = 0

    def __post_init__(self) -> None:
        """What a new AWX has."""
        self.add("organizations", {"name": "Default"})
        for name, kind in (
            ("Red Hat Ansible Automation Platform", "cloud"),
            ("Amazon Web Services", "cloud"),
            ("Source Control", "scm"),
        ):
            self.add("credential_types", {"name": name, "kind": kind, "managed": True})

    # ------------------------------------------------------------ objects

    def add(self, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object without asking the rules."""
        self.last += 1
        own, references = KINDS[kind]
        made = {"name": "", **own, **dict.fromkeys(references), **given, "id": self.last}
        if kind == "job_templates":
            # It belongs to whoever its project belongs to, whatever is asked for.
            made["organization"] = self.objects["projects"][made["project"]]["organization"]
        self.objects[kind][self.last] = made
        return made

    def find(self, kind: str, identity: Any) -> dict[str, Any] | None:
        """The object of a kind, or of any kind that can be launched."""
        kinds = tuple(UNIFIED) if kind == "unified_job_templates" else (kind,)
        try:
            return next((self.objects[one][int(identity)] for one in kinds if int(identity) in self.objects[one]), None)
        except (TypeError, ValueError):
            return None

    def kind_of(self, identity: int) -> str:
        """The kind of an object that stands."""
        return next(kind for kind, objects in self.objects.items() if identity in objects)

    def shown(self, kind: str, one: Mapping[str, Any]) -> dict[str, Any]:
        """The object as the API answers it."""
        url = f"/api/v2/{kind}/{one['id']}/"
        related = {"survey_spec": f"{url}survey_spec/", "update": f"{url}update/"}
        summary: dict[str, Any] = {}
        for name, to in KINDS[kind][1].items():
            target = self.find(to, one[name])
            if target:
                summary[name] = {"id": target["id"], "name": target["name"]}
                related[name] = f"/api/v2/{self.kind_of(target['id'])}/{target['id']}/"
        update = self.updates.get(
            max((at for at, each in self.updates.items() if each["project"] == one["id"]), default=0)
        )
        if update:
            when = "last_update" if update["finished"] else "current_update"
            summary[when] = {name: update[name] for name in ("id", "status", "failed")}
        out = {**one, "url": url, "type": UNIFIED.get(kind, kind[:-1]), "related": related, "summary_fields": summary}
        if kind == "notification_templates" and one["notification_configuration"].get("password"):
            out["notification_configuration"] = {**one["notification_configuration"], "password": "$encrypted$"}
        if kind == "workflow_job_template_nodes":
            out.pop("name")
        return out

    def listed(self, kind: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """The objects that pass the filters."""
        kinds = tuple(UNIFIED) if kind == "unified_job_templates" else (kind,)
        found = [(one, item) for one in kinds for item in self.objects[one].values()]
        return [self.shown(one, item) for one, item in found if self._passes(one, item, query)]

    def _passes(self, kind: str, item: Mapping[str, Any], query: Mapping[str, str]) -> bool:
        asked = {name: value for name, value in query.items() if name not in ("page_size", "page", "order_by")}
        found = {name: self._is(kind, item, name.removeprefix("or__"), value) for name, value in asked.items()}
        either = [met for name, met in found.items() if name.startswith("or__")]
        return all(met for name, met in found.items() if not name.startswith("or__")) and (not either or any(either))

    def _is(self, kind: str, item: Mapping[str, Any], name: str, value: str) -> bool:
        actual: Any = item
        parts = name.split("__")
        for at, part in enumerate(parts, 1):
            actual, kind = self._step(kind, actual, part, deeper=at < len(parts))
        return str(actual).lower() == value.lower() if isinstance(actual, bool) else str(actual) == value

    def _step(self, kind: str, item: Any, part: str, deeper: bool) -> tuple[Any, str]:
        """One part of a filter's name: (the value, the kind of object it is)."""
        if part == "type":
            return UNIFIED.get(kind, kind[:-1]), kind
        if part == "organization" and kind == "inventory_sources":
            return self.objects["inventories"][item["inventory"]]["organization"], kind
        if part == "organization" and kind == "workflow_approval_templates":
            return None, kind
        if not isinstance(item, Mapping) or part not in item:
            raise Refused(400, {"detail": f"{kind} has no field named '{part}'"})
        to = KINDS[kind][1].get(part)
        return (self.find(to, item[part]) or {}, to) if to and deeper else (item[part], kind)

    # ------------------------------------------------------------ changes

    def create(self, kind: str, given: dict[str, Any]) -> dict[str, Any]:
        """POST to a list."""
        if "name" not in given and kind != "workflow_job_template_nodes":
            raise bad("name", "This field is required.")
        given = self._taken(kind, given, NEVER_TAKEN)
        own, references = KINDS[kind]
        self._check(kind, {"id": 0, "name": "", **own, **dict.fromkeys(references), **given}, given)
        made = self.add(kind, given)
        if kind == "projects" and made["scm_type"]:
            self.start_update(made)
        return self.shown(kind, made)

    def change(self, kind: str, one: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        """PATCH of an object."""
        if kind == "inventories" and given.get("kind") not in (None, one["kind"]):
            raise Refused(405, {"error": "An inventory stays of its kind."})
        given = self._taken(kind, self._taken(kind, given, NEVER_TAKEN), TAKEN_ONCE)
        self._check(kind, {**one, **given}, given)
        self._check_change(kind, one, given)
        before = dict(one)
        one.update(given)
        if kind == "projects" and any(before[name] != one[name] for name in SCM):
            self.start_update(one)
        if kind == "job_templates":
            one["organization"] = self.objects["projects"][one["project"]]["organization"]
        if kind == "workflow_job_template_nodes" and before["unified_job_template"] != one["unified_job_template"]:
            self.objects["workflow_approval_templates"].pop(before["unified_job_template"], None)
        return self.shown(kind, one)

    def _taken(self, kind: str, given: Mapping[str, Any], left_out: Mapping[str, set[str]]) -> dict[str, Any]:
        own, references = KINDS[kind]
        taken = {
            name: value for name, value in given.items() if name != "type" and name not in left_out.get(kind, set())
        }
        for name in set(taken) - set(references):
            taken[name] = coerced(name, own.get(name, ""), taken[name])
        if "rrule" in taken:
            taken["rrule"] = " ".join(taken["rrule"].split())
        return taken

    def _check_change(self, kind: str, one: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        """What AWX refuses only of an object that stands."""
        if kind == "credential_types" and one["managed"]:
            raise Refused(403, {"detail": "What AWX manages stays as it is."})
        used = any(each["credential_type"] == one["id"] for each in self.objects["credentials"].values())
        if kind == "credential_types" and used and given.get("inputs", one["inputs"]) != one["inputs"]:
            raise Refused(403, {"detail": "Its inputs stay while a credential has it."})
        if kind == "execution_environments" and given.get("organization") not in (None, one["organization"]):
            raise bad("organization", "It stays with its organization.")

    # ------------------------------------------------------------ updates of projects

    def start_update(self, project: Mapping[str, Any]) -> dict[str, Any]:
        """Have the project read. Nothing of it is known before the update is finished."""
        self.last += 1
        made = {"id": self.last, "type": "project_update", "url": f"/api/v2/project_updates/{self.last}/"}
        made |= {"project": project["id"], "status": "pending", "failed": False, "finished": None, "scm_revision": ""}
        self.updates[self.last] = made | {"event_processing_finished": False}
        return self.updates[self.last]

    def look_at_update(self, identity: Any) -> dict[str, Any]:
        """GET of an update: pending, then running, then done."""
        update = self.updates.get(int(identity))
        if update is None:
            raise Refused(404, {"detail": "Not found."})
        if update["status"] == "pending":
            update["status"] = "running"
        elif update["status"] == "running" and not self.readable:
            update |= {"status": "failed", "failed": True, "finished": "2026-01-01T00:00:00Z"}
            update["event_processing_finished"] = True
        elif update["status"] == "running":
            update |= {"status": "successful", "finished": "2026-01-01T00:00:00Z", "scm_revision": REVISION}
            update["event_processing_finished"] = True
            self.synced.add(update["project"])
            self.objects["projects"][update["project"]]["scm_revision"] = REVISION
        return update

    # ------------------------------------------------------------ what AWX refuses

    def _check(self, kind: str, new: dict[str, Any], given: Mapping[str, Any]) -> None:
        own, references = KINDS[kind]
        for name in given:
            if name not in own and name not in references and name != "name":
                raise bad(name, f"{kind} has no such field")
        for name, to in references.items():
            if new[name] is not None and self.find(to, new[name]) is None:
                raise bad(name, f'Invalid pk "{new[name]}" - object does not exist.')
        if kind == "job_templates" and new["project"] is not None:
            new["organization"] = self.objects["projects"][new["project"]]["organization"]
        for other in self.objects[kind].values():
            same = kind in UNIQUE and all(other[name] == new[name] for name in UNIQUE[kind])
            if same and other["id"] != new["id"]:
                raise Refused(400, {"__all__": [f"{kind} with this {UNIQUE[kind]} already exists."]})
        check = getattr(self, f"_check_{kind}", None)
        if check:
            check(new)

    def _check_labels(self, new: Mapping[str, Any]) -> None:
        if new["organization"] is None:
            raise bad("organization", "This field is required.")

    def _check_credential_types(self, new: Mapping[str, Any]) -> None:
        if new["kind"] not in ("cloud", "net"):
            raise bad("kind", "Must be 'cloud' or 'net'")
        check_credential_type(new)

    def _check_credentials(self, new: Mapping[str, Any]) -> None:
        kind = self.objects["credential_types"][new["credential_type"]]
        known = {one["id"] for one in kind["inputs"].get("fields", [])}
        if not kind["managed"] and set(new["inputs"]) - known:
            raise bad("inputs", "Something that belongs elsewhere")

    def _check_execution_environments(self, new: Mapping[str, Any]) -> None:
        if not IMAGE.fullmatch(new["image"]):
            raise bad("image", f"No image is named {new['image']}.")
        if new["pull"] not in ("", "always", "missing", "never"):
            raise bad("pull", "is not a valid choice")

    def _check_projects(self, new: Mapping[str, Any]) -> None:
        if new["scm_type"] == "git" and not re.match(r"(https?|ssh|git|file)://|[\w.-]+@[\w.-]+:", new["scm_url"]):
            raise bad("scm_url", "Invalid SCM URL")
        credential = self.objects["credentials"].get(new["credential"] or 0)
        if credential and self.objects["credential_types"][credential["credential_type"]]["kind"] != "scm":
            raise bad("credential", "It is for no source control.")

    def _check_inventories(self, new: Mapping[str, Any]) -> None:
        if new["organization"] is None:
            raise bad("organization", "This field is required.")

    def _check_inventory_sources(self, new: Mapping[str, Any]) -> None:
        if new["source"] == "scm":
            if new["source_project"] is None:
                raise bad("source_project", "A source in source control needs a project.")
            # AWX would take it, and fail when it reads the inventory.
            if new["source_path"] not in self.inventories:
                raise bad("source_path", f"{new['source_path']} is not offered as an inventory of the project")
        elif new["source_path"]:
            raise bad("source_path", "Only for a source in source control.")

    def _check_notification_templates(self, new: Mapping[str, Any]) -> None:
        given = new["notification_configuration"]
        missing = {"url", "headers"} - set(given)
        # AWX would keep a key that it does not know, and never read it.
        extra = set(given) - set(NOTIFICATION_KEYS)
        if new["notification_type"] != "webhook" or missing or extra:
            raise bad("notification_configuration", f"Missing or unknown: {sorted(missing | extra)}")
        for name, default in (
            ("http_method", "POST"),
            ("username", ""),
            ("password", ""),
            ("disable_ssl_verification", False),
        ):
            given.setdefault(name, default)
        wrong = sorted(name for name, right in NOTIFICATION_KEYS.items() if type(given[name]) is not right)
        if wrong or given["http_method"].lower() not in ("post", "put"):
            raise bad("notification_configuration", f"Configuration fields of incorrect type or method: {wrong}")

    def _check_job_templates(self, new: Mapping[str, Any]) -> None:
        if new["job_type"] not in ("run", "check"):
            raise bad("job_type", "is not a valid choice")
        if new["project"] is None:
            raise bad("project", "This field is required.")
        if new["inventory"] is None:
            raise bad("inventory", "None given, and none asked for on launch.")
        if new["project"] not in self.synced or new["playbook"] not in self.playbooks:
            raise bad("playbook", "The project has no such playbook.")

    def _check_workflow_job_template_nodes(self, new: Mapping[str, Any]) -> None:
        if new["workflow_job_template"] is None:
            raise bad("workflow_job_template", "This field is required.")
        if not re.fullmatch(r"\S{1,512}", new["identifier"]):
            raise bad("identifier", "is not valid")
        if new["extra_data"]:
            self._check_answers(new["unified_job_template"], new["extra_data"], complete=False)

    def _check_schedules(self, new: Mapping[str, Any]) -> None:
        if new["unified_job_template"] is None:
            raise bad("unified_job_template", "This field is required.")
        check_rrule(new["rrule"])
        self._check_answers(new["unified_job_template"], new["extra_data"], complete=True)

    def _check_answers(self, identity: int, answers: Mapping[str, Any], complete: bool) -> None:
        template = self.find("unified_job_templates", identity) or {}
        survey = self.surveys.get(identity, {}).get("spec", []) if template.get("survey_enabled") else []
        questions = {question["variable"]: question for question in survey}
        unknown = set(answers) - set(questions)
        fixed = json.loads(template.get("extra_vars") or "{}")
        unknown -= {name for name in unknown if name in fixed and fixed[name] == answers[name]}
        if unknown and not template.get("ask_variables_on_launch"):
            raise bad("extra_data", f"Variables {sorted(unknown)} are not allowed on launch.")
        missing = [name for name, question in questions.items() if question["required"] and name not in answers]
        if complete and missing:
            raise Refused(400, {"variables_needed_to_start": [f"'{name}' value missing" for name in missing]})
        for name, value in answers.items():
            question = questions.get(name, {})
            if question.get("type") in ("text", "textarea", "password") and not (
                isinstance(value, str)
                and (question.get("min") or 0) <= len(value) <= (question.get("max") or len(value))
            ):
                raise Refused(400, {"variables_needed_to_start": [f"'{name}' value is no text of the right length"]})

    # ------------------------------------------------------------ below an object

    def set_survey(self, one: dict[str, Any], survey: dict[str, Any]) -> dict[str, Any]:
        """POST to survey_spec."""
        check_survey(survey)
        self.surveys[one["id"]] = survey
        return {}

    def survey(self, one: Mapping[str, Any]) -> dict[str, Any]:
        """GET of survey_spec: without the defaults of passwords."""
        survey = self.surveys.get(one["id"], {})
        asked = [
            {**question, "default": "$encrypted$"}
            if question["type"] == "password" and question.get("default")
            else question
            for question in survey.get("spec", [])
        ]
        return survey and {**survey, "spec": asked}

    def associate(self, one: dict[str, Any], name: str, given: Mapping[str, Any]) -> None:
        """POST to a list below an object."""
        links = self.links.setdefault((one["id"], name), [])
        identity = int(given["id"])
        if "disassociate" in given:
            links[:] = [each for each in links if each != identity]
            if name == "labels":
                self._drop_unused_label(identity)
            return
        target = self.find(ASSOCIATIONS[name], identity)
        if target is None:
            raise Refused(400, {"detail": "object does not exist"})
        if name == "credentials":
            kinds = {self.objects["credentials"][each]["credential_type"] for each in links}
            if target["credential_type"] in kinds:
                raise Refused(400, {"error": "It has a credential of that type."})
            kind = self.objects["credential_types"][target["credential_type"]]["kind"]
            if kind not in FOR_JOBS:
                raise Refused(400, {"error": f"No job takes a credential of kind {kind}."})
        if name in NEXT_NODES:
            self._check_edge(one, target, name)
        if identity not in links:
            links.append(identity)

    def _check_edge(self, one: Mapping[str, Any], target: Mapping[str, Any], name: str) -> None:
        if one["workflow_job_template"] != target["workflow_job_template"]:
            raise Refused(400, {"detail": "Nodes of two workflows cannot be joined."})
        for other in NEXT_NODES:
            if other != name and target["id"] in self.links.get((one["id"], other), []):
                raise Refused(400, {"Error": "They are joined in another way already."})
        if one["id"] in self._reached(target["id"]):
            raise Refused(400, {"Error": "A circle."})

    def _reached(self, start: int) -> set[int]:
        found, todo = set(), [start]
        while todo:
            here = todo.pop()
            found.add(here)
            todo += [each for name in NEXT_NODES for each in self.links.get((here, name), []) if each not in found]
        return found

    def approve(self, node: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """POST to create_approval_template."""
        if not given.get("name"):
            raise bad("name", "This field may not be blank.")
        known = {name: given[name] for name in ("name", "description", "timeout") if name in given}
        made = self.add("workflow_approval_templates", known)
        node["unified_job_template"] = made["id"]
        return self.shown("workflow_approval_templates", made)

    def remove(self, kind: str, identity: int) -> int:
        """DELETE, with what hangs on the object: the status. AWX removes an inventory later."""
        if kind == "labels":
            raise Refused(405, {"detail": 'Method "DELETE" not allowed.'})
        if kind == "credential_types" and any(
            c["credential_type"] == identity for c in self.objects["credentials"].values()
        ):
            raise Refused(403, {"detail": "A credential still has it."})
        if kind == "projects" and any(
            each["project"] == identity and not each["finished"] for each in self.updates.values()
        ):
            raise Refused(409, {"error": "Jobs of it run."})
        if kind != "inventories":
            self._drop(kind, identity)
            return 204
        if identity in self.doomed:
            raise Refused(400, {"error": "It is being removed already."})
        self.doomed[identity] = time.monotonic() + self.deletion
        self.objects["inventories"][identity]["pending_deletion"] = True
        for template in self.objects["job_templates"].values():
            if template["inventory"] == identity:
                template["inventory"] = None
        return 202

    def settle(self) -> None:
        """What AWX does in the background, as far as it is due."""
        for identity in [each for each, due in self.doomed.items() if due <= time.monotonic()]:
            del self.doomed[identity]
            self._drop("inventories", identity)

    def _drop(self, kind: str, identity: int) -> None:
        gone = self.objects[kind].pop(identity)
        if kind == "workflow_job_template_nodes":
            self.objects["workflow_approval_templates"].pop(gone["unified_job_template"], None)
        labels = self.links.get((identity, "labels"), [])
        for key in [key for key in self.links if key[0] == identity]:
            del self.links[key]
        for links in self.links.values():
            links[:] = [each for each in links if each != identity]
        for label in labels:
            self._drop_unused_label(label)
        for other, (_, references) in KINDS.items():
            for item in list(self.objects[other].values()):
                for name in [name for name in references if item[name] == identity]:
                    item[name] = None
                    if (other, name) in GO_TOGETHER and item["id"] in self.objects[other]:
                        self._drop(other, item["id"])

    def _drop_unused_label(self, label: int) -> None:
        """A label goes with the last that has it."""
        if not any(label in links for (_, name), links in self.links.items() if name == "labels"):
            self.objects["labels"].pop(label, None)


class Handler(http.server.BaseHTTPRequestHandler):
    """HTTP in front of `awx`."""

    awx: Awx

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests read `awx.requests`."""

    def answer(self, status: int, body: Any) -> None:
        """Send JSON."""
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-API-Product-Name", "AWX")
        self.send_header("X-API-Product-Version", self.awx.version)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _handle(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(size)
        parts = urlsplit(self.path)
        self.awx.requests.append((self.command, parts.path))
        self.awx.settle()
        try:
            if not parts.path.startswith("/api/v2/"):
                raise Refused(404, {"detail": "Not found."})
            path = [part for part in parts.path.removeprefix("/api/v2/").split("/") if part]
            given = json.loads(raw) if raw else {}
            status, body = self._route(path, dict(parse_qsl(parts.query)), given)
        except Refused as refused:
            status, body = refused.status, refused.body
        self.answer(status, body)

    do_GET = do_POST = do_PATCH = do_DELETE = _handle

    def _user(self) -> dict[str, Any]:
        header = self.headers.get("Authorization", "")
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if header in (f"Bearer {TOKEN}", basic):
            return {"id": 1, "username": USER, "is_superuser": True}
        if header == f"Bearer {READER}":
            return {"id": 2, "username": "reader", "is_superuser": False}
        raise Refused(401, {"detail": "Authentication credentials were not provided."})

    def _route(self, path: list[str], query: dict[str, str], given: dict[str, Any]) -> tuple[int, Any]:
        if path == ["ping"]:
            return 200, {"version": self.awx.version, "active_node": "awx", "ha": False}
        user = self._user()
        if path == ["me"]:
            return 200, {"count": 1, "next": None, "results": [user]}
        if path[:1] == ["tokens"]:
            return (204, None) if self.command == "DELETE" else (201, {"id": 1, "token": TOKEN})
        if path[:1] == ["project_updates"]:
            return 200, self.awx.look_at_update(path[1])
        if self.command != "GET" and not user["is_superuser"]:
            raise Refused(403, {"detail": "You do not have permission to perform this action."})
        kind = path[0]
        if kind not in KINDS and kind != "unified_job_templates":
            raise Refused(404, {"detail": "Not found."})
        if len(path) == 1:
            return self._list(kind, query, given)
        one = self.awx.find(kind, path[1])
        if one is None:
            raise Refused(404, {"detail": "Not found."})
        return self._detail(kind, one, given) if len(path) == 2 else self._below(kind, one, path[2], given)

    def _list(self, kind: str, query: dict[str, str], given: dict[str, Any]) -> tuple[int, Any]:
        if self.command == "POST":
            return 201, self.awx.create(kind, given)
        return 200, paged(self.awx.listed(kind, query), urlsplit(self.path).path, query)

    def _detail(self, kind: str, one: dict[str, Any], given: dict[str, Any]) -> tuple[int, Any]:
        if self.command == "PATCH":
            return 200, self.awx.change(kind, one, given)
        if self.command == "DELETE":
            return self.awx.remove(kind, one["id"]), None
        return 200, self.awx.shown(kind, one)

    def _below(self, kind: str, one: dict[str, Any], name: str, given: dict[str, Any]) -> tuple[int, Any]:
        if name == "survey_spec":
            return 200, self.awx.set_survey(one, given) if self.command == "POST" else self.awx.survey(one)
        if name == "playbooks":
            return 200, sorted(self.awx.playbooks) if one["id"] in self.awx.synced else []
        if name == "update":
            return 202, self.awx.start_update(one)
        if name == "create_approval_template":
            return 201, self.awx.approve(one, given)
        if self.command == "POST":
            self.awx.associate(one, name, given)
            return 204, None
        links = self.awx.links.get((one["id"], name), [])
        found = [self.awx.shown(ASSOCIATIONS[name], self.awx.objects[ASSOCIATIONS[name]][each]) for each in links]
        where = urlsplit(self.path)
        return 200, paged(found, where.path, dict(parse_qsl(where.query)))


class Server:
    """An AWX on a free port of the loopback interface, as a context."""

    def __init__(self, awx: Awx) -> None:
        handler = type("Bound", (Handler,), {"awx": awx})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Server:
        """Serve."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
