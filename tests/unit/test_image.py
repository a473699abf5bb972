"""The image's content tag, its wheels, and what a container engine is asked to do."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils import mlflow_image as image
from tests import fake_engine as engine

ROOT = Path(__file__).resolve().parents[2]
PEM = "-----BEGIN CERTIFICATE-----\n"
PASSWORD = "Rzq-secret-password"


def wheel(folder: Path, name: str, tags: str = "py3-none-any") -> str:
    """Write a wheel that pip takes; its SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}-1.0-{tags}.whl"
    with zipfile.ZipFile(file, "w") as out:
        out.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        out.writestr(f"{name}-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n")
        out.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip knows of, and an empty cache."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "index"


@pytest.fixture
def recipe(tmp_path: Path, index: Path) -> Callable[..., image.Recipe]:
    """recipe(**overrides) of a small folder: three files, a lock with a wheel for each platform, one for the list."""
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "Dockerfile").write_text("# x\nARG BASE_IMAGE=example.org/python:3.13@sha256:0a\nFROM ${BASE_IMAGE}\n")
    (folder / "entrypoint.py").write_text("pass\n")
    (folder / "notes.txt").write_text("not in the image\n")
    both = [wheel(index, "native", f"cp313-cp313-manylinux_2_28_{machine}") for machine in ("x86_64", "aarch64")]
    hashes = [f"--hash=sha256:{each}" for each in both]
    old, windows = f"--hash=sha256:{'0' * 64}", f"--hash=sha256:{'1' * 64}"
    (folder / "requirements-slim.txt").write_text(
        f"# made by hand\nnative==1.0 \\\n    {hashes[0]} \\\n    {hashes[1]}\n    # via nobody\n"
        f"native==0.9 ; python_full_version < '3.12' \\\n    {old}\n"
        f"winner==1.0 ; sys_platform == 'win32' \\\n    {windows}\n"
    )
    (folder / "requirements-full.txt").write_text("")
    (folder / "requirements-sbom.txt").write_text(f"pure==1.0 \\\n    --hash=sha256:{wheel(index, 'pure')}\n")
    (tmp_path / "ca.pem").write_text(PEM)

    def make(**overrides: Any) -> image.Recipe:
        return image.Recipe(**{"folder": folder, "ca_bundle": str(tmp_path / "ca.pem"), **overrides})

    return make


# --- the tag --------------------------------------------------------------------------------------------------------


def test_the_same_content_has_the_same_tag_anywhere(recipe: Callable[..., image.Recipe], tmp_path: Path) -> None:
    tag = recipe().tag()
    shutil.copytree(tmp_path / "docker", tmp_path / "other")
    (tmp_path / "other" / "notes.txt").write_text("changed")
    os.utime(tmp_path / "other" / "Dockerfile", (0, 0))
    (tmp_path / "other" / "entrypoint.py").chmod(0o755)
    shutil.copy(tmp_path / "ca.pem", tmp_path / "other.pem")
    assert recipe(folder=tmp_path / "other", ca_bundle=str(tmp_path / "other.pem")).tag() == tag
    assert recipe(base="example.org/python:3.13@sha256:0a").tag() == tag
    assert tag.startswith("slim-amd64-")
    assert len(tag) <= 128


@pytest.mark.parametrize(
    "change",
    ["Dockerfile", "entrypoint.py", "requirements-slim.txt", "requirements-sbom.txt", "new.py", "../ca.pem"],
)
def test_every_file_of_the_image_counts(recipe: Callable[..., image.Recipe], tmp_path: Path, change: str) -> None:
    tag = recipe().tag()
    with (tmp_path / "docker" / change).open("a") as out:
        out.write("# changed\n")
    assert recipe().tag() != tag


def test_every_setting_of_the_image_counts(recipe: Callable[..., image.Recipe]) -> None:
    changes = ({"base": "x"}, {"variant": "full"}, {"platform": "linux/arm64"}, {"ca_bundle": "https://example.org/ca"})
    tags = {recipe(**change).tag() for change in ({}, *changes)}
    assert len(tags) == len(changes) + 1
    assert recipe(platform="linux/arm64").tag().startswith("slim-arm64-")


def test_a_lock_that_is_not_used_does_not_count(recipe: Callable[..., image.Recipe], tmp_path: Path) -> None:
    tag = recipe().tag()
    (tmp_path / "docker" / "requirements-full.txt").write_text("changed")
    assert recipe().tag() == tag


