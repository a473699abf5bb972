"""The container's start-up logic: its plan as a value, its refusals as sentences, its effects on files."""

from __future__ import annotations

import configparser
import http.server
import importlib
import importlib.metadata
import json
import os
import re
import shlex
import string
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "docker" / "entrypoint.py"
sys.path.insert(0, str(PROGRAM.parent))
entrypoint = importlib.import_module("entrypoint")
schema = importlib.import_module("schema")
database_wait = importlib.import_module("database_wait")

PYTHON = "/opt/python"
SCRATCH = Path("/scratch")
ADMIN = "Adm1n-pa$$word:%@/"
FLASK = "flask-key-%-0123456789"
DATABASE = "p%40ss:/@?#[]&=+ \"'\\$`;é€"

COMMON = {
    "MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/a/prefix",
    "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow.example.com,mlflow.example.com:*",
    "MLFLOW_AUTH": "basic",
    "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN,
    "MLFLOW_FLASK_SERVER_SECRET_KEY": FLASK,
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder like the image's, with the CA bundle in it."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "rds-ca.pem").write_text("bundle")
    return folder


@pytest.fixture
def rds() -> dict[str, str]:
    return COMMON | {
        "MLFLOW_DB_DIALECT": "postgresql",
        "MLFLOW_DB_HOST": "db.example.com",
        "MLFLOW_DB_PORT": "6432",
        "MLFLOW_DB_DATABASE": "tracking",
        "MLFLOW_DB_USERNAME": "writer",
        "MLFLOW_DB_PASSWORD": DATABASE,
    }


@pytest.fixture
def efs(tmp_path: Path) -> dict[str, str]:
    return COMMON | {"MLFLOW_DATA_DIR": str(tmp_path)}


def plan(environ: dict[str, str], home: Path) -> Any:
    return entrypoint.make_plan(environ, home, SCRATCH, PYTHON)


def options(argv: tuple[str, ...]) -> dict[str, str]:
    """Return `--name value` pairs; a flag has the value ''."""
    rest = argv[4:]
    return {
        name: "" if value.startswith("--") and name != "--uvicorn-opts" else value
        for name, value in zip(rest, (*rest[1:], "--"), strict=True)
        if name.startswith("--") and " " not in name
    }


def test_plan_postgresql(rds: dict[str, str], home: Path) -> None:
    made = plan(rds, home)
    assert made.database.uri == "postgresql+psycopg://writer@db.example.com:6432/tracking"
    assert made.argv[:4] == (PYTHON, "-m", "mlflow", "server")
    assert options(made.argv) == {
        "--host": "0.0.0.0",
        "--port": "5000",
        "--workers": "1",
        "--uvicorn-opts": entrypoint.UVICORN_OPTIONS,
        "--backend-store-uri": made.database.uri,
        "--serve-artifacts": "",
        "--artifacts-destination": "s3://bucket/a/prefix",
        "--app-name": "basic-auth",
    }
    expected = {
        "PGPASSWORD": DATABASE,
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(home / "rds-ca.pem"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SERVER_ALLOWED_HOSTS": rds["MLFLOW_SERVER_ALLOWED_HOSTS"],
        "MLFLOW_AUTH_CONFIG_PATH": "/scratch/basic_auth.ini",
        "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
    }
    assert {name: made.environment.get(name) for name in expected} == expected
    assert "MLFLOW_DB_PASSWORD" not in made.environment


def test_plan_sqlite(efs: dict[str, str], home: Path, tmp_path: Path) -> None:
    made = plan(efs, home)
    assert made.database.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert not [name for name in made.environment if name.startswith("PG")]
    assert options(made.argv)["--workers"] == "1"


def test_plan_without_logins_writes_no_users_file(efs: dict[str, str], home: Path) -> None:
    made = plan(efs | {"MLFLOW_AUTH": "none", "MLFLOW_AUTH_ADMIN_PASSWORD": "short"}, home)
    assert {path.parent.name for path in made.files} == {"door-1.dist-info"}
    assert options(made.argv)["--app-name"] == "no-auth"
    assert "MLFLOW_AUTH_CONFIG_PATH" not in made.environment


@pytest.mark.parametrize("auth", ["basic", "none"])
def test_the_app_is_ours_before_mlflows(
    efs: dict[str, str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auth: str
) -> None:
    monkeypatch.setattr(os, "environ", {})
    scratch = tmp_path / "scratch"
    made = entrypoint.make_plan(efs | {"MLFLOW_AUTH": auth}, home, scratch, PYTHON)
    entrypoint.write(made)
    folders = made.environment["PYTHONPATH"].split(":")
    assert folders == [str(scratch), str(home)]
    assert made.environment["PYTHONSAFEPATH"] == "1"
    other = tmp_path / "site-packages" / "mlflow-3.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Name: mlflow\n")
    (other / "entry_points.txt").write_text("[mlflow.app]\nbasic-auth = mlflow.server.auth:create_app\n")
    path = [*folders, str(other.parent)]
    found = [one for dist in importlib.metadata.distributions(path=path) for one in dist.entry_points]
    first = next(one for one in found if one.name == options(made.argv)["--app-name"])
    module, _, name = first.value.partition(":")
    assert (module, callable(getattr(importlib.import_module(module), name))) == ("door", True)


def test_keep_alive_outlives_the_load_balancer_and_stop_is_bounded() -> None:
    words = [word for word in shlex.split(entrypoint.UVICORN_OPTIONS) if word != "--no-server-header"]
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert int(given["--timeout-keep-alive"]) > 60
    assert 0 < int(given["--timeout-graceful-shutdown"]) < 30


@pytest.mark.parametrize("character", [*string.punctuation, " ", "é", "€", "\t", "\udcff"])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_secrets_with_any_character_stay_out_of_sight(
    rds: dict[str, str], home: Path, character: str, place: str
) -> None:
    def secret(stem: str) -> str:
        return {"first": character + stem, "middle": stem[:8] + character + stem[8:], "last": stem + character}[place]

    values = {
        "MLFLOW_DB_PASSWORD": secret("databasepassword"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": secret("administratorspassword"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secret("flasksecretkey0123"),
    }
    made = plan(rds | values, home)
    assert made.environment["PGPASSWORD"] == values["MLFLOW_DB_PASSWORD"]
    assert made.environment["MLFLOW_AUTH_ADMIN_PASSWORD"] == values["MLFLOW_AUTH_ADMIN_PASSWORD"]
    assert made.environment["MLFLOW_FLASK_SERVER_SECRET_KEY"] == values["MLFLOW_FLASK_SERVER_SECRET_KEY"]
    visible = "\n".join([*made.argv, *made.files.values(), made.database.uri])
    assert not [name for name, value in values.items() if value in visible]
    holders = [name for name, value in made.environment.items() if value == values["MLFLOW_DB_PASSWORD"]]
    assert holders == ["PGPASSWORD"]


@pytest.mark.parametrize("user", ["writer", "a@b", "a:b", "a/b", "a%40b", "iam user", "ü", "\udcff"])
def test_users_file_is_read_back_as_written(rds: dict[str, str], home: Path, user: str) -> None:
    made = plan(rds | {"MLFLOW_DB_USERNAME": user}, home)
    parser = configparser.ConfigParser()
    parser.read_string(made.files[SCRATCH / "basic_auth.ini"])
    assert dict(parser["mlflow"]) == {
        "default_permission": "READ",
        "database_uri": made.database.uri,
        "auth_cache_ttl_seconds": "60",
        "authorization_function": "door:authorize",
    }
    authority = made.database.uri.removeprefix("postgresql+psycopg://").removesuffix("/tracking")
    assert re.fullmatch(r"[A-Za-z0-9%]+@db\.example\.com:6432", authority)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "true", "true"),
        ("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "", "false"),
        ("MLFLOW_DISABLE_TELEMETRY", "false", "false"),
        ("FORWARDED_ALLOW_IPS", "10.1.0.0/16", "10.1.0.0/16"),
        ("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "https://other", "https://other"),
        ("AWS_DEFAULT_REGION", "eu-west-3", "eu-west-3"),
        ("MLFLOW_MAX_BODY_MIB", "", "32"),
        ("MLFLOW_MAX_BODY_MIB", "64", "64"),
        ("PGSSLMODE", "disable", "verify-full"),
        ("PGPASSWORD", "ambient", DATABASE),
        ("MLFLOW_S3_ENDPOINT_URL", "https://127.0.0.1:1", "https://127.0.0.1:1"),
    ],
)
def test_precedence(rds: dict[str, str], home: Path, name: str, value: str, expected: str) -> None:
    assert plan(rds | {name: value}, home).environment[name] == expected


@pytest.mark.parametrize(("given", "expected"), [("0", "0"), ("1", "1"), ("3600", "3600"), ("", "60")])
def test_how_long_a_login_is_remembered(rds: dict[str, str], home: Path, given: str, expected: str) -> None:
    made = plan(rds | {"MLFLOW_AUTH_CACHE_SECONDS": given}, home)
    assert f"auth_cache_ttl_seconds = {expected}\n" in made.files[SCRATCH / "basic_auth.ini"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "-1"),
        ({"MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "7"}, "7"),
        ({"MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "QueuePool"}, "-1"),
        ({"MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"}, None),
    ],
)
def test_the_pool_opens_what_the_threads_need(
    rds: dict[str, str], home: Path, given: dict[str, str], expected: str | None
) -> None:
    assert plan(rds | given, home).environment.get("MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW") == expected


def test_region_reaches_boto3(efs: dict[str, str], home: Path) -> None:
    assert "AWS_DEFAULT_REGION" not in plan(efs, home).environment
    assert plan(efs | {"AWS_REGION": "eu-west-1"}, home).environment["AWS_DEFAULT_REGION"] == "eu-west-1"


def test_own_pages_may_post(efs: dict[str, str], home: Path) -> None:
    hosts = {"MLFLOW_SERVER_ALLOWED_HOSTS": "a.example, a.example:*"}
    made = plan(efs | hosts, home)
    assert made.environment["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(",") == [
        "https://a.example",
        "http://a.example",
        "https://a.example:*",
        "http://a.example:*",
    ]
    for scheme in ("https", "http"):
        made = plan(efs | hosts | {"MLFLOW_PUBLIC_SCHEME": scheme}, home)
        origins = f"{scheme}://a.example,{scheme}://a.example:*"
        assert made.environment["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == origins
        assert made.environment["MLFLOW_PUBLIC_SCHEME"] == scheme


def test_hosts_have_one_spelling(efs: dict[str, str], home: Path) -> None:
    made = plan(efs | {"MLFLOW_SERVER_ALLOWED_HOSTS": "Team-A.example,team-a.example,team-A.example:*"}, home)
    assert made.environment["MLFLOW_SERVER_ALLOWED_HOSTS"] == "team-a.example,team-a.example:*"


def test_nobody_but_this_machine_is_a_proxy_by_itself(efs: dict[str, str], home: Path) -> None:
    # uvicorn's own default.
    assert "FORWARDED_ALLOW_IPS" not in plan(efs, home).environment


@pytest.mark.parametrize("right", ["NO_PERMISSIONS", "READ", "USE", "EDIT", "MANAGE"])
def test_the_default_right(rds: dict[str, str], home: Path, right: str) -> None:
    made = plan(rds | {"MLFLOW_DEFAULT_PERMISSION": right}, home)
    assert f"default_permission = {right}\n" in made.files[SCRATCH / "basic_auth.ini"]


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [
        ("MLFLOW_HOST", "127.0.0.1", "--host"),
        ("MLFLOW_PORT", "65535", "--port"),
        ("MLFLOW_WORKERS", "4", "--workers"),
        ("MLFLOW_ARTIFACTS_DESTINATION", "s3://my.bucket-1", "--artifacts-destination"),
    ],
)
def test_values_become_options(rds: dict[str, str], home: Path, name: str, value: str, option: str) -> None:
    assert options(plan(rds | {name: value}, home).argv)[option] == value


def test_ca_file_from_environment(rds: dict[str, str], tmp_path: Path) -> None:
    bundle = tmp_path / "other.pem"
    bundle.write_text("bundle")
    made = plan(rds | {"MLFLOW_DB_CA_FILE": str(bundle)}, tmp_path)
    assert made.environment["PGSSLROOTCERT"] == str(bundle)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"MLFLOW_PORT": "http"}, ["MLFLOW_PORT='http'", "1 to 65535"]),
        ({"MLFLOW_PORT": "0"}, ["MLFLOW_PORT='0'", "1 to 65535"]),
        ({"MLFLOW_PORT": "65536"}, ["MLFLOW_PORT='65536'"]),
        ({"MLFLOW_PORT": "-1"}, ["MLFLOW_PORT='-1'"]),
        ({"MLFLOW_PORT": "5000 "}, ["MLFLOW_PORT='5000 '"]),
        ({"MLFLOW_PORT": "\u0665"}, ["MLFLOW_PORT"]),
        ({"MLFLOW_PORT": "9" * 5000}, ["MLFLOW_PORT"]),
        ({"MLFLOW_HOST": "localhost"}, ["MLFLOW_HOST='localhost'", "IP address"]),
        ({"MLFLOW_HOST": "--reload"}, ["MLFLOW_HOST='--reload'"]),
        ({"MLFLOW_WORKERS": "0"}, ["MLFLOW_WORKERS='0'", "1 to 64"]),
        ({"MLFLOW_WORKERS": "auto"}, ["MLFLOW_WORKERS='auto'"]),
        ({"MLFLOW_AUTH_CACHE_SECONDS": "3601"}, ["MLFLOW_AUTH_CACHE_SECONDS='3601'", "0 to 3600"]),
        ({"MLFLOW_AUTH_CACHE_SECONDS": "-1"}, ["MLFLOW_AUTH_CACHE_SECONDS='-1'"]),
        ({"MLFLOW_DEFAULT_PERMISSION": "DENY"}, ["MLFLOW_DEFAULT_PERMISSION='DENY'", "READ or USE"]),
        ({"MLFLOW_PUBLIC_SCHEME": "HTTPS"}, ["MLFLOW_PUBLIC_SCHEME='HTTPS'", "set it to https or http"]),
        ({"MLFLOW_DB_WAIT_SECONDS": "1m"}, ["MLFLOW_DB_WAIT_SECONDS='1m'", "(then 120)"]),
        ({"MLFLOW_WORKERS": "1.5"}, ["MLFLOW_WORKERS='1.5'"]),
        ({"MLFLOW_ARTIFACTS_DESTINATION": ""}, ["MLFLOW_ARTIFACTS_DESTINATION is missing", "s3://"]),
        ({"MLFLOW_ARTIFACTS_DESTINATION": "/mlflow/artifacts"}, ["'/mlflow/artifacts'", "s3://"]),
        ({"MLFLOW_ARTIFACTS_DESTINATION": "s3:///prefix"}, ["s3://"]),
        ({"MLFLOW_ARTIFACTS_DESTINATION": "s3://Bucket"}, ["s3://"]),
        ({"MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/a b"}, ["s3://"]),
        ({"MLFLOW_ARTIFACTS_DESTINATION": "s3://key:secret@bucket"}, ["s3://"]),
        ({"MLFLOW_SERVER_ALLOWED_HOSTS": ""}, ["MLFLOW_SERVER_ALLOWED_HOSTS is missing", "403"]),
        ({"MLFLOW_SERVER_ALLOWED_HOSTS": "*"}, ["'*'", "name:*"]),
        ({"MLFLOW_SERVER_ALLOWED_HOSTS": "https://a.example"}, ["'https://a.example'"]),
        ({"MLFLOW_SERVER_ALLOWED_HOSTS": "a.example,,b.example"}, ["the entry ''"]),
        ({"MLFLOW_SERVER_ALLOWED_HOSTS": "a.example b.example"}, ["MLFLOW_SERVER_ALLOWED_HOSTS"]),
        ({"MLFLOW_AUTH": ""}, ["MLFLOW_AUTH is missing", "basic", "none"]),
        ({"MLFLOW_AUTH": "oidc"}, ["MLFLOW_AUTH='oidc'", "basic", "none"]),
        ({"MLFLOW_AUTH": "Basic"}, ["MLFLOW_AUTH='Basic'"]),
        ({"MLFLOW_AUTH_ADMIN_PASSWORD": ""}, ["MLFLOW_AUTH_ADMIN_PASSWORD is missing", "secret"]),
        ({"MLFLOW_AUTH_ADMIN_PASSWORD": "elevenchars"}, ["MLFLOW_AUTH_ADMIN_PASSWORD", "12 or more"]),
        ({"MLFLOW_AUTH_ADMIN_PASSWORD": "password1234"}, ["MLFLOW_AUTH_ADMIN_PASSWORD", "default"]),
        ({"MLFLOW_AUTH_ADMIN_PASSWORD": "twelve-or-more\n"}, ["MLFLOW_AUTH_ADMIN_PASSWORD", "line break"]),
        ({"MLFLOW_FLASK_SERVER_SECRET_KEY": ""}, ["MLFLOW_FLASK_SERVER_SECRET_KEY is missing"]),
        ({"MLFLOW_FLASK_SERVER_SECRET_KEY": "tooshort"}, ["MLFLOW_FLASK_SERVER_SECRET_KEY", "16 or more"]),
        ({"MLFLOW_DB_DIALECT": ""}, ["MLFLOW_DB_DIALECT is missing", "postgresql"]),
        ({"MLFLOW_DB_DIALECT": "mssql"}, ["MLFLOW_DB_DIALECT='mssql'", "postgresql", "mysql"]),
        ({"MLFLOW_DB_TLS": "yes"}, ["MLFLOW_DB_TLS='yes'", "verify", "off"]),
        ({"MLFLOW_LOG_FORMAT": "xml"}, ["MLFLOW_LOG_FORMAT='xml'", "json"]),
        ({"MLFLOW_PROMETHEUS": "1"}, ["MLFLOW_PROMETHEUS='1'", "true"]),
        ({"MLFLOW_MAX_BODY_MIB": "0"}, ["MLFLOW_MAX_BODY_MIB='0'", "1 to 1024", "then 32"]),
        ({"MLFLOW_DB_DIALECT": "mysql", "MLFLOW_MYSQL_SSL_CA": "/ca"}, ["MLFLOW_MYSQL_SSL_CA", "MLFLOW_DB_CA_FILE"]),
        ({"MLFLOW_DB_HOST": ""}, ["MLFLOW_DB_HOST is missing"]),
        ({"MLFLOW_DB_HOST": "db:5432"}, ["MLFLOW_DB_HOST='db:5432'", "MLFLOW_DB_PORT"]),
        ({"MLFLOW_DB_HOST": "user@db"}, ["MLFLOW_DB_HOST='user@db'"]),
        ({"MLFLOW_DB_HOST": "postgresql://db"}, ["MLFLOW_DB_HOST"]),
        ({"MLFLOW_DB_PORT": "five"}, ["MLFLOW_DB_PORT='five'"]),
        ({"MLFLOW_DB_DATABASE": ""}, ["MLFLOW_DB_DATABASE is missing"]),
        ({"MLFLOW_DB_DATABASE": "db?sslmode=disable"}, ["MLFLOW_DB_DATABASE='db?sslmode=disable'"]),
        ({"MLFLOW_DB_DATABASE": "a/b"}, ["MLFLOW_DB_DATABASE='a/b'"]),
        ({"MLFLOW_DB_USERNAME": ""}, ["MLFLOW_DB_USERNAME is missing"]),
        ({"MLFLOW_DB_PASSWORD": ""}, ["MLFLOW_DB_PASSWORD is missing", "secret"]),
        ({"MLFLOW_DB_PASSWORD": "trailing\n"}, ["MLFLOW_DB_PASSWORD", "line break"]),
        ({"MLFLOW_DB_PASSWORD": "trailing\r"}, ["MLFLOW_DB_PASSWORD", "line break"]),
        ({"MLFLOW_DB_CA_FILE": "/nonexistent.pem"}, ["MLFLOW_DB_CA_FILE='/nonexistent.pem'", "CA bundle"]),
        ({"MLFLOW_DB_CA_FILE": "system"}, ["MLFLOW_DB_CA_FILE='system'"]),
        ({"MLFLOW_DATA_DIR": "/tmp"}, ["MLFLOW_DATA_DIR and MLFLOW_DB_HOST", "keep one"]),
    ],
)
def test_bad_environment_is_one_sentence(
    rds: dict[str, str],
    home: Path,
    change: dict[str, str],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(entrypoint, "__file__", str(home / "entrypoint.py"))
    monkeypatch.setattr(entrypoint, "execute", lambda plan: pytest.fail("started in spite of it"))
    environ = rds | change
    assert entrypoint.main(["serve"], environ) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("entrypoint: ") and err.endswith(".\n") and err.count("\n") == 1
    assert [word for word in words if word not in err] == []
    hidden = ["MLFLOW_DB_PASSWORD", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"]
    assert [name for name in hidden if environ[name].strip() and environ[name].strip() in err] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"MLFLOW_DATA_DIR": ""}, ["MLFLOW_DATA_DIR, MLFLOW_DB_HOST and MLFLOW_BACKEND_STORE_URI are all missing"]),
        ({"MLFLOW_DATA_DIR": "relative"}, ["MLFLOW_DATA_DIR='relative'", "absolute"]),
        ({"MLFLOW_DATA_DIR": "/nonexistent/folder"}, ["MLFLOW_DATA_DIR='/nonexistent/folder'", "mount"]),
        ({"MLFLOW_DATA_DIR": "/tmp/a?mode=memory"}, ["MLFLOW_DATA_DIR"]),
        ({"MLFLOW_DATA_DIR": str(PROGRAM)}, ["MLFLOW_DATA_DIR", "mount"]),
        ({"MLFLOW_WORKERS": "2"}, ["MLFLOW_WORKERS=2", "set 1"]),
    ],
)
def test_bad_folder(efs: dict[str, str], home: Path, change: dict[str, str], words: list[str]) -> None:
    with pytest.raises(entrypoint.Refusal) as caught:
        plan(efs | change, home)
    assert caught.value.code == 2
    assert [word for word in words if word not in str(caught.value)] == []


