"""Rights hold on every route of the real server: what is denied to a user is neither read nor written by any way round.

`mlflow_routes.txt` has a line for each route of MLflow: method, path without the version of the API, what is expected
for bob, who is denied all that is ada's, and the request that he sends (a query for GET and DELETE, else JSON).

    public    answered without a login
    denied    403 or 404
    admin     the same, for everybody but an administrator
    assistant the same, for everybody
    filtered  200, with nothing of ada's
    own       what it answers is bob's own, or nobody's
    closed    the feature is off in this server, or the id that it takes exists for nobody
    outside   asks a site outside, tried only without a login
    otlp, graphql: protocols of their own, tried in tests of their own

Whatever is answered, it has no word of ada's secrets, and afterwards everything of hers is as it was.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from local import config
from tests import served
from tests.image import engine

pytestmark = served.needs_server

HERE = Path(__file__).parent
ADA, BOB = ("ada", "password-of-ada-x"), ("bob", "password-of-bob-x")
SECRET = "secret-of-ada"
V2, V3 = "/api/2.0/mlflow", "/api/3.0/mlflow"


class Row(NamedTuple):
    kind: str
    request: str


def table() -> dict[tuple[str, str], Row]:
    rows = {}
    for line in (HERE / "mlflow_routes.txt").read_text().splitlines():
        method, path, kind, *request = line.split(" ", 3)
        rows[method, path] = Row(kind, request[0] if request else "")
    return rows


TABLE = table()


def bare(path: str) -> str:
    """A route's path without the version of the API."""
    return re.sub(r"^/(ajax-)?api/\d\.\d", "", path)


class World(NamedTuple):
    """A server, what ada has there by the names of the table, and every route of MLflow."""

    server: served.Served
    ids: dict[str, str]
    routes: list[tuple[str, str]]

    def send(self, who: tuple[str, str] | None, method: str, path: str) -> Any:
        """Send a route's request with ada's ids in it."""
        fields: dict[str, Any] = json.loads(self.filled(TABLE[method, bare(path)].request) or "{}")
        address = re.sub(r"<(\w+)>", lambda found: self.ids.get(found[1], "x"), path)
        more: dict[str, Any] = {"params": fields} if method in ("GET", "DELETE") else {"json": fields}
        if bare(path) == "/mlflow/upload-artifact":
            more = {"params": fields, "data": b"stolen"}
        if method == "PUT" and "/mlflow-artifacts/" in path:
            more = {"data": b"stolen"}
        if method == "DELETE" and "/mlflow-artifacts/" not in path:
            more["json"] = fields
        return self.server.call(who, method, address, allow_redirects=False, **more)

    def filled(self, text: str) -> str:
        ids = {**self.ids, "new": f"new-{time.monotonic_ns()}"}
        return re.sub(r"\{(\w+)\}", lambda found: ids.get(found[1], found[0]), text)


@pytest.fixture(scope="module")
def storage() -> Iterator[engine.S3]:
    with engine.s3() as found:
        yield found