def test_the_repositorys_own_image_has_a_tag_and_locks_for_both_variants() -> None:
    for variant in image.VARIANTS:
        own = image.Recipe(ROOT / "docker", variant=variant)
        assert own.tag()
        assert "@sha256:" in own.base_image
        names = {each.pinned.partition("==")[0] for lock in own.locks for each in lock}
        assert {"mlflow", "boto3", "cyclonedx-bom"} <= names
        assert all(each.hashes for lock in own.locks for each in lock)


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (
            lambda folder: (folder / "requirements-slim.txt").unlink(),
            "Cannot read .*requirements-slim.txt: No such file",
        ),
        (lambda folder: (folder / "Dockerfile").write_text("FROM x"), "names no base: give it a line ARG BASE_IMAGE="),
        (lambda folder: (folder / "../ca.pem").unlink(), "Cannot read the CA bundle .*ca.pem: No such file"),
        (lambda folder: (folder / "../ca.pem").write_text("x"), "ca.pem holds no certificate: give a file in PEM form"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    recipe: Callable[..., image.Recipe], tmp_path: Path, break_it: Callable[[Path], Any], sentence: str
) -> None:
    break_it(tmp_path / "docker")
    with pytest.raises(image.ImageError, match=sentence):
        recipe().tag()


def test_a_bundle_that_cannot_be_fetched_is_one_sentence(recipe: Callable[..., image.Recipe]) -> None:
    with pytest.raises(
        image.ImageError, match=r"Cannot fetch the CA bundle .*127\.0\.0\.1:9/ca.* and give its path\.$"
    ):
        recipe(ca_bundle="https://127.0.0.1:9/ca.pem").bundle()


# --- wheels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_wheels_are_those_of_the_base_and_not_of_this_machine(
    recipe: Callable[..., image.Recipe], tmp_path: Path, machine: str
) -> None:
    image.fetch_wheels(recipe().locks, engine.PYTHON, machine, tmp_path / "to")
    names = sorted(file.name for file in (tmp_path / "to").iterdir())
    assert names == [f"native-1.0-cp313-cp313-manylinux_2_28_{machine}.whl", "pure-1.0-py3-none-any.whl"]


