"""A stand-in for AWX's REST API that refuses what a real AWX refuses.

Only what awx.awx asks for while it applies awx/. The rules are AWX's own (awx/main/fields.py, awx/api/serializers.py,
awx/main/models); each answers 400 with a reason. It keeps everything in memory.
"""

from __future__ import annotations

import base64
import http.server
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

TOKEN = "token-of-the-administrator"
USER, PASSWORD = "admin", "password-of-the-administrator"
READER = "token-of-a-reader"
NOTIFICATION_KEYS = {"url", "http_method", "headers", "username", "password", "disable_ssl_verification"}

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
        {"description": "", "kind": "", "variables": "", "host_filter": None},
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


class Refused(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = body


def bad(name: str, why: str) -> Refused:
    """The answer to a field that is wrong."""
    return Refused(400, {name: [why]})


def check_rrule(text: str) -> None:
    """Raise Refused unless AWX takes the rule: a start with a zone, one rule, an interval."""
    if not re.search(r"DTSTART(;TZID=[A-Za-z_/]+:\d{8}T\d{6}|:\d{8}T\d{6}Z)", text):
        raise bad("rrule", "Valid DTSTART required in rrule. Value should start with: DTSTART:YYYYMMDDTHHMMSSZ")
    if text.count("RRULE:") != 1:
        raise bad("rrule", "One RRULE required in rrule.")
    rule = dict(part.split("=", 1) for part in text.split("RRULE:")[1].split(";") if "=" in part)
    if rule.get("FREQ") not in ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY"):
        raise bad("rrule", "FREQ is not supported.")
    if not rule.get("INTERVAL", "").isdigit():
        raise bad("rrule", "INTERVAL required in rrule.")
    if "COUNT" in rule and "UNTIL" in rule:
        raise bad("rrule", "RRULE may not contain both COUNT and UNTIL")


def check_survey(survey: Mapping[str, Any]) -> None:
    """Raise Refused unless AWX takes the survey."""
    for key in ("name", "description", "spec"):
        if key not in survey:
            raise Refused(400, {"error": f"'{key}' missing from survey spec."})
    if not survey["spec"]:
        raise Refused(400, {"error": "'spec' doesn't contain any items."})
    seen = set()
    for at, question in enumerate(survey["spec"]):
        for key in ("type", "question_name", "variable", "required"):
            if key not in question:
                raise Refused(400, {"error": f"'{key}' missing from survey question {at}"})
        if question["variable"] in seen:
            raise Refused(400, {"error": f"'variable' '{question['variable']}' duplicated in survey question {at}."})
        seen.add(question["variable"])
        kind = question["type"]
        if kind not in ("text", "textarea", "password", "multiplechoice", "multiselect", "integer", "float"):
            raise Refused(400, {"error": f"'{kind}' in survey question {at} is not one of the question types."})
        default = question.get("default")
        if default not in (None, ""):
            right = {"integer": int, "float": (int, float)}.get(kind, str)
            if not isinstance(default, right):
                raise Refused(
                    400, {"error": f"Default value {default!r} for '{question['question_name']}' is of type."}
                )
        if kind in ("multiplechoice", "multiselect"):
            choices = question.get("choices") or []
            choices = choices.splitlines() if isinstance(choices, str) else choices
            if not choices or (default and set(str(default).splitlines()) - set(choices)):
                raise Refused(400, {"error": f"Survey question {at} of type {kind} must specify choices."})


class _Filenames:
    def __str__(self) -> str:
        raise TemplateError("Must define unnamed file injector in order to reference `tower.filename`.")


class _Tower:
    def __init__(self) -> None:
        self.filename: Any = _Filenames()


def check_credential_type(new: Mapping[str, Any]) -> None:
    """Raise Refused unless AWX takes the fields and can render the injectors."""
    fields = new["inputs"].get("fields", [])
    allowed = {
        "id",
        "label",
        "type",
        "choices",
        "help_text",
        "multiline",
        "secret",
        "ask_at_runtime",
        "default",
        "format",
    }
    for one in fields:
        if set(one) - allowed or not {"id", "label"} <= set(one) or one["id"] == "tower":
            raise bad("inputs", f"field {one.get('id')} is not valid")
        if one.get("type", "string") not in ("string", "boolean") or ("choices" in one and not one["choices"]):
            raise bad("inputs", f"{one['id']}: type or choices")
    if set(new["injectors"]) - {"file", "env", "extra_vars"}:
        raise bad("injectors", "Additional properties are not allowed")
    tower = _Tower()
    files = new["injectors"].get("file", {})
    if "template" in files:
        tower.filename = "FILE"
        if len(files) > 1:
            raise bad("injectors", "Must use multi-file syntax when injecting multiple files")
    for name in files:
        if "." in name:
            setattr(tower.filename, name.split(".", 1)[1], "FILE")
    namespace = {one["id"]: "EXAMPLE" for one in fields} | {"tower": tower}
    sandbox = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    for kind, injector in new["injectors"].items():
        for name, template in injector.items():
            if kind == "env" and name.startswith("ANSIBLE_"):
                raise bad("injectors", f"Environment variable {name} is not allowed")
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
    requests: list[tuple[str, str]] = field(default_factory=list)
    last: int = 0

    def __post_init__(self) -> None:
        """What a new AWX has."""
        self.add("organizations", {"name": "Default"})
        for name in ("Red Hat Ansible Automation Platform", "Amazon Web Services", "Source Control"):
            self.add("credential_types", {"name": name, "managed": True})

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
        if kind == "projects":
            summary["last_update"] = {"status": "successful"}
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
        for name, value in query.items():
            if name in ("page_size", "page", "order_by"):
                continue
            actual, where = item, kind
            parts = name.removeprefix("or__").split("__")
            for part in parts:
                actual, where = self._step(where, actual, part, deeper=part is not parts[-1])
            if str(actual) != value:
                return False
        return True

    def _step(self, kind: str, item: Any, part: str, deeper: bool) -> tuple[Any, str]:
        """One part of a filter's name: (the value, the kind of object it is)."""
        if part == "type":
            return UNIFIED.get(kind, kind[:-1]), kind
        if part == "organization" and kind in ("inventory_sources", "workflow_approval_templates"):
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
        own, references = KINDS[kind]
        self._check(kind, {"id": 0, "name": "", **own, **dict.fromkeys(references), **given}, given)
        made = self.add(kind, {name: value for name, value in given.items() if name != "type"})
        if kind == "projects":
            self._sync(made)
        return self.shown(kind, made)

    def change(self, kind: str, one: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        """PATCH of an object."""
        if kind == "workflow_approval_templates":
            given = {name: value for name, value in given.items() if name in one}
        self._check(kind, {**one, **given}, given)
        one.update(given)
        return self.shown(kind, one)

    def _sync(self, project: dict[str, Any]) -> None:
        self.synced.add(project["id"])
        project["scm_revision"] = "0123456789abcdef"

    def _check(self, kind: str, new: dict[str, Any], given: Mapping[str, Any]) -> None:
        own, references = KINDS[kind]
        given = {name: value for name, value in given.items() if name != "type"}
        for name in given:
            if name not in own and name not in references and name != "name":
                raise bad(name, f"{kind} has no such field")
        for name, to in references.items():
            if new[name] is not None and self.find(to, new[name]) is None:
                raise bad(name, f'Invalid pk "{new[name]}" - object does not exist.')
        for other in self.objects[kind].values():
            scope = (
                "organization",
                "inventory",
                "unified_job_template",
                "project",
                "workflow_job_template",
                "identifier",
            )
            same = all(other.get(part) == new.get(part) for part in scope if part in other)
            if other["id"] != new["id"] and other["name"] == new["name"] and same:
                raise Refused(400, {"__all__": [f"{kind} with this name already exists."]})
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
            raise bad("inputs", "Additional properties are not allowed")

    def _check_execution_environments(self, new: Mapping[str, Any]) -> None:
        if not new["image"]:
            raise bad("image", "This field may not be blank.")
        if new["pull"] not in ("", "always", "missing", "never"):
            raise bad("pull", "is not a valid choice")

    def _check_projects(self, new: Mapping[str, Any]) -> None:
        if new["scm_type"] == "git" and not re.match(r"(https?|ssh|git|file)://|[\w.-]+@[\w.-]+:", new["scm_url"]):
            raise bad("scm_url", "Invalid SCM URL")

    def _check_inventories(self, new: Mapping[str, Any]) -> None:
        if new["organization"] is None:
            raise bad("organization", "This field is required.")

    def _check_inventory_sources(self, new: Mapping[str, Any]) -> None:
        if new["source"] == "scm":
            if new["source_project"] is None:
                raise bad("source_project", "Project required for scm type sources.")
            if new["source_path"] not in self.inventories:
                raise bad("source_path", f"{new['source_path']} is not offered as an inventory of the project")
        elif new["source_path"]:
            raise bad("source_path", "Cannot set source_path if not SCM type.")

    def _check_notification_templates(self, new: Mapping[str, Any]) -> None:
        missing = {"url", "headers"} - set(new["notification_configuration"])
        extra = set(new["notification_configuration"]) - NOTIFICATION_KEYS
        if new["notification_type"] != "webhook" or missing or extra:
            raise bad("notification_configuration", f"Missing or unknown: {sorted(missing | extra)}")
        for name, default in (
            ("http_method", "POST"),
            ("username", ""),
            ("password", ""),
            ("disable_ssl_verification", False),
        ):
            new["notification_configuration"].setdefault(name, default)

    def _check_job_templates(self, new: Mapping[str, Any]) -> None:
        if new["job_type"] not in ("run", "check"):
            raise bad("job_type", "is not a valid choice")
        if new["project"] is None:
            raise bad("project", "This field is required.")
        if new["inventory"] is None:
            raise bad("inventory", "An inventory is required or it must be asked for on launch.")
        if new["project"] not in self.synced or new["playbook"] not in self.playbooks:
            raise bad("playbook", "Playbook not found for project.")

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
        if unknown and not template.get("ask_variables_on_launch"):
            raise bad("extra_data", f"Variables {sorted(unknown)} are not allowed on launch.")
        missing = [name for name, question in questions.items() if question["required"] and name not in answers]
        if complete and missing:
            raise Refused(400, {"variables_needed_to_start": [f"'{name}' value missing" for name in missing]})
        for name, value in answers.items():
            question = questions.get(name, {})
            if question.get("type") == "text" and len(str(value)) < int(question.get("min") or 0):
                raise Refused(400, {"variables_needed_to_start": [f"'{name}' value is too small"]})

    # ------------------------------------------------------------ below an object

    def set_survey(self, one: dict[str, Any], survey: dict[str, Any]) -> dict[str, Any]:
        """POST to survey_spec."""
        check_survey(survey)
        self.surveys[one["id"]] = survey
        return {}

    def associate(self, one: dict[str, Any], name: str, given: Mapping[str, Any]) -> None:
        """POST to a list below an object."""
        links = self.links.setdefault((one["id"], name), [])
        identity = int(given["id"])
        if given.get("disassociate"):
            links.remove(identity)
            return
        target = self.find(ASSOCIATIONS[name], identity)
        if target is None:
            raise Refused(400, {"detail": "object does not exist"})
        if name == "credentials":
            kinds = {self.objects["credentials"][each]["credential_type"] for each in links}
            if target["credential_type"] in kinds:
                raise Refused(400, {"error": "Cannot assign multiple credentials of one type."})
        if name in NEXT_NODES:
            self._check_edge(one, target, name)
        links.append(identity)

    def _check_edge(self, one: Mapping[str, Any], target: Mapping[str, Any], name: str) -> None:
        if one["workflow_job_template"] != target["workflow_job_template"]:
            raise Refused(400, {"detail": "Nodes of two workflows cannot be joined."})
        for other in NEXT_NODES:
            if other != name and target["id"] in self.links.get((one["id"], other), []):
                raise Refused(400, {"Error": "Relationship not allowed."})
        if one["id"] in self._reached(target["id"]):
            raise Refused(400, {"Error": "Cycle detected."})

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

    def remove(self, kind: str, identity: int) -> None:
        """DELETE, with what hangs on the object."""
        if kind == "labels":
            raise Refused(405, {"detail": 'Method "DELETE" not allowed.'})
        if kind == "credential_types" and any(
            c["credential_type"] == identity for c in self.objects["credentials"].values()
        ):
            raise Refused(403, {"detail": "Credential types that are in use cannot be deleted"})
        gone = self.objects[kind].pop(identity)
        if kind == "workflow_job_template_nodes":
            self.objects["workflow_approval_templates"].pop(gone["unified_job_template"], None)
        for key in [key for key in self.links if key[0] == identity]:
            del self.links[key]
        for links in self.links.values():
            links[:] = [each for each in links if each != identity]
        for other, (_, references) in KINDS.items():
            for item in list(self.objects[other].values()):
                owned = other in ("workflow_job_template_nodes", "schedules", "inventory_sources")
                for name in references:
                    if (
                        item[name] == identity
                        and owned
                        and name in ("workflow_job_template", "unified_job_template", "inventory")
                    ):
                        if item["id"] in self.objects[other]:
                            self.remove(other, item["id"])
                    elif item[name] == identity:
                        item[name] = None


class Handler(http.server.BaseHTTPRequestHandler):
    """HTTP in front of `awx`."""

    awx: Awx

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests read `awx.requests`."""

    def answer(self, status: int, body: Any) -> None:
        """Send JSON."""
        text = b"" if status == 204 else json.dumps(body).encode()
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
            return 200, {
                "id": 1,
                "status": "successful",
                "finished": True,
                "failed": False,
                "scm_revision": "0123456789abcdef",
            }
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
        found = self.awx.listed(kind, query)
        return 200, {"count": len(found), "next": None, "previous": None, "results": found}

    def _detail(self, kind: str, one: dict[str, Any], given: dict[str, Any]) -> tuple[int, Any]:
        if self.command == "PATCH":
            return 200, self.awx.change(kind, one, given)
        if self.command == "DELETE":
            self.awx.remove(kind, one["id"])
            return 204, None
        return 200, self.awx.shown(kind, one)

    def _below(self, kind: str, one: dict[str, Any], name: str, given: dict[str, Any]) -> tuple[int, Any]:
        if name == "survey_spec":
            return 200, self.awx.set_survey(one, given) if self.command == "POST" else self.awx.surveys.get(
                one["id"], {}
            )
        if name == "playbooks":
            return 200, sorted(self.awx.playbooks) if one["id"] in self.awx.synced else []
        if name == "update":
            self.awx._sync(one)
            return 202, {"id": 1, "status": "pending", "url": "/api/v2/project_updates/1/"}
        if name == "create_approval_template":
            return 201, self.awx.approve(one, given)
        if self.command == "POST":
            self.awx.associate(one, name, given)
            return 204, None
        links = self.awx.links.get((one["id"], name), [])
        found = [self.awx.shown(ASSOCIATIONS[name], self.awx.objects[ASSOCIATIONS[name]][each]) for each in links]
        return 200, {"count": len(found), "next": None, "results": found}


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
