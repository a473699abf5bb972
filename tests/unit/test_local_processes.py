"""What the local AWS remembers: ports, keys, stacks, processes, images."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local import __main__ as commands
from local import aws, config, image, processes, tls, up


def test_ports_are_chosen_once_and_differ(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    first = {name: config.Ports(path).get(name) for name in ("aws", "scaling", "front/a", "front/b")}
    assert len(set(first.values())) == 4
    assert {name: config.Ports(path).get(name) for name in first} == first


def test_wanted_port_is_remembered_and_kept_apart(tmp_path: Path) -> None:
    ports = config.Ports(tmp_path / "ports.json")
    ports.set("front/a", 40123)
    assert ports.get("front/a") == 40123
    with pytest.raises(config.Trouble, match="already used here for front/a"):
        ports.set("front/b", 40123)


@pytest.mark.parametrize("value", ["80", "0", "70000", "abc", "-1", "80a"])
def test_wanted_port_that_is_none(value: str) -> None:
    with pytest.raises(config.Trouble, match=f"PORT={value}"):
        config.wanted_port({"PORT": value})


def test_wanted_port_good_or_absent() -> None:
    assert config.wanted_port({"PORT": "5001"}) == 5001
    assert config.wanted_port({"PORT": ""}) is None
    assert config.wanted_port({}) is None


def test_occupied_port_is_seen() -> None:
    with socket.create_server((config.HOST, 0)) as stranger:
        port = stranger.getsockname()[1]
        assert not config.is_free(port)
    assert config.is_free(port)


def test_stack_names() -> None:
    assert config.Stack.wanted({}).name == "local-rds-internal"
    assert config.Stack.wanted({"STORAGE": "efs", "EXPOSURE": "public"}).name == "local-efs-public"
    assert config.Stack.wanted({"ENGINE": "podman"}).name == "podman-rds-internal"


@pytest.mark.parametrize("engine", config.ENGINES)
def test_a_stack_is_named_after_its_engine(engine: str) -> None:
    stack = config.Stack.wanted({"ENGINE": engine})
    assert config.engine_of(stack.name) == engine
    # What preflight lets through.
    assert len(stack.name) <= 24


@pytest.mark.parametrize(
    ("name", "value"), [("STORAGE", "aurora"), ("EXPOSURE", "Public"), ("STORAGE", "rds "), ("ENGINE", "lxc")]
)
def test_unknown_stack_is_one_sentence(name: str, value: str) -> None:
    with pytest.raises(config.Trouble, match=f"{name}={value} is not one of"):
        config.Stack.wanted({name: value})


def test_children_see_nothing_of_another_aws() -> None:
    given = {"AWS_PROFILE": "prod", "MLFLOW_TRACKING_URI": "x", "PYTHONPATH": "y", "PATH": "z", "HOME": "h"}
    assert config.own_environment(given) == {"PATH": "z", "HOME": "h", **config.NO_PROFILE}


def test_this_process_forgets_another_aws_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"AWS_PROFILE": "prod", "AWS_USE_FIPS_ENDPOINT": "true", "HOME": "h"})
    config.forget_other_aws()
    assert os.environ == {"HOME": "h", **config.NO_PROFILE}


def test_the_play_gets_its_own_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "assume", lambda *_: {"access_key": "a", "secret_key": "b", "token": "c"})
    monkeypatch.setattr(config, "network_environment", dict)
    shell = {"ANSIBLE_CONFIG": "/elsewhere", "ANSIBLE_STDOUT_CALLBACK": "x", "ANSIBLE_VERBOSITY": "2", "LC_ALL": "C"}
    given = up.deployer_credentials("role", shell)
    assert {name: value for name, value in given.items() if name.startswith("ANSIBLE_")} == {
        "ANSIBLE_CONFIG": str(config.ROOT / "ansible.cfg"),
        "ANSIBLE_VERBOSITY": "2",
    }
    assert given["LC_ALL"].endswith("UTF-8")


def test_trouble_with_files_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise PermissionError(13, "Permission denied", "/checkout/.local/run/lock")

    monkeypatch.setattr(config, "forget_other_aws", lambda: None)
    monkeypatch.setitem(commands.COMMANDS, "up", (refuse, ""))
    assert commands.main(["up"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("/checkout/.local/run/lock: Permission denied. ")
    assert len(error.splitlines()) == 1


def test_a_child_keeps_the_lock_and_others_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "STATE", tmp_path)
    monkeypatch.setattr(config, "RUN", tmp_path / "run")
    with up.only_one() as lock:
        child = subprocess.Popen(["sleep", "60"], pass_fds=(lock,))
    assert tmp_path.stat().st_mode & 0o066 == 0
    with pytest.raises(config.Trouble, match="Another `make up`"), up.only_one():
        pass
    child.kill()
    child.wait()
    with up.only_one():
        pass


def test_no_proxy_keeps_the_callers_entries() -> None:
    assert config.no_proxy({"no_proxy": "corp,localhost"})["NO_PROXY"] == "corp,localhost,127.0.0.1"


def sleeper() -> subprocess.Popen[bytes]:
    """A process that would run for a minute, and its child likewise."""
    code = (
        "import subprocess,sys,time;"
        "print(subprocess.Popen([sys.executable,'-c','import time;time.sleep(60)']).pid, flush=True);time.sleep(60)"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)


def test_stop_ends_the_process_and_its_children() -> None:
    with sleeper() as process:
        assert process.stdout
        child = int(process.stdout.readline())
        record = processes.identity(process.pid)
        assert record
        assert processes.is_ours(record)
        # Our own child has to be collected while it is waited for.
        waiter = __import__("threading").Thread(target=process.wait)
        waiter.start()
        assert processes.stop(record, 5)
        waiter.join()
        assert not processes.is_ours(record)
    deadline = time.monotonic() + 5
    while processes.identity(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes.identity(child) is None


def test_a_stranger_with_the_same_number_is_left_alone() -> None:
    mine = processes.identity(os.getpid())
    assert mine
    assert processes.is_ours(mine)
    # The clock may have been set since.
    assert processes.is_ours({**mine, "started": mine["started"] - 60})
    assert not processes.is_ours({**mine, "folder": "/elsewhere"})
    assert not processes.is_ours({**mine, "folder": "/elsewhere", "command": None})
    assert not processes.is_ours({**mine, "command": ["python", "-m", "other"]})
    assert processes.is_ours({**mine, "command": None})
    assert not processes.stop({**mine, "folder": "/elsewhere"}, 0)
    assert not processes.is_ours({})


def test_a_process_that_dies_at_the_start_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "RUN", tmp_path / "run")
    monkeypatch.setattr(config, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(config, "ROOT", tmp_path)
    processes.start("thing", [sys.executable, "-c", "print('first'); raise SystemExit('no such port')"], os.environ)
    with pytest.raises(config.Trouble, match="thing ended while starting: no such port"):
        processes.wait_ready("thing", lambda: False, 30)


def test_image_digest_follows_names_and_contents(tmp_path: Path) -> None:
    source = tmp_path / "docker"
    source.mkdir()
    (source / "entrypoint.py").write_text("pass\n")
    (source / "requirements.txt").write_text("mlflow\n")
    first = image.digest(source)
    (source / "__pycache__").mkdir()
    (source / "__pycache__" / "x.pyc").write_text("x")
    assert image.digest(source) == first
    (source / "requirements.txt").write_text("mlflow==1\n")
    second = image.digest(source)
    (source / "requirements.txt").rename(source / "require.txt")
    assert len({first, second, image.digest(source)}) == 3


def test_publish_then_pull(tmp_path: Path) -> None:
    source = tmp_path / "docker"
    source.mkdir()
    (source / "entrypoint.py").write_text("pass\n")
    (tmp_path / "ca.pem").write_text("ca")
    reference = image.publish(source, tmp_path / "images", tmp_path / "ca.pem")
    assert reference == f"local/mlflow@sha256:{image.digest(source)}"
    folder = image.pull(reference, tmp_path / "images")
    assert sorted(path.name for path in folder.iterdir()) == ["entrypoint.py", "rds-ca.pem"]
    assert image.publish(source, tmp_path / "images", tmp_path / "ca.pem") == reference
    for missing in ("local/mlflow@sha256:" + "0" * 64, "local/mlflow:latest"):
        with pytest.raises(config.Trouble, match="CannotPullContainerError"):
            image.pull(missing, tmp_path / "images")


def test_certificates_are_made_once_and_keys_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "tls"
    corporate = tmp_path / "corporate.pem"
    corporate.write_text("# the authority of this company\n")
    tls.ensure(folder, {"SSL_CERT_FILE": str(corporate)})
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    tls.ensure(folder, {})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*.key")} == {0o600}
    assert before["ca-bundle.pem"].startswith(b"# the authority of this company")
    assert before["ca.pem"] in before["ca-bundle.pem"]


def test_our_own_bundle_is_not_taken_for_the_systems(tmp_path: Path) -> None:
    own = tmp_path / "tls" / "ca-bundle.pem"
    own.parent.mkdir()
    own.write_text("ours")
    assert tls.system_bundle({"AWS_CA_BUNDLE": str(own)}, tmp_path) != "ours"
