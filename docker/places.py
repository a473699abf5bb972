"""Who may say where something lies: rules on paths, locations and sources that MLflow leaves open.

MLflow asks for a right on the experiment or model that a request names, and believes what the request says about the
place of its files. These rules make the place follow from the thing that was named.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import threading
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

Scope = MutableMapping[str, Any]

# The routes that carry a file's path below the server's root in their address.
_ARTIFACTS = re.compile(
    r"/(?:ajax-)?api/2\.0/mlflow-artifacts/(?P<family>artifacts|mpu/create|mpu/complete|mpu/abort|presigned)"
    r"(?:/(?P<path>.*))?",
    re.DOTALL,
)
_ASSISTANT = re.compile(r"/(?:ajax-)?api/3\.0/mlflow/assistant(/.*)?", re.DOTALL)
_API = re.compile(r"/(?:ajax-)?api/[0-9.]+(/mlflow/.*)", re.DOTALL)
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
# JSON's escape for the character NUL, with an even number of backslashes before it.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# What a method does with an artifact, in MLflow's words for rights.
_RIGHTS = {"GET": "can_read", "HEAD": "can_read", "PUT": "can_update", "POST": "can_update", "DELETE": "can_manage"}
# Where the server reads a trace from, and deletes it.
TRACE_PLACES = ("mlflow.artifactLocation", "mlflow.trace.archiveLocation")


class Refusal(NamedTuple):
    """An answer in the form of MLflow's errors."""

    status: int
    code: str
    sentence: str


def forbidden(sentence: str) -> Refusal:
    return Refusal(403, "PERMISSION_DENIED", sentence)


def wrong(sentence: str) -> Refusal:
    return Refusal(400, "INVALID_PARAMETER_VALUE", sentence)


def streams(scope: Scope) -> bool:
    """Whether MLflow passes the body on as it comes: the upload of an artifact."""
    found = _ARTIFACTS.fullmatch(scope["path"])
    return scope["method"] == "PUT" and found is not None and found["family"] == "artifacts" and bool(found["path"])


def unprefixed(scope: Scope, prefix: str) -> Scope:
    """The same request without the static prefix where it is for an artifact: MLflow streams only those without."""
    path = scope["path"]
    if not prefix or not path.startswith(prefix):
        return scope
    rest = path[len(prefix) :]
    if not streams({**scope, "path": rest}):
        return scope
    return {**scope, "path": rest, "raw_path": scope.get("raw_path", path.encode())[len(prefix) :]}


def refuse_name(scope: Scope, path: str) -> Refusal | None:
    """Refuse a file that would be stored under another name than the client's, where the request shows it."""
    if scope["method"] == "PUT" and scope.get("query_string"):
        return wrong(
            f"The name of the artifact {path!r} goes on after a question mark, which this client did not quote: "
            "rename the file."
        )
    return refuse_escapes(path) if scope["method"] in ("PUT", "POST") else None


def refuse_escapes(path: str) -> Refusal | None:
    """Refuse a name that MLflow would decode once more."""
    if not _ESCAPED.search(path):
        return None
    return wrong(
        f"The artifact {path!r} would be stored as {unquote(path)!r}: rename the file, without a percent sign before "
        "two digits."
    )


