"""Module ecr_image against moto's ECR, with a stand-in for the container engine."""

from __future__ import annotations

import base64
import datetime
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests import fake_engine as engine
from tests.own_modules import Answer, Run, client, empty_aws, load, runner

MODULES = {name: load("modules", name) for name in ("ecr_image",)}
NAME = "team-a"
SOURCE = "registry.example.org/mlflow@sha256:" + "0a" * 32
STUBS: dict[str, Callable[..., Any]] = {}


def manifest(text: str) -> str:
    """A manifest that ECR takes, and whose digest follows from `text`."""
    layer = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 1, "digest": f"sha256:{text}"}
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "config": layer, "layers": [layer]})


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    STUBS.clear()
    with empty_aws(monkeypatch):
        yield runner(MODULES, capsys, monkeypatch, STUBS)


@pytest.fixture
def uri(run: Run) -> str:
    """Address of an empty repository."""
    made = client("ecr").create_repository(repositoryName=NAME, imageTagMutability="IMMUTABLE")
    return str(made["repository"]["repositoryUri"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to build from, whose locks are empty."""
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "Dockerfile").write_text("ARG BASE_IMAGE=example.org/python:3.13\n")
    (folder / "entrypoint.py").write_text("pass\n")
    for lock in ("slim", "sbom"):
        (folder / f"requirements-{lock}.txt").write_text("")
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    return folder


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> engine.Fake:
    """An engine whose pushes arrive in moto's ECR."""
    registry = MODULES["ecr_image"].Registry
    push = registry.push

    def arrive(self: Any, image: str) -> None:
        push(self, image)
        name, _, tag = image.partition("/")[2].partition(":")
        client("ecr").put_image(repositoryName=name, imageManifest=manifest(tag), imageTag=tag)

    monkeypatch.setattr(registry, "push", arrive)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return engine.install(monkeypatch, tmp_path / "bin")


@pytest.fixture(autouse=True)
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings of this test; the module side keeps those of all tests."""
    sentences: list[str] = []
    monkeypatch.setattr(MODULES["ecr_image"].AnsibleAWSModule, "warn", lambda _, said: sentences.append(said))
    return sentences


@pytest.fixture
def ensure(run: Run, uri: str, folder: Path, fake: engine.Fake) -> Run:
    """ensure(check=False, **overrides) -> Answer, for the folder and without a gate."""

    def call(check: bool = False, **overrides: Any) -> Answer:
        given = {"repository_uri": uri, "folder": str(folder), "ca_bundle": str(folder.parent / "ca.pem")}
        arguments = {"scan_gate": "none", **given, **overrides}
        return run("ecr_image", check=check, **{key: value for key, value in arguments.items() if value is not None})

    return call


def store(ensure: Run) -> str:
    """Put the image into the repository, past any engine; its digest."""
    tag = ensure(check=True)["tag"]
    client("ecr").put_image(repositoryName=NAME, imageManifest=manifest(tag), imageTag=tag)
    return str(ensure(check=True)["digest"])


def scan(status: str = "COMPLETE", **counts: int) -> None:
    """Have ECR's scan find so much."""
    answer = {"imageScanStatus": {"status": status}, "imageScanFindings": {"findingSeverityCounts": counts}}
    STUBS["DescribeImageScanFindings"] = lambda **_: answer


def refuse(operation: str, code: str) -> None:
    """Have AWS answer an error."""

    def answer(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "No"}}, operation)

    STUBS[operation] = answer


# --- build and push -------------------------------------------------------------------------------------------------