def test_wheels_are_fetched_once(
    recipe: Callable[..., image.Recipe], tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image.fetch_wheels(recipe().locks, engine.PYTHON, "x86_64", tmp_path / "first")
    shutil.rmtree(index)
    # Another version that lies there has no part in it.
    wheel(next((tmp_path / "cache" / "mlflow-fargate" / "wheels").iterdir()), "stale")
    image.fetch_wheels(recipe().locks, engine.PYTHON, "x86_64", tmp_path / "second")
    assert os.listdir(tmp_path / "second") == os.listdir(tmp_path / "first")
    assert len(os.listdir(tmp_path / "second")) == 2


def test_a_wheel_that_was_damaged_is_fetched_again(recipe: Callable[..., image.Recipe], tmp_path: Path) -> None:
    image.fetch_wheels(recipe().locks, engine.PYTHON, "x86_64", tmp_path / "first")
    [cached] = (tmp_path / "cache").rglob("pure-*.whl")
    good = cached.read_bytes()
    cached.unlink()
    cached.write_bytes(b"half")
    image.fetch_wheels(recipe().locks, engine.PYTHON, "x86_64", tmp_path / "second")
    assert (tmp_path / "second" / cached.name).read_bytes() == good


def test_wheels_do_without_a_cache(
    recipe: Callable[..., image.Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    image.fetch_wheels(recipe().locks, engine.PYTHON, "x86_64", tmp_path / "to")
    assert len(os.listdir(tmp_path / "to")) == 2


def test_a_package_that_cannot_be_had_is_one_sentence_and_its_output(
    recipe: Callable[..., image.Recipe], tmp_path: Path, index: Path
) -> None:
    shutil.rmtree(index)
    with pytest.raises(
        image.ImageError, match=r"^Cannot fetch the image's Python packages .*native==1\.0.*\.$"
    ) as error:
        image.fetch_wheels(recipe().locks, engine.PYTHON, "x86_64", tmp_path / "to")
    assert "package index" in str(error.value)
    assert "ERROR" in error.value.output


# --- the engine -----------------------------------------------------------------------------------------------------


def test_a_build_has_all_it_needs_and_no_network(
    recipe: Callable[..., image.Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = engine.install(monkeypatch, tmp_path / "bin")
    assert image.build("docker", recipe(base="base:1", variant="slim"), "name:tag") == "sha256:1"
    [call] = [call for call in fake.calls if call["verb"] == "build"]
    words = " ".join(call["words"])
    for part in ("--network none", "--platform linux/amd64", "--tag name:tag", "BASE_IMAGE=base:1", "VARIANT=slim"):
        assert part in words
    wheels = ["native-1.0-cp313-cp313-manylinux_2_28_x86_64.whl", "pure-1.0-py3-none-any.whl"]
    files = ["Dockerfile", "entrypoint.py", "rds-ca.pem", "requirements-sbom.txt", "requirements-slim.txt", "wheels"]
    assert call["context"] == files + wheels
    [asked] = [call for call in fake.calls if call["verb"] == "run"]
    assert "--network none --platform linux/amd64 --entrypoint python3 base:1" in " ".join(asked["words"])


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        ({"python_version": "3.9"}, "has Python 3.9: take one with 3.11"),
        ({"glibc": ""}, "has no glibc: take one made from Debian"),
    ],
)
def test_a_base_that_cannot_be_used_is_one_sentence(
    recipe: Callable[..., image.Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    python: dict[str, str],
    sentence: str,
) -> None:
    engine.install(monkeypatch, tmp_path / "bin", **python)
    with pytest.raises(image.ImageError, match=sentence):
        image.build("docker", recipe(), "name:tag")


def test_no_engine_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(image.ImageError, match=r"^There is no command podman on this machine: install it, or .*\.$"):
        image.Engine("podman")


def test_another_command_is_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.install(monkeypatch, tmp_path / "bin", "whale", "whale 1.0")
    with pytest.raises(image.ImageError, match=r"whale is neither docker nor podman"):
        image.Engine("whale")


@pytest.mark.parametrize(
    ("verb", "sentence"),
    [
        ("version", r"^docker does not answer \(//\.\.\.@host said no\): start it, or allow this user to use it\.$"),
        (
            "run",
            r"^docker could not run the base image example.org/python:3.13@sha256:0a for linux/amd64: .*said no\.$",
        ),
        ("build", r"^docker could not build name:tag: //\.\.\.@host said no\.$"),
    ],
)
def test_a_step_that_fails_is_one_sentence_and_its_output(
    recipe: Callable[..., image.Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, sentence: str
) -> None:
    engine.install(monkeypatch, tmp_path / "bin")
    monkeypatch.setenv("FAKE_FAILS", verb)
    with pytest.raises(image.ImageError, match=sentence) as error:
        image.build("docker", recipe(), "name:tag")
    assert "hunter2" not in str(error.value) + error.value.output
    assert verb == "version" or "one line before" in error.value.output


def test_a_step_that_hangs_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "docker"
    slow.write_text("#!/bin/sh\ncase $1 in push) exec sleep 60;; --version) echo docker;; esac\n")
    slow.chmod(0o755)
    with pytest.raises(image.ImageError, match=r"^docker could not push it within 1 seconds\.$"):
        image.Engine(str(slow)).run("push", "x", doing="push it", seconds=1)


@pytest.mark.parametrize("says", ["Docker version 28.2.2", "podman version 4.3.1"])
def test_a_login_leaves_the_users_own_alone_and_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    own = tmp_path / "config"
    (own / "contexts").mkdir(parents=True)
    logins = {"auths": {"example.org": {"auth": "eDp5"}}, "credsStore": "desktop", "credHelpers": {"a": "b"}}
    (own / "config.json").write_text(json.dumps({**logins, "currentContext": "remote"}))
    monkeypatch.setenv("DOCKER_CONFIG", str(own))
    # The command is podman's in both names.
    fake = engine.install(monkeypatch, tmp_path / "bin", "docker", says)
    with image.Engine("docker").login("http://127.0.0.1:5000", "AWS", PASSWORD) as registry:
        registry.push("127.0.0.1:5000/x:y")
    assert fake.verbs == ["login", "push", "logout"]
    for call in fake.calls:
        assert PASSWORD not in " ".join(call["words"]) + json.dumps(call["environment"])
        assert (call["stdin"] == PASSWORD) == (call["verb"] == "login")
        if call["verb"] not in ("login", "push", "logout"):
            continue
        option = "--authfile" if "podman" in says else "--config"
        place = Path(call["words"][call["words"].index(option) + 1])
        assert not place.exists()
        assert not place.is_relative_to(own)
        if "podman" in says:
            assert ("--tls-verify=false" in call["words"]) == (call["verb"] != "logout")
        else:
            assert call["config"] == {"currentContext": "remote"}
    assert json.loads((own / "config.json").read_text())["auths"] == logins["auths"]


def test_a_registry_with_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = engine.install(monkeypatch, tmp_path / "bin", "podman", "podman version 4.3.1")
    with image.Engine("podman").login("https://example.org", "AWS", PASSWORD) as registry:
        registry.push("example.org/x:y")
    assert not [call for call in fake.calls if "--tls-verify=false" in call["words"]]


def test_an_image_of_the_same_registry_is_pulled_with_its_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = engine.install(monkeypatch, tmp_path / "bin")
    docker = image.Engine("docker")
    with docker.login("https://example.org", "AWS", PASSWORD) as registry:
        image.pull(docker, "example.org/x@sha256:1", "linux/amd64", registry)
        image.pull(docker, "example.com/x@sha256:1", "linux/amd64", registry)
    pulls = [call for call in fake.calls if call["verb"] == "pull"]
    assert ["config" in call for call in pulls] == [True, False]
    assert all("--platform linux/amd64" in " ".join(call["words"]) for call in pulls)


def test_the_list_of_packages_is_copied_out_of_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = engine.install(monkeypatch, tmp_path / "bin")
    assert image.Engine("docker").sbom("name:tag") == b"bill of materials"
    assert fake.verbs == ["create", "cp", "rm"]


def test_the_reason_is_not_where_docker_has_its_help() -> None:
    said = "docker: Error response from daemon: denied.\n\nRun 'docker run --help' for more information\n"
    assert image.last_line(said) == "docker: Error response from daemon: denied"
    assert image.last_line("") == ""