class Rules:
    """The rules for one server. `administrator` says whether who asks is one; `auth` is MLflow's module of that name,
    None in a server without logins."""

    def __init__(self, administrator: Callable[[], bool], auth: Any, prefix: str = "") -> None:
        self._administrator, self._auth, self._prefix = administrator, auth, prefix
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}

    # Rules on the address, before the body is read.

    async def of_address(self, caller: Any, scope: Scope) -> Refusal | None:
        """The refusal that follows from method, path and query."""
        address = scope["path"].removeprefix(self._prefix)
        if _ASSISTANT.fullmatch(address):
            return forbidden("The assistant works for a server on one's own machine only.")
        found = _ARTIFACTS.fullmatch(address)
        if found is None:
            return None
        path = found["path"] or ""
        refused = refuse_name(scope, path)
        if refused is not None or caller.administrator or self._auth is None:
            return refused
        asked = path or parse_qs(scope["query_string"].decode("latin-1")).get("path", [""])[0]
        return await asyncio.to_thread(self._of_artifact, caller.name, scope["method"], asked)

    def _of_artifact(self, name: str, method: str, path: str) -> Refusal | None:
        """Refuse an artifact that lies in no experiment's folder that the caller has the right for.

        MLflow knows an experiment by the number that the path begins with, and gives the default right on all other
        paths: those of experiments with a location of their own.
        """
        auth = self._auth
        canonical = auth._canonical_artifact_proxy_path(path) if path else ""
        if canonical is None or auth._experiment_id_from_canonical_proxy_path(canonical) is not None:
            # MLflow refuses, or asks for the right on the experiment.
            return None
        needed = _RIGHTS.get(method, "can_manage")
        owners = self.owners(canonical.strip("/")) if canonical.strip("/") not in ("", ".") else []
        if owners and all(getattr(auth._get_experiment_permission(one, name), needed) for one in owners):
            return None
        return forbidden(f"The artifact path {path!r} is in no experiment that you have the right for.")

    def owners(self, path: str) -> list[str]:
        """The experiments in whose location, in the server's own root, `path` lies, or that lie below it."""
        found = overlapping(self._known, path)
        if not found:
            with self._lock:
                self._known = dict(own_locations(every_experiment(self._store())))
            found = overlapping(self._known, path)
        return found

    @staticmethod
    def _store() -> Any:
        return importlib.import_module("mlflow.server.handlers")._get_tracking_store()

    # Rules on the body. Flask calls them after MLflow's own, so who asks has the right for what the request names.

    def install(self, app: Any) -> None:
        """Make Flask ask these rules before each request, and MLflow's store refuse tags that move a trace."""
        app.before_request(self.of_request)
        if self._auth is not None:
            # Flask asks the last one first: before MLflow gives the maker the right on what was made.
            app.after_request(self.made)
        store: Any = importlib.import_module("mlflow.store.tracking.sqlalchemy_store")
        check = store._validate_trace_tag

        def guarded(key: str, value: str) -> Any:
            if key in TRACE_PLACES:
                raise importlib.import_module("mlflow.exceptions").MlflowException.invalid_parameter_value(
                    f"The tag {key} says where the server keeps a trace: only the server sets it."
                )
            return check(key, value)

        store._validate_trace_tag = guarded

    def of_request(self) -> Any:
        """Flask's hook: a response, or None for a request that may go on."""
        flask = importlib.import_module("flask")
        refused = self._of_body(flask.request)
        if refused is None:
            return None
        body = json.dumps({"error_code": refused.code, "message": refused.sentence})
        return flask.Response(body, status=refused.status, mimetype="application/json")

    def made(self, response: Any) -> Any:
        """Remove the rights on a new experiment's number that are older than it.

        SQLite gives the numbers of experiments that are gone out again.
        """
        flask = importlib.import_module("flask")
        if not flask.request.path.endswith("/mlflow/experiments/create") or response.status_code != 200:
            return response
        number = str(response.get_json()["experiment_id"])
        kind = importlib.import_module("mlflow.server.auth.db.models").SqlRolePermission
        with self._auth.store.ManagedSessionMaker(read_only=False) as session:
            for name, what in (
                ("experiment", kind.resource_pattern == number),
                ("scorer", kind.resource_pattern.startswith(f"{number}/", autoescape=True)),
            ):
                session.query(kind).filter(kind.resource_type == name, what).delete(synchronize_session=False)
        return response

    def _of_body(self, request: Any) -> Refusal | None:
        found = _API.search(request.path)
        route = found[1] if found else ""
        if route == "/mlflow/upload-artifact":
            return self._upload(request)
        if route in ("/mlflow/roles/list", "/mlflow/roles/get", "/mlflow/roles/permissions/list"):
            return self._roles(request, route)
        if request.method in ("POST", "PATCH", "PUT") and has_nul(request.get_data()):
            return wrong("The request's text has the character NUL, which the database cannot keep: leave it out.")
        if request.method == "POST" and route == "/mlflow/experiments/create":
            return self._experiment()
        if request.method == "POST" and route == "/mlflow/model-versions/create":
            return self._model_version()
        if request.method in ("POST", "PATCH") and re.fullmatch(r"/mlflow/traces(/[^/]+)?", route):
            return self._trace(request, route)
        return None

    @staticmethod
    def _message(name: str, module: str = "service_pb2") -> Any:
        """The request as MLflow reads it, which takes more than one spelling of a field."""
        handlers = importlib.import_module("mlflow.server.handlers")
        return handlers._get_request_message(getattr(importlib.import_module(f"mlflow.protos.{module}"), name)())

    def _roles(self, request: Any, route: str) -> Refusal | None:
        """Refuse a list of rights, with the names of what is denied, to who may not change them."""
        auth = self._auth
        if auth is None or self._administrator():
            return None
        if route == "/mlflow/roles/list":
            user = auth.store.get_user(auth.authenticate_request().username)
            asked = {one.strip() for one in request.args.getlist("workspace")}
            allowed = asked <= set(auth.store.list_workspace_admin_workspaces(user.id))
        else:
            allowed = auth.validate_can_manage_roles()
        return (
            None if allowed else forbidden("Only who administers rights may list them; your own are in your account.")
        )

    def _experiment(self) -> Refusal | None:
        location = self._message("CreateExperiment").artifact_location
        if not location:
            return None
        if is_local(location):
            return wrong(
                f"artifact_location {location!r} is on the server's own disk, which is no store: leave it out."
            )
        if not self._administrator():
            return forbidden(
                f"artifact_location {location!r}: only an administrator says where an experiment's artifacts lie; "
                "leave it out, and the server puts them into its own store."
            )
        return None

    def _model_version(self) -> Refusal | None:
        handlers = importlib.import_module("mlflow.server.handlers")
        message = self._message("CreateModelVersion", "model_registry_pb2")
        source = message.source
        # Whose right on the run, model or prompt MLflow has asked for.
        followed = urlsplit(source).scheme in ("runs", "models") or source in handlers._PROMPT_SOURCE_PLACEHOLDERS
        if not source or followed or self._administrator():
            return None
        roots = []
        if message.run_id:
            roots.append(self._store().get_run(message.run_id).info.artifact_uri)
        if message.model_id:
            roots.append(self._store().get_logged_model(message.model_id).artifact_location)
        if any(handlers._is_uri_within_root(source, root) for root in roots):
            return None
        return forbidden(
            f"source {source!r} is not within the artifacts of the run_id or model_id of the request: give the run or "
            "model that it comes from, or ask an administrator."
        )

    def _trace(self, request: Any, route: str) -> Refusal | None:
        """Refuse tags that say where a trace lies, unless they say what is so already, as older clients do."""
        tags = list(place_tags(request.get_json(silent=True, force=True)))
        if not tags:
            return None
        try:
            held = self._store().get_trace_info(route.rpartition("/")[2]).tags
        except importlib.import_module("mlflow.exceptions").MlflowException:
            held = {}
        for key, value in tags:
            if held.get(key) != value:
                return wrong(f"The tag {key} says where the server keeps a trace: only the server sets it.")
        return None

    def _upload(self, request: Any) -> Refusal | None:
        """Refuse an upload by the page's route to a run whose artifacts are not where this route writes."""
        run_id = request.args.get("run_uuid")
        if not run_id:
            return None
        refused = refuse_escapes(request.args.get("path", ""))
        if refused is not None:
            return refused
        info = self._store().get_run(run_id).info
        parts = urlsplit(info.artifact_uri)
        if parts.scheme != "mlflow-artifacts" or parts.path.strip("/") == f"{info.experiment_id}/{run_id}/artifacts":
            return None
        return wrong(
            f"The artifacts of run {run_id} are in {info.artifact_uri}, where this address does not write: "
            "upload with MLflow's client."
        )


