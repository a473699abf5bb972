"""A real MLflow client uses a tracking server and reads all of it back; then it removes what it made.

Runs with the server environment's Python under `make env`; knows nothing of AWS.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

FILES = {
    "model/weights.bin": bytes(range(256)) * 4096,
    "model/nested/deeper/config.json": b'{"layers": [1, 2, 3]}\n',
    "model/nested/\u00fcmlaut and space.txt": "gr\u00fc\u00df\n".encode(),
    "model/empty": b"",
}


class Mismatch(Exception):
    """The server gave back something else than it was given."""


def _same(what: str, expected: Any, actual: Any) -> None:
    if expected != actual:
        raise Mismatch(f"{what}: expected {expected!r}, got {actual!r}")


class Proof:
    """The steps, in order; every name is unique to this run."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.name = f"proof-{uuid.uuid4().hex[:12]}"
        self.experiment = ""
        self.run = ""
        self.model = False

    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        """What is proven: (words, function)."""
        return [
            ("experiment and run", self.create),
            ("parameters, tags, metric history", self.numbers),
            ("nested artifact folder up and down, bytes compared", self.artifacts),
            ("registered model, version, alias", self.registry),
        ]

    def create(self) -> None:
        """An experiment with a run, found again by name."""
        self.experiment = self.client.create_experiment(self.name)
        self.run = self.client.create_run(self.experiment, run_name=self.name).info.run_id
        _same("experiment", self.experiment, self.client.get_experiment_by_name(self.name).experiment_id)

    def numbers(self) -> None:
        """Parameters, a tag and a metric with history; the run is found by its metric."""
        self.client.log_param(self.run, "depth", "3")
        self.client.set_tag(self.run, "purpose", "proof")
        values = [1.0, 0.5, 0.25]
        for step, value in enumerate(values):
            self.client.log_metric(self.run, "loss", value, step=step)
        self.client.set_terminated(self.run)
        data = self.client.get_run(self.run).data
        _same("parameter", {"depth": "3"}, data.params)
        _same("tag", "proof", data.tags.get("purpose"))
        history = sorted(self.client.get_metric_history(self.run, "loss"), key=lambda metric: metric.step)
        _same("metric history", values, [metric.value for metric in history])
        found = self.client.search_runs([self.experiment], "metrics.loss < 0.3 and params.depth = '3'")
        _same("search", [self.run], [run.info.run_id for run in found])

    def artifacts(self) -> None:
        """A folder of folders goes up, is listed, comes down, and is the same."""
        with tempfile.TemporaryDirectory() as folder:
            up, down = Path(folder, "up"), Path(folder, "down")
            down.mkdir()
            for name, content in FILES.items():
                (up / name).parent.mkdir(parents=True, exist_ok=True)
                (up / name).write_bytes(content)
            self.client.log_artifacts(self.run, str(up / "model"), "model")
            listed = {item.path for item in self.client.list_artifacts(self.run, "model")}
            _same("listing", {"model/weights.bin", "model/nested", "model/empty"}, listed)
            got = Path(self.client.download_artifacts(self.run, "model", str(down)))
            back = {f"model/{one.relative_to(got).as_posix()}": one for one in got.rglob("*") if one.is_file()}
            _same("names", sorted(FILES), sorted(back))
            for name, content in FILES.items():
                if back[name].read_bytes() != content:
                    raise Mismatch(f"{name}: other bytes came back")

    def registry(self) -> None:
        """A registered model with a version under an alias."""
        self.client.create_registered_model(self.name)
        self.model = True
        source = f"{self.client.get_run(self.run).info.artifact_uri}/model"
        version = self.client.create_model_version(self.name, source, self.run).version
        self.client.set_registered_model_alias(self.name, "champion", version)
        found = self.client.get_model_version_by_alias(self.name, "champion")
        _same("alias", (str(version), self.run), (str(found.version), found.run_id))

    def remove(self) -> None:
        """Delete what was made; artifacts first, for a deleted run can no longer be asked for them."""
        if self.model:
            self.client.delete_registered_model(self.name)
        if self.run:
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            get_artifact_repository(self.client.get_run(self.run).info.artifact_uri).delete_artifacts("model")
            _same("artifacts left", [], self.client.list_artifacts(self.run))
        if self.experiment:
            self.client.delete_experiment(self.experiment)
            _same("experiment", "deleted", self.client.get_experiment(self.experiment).lifecycle_stage)


def _timed(words: str, work: Callable[[], None]) -> bool:
    start = time.monotonic()
    try:
        work()
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        print(f"  FAILED {words}: {first[:400]}", file=sys.stderr, flush=True)
        return False
    print(f"  {time.monotonic() - start:5.1f} s  {words}", flush=True)
    return True


def main() -> int:
    """Prove; 0, or 1 after one sentence."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        print('MLFLOW_TRACKING_URI is not set: eval "$(make -s env)" first.', file=sys.stderr)
        return 1
    start = time.monotonic()
    import logging

    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    print(f"  {time.monotonic() - start:5.1f} s  client loaded", flush=True)
    proof = Proof(MlflowClient())
    good = True
    for words, work in proof.steps():
        good = _timed(words, work)
        if not good:
            break
    return 0 if _timed("removed what it made", proof.remove) and good else 1


if __name__ == "__main__":
    sys.exit(main())