def all_routes(storage: engine.S3, folder: Path) -> list[tuple[str, str]]:
    ini = folder / "auth.ini"
    ini.write_text(f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/x.db\n")
    env = served.environment(folder, 1, storage)
    env |= {
        "_MLFLOW_SGI_NAME": "uvicorn",
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/x.db",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_AUTH_CONFIG_PATH": str(ini),
        "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
    }
    program = config.ROOT / "tests" / "mlflow_routes.py"
    done = subprocess.run(
        [config.SERVER_PYTHON, "-W", "ignore", program],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [(method, path) for method, path in json.loads(done.stdout.splitlines()[-1])]


def cheap_passwords(server: served.Served) -> None:
    """Give every user a hash that costs nothing to check; what a check costs is in no test of this file."""
    program = (
        "import sys; from werkzeug.security import generate_password_hash as make\n"
        "for one in sys.argv[1:]: print(make(one, 'pbkdf2:sha256:1'))"
    )
    users = [served.ADMIN, ADA, BOB]
    hashes = subprocess.check_output([config.SERVER_PYTHON, "-c", program, *(one[1] for one in users)], text=True)
    with contextlib.closing(sqlite3.connect(server.folder / "mlflow.db", timeout=30)) as database, database:
        for (name, _), made in zip(users, hashes.split(), strict=True):
            database.execute("UPDATE users SET password_hash = ? WHERE username = ?", (made, name))


def furnish(server: served.Served) -> dict[str, str]:
    """Make what ada has; everything has the secret in it."""
    for name, password in (ADA, BOB):
        server.made(served.ADMIN, "users/create", username=name, password=password)
    cheap_passwords(server)
    tags = [{"key": "k", "value": SECRET}]

    def three(path: str, **fields: Any) -> Any:
        answer = server.call(ADA, "POST", f"{V3}/{path}", json=fields)
        assert answer.status_code < 300, (path, answer.text)
        return answer.json()

    e = server.made(ADA, "experiments/create", name="ada", tags=tags)["experiment_id"]
    run = server.made(ADA, "runs/create", experiment_id=e, tags=tags, run_name=SECRET)["run"]
    r = run["info"]["run_id"]
    server.made(ADA, "runs/log-metric", run_id=r, key="loss", value=1234.5678, timestamp=1)
    server.made(ADA, "runs/log-parameter", run_id=r, key="p", value=SECRET)
    m = server.made(ADA, "logged-models", experiment_id=e, name="net", tags=tags)["model"]["info"]["model_id"]
    paths = {"artifact_path": f"{e}/{r}/artifacts/a.txt", "model_file": f"{e}/models/{m}/artifacts/a.txt"}
    for path in paths.values():
        assert server.call(ADA, "PUT", f"/api/2.0/mlflow-artifacts/artifacts/{path}", data=SECRET.encode()).ok
    server.made(ADA, "registered-models/create", name="ada-model", description=SECRET, tags=tags)
    source = {"source": f"mlflow-artifacts:/{e}/{r}/artifacts", "run_id": r}
    server.made(ADA, "model-versions/create", name="ada-model", description=SECRET, tags=tags, **source)
    server.made(ADA, "registered-models/alias", name="ada-model", alias="best", version="1")
    prompt = [{"key": "mlflow.prompt.is_prompt", "value": "true"}, {"key": "mlflow.prompt.text", "value": SECRET}]
    server.made(ADA, "registered-models/create", name="ada-prompt", tags=prompt)
    server.made(ADA, "model-versions/create", name="ada-prompt", source="prompt-template", tags=prompt)
    location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": e}}
    t = three(
        "traces",
        trace={
            "trace_info": {
                "trace_id": "tr-of-ada",
                "trace_location": location,
                "request_time": "2026-01-01T00:00:00Z",
                "state": "OK",
                "request_preview": SECRET,
                "tags": {"k": SECRET},
            }
        },
    )["trace"]["trace_info"]["trace_id"]
    source_of = {"source_type": "HUMAN", "source_id": "ada"}
    judged = {"assessment_name": "a", "trace_id": t, "source": source_of, "feedback": {"value": SECRET}}
    a = three(f"traces/{t}/assessments", assessment=judged)["assessment"]["assessment_id"]
    d = three("datasets/create", name="ada-set", experiment_ids=[e], tags=json.dumps({"k": SECRET}))
    d = d["dataset"]["dataset_id"]
    three(f"datasets/{d}/records", records=json.dumps([{"inputs": {"q": SECRET}}]))
    secret = three("gateway/secrets/create", secret_name="ada-key", secret_value={"api_key": SECRET}, provider="openai")
    s = secret["secret"]["secret_id"]
    definition = {"name": "ada-definition", "secret_id": s, "provider": "openai", "model_name": SECRET}
    g = three("gateway/model-definitions/create", **definition)["model_definition"]["model_definition_id"]
    models = [{"model_definition_id": g, "linkage_type": "PRIMARY", "weight": 1}]
    endpoint = three("gateway/endpoints/create", name="ada-endpoint", model_configs=models)["endpoint"]["endpoint_id"]
    three("mcp-servers", name="com.ada/tool", description=SECRET)
    issue = three("issues", experiment_id=e, name="ada-issue", description=SECRET)["issue"]["issue_id"]
    schema = {"name": "ada-schema", "type": "FEEDBACK", "input": {"text": {}}, "instruction": SECRET}
    schema = three("label-schemas/create", experiment_id=e, **schema)
    queue = three("review-queues/create", experiment_id=e, name="ada-queue", queue_type="CUSTOM")
    ids = {
        **paths,
        **{"e": e, "experiment_id": e, "r": r, "m": m, "model_id": m, "t": t, "trace_id": t, "request_id": t},
        **{"assessment_id": a, "d": d, "dataset_id": d, "gw_secret": s, "gw_definition": g, "gw_endpoint": endpoint},
        **{"endpoint_name": "ada-endpoint", "issue_id": issue, "key": "k", "tag_key": "k", "name": "com.ada/tool"},
        "schema": next(iter(schema.values()))["schema_id"],
        "queue": next(iter(queue.values()))["queue_id"],
    }
    for kind, key in (
        ("experiment", e),
        ("registered_model", "ada-model"),
        ("prompt", "ada-prompt"),
        ("gateway_secret", s),
        ("gateway_model_definition", g),
        ("gateway_endpoint", endpoint),
        ("mcp_server", "com.ada/tool"),
    ):
        grant = {"username": "bob", "resource_type": kind, "resource_id": key, "permission": "DENY"}
        answer = server.call(served.ADMIN, "POST", f"{V3}/users/permissions/grant", json=grant)
        assert answer.ok, (kind, answer.text)
    own = server.made(BOB, "experiments/create", name="bob")["experiment_id"]
    ids["own"] = own
    ids["own_run"] = server.made(BOB, "runs/create", experiment_id=own)["run"]["info"]["run_id"]
    server.made(BOB, "registered-models/create", name="bob-model")
    return ids


@pytest.fixture(scope="module")
def world(storage: engine.S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("server")
    routes = all_routes(storage, tmp_path_factory.mktemp("routes"))
    with served.served(folder, storage) as server:
        yield World(server, furnish(server), routes)


def everything(world: World) -> dict[str, str]:
    """All that ada has, as she reads it."""
    ids, found = world.ids, {}
    for path, query in (
        ("experiments/get", {"experiment_id": ids["e"]}),
        ("runs/get", {"run_id": ids["r"]}),
        ("artifacts/list", {"run_id": ids["r"]}),
        ("registered-models/get", {"name": "ada-model"}),
        ("model-versions/get", {"name": "ada-model", "version": "1"}),
        ("registered-models/get", {"name": "ada-prompt"}),
        (f"logged-models/{ids['m']}", {}),
    ):
        answer = world.server.call(ADA, "GET", f"{V2}/{path}", params=query)
        assert answer.ok, (path, answer.text)
        found[f"{path} {query}"] = answer.text
    for path in (
        f"traces/{ids['t']}",
        f"datasets/{ids['d']}",
        f"datasets/{ids['d']}/records",
        f"gateway/secrets/get?secret_id={ids['gw_secret']}",
        f"gateway/model-definitions/get?model_definition_id={ids['gw_definition']}",
        f"gateway/endpoints/get?endpoint_id={ids['gw_endpoint']}",
        f"issues/{ids['issue_id']}",
        f"label-schemas/list?experiment_id={ids['e']}",
        f"review-queues/list?experiment_id={ids['e']}",
        "mcp-servers/com.ada/tool",
    ):
        answer = world.server.call(ADA, "GET", f"{V3}/{path}")
        assert answer.ok, (path, answer.text)
        found[path] = answer.text
    for key in world.server.objects("artifacts/"):
        if key.startswith(f"artifacts/{ids['e']}/"):
            found[key] = world.server.call(
                ADA, "GET", f"/api/2.0/mlflow-artifacts/artifacts/{key.removeprefix('artifacts/')}"
            ).text
    return found


def test_the_table_has_every_route(world: World) -> None:
    """A route that is new in MLflow has to be thought of: who may ask for it, and does it take a place?"""
    assert {(method, bare(path)) for method, path in world.routes} == set(TABLE)


def test_nobody_is_let_in(world: World) -> None:
    wrong = []
    for method, path in world.routes:
        status = world.send(None, method, path).status_code
        if (status == 401) is (TABLE[method, bare(path)].kind == "public"):
            wrong.append((method, path, status))
    assert wrong == []


@pytest.mark.parametrize("who", [("ada", "wrong"), ("nobody", "x"), ("", ""), ("ada", "")])
@pytest.mark.parametrize("path", ["/", f"{V2}/experiments/search", "/v1/traces", "/gateway/x", "/graphql", "/nothing"])
def test_a_wrong_password_is_none(world: World, who: tuple[str, str], path: str) -> None:
    assert world.server.call(who, "POST", path).status_code == 401


def fits(kind: str, status: int) -> bool:
    if kind in ("denied", "admin", "assistant"):
        return status in (403, 404)
    if kind == "filtered":
        return status == 200
    return kind in ("closed", "graphql") or status < 500


def test_what_is_denied_is_neither_read_nor_written(world: World) -> None:
    before, wrong, asked = everything(world), [], set()
    assert SECRET in "".join(before.values())
    for method, path in world.routes:
        route = method, bare(path)
        kind = TABLE[route].kind
        # The other versions of the API are the same function of MLflow's.
        if route in asked or kind == "outside":
            continue
        asked.add(route)
        answer = world.send(BOB, method, path)
        if not fits(kind, answer.status_code) or SECRET in answer.text or "1234.5678" in answer.text:
            wrong.append((method, path, kind, answer.status_code, answer.text[:150]))
    assert wrong == [], json.dumps(wrong, indent=1)
    assert everything(world) == before


def refused(answer: Any, *words: str) -> bool:
    """Whether the answer is a refusal in one sentence with these words, and not MLflow's traceback or page."""
    found = answer.json()
    message = found["message"]
    assert (answer.status_code, set(found)) in ((403, {"error_code", "message"}), (400, {"error_code", "message"}))
    assert [word for word in words if word not in message] == [], message
    return True


def places(ids: dict[str, str]) -> list[str]:
    """Where somebody could have artifacts put, or read from, who has no right there."""
    below = f"{ids['e']}/{ids['r']}/artifacts"
    return [
        f"mlflow-artifacts:/{below}",
        f"mlflow-artifacts:/{ids['e']}",
        "mlflow-artifacts:/",
        "mlflow-artifacts:/custom",
        f"mlflow-artifacts:///{below}",
        f"mlflow-artifacts:/x/../{below}",
        f"mlflow-artifacts:/%2e%2e/{below}",
        f"s3://{engine.BUCKET}/artifacts/{below}",
        f"S3://{engine.BUCKET}/artifacts/{below}",
        f"s3://{engine.BUCKET}/artifacts/custom",
        "s3://other-bucket/x",
        "file:///tmp/x",
        "/tmp/x",
        "x",
        "http://169.254.170.2/v2/credentials",
        f"http://127.0.0.1/api/2.0/mlflow-artifacts/artifacts/{below}",
        "dbfs:/x",
        "hdfs://host/x",
        "ftp://host/x",
    ]


@pytest.mark.parametrize("prefix", [V2, "/ajax-api/2.0/mlflow"])
@pytest.mark.parametrize("field", ["artifact_location", "artifactLocation"])
def test_users_do_not_say_where_an_experiment_lies(world: World, prefix: str, field: str) -> None:
    for number, place in enumerate(places(world.ids)):
        fields = {"name": f"elsewhere-{number}", field: place}
        answer = world.server.call(BOB, "POST", f"{prefix}/experiments/create", json=fields)
        assert answer.status_code in (400, 403), (place, answer.text)
    found = world.server.call(served.ADMIN, "GET", f"{V2}/experiments/search?max_results=1000").text
    assert "elsewhere" not in found


def test_the_refusal_of_a_location_says_the_remedy(world: World) -> None:
    fields = {"name": "elsewhere", "artifact_location": "mlflow-artifacts:/custom"}
    assert refused(world.server.post(BOB, "experiments/create", **fields), "'mlflow-artifacts:/custom'", "leave it out")
    fields["artifact_location"] = "file:///tmp/x"
    assert refused(world.server.post(served.ADMIN, "experiments/create", **fields), "disk", "leave it out")
    fields["artifact_location"] = ""
    assert world.server.post(BOB, "experiments/create", **fields).ok


def test_a_model_version_comes_from_what_its_maker_may_read(world: World) -> None:
    ids = world.ids
    named: list[dict[str, str]] = [{}, {"run_id": ids["own_run"]}, {"run_id": ids["r"]}, {"model_id": ids["m"]}]
    for place in [*places(ids), f"runs:/{ids['r']}/a.txt", f"models:/{ids['m']}", "models:/ada-model/1"]:
        for more in named:
            answer = world.server.post(BOB, "model-versions/create", name="bob-model", source=place, **more)
            assert answer.status_code in (400, 403, 404), (place, more, answer.text)
    mine = f"mlflow-artifacts:/{ids['own']}/{ids['own_run']}/artifacts/model"
    for source in (mine, f"runs:/{ids['own_run']}/model"):
        fields = {"name": "bob-model", "source": source, "run_id": ids["own_run"]}
        assert world.server.post(BOB, "model-versions/create", **fields).ok, source
    assert world.server.post(BOB, "model-versions/create", name="bob-model", source="models:/bob-model/1").ok
    fields = {"name": "bob-model", "source": f"s3://{engine.BUCKET}/artifacts/x"}
    assert refused(world.server.post(BOB, "model-versions/create", **fields), fields["source"], "run_id")
    fields["name"] = "ada-model"
    assert world.server.post(served.ADMIN, "model-versions/create", **fields).ok


def test_a_location_that_an_administrator_gave_has_the_experiments_rights(world: World) -> None:
    server = world.server
    made = server.made(served.ADMIN, "experiments/create", name="apart", artifact_location="mlflow-artifacts:/apart/1")
    number, path = made["experiment_id"], "/api/2.0/mlflow-artifacts/artifacts"

    def grant(user: str, permission: str) -> None:
        fields = {"username": user, "resource_type": "experiment", "resource_id": number, "permission": permission}
        assert server.call(served.ADMIN, "POST", f"{V3}/users/permissions/grant", json=fields).ok

    grant("ada", "EDIT")
    grant("bob", "DENY")
    # Not by ada: MLflow gives the default right on a path without an experiment's number, which is to read.
    assert server.call(served.ADMIN, "PUT", f"{path}/apart/1/run/a.txt", data=SECRET).ok
    assert server.call(ADA, "GET", f"{path}/apart/1/run/a.txt").text == SECRET
    for method, rest in (
        ("GET", "/apart/1/run/a.txt"),
        ("GET", "/apart%2f1/run/a.txt"),
        ("GET", "/apart//1/run/a.txt"),
        ("GET", "/apart/./1/run/a.txt"),
        ("GET", "/apart/%2531/run/a.txt"),
        ("GET", f"/apart/1/run/a.txt?path={world.ids['own']}/x"),
        ("PUT", "/apart/1/run/a.txt"),
        ("PUT", f"/apart/1/run/a.txt?path={world.ids['own']}/x"),
        ("DELETE", "/apart/1/run"),
        ("DELETE", "/apart"),
        ("GET", "?path=apart/1/run"),
        ("GET", "?path=apart"),
        ("GET", ""),
        ("GET", "?path=."),
    ):
        answer = server.call(BOB, method, f"{path}{rest}", data=b"x" if method == "PUT" else None)
        assert answer.status_code in (400, 403, 404), (method, rest, answer.text)
    for family in ("mpu/create", "mpu/complete", "mpu/abort"):
        fields = {"path": "a.txt", "num_parts": 1, "upload_id": "x", "parts": []}
        answer = server.call(BOB, "POST", f"/api/2.0/mlflow-artifacts/{family}/apart/1/run", json=fields)
        assert answer.status_code == 403, answer.text
    assert server.call(BOB, "GET", "/api/2.0/mlflow-artifacts/presigned/apart/1/run/a.txt").status_code == 403
    assert server.call(ADA, "GET", f"{path}/apart/1/run/a.txt").text == SECRET


def test_an_upload_by_the_page_is_where_the_runs_artifacts_are_or_nowhere(world: World) -> None:
    server = world.server
    fields = {"name": "page", "artifact_location": "mlflow-artifacts:/page"}
    number = server.made(served.ADMIN, "experiments/create", **fields)["experiment_id"]
    run = server.made(served.ADMIN, "runs/create", experiment_id=number)["run"]["info"]["run_id"]
    before = server.objects()
    address = "/ajax-api/2.0/mlflow/upload-artifact"
    answer = server.call(served.ADMIN, "POST", f"{address}?run_uuid={run}&path=t.json", data=b"{}")
    assert refused(answer, run, "mlflow-artifacts:/page", "client")
    mine = world.ids["own_run"]
    assert refused(server.call(BOB, "POST", f"{address}?run_uuid={mine}&path=a%2541.json", data=b"{}"), "aA.json")
    assert server.objects() == before
    assert server.call(BOB, "POST", f"{address}?run_uuid={mine}&path=t.json", data=b"{}").ok
    assert server.call(BOB, "GET", f"/get-artifact?run_uuid={mine}&path=t.json").text == "{}"


def test_nobody_moves_a_trace(world: World) -> None:
    server, ids = world.server, world.ids
    place = f"s3://{engine.BUCKET}/artifacts/{ids['e']}/{ids['r']}/artifacts"
    location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": ids["own"]}}
    info = {"trace_location": location, "request_time": "2026-01-01T00:00:00Z", "state": "OK"}
    for key in ("mlflow.artifactLocation", "mlflow.trace.archiveLocation"):
        trace = {"trace_info": {**info, "trace_id": f"tr-{key}", "tags": {key: place}}}
        assert refused(server.call(BOB, "POST", f"{V3}/traces", json={"trace": trace}), key)
        mine = {"trace_info": {**info, "trace_id": f"tr-mine-{key}"}}
        made = server.call(BOB, "POST", f"{V3}/traces", json={"trace": mine})
        assert made.ok, made.text
        for version in (V2, V3):
            tag = {"key": key, "value": place}
            answer = server.call(BOB, "PATCH", f"{version}/traces/tr-mine-{key}/tags", json=tag)
            assert answer.status_code == 400, answer.text
        ended = {"request_id": f"tr-mine-{key}", "timestamp_ms": 1, "status": "OK", "tags": [tag]}
        assert refused(server.call(BOB, "PATCH", f"{V2}/traces/tr-mine-{key}", json=ended), key)
        found = server.call(BOB, "GET", f"{V3}/traces/tr-mine-{key}").json()["trace"]["trace_info"]["tags"]
        assert place not in found.values()


def otlp(trace: int, tags: dict[str, str]) -> bytes:
    """A root span as protobuf, with tags for its trace."""
    program = (
        "import json, sys\n"
        "from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest as R\n"
        "r = R(); s = r.resource_spans.add().scope_spans.add().spans.add()\n"
        "s.trace_id = int(sys.argv[1]).to_bytes(16, 'big'); s.span_id = b'12345678'; s.name = 'x'\n"
        "s.start_time_unix_nano, s.end_time_unix_nano = 10**18, 10**18 + 1\n"
        "for k, v in json.loads(sys.argv[2]).items():\n"
        "    a = s.attributes.add(); a.key = 'mlflow.traceTag.' + k; a.value.string_value = v\n"
        "sys.stdout.buffer.write(r.SerializeToString())"
    )
    return subprocess.check_output([config.SERVER_PYTHON, "-c", program, str(trace), json.dumps(tags)])


def test_otlp_has_the_experiments_rights_and_moves_no_trace(world: World) -> None:
    server, ids = world.server, world.ids
    place = f"s3://{engine.BUCKET}/artifacts/{ids['e']}"
    body = otlp(7, {"mlflow.artifactLocation": place, "mlflow.trace.archiveLocation": place, "colour": "red"})

    def send(who: tuple[str, str] | None, experiment: str) -> Any:
        headers = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": experiment}
        return server.call(who, "POST", "/v1/traces", data=body, headers=headers)

    assert send(None, ids["own"]).status_code == 401
    assert send(BOB, ids["e"]).status_code == 403
    assert send(BOB, ids["own"]).ok
    found = server.call(BOB, "GET", f"{V3}/traces/tr-{7:032x}").json()["trace"]["trace_info"]["tags"]
    assert found["colour"] == "red"
    assert place not in found.values()


@pytest.mark.parametrize(
    "query",
    [
        'mlflowGetExperiment(input: {experimentId: "%(e)s"}) { experiment { name tags { value } } }',
        'mlflowGetRun(input: {runId: "%(r)s"}) { run { data { params { value } tags { value } } } }',
        'mlflowSearchRuns(input: {experimentIds: ["%(e)s"]}) { runs { data { params { value } } } }',
        'mlflowListArtifacts(input: {runId: "%(r)s"}) { files { path } }',
        "mlflowSearchModelVersions(input: {filter: \"name = 'ada-model'\"}) { modelVersions { name description } }",
        'mlflowGetMetricHistoryBulkInterval(input: {runIds: ["%(r)s"], metricKey: "loss"}) { metrics { value } }',
    ],
)
def test_graphql_has_the_same_rights(world: World, query: str) -> None:
    body = {"query": f"query q {{ {query % world.ids} }}"}
    mine = world.server.call(ADA, "POST", "/graphql", json=body)
    assert mine.ok and not (mine.json().get("errors") and not mine.json().get("data")), mine.text
    theirs = world.server.call(BOB, "POST", "/graphql", json=body).text
    for word in (SECRET, "1234.5678", "a.txt", "ada-model"):
        assert word not in theirs, theirs


def test_a_nul_is_one_sentence(world: World) -> None:
    fields = {"run_id": world.ids["own_run"], "key": "k", "value": "a\0b"}
    for path in ("runs/set-tag", "runs/log-parameter"):
        assert refused(world.server.post(BOB, path, **fields), "NUL")


def test_names_of_files_arrive_as_they_are_or_not_at_all(world: World) -> None:
    server, ids = world.server, world.ids
    folder = f"/api/2.0/mlflow-artifacts/artifacts/{ids['own']}/{ids['own_run']}/artifacts"
    before = server.objects()
    assert refused(server.call(BOB, "PUT", f"{folder}/a?b.txt", data=b"x"), "question mark", "rename")
    assert refused(server.call(BOB, "PUT", f"{folder}/a%2541.txt", data=b"x"), "aA.txt", "rename")
    assert server.objects() == before
    for name in ("a b", "ä", "日本", "a+b", "100%", "a&b=c;d", "a'b\"c"):
        quoted = "".join(f"%{byte:02X}" for byte in name.encode())
        assert server.call(BOB, "PUT", f"{folder}/{quoted}", data=name.encode()).ok
        assert server.call(BOB, "GET", f"{folder}/{quoted}").text == name