def has_nul(body: bytes) -> bool:
    return b"\\u0000" in body and _NUL.search(body) is not None


def is_local(location: str) -> bool:
    return urlsplit(location).scheme.lower() in ("", "file")


def overlapping(locations: dict[str, str], path: str) -> list[str]:
    """The experiments (by number) whose location holds `path` or lies below it."""
    below = f"{path}/"
    return [
        one
        for one, root in locations.items()
        if not root or below.startswith(f"{root}/") or f"{root}/".startswith(below)
    ]


def own_locations(experiments: Iterable[Any]) -> Iterable[tuple[str, str]]:
    """Number and path of each experiment whose artifacts lie in the server's own root."""
    for one in experiments:
        parts = urlsplit(one.artifact_location or "")
        if parts.scheme == "mlflow-artifacts":
            yield one.experiment_id, parts.path.strip("/")


def every_experiment(store: Any) -> Iterable[Any]:
    everything = importlib.import_module("mlflow.entities").ViewType.ALL
    token = None
    while True:
        page = store.search_experiments(view_type=everything, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def place_tags(given: Any) -> Iterable[tuple[str, Any]]:
    """Key and value of each tag in a request that says where a trace lies, in any of MLflow's ways to write tags."""
    if isinstance(given, list):
        for one in given:
            yield from place_tags(one)
    elif isinstance(given, dict):
        if given.get("key") in TRACE_PLACES:
            yield given["key"], given.get("value")
        for key, value in given.items():
            if key in TRACE_PLACES:
                yield key, value
            yield from place_tags(value)
