"""Use a running MLflow server the way its clients do, one feature after the other.

Runs under a Python that has MLflow: `python sweep.py [check ...]`, with MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME
(an administrator), MLFLOW_TRACKING_PASSWORD, and SWEEP_HOST, the address under which the server reaches this machine.
Prints a line of JSON a check, `{"check": name, "seconds": s, "error": text or null}`; `--list` prints the names alone.
"""

from __future__ import annotations

import base64
import http.server
import json
import os
import re
import secrets
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MIB = 1 << 20


def same(what: str, wanted: object, got: object) -> None:
    """Raise AssertionError where they differ."""
    if wanted != got:
        raise AssertionError(f"{what}: {got!r} instead of {wanted!r}")


def eventually(look: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Wait until `look` returns something true."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.2)


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set variables for as long as the context lasts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Sweep:
    """One server. Every method without underscore and without argument is a check, and stands alone."""

    def __init__(self, url: str, login: tuple[str, str], reach: str) -> None:
        from mlflow import MlflowClient

        self._url, self._login, self._reach = url, login, reach
        self._client: Any = MlflowClient()

    # --- plain HTTP ---------------------------------------------------------------------------------------------

    def page(self) -> None:
        """The page and all it names: scripts, styles, icon."""
        status, headers, text = self._ask("/")
        same("status", 200, status)
        assert "<title>MLflow</title>" in text.decode(), text[:200]
        names = set(re.findall(r'(?:src|href)="\.?/?(static-files/[^"]+)"', text.decode()))
        assert len(names) >= 3, names
        for name in names:
            status, headers, content = self._ask(f"/{name}")
            same(name, (200, True), (status, len(content) > 100))
            kind = {".js": "javascript", ".css": "css", ".svg": "svg", ".ico": "icon"}.get(Path(name).suffix, "")
            assert kind in headers.get("Content-Type", ""), (name, headers.get("Content-Type"))

    def chunks(self) -> None:
        """What the page's script loads later."""
        (name,) = set(re.findall(rb"static-files/static/js/main\.[0-9a-f]+\.js", self._ask("/")[2]))
        script = self._ask(f"/{name.decode()}")[2].decode()
        parts = sorted(
            {f"/static-files/{part}" for part in re.findall(r'"(static/(?:js|css)/[^"]+\.(?:js|css))"', script)}
        )
        assert len(parts) > 20, "the script does not name its parts any more"
        for part in parts:
            same(part, 200, self._ask(part)[0])

    def health(self) -> None:
        """Open to load balancers, without a login; it says the version where one is asked for."""
        same("health", (200, b"OK"), self._ask("/health", login=None)[::2])
        same("version", 200, self._ask("/version")[0])

    def unknown_host(self) -> None:
        """A name that nobody allowed is refused."""
        same("status", 403, self._ask("/api/2.0/mlflow/experiments/search?max_results=1", Host="evil.example")[0])

    def graphql(self) -> None:
        """The query behind the page of a run."""
        run = self._run()
        self._client.set_tag(run, "mlflow.runName", "asked by GraphQL")
        question = "query q($d: MlflowGetRunInput!) { mlflowGetRun(input: $d) { run { info { runName runId } } } }"
        body = {"query": question, "variables": {"d": {"runId": run}}}
        status, _, text = self._ask("/graphql", body)
        same("status", 200, status)
        got = json.loads(text)["data"]["mlflowGetRun"]["run"]["info"]
        same("run", {"runName": "asked by GraphQL", "runId": run}, got)

    def prometheus(self) -> None:
        """Figures for Prometheus, which count this very request's kind."""
        self._client.search_experiments(max_results=1)
        status, _, text = self._ask("/metrics")
        same("status", 200, status)
        assert b"mlflow_http_request_total" in text, text[:300]

    def search_experiments(self) -> None:
        """Asked of by load tests and by the gate of a release."""
        name = self._name()
        made = self._client.create_experiment(name, tags={"kind": name})
        found = self._client.search_experiments(filter_string=f"tags.kind = '{name}'")
        same("found", [made], [one.experiment_id for one in found])
        self._client.rename_experiment(made, f"{name}-2")
        self._client.delete_experiment(made)
        self._client.restore_experiment(made)
        same("name", f"{name}-2", self._client.get_experiment(made).name)

    # --- tracking -----------------------------------------------------------------------------------------------

    def batch(self) -> None:
        """Parameters, tags, metrics in one batch; their history; search; delete and restore."""
        from mlflow.entities import Metric, Param, RunTag

        experiment = self._experiment()
        run = self._run(experiment)
        history = [Metric("loss", 1.0 / (step + 1), 1_700_000_000_000 + step, step) for step in range(300)]
        self._client.log_batch(run, metrics=history, params=[Param("depth", "3")], tags=[RunTag("owner", "ä")])
        data = self._client.get_run(run).data
        same("parameters and tag", ({"depth": "3"}, "ä"), (data.params, data.tags["owner"]))
        got = sorted(self._client.get_metric_history(run, "loss"), key=lambda one: one.step)
        same("history", [one.value for one in history], [one.value for one in got])
        bulk = f"/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?run_ids={run}&metric_key=loss&max_results=50"
        assert len(json.loads(self._ask(bulk)[2])["metrics"]) >= 50
        found = self._client.search_runs([experiment], "metrics.loss < 0.1 and params.depth = '3'")
        same("search", [run], [one.info.run_id for one in found])
        self._client.delete_run(run)
        same("after delete", [], list(self._client.search_runs([experiment])))
        self._client.restore_run(run)
        same("after restore", 1, len(self._client.search_runs([experiment])))

    def inputs(self) -> None:
        """A dataset as the input of a run, found again by its name."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        experiment = self._experiment()
        run = self._run(experiment)
        one = Dataset("wine", "d41d8cd9", "http", '{"uri": "https://example.org/wine.csv"}', "{}", "{}")
        self._client.log_inputs(run, [DatasetInput(one, [InputTag("mlflow.data.context", "training")])])
        same("dataset", ["wine"], [got.dataset.name for got in self._client.get_run(run).inputs.dataset_inputs])
        asked = {"experiment_ids": [experiment]}
        status, _, text = self._ask("/ajax-api/2.0/mlflow/experiments/search-datasets", asked)
        same("summary", (200, "wine"), (status, json.loads(text)["dataset_summaries"][0]["name"]))
        same("search", 1, len(self._client.search_runs([experiment], "dataset.name = 'wine'")))

    def tables(self) -> None:
        """A table and a frame as artifacts: as the page gets them, and as a client reads them."""
        run = self._run()
        self._client.log_table(run, {"question": ["a", "b"], "score": [1, 2]}, "eval.json")
        status, _, text = self._ask(f"/get-artifact?path=eval.json&run_uuid={run}")
        same("page", (200, [["a", 1], ["b", 2]]), (status, json.loads(text)["data"]))
        self._client.log_text(run, "x,y\n1,2\n", "frame.csv")
        same("frame", b"x,y\n1,2\n", self._ask(f"/get-artifact?path=frame.csv&run_uuid={run}")[2])
        loaded = self._client.load_table(self._client.get_run(run).info.experiment_id, "eval.json", [run])
        same("client", [1, 2], list(loaded["score"]))

    # --- artifacts ----------------------------------------------------------------------------------------------

    def artifacts_by_server(self) -> None:
        """A folder of folders through the server: up, listed, down, the same, removed."""
        with environment(MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD="false", MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD="false"):
            self._round_trip({"a.bin": secrets.token_bytes(3 * MIB), "deep/er/b ä.txt": b"text", "deep/empty": b""})

    def artifacts_by_presigned_address(self) -> None:
        """The same, straight from and to the store: large files go up in parts."""
        self._client.get_run(self._run())
        with environment(
            MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD="true",
            MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD="true",
            MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE=str(6 * MIB),
            MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE=str(5 * MIB),
        ):
            from mlflow.store.artifact import mlflow_artifacts_repo as repository

            one = repository.MlflowArtifactsRepository
            seen: list[str] = []
            original = one.create_multipart_upload

            def counted(this: Any, *given: Any, **named: Any) -> Any:
                seen.append("parts")
                return original(this, *given, **named)

            one.create_multipart_upload = counted
            try:
                self._round_trip({"big.bin": secrets.token_bytes(11 * MIB), "deep/small.txt": b"text"})
            finally:
                one.create_multipart_upload = original
            same("files that went up in parts", ["parts"], seen)

    def _round_trip(self, files: dict[str, bytes]) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        run = self._run()
        with tempfile.TemporaryDirectory() as folder:
            up, down = Path(folder, "up"), Path(folder, "down")
            down.mkdir()
            for name, content in files.items():
                (up / name).parent.mkdir(parents=True, exist_ok=True)
                (up / name).write_bytes(content)
            self._client.log_artifacts(run, str(up), "model")
            tops = {f"model/{name.partition('/')[0]}" for name in files}
            same("listing", tops, {one.path for one in self._client.list_artifacts(run, "model")})
            got = Path(self._client.download_artifacts(run, "model", str(down)))
            back = {one.relative_to(got).as_posix(): one.read_bytes() for one in got.rglob("*") if one.is_file()}
            same("names", sorted(files), sorted(back))
            assert back == files, "other bytes came back"
        get_artifact_repository(self._client.get_run(run).info.artifact_uri).delete_artifacts("model")
        same("left", [], list(self._client.list_artifacts(run)))

    # --- models and prompts -------------------------------------------------------------------------------------

    def registry(self) -> None:
        """A registered model, versions, alias, tags, stages, search, its files."""
        run, name = self._run(), self._name()
        self._client.log_text(run, "weights", "model/weights.txt")
        self._client.create_registered_model(name, tags={"kind": name})
        source = f"{self._client.get_run(run).info.artifact_uri}/model"
        first, second = (self._client.create_model_version(name, source, run).version for _ in range(2))
        self._client.set_registered_model_alias(name, "champion", second)
        same("alias", second, self._client.get_model_version_by_alias(name, "champion").version)
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self._client.transition_model_version_stage(name, first, "Staging")
            latest = self._client.get_latest_versions(name, ["Staging"])
        same("stage", [first], [one.version for one in latest])
        self._client.set_model_version_tag(name, second, "checked", "yes")
        same("versions", {first, second}, {one.version for one in self._client.search_model_versions(f"name='{name}'")})
        found = self._client.search_registered_models(f"tags.kind = '{name}'")
        same("search", [name], [one.name for one in found])
        page = f"/model-versions/get-artifact?name={name}&version={first}&path=weights.txt"
        same("file", (200, b"weights"), self._ask(page)[::2])
        self._client.delete_model_version(name, first)
        self._client.delete_registered_model(name)
        same("left", [], list(self._client.search_registered_models(f"name='{name}'")))

    def logged_models(self) -> None:
        """A logged model with parameters, metrics and files."""
        experiment = self._experiment()
        run = self._run(experiment)
        model = self._client.create_logged_model(experiment, "net", source_run_id=run, params={"depth": "3"})
        self._client.log_metric(run, "accuracy", 0.9, model_id=model.model_id)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "MLmodel").write_text("flavors: {}\n")
            self._client.log_model_artifacts(model.model_id, folder)
        self._client.finalize_logged_model(model.model_id, "READY")
        (found,) = self._client.search_logged_models([experiment], "metrics.accuracy > 0.5")
        same("model", ("READY", {"depth": "3"}), (str(found.status), found.params))
        files = self._client.list_logged_model_artifacts(model.model_id)
        same("files", ["MLmodel"], [one.path for one in files])
        page = f"/ajax-api/2.0/mlflow/logged-models/{model.model_id}/artifacts/files?artifact_file_path=MLmodel"
        same("file", (200, b"flavors: {}\n"), self._ask(page)[::2])
        self._client.delete_logged_model(model.model_id)

    def prompts(self) -> None:
        """A prompt with two versions and an alias."""
        name = self._name()
        self._client.register_prompt(name, "Hello {{who}}", commit_message="one")
        made = self._client.register_prompt(name, [{"role": "user", "content": "Bye {{who}}"}])
        self._client.set_prompt_alias(name, "live", made.version)
        loaded = self._client.load_prompt(f"prompts:/{name}@live")
        same("text", [{"role": "user", "content": "Bye you"}], loaded.format(who="you"))
        found = self._client.search_prompts(f"name = '{name}'")
        same("search", [name], [one.name for one in found])

    # --- traces -------------------------------------------------------------------------------------------------

    def traces(self) -> None:
        """A trace with a child span: logged, searched, tagged, assessed, deleted."""
        import mlflow
        from mlflow.entities import AssessmentSource

        experiment = self._experiment()
        root = self._client.start_trace("ask", inputs={"q": "why"}, experiment_id=experiment)
        child = self._client.start_span("think", root.trace_id, root.span_id, span_type="LLM")
        self._client.end_span(root.trace_id, child.span_id, outputs={"a": 1})
        self._client.end_trace(root.trace_id, outputs={"a": "because"})
        mlflow.flush_trace_async_logging()

        def found() -> list[Any]:
            return list(self._client.search_traces(locations=[experiment], filter_string="trace.status = 'OK'"))

        eventually(found, "search")
        same("spans", ["ask", "think"], sorted(span.name for span in found()[0].data.spans))
        same("answer", {"a": "because"}, found()[0].data.spans[0].outputs)
        trace = root.trace_id
        self._client.set_trace_tag(trace, "kind", "test")
        mlflow.log_feedback(
            trace_id=trace, name="good", value=True, source=AssessmentSource(source_type="HUMAN", source_id="me")
        )
        got = self._client.get_trace(trace).info
        same("tag and feedback", ("test", ["good"]), (got.tags["kind"], [one.name for one in got.assessments]))
        same("search by tag", 1, len(self._client.search_traces([experiment], filter_string="tags.kind = 'test'")))
        same("search by span", 1, len(self._client.search_traces([experiment], filter_string="span.type = 'LLM'")))
        same(
            "search by feedback",
            1,
            len(self._client.search_traces([experiment], filter_string="feedback.good = 'true'")),
        )
        same("deleted", 1, self._client.delete_traces(experiment, trace_ids=[trace]))
        same("left", [], found())

    def otlp(self) -> None:
        """Spans by OpenTelemetry's own protocol, protobuf and JSON, compressed and not."""
        import gzip

        from google.protobuf.json_format import MessageToJson
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        experiment = self._experiment()

        def sent(number: int) -> Any:
            request = ExportTraceServiceRequest()
            span = request.resource_spans.add().scope_spans.add().spans.add()
            span.trace_id, span.span_id, span.name = number.to_bytes(16, "big"), number.to_bytes(8, "big"), "work"
            span.start_time_unix_nano, span.end_time_unix_nano = 1_700_000_000 * 10**9, 1_700_000_001 * 10**9
            return request

        start = secrets.randbits(60) + 1
        headers = {"x-mlflow-experiment-id": experiment, "Content-Type": "application/x-protobuf"}
        plain = sent(start).SerializeToString()
        packed = gzip.compress(sent(start + 1).SerializeToString())
        same("plain", 200, self._ask("/v1/traces", plain, **headers)[0])
        same("gzip", 200, self._ask("/v1/traces", packed, **headers, **{"Content-Encoding": "gzip"})[0])
        text = json.loads(MessageToJson(sent(start + 2)))
        # In this protocol's JSON, identifiers are hexadecimal.
        one = text["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
        one["traceId"], one["spanId"] = f"{start + 2:032x}", f"{start + 2:016x}"
        headers["Content-Type"] = "application/json"
        same("JSON", 200, self._ask("/v1/traces", json.dumps(text).encode(), **headers)[0])
        eventually(lambda: len(self._client.search_traces([experiment])) == 3, "three traces")

    def evaluation_datasets(self) -> None:
        """A dataset of questions and expectations, merged by the server."""
        name, experiment = self._name(), self._experiment()
        made = self._client.create_dataset(name, experiment_id=experiment, tags={"kind": "test"})
        made.merge_records([{"inputs": {"q": "why"}, "expectations": {"a": "so"}}, {"inputs": {"q": "how"}}])
        # The same question again, with more to it.
        made.merge_records([{"inputs": {"q": "how"}, "expectations": {"a": "thus"}}])
        got = self._client.get_dataset(made.dataset_id)
        records = {one["inputs"]["q"]: one["expectations"] for one in got.to_df().to_dict("records")}
        same("records", {"why": {"a": "so"}, "how": {"a": "thus"}}, records)
        found = self._client.search_datasets([experiment], filter_string=f"name = '{name}'")
        same("search", [made.dataset_id], [one.dataset_id for one in found])
        self._client.delete_dataset(made.dataset_id)

    def scorers(self) -> None:
        """A judge that is registered and found again; to run it is a job's work."""
        from mlflow.genai.judges import make_judge

        experiment = self._experiment()
        judge = make_judge(
            name="polite", instructions="Is {{ outputs }} polite?", model="openai:/gpt-4o", feedback_value_type=bool
        )
        judge.register(experiment_id=experiment)
        from mlflow.genai.scorers import list_scorers

        same("judges", ["polite"], [one.name for one in list_scorers(experiment_id=experiment)])

    # --- webhooks -----------------------------------------------------------------------------------------------

    def webhooks(self) -> None:
        """A webhook: made, listed, tested, signed, called by an event of the registry, removed."""
        got: list[tuple[dict[str, str], Any]] = []

        class Listener(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.append((dict(self.headers), json.loads(body)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        listener = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Listener)
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        name, model = self._name(), self._name()
        address = f"http://{self._reach}:{listener.server_port}/hook"
        # The server keeps the list of who wants an event for a minute, so this is one that no other check causes.
        made = self._client.create_webhook(name, address, ["model_version_tag.deleted"], secret="a secret of mine")
        try:
            assert made.webhook_id in [one.webhook_id for one in self._client.list_webhooks()]
            result = self._client.test_webhook(made.webhook_id)
            same("test", (True, 200), (result.success, result.response_status))
            self._client.create_registered_model(model)
            run = self._run()
            source = self._client.get_run(run).info.artifact_uri
            version = self._client.create_model_version(model, source, run).version
            self._client.set_model_version_tag(model, version, "gone", "soon")
            self._client.delete_model_version_tag(model, version, "gone")
            eventually(lambda: [one for _, one in got if one["data"]["name"] == model], "the event", 90)
            headers = {key.lower() for key in got[-1][0]}
            assert "x-mlflow-signature" in headers, headers
        finally:
            self._client.delete_webhook(made.webhook_id)
            listener.shutdown()

    # --- logins -------------------------------------------------------------------------------------------------

    def logins(self) -> None:
        """Who nobody is, gets 401; who may not, 403; and a right that is given lets him."""
        search = "/api/2.0/mlflow/experiments/search?max_results=1"
        same("no login", 401, self._ask(search, login=None)[0])
        same("wrong password", 401, self._ask(search, login=(self._login[0], "wrong-password"))[0])
        user = (self._name(), secrets.token_urlsafe(12))
        api = "/api/2.0/mlflow"
        made = self._ask(f"{api}/users/create", {"username": user[0], "password": user[1]})
        same("made", 200, made[0])
        same("seen", 200, self._ask(f"{api}/users/get?username={user[0]}")[0])
        same("login", 200, self._ask(search, login=user)[0])
        experiment = self._experiment()
        change = {"experiment_id": experiment, "new_name": self._name()}
        same("may not", 403, self._ask(f"{api}/experiments/update", change, login=user)[0])
        right = {"username": user[0], "resource_type": "experiment", "resource_id": experiment, "permission": "MANAGE"}
        same("given", 200, self._ask("/api/3.0/mlflow/users/permissions/grant", right)[0])
        same("may", 200, self._ask(f"{api}/experiments/update", change, login=user)[0])
        again = {"username": user[0], "password": secrets.token_urlsafe(12)}
        same("password", 200, self._ask(f"{api}/users/update-password", again, method="PATCH")[0])
        same("old password", 401, self._ask(search, login=user)[0])
        same("removed", 200, self._ask(f"{api}/users/delete", {"username": user[0]}, method="DELETE")[0])
        same("removed user", 401, self._ask(search, login=(user[0], again["password"]))[0])

    def sign_up(self) -> None:
        """The page on which an administrator adds users; flask-wtf makes its token."""
        status, _, text = self._ask("/signup")
        same("page", 200, status)
        assert b"csrf_token" in text, text[:300]

    # --- helpers ------------------------------------------------------------------------------------------------

    def _name(self) -> str:
        return f"sweep-{secrets.token_hex(6)}"

    def _experiment(self) -> str:
        return str(self._client.create_experiment(self._name()))

    def _run(self, experiment: str = "") -> str:
        return str(self._client.create_run(experiment or self._experiment()).info.run_id)

    def _ask(
        self,
        path: str,
        body: object = None,
        *,
        login: tuple[str, str] | None = ("", ""),
        method: str = "",
        **headers: str,
    ) -> tuple[int, Any, bytes]:
        """(status, headers, content); with the administrator's login unless another or None is given."""
        who = self._login if login == ("", "") else login
        if who:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(who).encode()).decode()
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
        method = method or ("GET" if data is None else "POST")
        request = urllib.request.Request(self._url + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()


def checks() -> list[str]:
    """The names of all checks, in the order of the file."""
    return [name for name in vars(Sweep) if not name.startswith("_")]


def main(names: list[str]) -> int:
    """Run the checks named, or all; 0 when all pass, else 1."""
    if names == ["--list"]:
        print("\n".join(checks()))
        return 0
    import logging

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    login = (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"])
    sweep = Sweep(os.environ["MLFLOW_TRACKING_URI"], login, os.environ.get("SWEEP_HOST", "127.0.0.1"))
    failed = False
    for name in names or checks():
        begin, error = time.monotonic(), None
        try:
            getattr(sweep, name)()
        except Exception as caught:
            error = f"{type(caught).__name__}: {caught}"
            failed = True
        print(json.dumps({"check": name, "seconds": round(time.monotonic() - begin, 2), "error": error}), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
