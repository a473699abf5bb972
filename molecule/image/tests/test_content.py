"""What is in the image, read inside one container by testinfra."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
from testinfra.host import Host

from tests.image import engine as machine

LOCK = machine.ROOT / "docker/requirements-slim.txt"
VENV = "/opt/mlflow/venv"
# Debian's own folders for everybody, which a read-only root closes.
FOR_ALL = {"/tmp", "/var/tmp", "/run/lock"}

BYTECODE = """
import importlib.util as u, json, pathlib, sys
missing, stale = [], []
# What is started by its path, as a script is, is never read from a cache.
program = {*pathlib.Path("/opt/mlflow").glob("*.py")} - {pathlib.Path("/opt/mlflow/entrypoint.py")}
for source in [*program, *pathlib.Path("/opt/mlflow/venv/lib").rglob("*.py")]:
    cached = pathlib.Path(u.cache_from_source(source))
    if not cached.exists(): missing.append(str(source)); continue
    head = cached.read_bytes()[:16]
    # 1: by hash, not asked again; so neither times nor a layer's clock make it stale.
    if head != u.MAGIC_NUMBER + (1).to_bytes(4, "little") + u.source_hash(source.read_bytes()):
        stale.append(str(source))
print(json.dumps({"missing": missing, "stale": stale}))
"""
INSTALLED = """
import importlib.metadata, json
print(json.dumps([(each.metadata["Name"], each.version) for each in importlib.metadata.distributions()]))
"""
# Tries every folder, whatever its mode says.
WRITABLE = """
import json, os
found = []
for folder, inner, _ in os.walk("/"):
    inner[:] = [] if folder in ("/proc", "/sys") else inner
    probe = os.path.join(folder, ".probe")
    try: os.mkdir(probe)
    except OSError: continue
    os.rmdir(probe)
    found.append(folder)
print(json.dumps(found))
"""


def python(host: Host, program: str) -> Any:
    """What `program` prints as JSON, run by the image's Python."""
    return json.loads(host.check_output("python -c %s", program))


def normal(pairs: Iterable[Iterable[str]]) -> dict[str, str]:
    """Versions by name, as a package index spells names."""
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def settings(engine: machine.Engine, image: str) -> dict[str, Any]:
    """The image's configuration."""
    config: dict[str, Any] = json.loads(engine.run("image", "inspect", "--format", "{{json .Config}}", image))
    return config


def test_the_image_says_how_it_is_run(engine: machine.Engine, facts: dict[str, Any]) -> None:
    config = settings(engine, facts["image"])
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["python", "/opt/mlflow/entrypoint.py"]
    assert config["Cmd"] == ["serve"]
    assert list(config["ExposedPorts"]) == ["5000/tcp"]
    assert list(config["Volumes"]) == ["/tmp"]
    names = {variable.partition("=")[0] for variable in config["Env"]}
    assert not {name for name in names if re.search("PASSWORD|SECRET|KEY|TOKEN|AWS|PIP|INDEX|PROXY", name)} - {
        "GPG_KEY"
    }


def test_user(image: Host) -> None:
    user = image.user("mlflow")
    assert (user.uid, user.gid, user.group, user.groups) == (10001, 10001, "mlflow", ["mlflow"])
    assert (user.shell, user.home) == ("/usr/sbin/nologin", "/tmp")
    assert image.check_output("id --user --real") == "10001"
    assert image.check_output("cat /proc/1/status | grep -E '^(Uid|CapEff)' | tr -s '\\t ' ' '") == (
        "Uid: 10001 10001 10001 10001\nCapEff: 0000000000000000"
    )


@pytest.mark.parametrize("name", ["entrypoint.py", "rds-ca.pem", "sbom.cdx.json", "venv/bin/python", "venv/pyvenv.cfg"])
def test_file_is_roots_and_read_only(image: Host, name: str) -> None:
    file = image.file(f"/opt/mlflow/{name}")
    assert file.exists and (file.is_file or file.is_symlink)
    if not file.is_symlink:
        assert (file.user, file.group, file.mode & 0o333 & ~0o111) == ("root", "root", 0)
        assert file.mode & 0o444 == 0o444