def test_an_image_is_built_and_pushed_once(ensure: Run, fake: engine.Fake, uri: str) -> None:
    predicted = ensure(check=True)
    assert (predicted["changed"], predicted["missing"], predicted.writes) == (True, True, [])
    assert predicted["digest"] == "known after the push"
    assert predicted["reference"] == f"{uri}:{predicted['tag']}"
    # A prediction asks the engine for no more than to answer.
    assert fake.verbs == []
    made = ensure()
    assert (made["changed"], made["diff"]) == (True, predicted["diff"])
    digest = client("ecr").describe_images(repositoryName=NAME, imageIds=[{"imageTag": made["tag"]}])
    assert made["digest"] == digest["imageDetails"][0]["imageDigest"]
    assert made["reference"] == f"{uri}@{made['digest']}"
    assert fake.verbs == ["build", "login", "push", "logout"]
    known = len(fake.calls)
    for check in (True, False):
        again = ensure(check=check)
        assert (again["changed"], again["missing"], again.writes) == (False, False, [])
        assert again["reference"] == made["reference"]
        assert again.calls == ["DescribeImages"]
    assert len(fake.calls) == known


def test_what_stands_needs_no_engine(
    ensure: Run, fake: engine.Fake, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    made = ensure()
    monkeypatch.setenv("PATH", "/nonexistent")
    assert ensure()["reference"] == made["reference"]
    (folder / "entrypoint.py").write_text("changed\n")
    # Said by a prediction, too, which comes before anything is made.
    for check in (True, False):
        answer = ensure(check=check)
        assert "There is no command docker on this machine" in answer["msg"]
        assert answer["msg"].endswith("or set mlflow_image to an image by digest.")


def test_changed_content_is_built_and_what_was_there_stays(ensure: Run, fake: engine.Fake, folder: Path) -> None:
    first = ensure()
    (folder / "entrypoint.py").write_text("changed\n")
    second = ensure()
    assert second["changed"]
    assert second["tag"] != first["tag"]
    assert len(client("ecr").list_images(repositoryName=NAME)["imageIds"]) == 2


def test_the_push_goes_to_the_registry_of_the_login(ensure: Run, fake: engine.Fake) -> None:
    token = base64.b64encode(b"AWS:hunter2").decode()
    login = {"authorizationToken": token, "proxyEndpoint": "https://127.0.0.1:4566"}
    STUBS["GetAuthorizationToken"] = lambda **_: {"authorizationData": [login]}
    made = ensure()
    assert f"127.0.0.1:4566/{NAME}:{made['tag']}" in fake.calls[-2]["words"]
    assert made["reference"].startswith("123456789012.dkr.ecr.eu-west-1.amazonaws.com/")
    assert "hunter2" not in json.dumps(made)
    assert [call["verb"] for call in fake.calls if "hunter2" in json.dumps(call)] == ["login"]


@pytest.mark.parametrize("verb", ["version", "run", "build", "login", "push"])
def test_a_step_that_fails_leaves_nothing_behind(
    ensure: Run, fake: engine.Fake, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAILS", verb)
    answer = ensure()
    assert answer["failed"]
    first, _, rest = answer["msg"].partition("\n")
    assert "docker does not answer" in first if verb == "version" else first.startswith("docker ")
    assert first.endswith(".")
    assert verb == "version" or "one line before" in rest
    assert "hunter2" not in json.dumps(answer)
    assert client("ecr").list_images(repositoryName=NAME)["imageIds"] == []
    # The engine is asked before anything else is.
    assert verb != "version" or answer.calls == ["DescribeImages"]


def test_no_right_to_push_is_one_sentence(ensure: Run, fake: engine.Fake) -> None:
    refuse("GetAuthorizationToken", "AccessDeniedException")
    assert ensure()["msg"] == (
        f"Could not get a login for {NAME}: No (AccessDeniedException); the login lacks GetAuthorizationToken: "
        "attach to it the policies in policies/deployer/, which have it."
    )
    assert "build" not in fake.verbs


def test_whoever_is_second_takes_what_the_first_pushed(
    ensure: Run, fake: engine.Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive = MODULES["ecr_image"].Registry.push

    def beaten(self: Any, image: str) -> None:
        arrive(self, image)
        raise MODULES["ecr_image"].ImageError("tag invalid: the image tag already exists.")

    monkeypatch.setattr(MODULES["ecr_image"].Registry, "push", beaten)
    assert ensure()["digest"].startswith("sha256:")


def test_the_list_of_packages_is_written_after_a_build(ensure: Run, fake: engine.Fake, tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    ensure(sbom=str(file))
    assert file.read_text() == "bill of materials"
    file.unlink()
    ensure(sbom=str(file))
    assert not file.exists()


def test_a_list_that_cannot_be_written_is_a_warning(
    ensure: Run, fake: engine.Fake, tmp_path: Path, warned: list[str]
) -> None:
    answer = ensure(sbom=str(tmp_path / "missing" / "sbom.json"))
    assert answer["changed"]
    assert "The list of the image's packages is not in" in warned[0]


def test_the_bundle_follows_the_partition(ensure: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    module = MODULES["ecr_image"]
    tags = set()
    for partition in ("aws", "aws-cn", "aws-us-gov"):
        monkeypatch.setattr(client("ecr").meta, "_partition", partition)
        tags.add(ensure(check=True, ca_bundle=None)["tag"])
    assert len(tags) == len(module.CA_BUNDLES)


# --- copy -----------------------------------------------------------------------------------------------------------


def test_an_image_is_copied_once(ensure: Run, fake: engine.Fake, uri: str) -> None:
    assert ensure(check=True, source=SOURCE, folder=None)["changed"]
    made = ensure(source=SOURCE, folder=None)
    assert made["reference"] == f"{uri}@{made['digest']}"
    assert made["tag"] == "copy-amd64-" + "0a" * 10
    assert fake.verbs == ["login", "pull", "tag", "push", "logout"]
    known = len(fake.calls)
    assert ensure(source=SOURCE, folder=None)["changed"] is False
    assert len(fake.calls) == known


def test_what_is_in_the_repository_already_is_not_copied(ensure: Run, fake: engine.Fake, uri: str) -> None:
    made = ensure()
    known = len(fake.calls)
    again = ensure(source=made["reference"], folder=None)
    assert (again["changed"], again["reference"]) == (False, made["reference"])
    missing = ensure(source=f"{uri}@sha256:{'0' * 64}", folder=None)
    assert missing["msg"].endswith("give one that it holds.")
    assert len(fake.calls) == known


# --- the gate -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "counts", "listed"),
    [
        (None, {"CRITICAL": 1, "HIGH": 5}, "1 critical"),
        ("critical", {"CRITICAL": 2}, "2 critical"),
        ("high", {"HIGH": 3, "CRITICAL": 1, "LOW": 9}, "1 critical, 3 high"),
        ("low", {"LOW": 9, "INFORMATIONAL": 4}, "9 low"),
        (None, {"HIGH": 5, "LOW": 9}, ""),
        ("high", {"MEDIUM": 5, "UNDEFINED": 2}, ""),
        ("medium", {}, ""),
    ],
)
@pytest.mark.parametrize("deployed", [False, True])
def test_the_gate_stops_what_is_new_and_warns_of_what_runs(
    ensure: Run,
    warned: list[str],
    gate: str | None,
    counts: dict[str, int],
    listed: str,
    deployed: bool,
) -> None:
    digest = store(ensure)
    scan(**counts)
    answer = ensure(scan_gate=gate, deployed_digest=digest if deployed else "")
    said = " ".join(warned) + answer.get("msg", "")
    assert bool(answer.get("failed")) == (bool(listed) and not deployed)
    assert f"has findings, {listed}: take a newer base" in said if listed else "findings" not in said
    if not answer.get("failed"):
        assert answer["findings"] == counts


def test_the_gate_stops_a_new_push_and_the_run_after_it(ensure: Run, fake: engine.Fake) -> None:
    scan(CRITICAL=1)
    for _ in range(2):
        answer = ensure(scan_gate="critical")
        assert "1 critical" in answer["msg"]
    assert fake.verbs.count("build") == 1


def test_a_check_asks_the_gate_where_it_can(ensure: Run) -> None:
    scan(CRITICAL=1)
    assert ensure(check=True, scan_gate="critical")["changed"]
    store(ensure)
    assert ensure(check=True, scan_gate="critical")["failed"]


@pytest.mark.parametrize("code", ["ScanNotFoundException", "UnsupportedImageTypeException", "InvalidAction"])
@pytest.mark.parametrize("gate", [None, "critical"])
def test_without_findings_only_a_gate_that_was_asked_for_stops(
    ensure: Run, warned: list[str], code: str, gate: str | None
) -> None:
    digest = store(ensure)
    refuse("DescribeImageScanFindings", code)
    answer = ensure(scan_gate=gate, scan_timeout=0)
    sentence = f"ECR has no findings for {NAME}@{digest} ({code})"
    assert bool(answer.get("failed")) == (gate is not None)
    assert sentence in (answer["msg"] if gate else warned[0])
    assert not ensure(scan_gate=gate, scan_timeout=0, deployed_digest=digest).get("failed")


def test_a_gate_that_may_not_look_fails(ensure: Run) -> None:
    store(ensure)
    refuse("DescribeImageScanFindings", "AccessDeniedException")
    assert ensure(scan_gate=None)["msg"].startswith(f"Could not read what ECR's scan of {NAME} found: No (Access")


@pytest.mark.parametrize("action", ["inspector2:ListCoverage", "inspector2:ListFindings"])
def test_findings_of_inspector_that_may_not_be_read_stop_only_a_gate_that_was_asked_for(
    ensure: Run, warned: list[str], action: str
) -> None:
    digest = store(ensure)
    message = f"User: arn:aws:iam::123456789012:user/x is not authorized to perform: {action}"

    def denied(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": message}}, "DescribeImageScanFindings")

    STUBS["DescribeImageScanFindings"] = denied
    sentence = (
        f"ECR has no findings for {NAME}@{digest} (findings are in Amazon Inspector, which this login may not read), "
        "so nobody knows whether it may be deployed: allow inspector2:ListCoverage and inspector2:ListFindings in the "
        "deployer's policy, which is in policies/, or set mlflow_image_scan_gate to none."
    )
    assert ensure(scan_gate="critical")["msg"] == sentence
    assert not ensure(scan_gate=None).get("failed")
    assert warned == [sentence]


def test_a_scan_is_waited_for(ensure: Run, fake: engine.Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(MODULES["ecr_image"], "time", SimpleNamespace(time=time.time, sleep=waited.append))
    answers: list[Any] = ["ScanNotFoundException", "IN_PROGRESS", "COMPLETE"]

    def look(**_: Any) -> Any:
        status = answers.pop(0)
        if status.endswith("Exception"):
            raise ClientError({"Error": {"Code": status}}, "DescribeImageScanFindings")
        return {"imageScanStatus": {"status": status}, "imageScanFindings": {"findingSeverityCounts": {"HIGH": 1}}}

    STUBS["DescribeImageScanFindings"] = look
    assert "1 high" in ensure(scan_gate="high")["msg"]
    assert waited == [MODULES["ecr_image"].POLL_SECONDS] * 2


@pytest.mark.parametrize(("status", "after"), [("IN_PROGRESS", 301), ("ScanNotFoundException", 61)])
def test_no_scan_is_waited_for_long_after_the_push(
    ensure: Run, status: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store(ensure)
    pushed = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=after)
    STUBS["DescribeImages"] = lambda **_: {"imageDetails": [{"imageDigest": digest, "imagePushedAt": pushed}]}
    if status.endswith("Exception"):
        refuse("DescribeImageScanFindings", status)
    else:
        scan(status)
    clock = SimpleNamespace(time=time.time, sleep=lambda _: pytest.fail("waited"))
    monkeypatch.setattr(MODULES["ecr_image"], "time", clock)
    assert not ensure(scan_gate=None).get("failed")