def test_missing_bundle_beside_the_program(rds: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(entrypoint.Refusal, match=r"rds-ca\.pem' is no file"):
        plan(rds, tmp_path)


def _execute(made: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(os, "dup2", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(os, "environ", {"PGSSLMODE": "disable", "PGSERVICE": "x"})
    monkeypatch.setattr(database_wait, "wait", lambda *arguments: calls.append(arguments[:2]))
    monkeypatch.setattr(schema, "prepare", lambda *arguments: calls.append(arguments[:4]))
    entrypoint.execute(made)
    return calls


def test_execute_becomes_the_server(
    efs: dict[str, str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = entrypoint.make_plan(efs, home, tmp_path / "scratch", PYTHON)
    assert _execute(made, monkeypatch) == [
        (made.database, 120),
        (made.database, True, PYTHON, made.environment),
        (1, 2),
        (PYTHON, made.argv, dict(made.environment)),
    ]
    users = tmp_path / "scratch" / "basic_auth.ini"
    assert users.read_text() == made.files[users]
    assert users.stat().st_mode & 0o777 == 0o600
    assert users.parent.stat().st_mode & 0o777 == 0o700


def test_driver_of_the_entrypoint_reads_what_the_server_will(
    rds: dict[str, str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = entrypoint.make_plan(rds, home, tmp_path / "scratch", PYTHON)
    _execute(made, monkeypatch)
    assert os.environ == {name: value for name, value in made.environment.items() if name.startswith("PG")}
    assert os.environ["PGSSLMODE"] == "verify-full"


def test_metrics_have_a_folder(
    efs: dict[str, str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = entrypoint.make_plan(efs | {"MLFLOW_PROMETHEUS": "true"}, home, tmp_path / "scratch", PYTHON)
    _execute(made, monkeypatch)
    folder = options(made.argv)["--expose-prometheus"]
    assert made.environment["PROMETHEUS_MULTIPROC_DIR"] == folder
    assert Path(folder).is_dir()
    assert "--expose-prometheus" not in plan(efs | {"MLFLOW_PROMETHEUS": "false"}, home).argv


def test_our_modules_reach_every_process(efs: dict[str, str], home: Path) -> None:
    made = plan(efs | {"MLFLOW_LOG_FORMAT": "json", "PYTHONPATH": "/other"}, home)
    assert made.environment["PYTHONPATH"] == f"{SCRATCH}:{home}:/other"
    assert made.environment["MLFLOW_LOG_FORMAT"] == "json"


def test_a_refusal_can_be_json() -> None:
    done = run("serve", MLFLOW_LOG_FORMAT="json")
    told = json.loads(done.stderr)
    assert (done.returncode, done.stdout, told["level"], told["logger"]) == (2, "", "ERROR", "entrypoint")
    assert told["message"].startswith("MLFLOW_SERVER_ALLOWED_HOSTS is missing")


def test_execute_refuses_a_scratch_folder_it_cannot_make(
    efs: dict[str, str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = entrypoint.make_plan(efs, home, tmp_path / "missing" / "scratch", PYTHON)
    with pytest.raises(entrypoint.Refusal, match="TMPDIR") as caught:
        _execute(made, monkeypatch)
    assert caught.value.code == 1


class _Health(http.server.BaseHTTPRequestHandler):
    status = 200
    wanted = "/health"

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == self.wanted else 404)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Health)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (302, 1)])
def test_health(port: int, status: int, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Health, "status", status)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert entrypoint.main(["health"], {"MLFLOW_PORT": str(port)}) == code


def test_health_behind_a_path(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"MLFLOW_PORT": str(port), "MLFLOW_STATIC_PREFIX": "/mlops"}
    assert entrypoint.main(["health"], environ) == 1
    monkeypatch.setattr(_Health, "wanted", "/mlops/health")
    assert entrypoint.main(["health"], environ) == 0


def test_health_knows_the_other_systems_port(port: int) -> None:
    assert entrypoint.main(["health"], {"PORT": str(port), "MLFLOW_ARTIFACT_URI": "s3://bucket"}) == 0


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "words"),
    [
        ((), {}, 2, ["serve, migrate, check, health, version"]),
        (("upgrade",), {}, 2, ["'upgrade'", "serve, migrate, check, health, version"]),
        (("serve", "--host"), {}, 2, ["serve, migrate, check, health, version"]),
        (("migrate",), {}, 2, ["MLFLOW_SERVER_ALLOWED_HOSTS is missing"]),
        (("check",), {}, 2, ["MLFLOW_SERVER_ALLOWED_HOSTS is missing"]),
        (("serve",), {}, 2, ["MLFLOW_SERVER_ALLOWED_HOSTS is missing"]),
        (("health",), {"MLFLOW_PORT": "1"}, 1, ["http://127.0.0.1:1/health"]),
        (("health",), {"MLFLOW_PORT": "x"}, 2, ["MLFLOW_PORT='x'"]),
    ],
)
def test_program_from_outside(arguments: tuple[str, ...], environ: dict[str, str], code: int, words: list[str]) -> None:
    done = run(*arguments, **environ)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert [word for word in words if word not in done.stderr] == []


def test_version_names_what_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(entrypoint.metadata, "version", {"mlflow": "3.17.2"}.__getitem__)
    assert entrypoint.main(["version"], {}) == 0
    assert capsys.readouterr().out.startswith("mlflow 3.17.2, python 3.")


@pytest.mark.parametrize("variant", ["slim", "full"])
def test_lock_names_no_host_and_pins_every_line(variant: str) -> None:
    lock = (PROGRAM.parent / f"requirements-{variant}.txt").read_text()
    assert "://" not in lock
    pins = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert [pin for pin in pins if not re.match(r"[a-z0-9._-]+==\S+ (; .* )?\\$", pin)] == []
    assert lock.count("\n    --hash=sha256:") >= len(pins)
    direct = (PROGRAM.parent / "requirements.in").read_text()
    for name in re.findall(r"^[A-Za-z0-9-]+", direct, re.MULTILINE):
        assert [pin for pin in pins if pin.startswith(f"{name.lower()}==")], name