def test_the_program_is_the_repositorys(image: Host) -> None:
    for source in (machine.ROOT / "docker").glob("*.py"):
        assert image.file(f"/opt/mlflow/{source.name}").content == source.read_bytes()


def test_authorities_can_be_read(image: Host) -> None:
    program = (
        "import ssl; c = ssl.create_default_context(cafile='/opt/mlflow/rds-ca.pem'); print(len(c.get_ca_certs()))"
    )
    assert python(image, program) > 10


def test_nothing_is_setuid_or_setgid(all_of_it: Host) -> None:
    assert all_of_it.check_output("find / -xdev -type f -perm /6000") == ""


def test_nothing_belongs_to_the_user_or_to_all(all_of_it: Host) -> None:
    tests = r"\( -user 10001 -o -group 10001 -o -perm -0002 \)"
    found = set(all_of_it.check_output(rf"find / -xdev -not -type l {tests}").splitlines())
    assert found - FOR_ALL == {machine.DATA}


def test_only_scratch_and_mount_can_be_written(image: Host) -> None:
    written = python(image, WRITABLE)
    assert {"/tmp", "/mlflow"} <= set(written)
    assert [path for path in written if not re.match("/(tmp|mlflow|dev/shm|dev/mqueue)(/|$)", path)] == []


@pytest.mark.parametrize("folder", ["/", "/opt/mlflow", f"{VENV}/bin", "/etc", "/var/tmp", "/root"])
def test_root_cannot_write_either(engine: machine.Engine, facts: dict[str, Any], folder: str) -> None:
    server = machine.Container(engine, facts["containers"]["sqlite"])
    done = server.exec("touch", f"{folder}/probe", user="0:0")
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr


def test_no_tools_to_build_or_fetch_with(image: Host) -> None:
    # Not `exists`, for the base's own shell and package manager are what they are.
    for tool in ("gcc", "cc", "c++", "g++", "ld", "make", "cargo", "curl", "wget", "git"):
        assert image.run("command -v %s", tool).rc != 0, tool
    for module in ("pip", "setuptools", "wheel"):
        assert image.run("python -c %s", f"import {module}").rc != 0, module
    assert image.check_output("command -v python") == f"{VENV}/bin/python"


def test_nothing_is_left_of_the_build(all_of_it: Host) -> None:
    assert not all_of_it.file("/build").exists
    # The base's own wheels, from which Debian's Python makes environments, lie in /usr.
    leftovers = r"\( -name '*.whl' -o -name .cache -o -name 'requirements*.txt' \)"
    assert all_of_it.check_output(f"find / -xdev -not -path '/usr/*' {leftovers}") == ""


def test_bytecode_is_there_and_fresh(image: Host) -> None:
    assert python(image, BYTECODE) == {"missing": [], "stale": []}


def test_list_of_packages_is_what_is_installed(image: Host) -> None:
    listed = json.loads(image.file("/opt/mlflow/sbom.cdx.json").content_string)
    assert listed["bomFormat"] == "CycloneDX"
    installed = normal(python(image, INSTALLED))
    assert normal((part["name"], part["version"]) for part in listed["components"]) == installed
    assert len(installed) > 40


def test_installed_is_what_the_lock_pins(image: Host) -> None:
    # One package may have two pins, for two versions of Python.
    pins = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", LOCK.read_text(), re.MULTILINE)
    installed = normal(python(image, INSTALLED))
    assert set(installed.items()) <= {pair for each in pins for pair in normal([each]).items()}
    assert installed.keys() >= {"mlflow", "psycopg", "pymysql", "boto3", "flask-wtf", "prometheus-flask-exporter"}
