"""Other systems' variables: which one gives each setting, where the database is, and that no secret is handed on."""

from __future__ import annotations

import configparser
import hashlib
import hmac
import importlib
import string
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docker"))
contracts = importlib.import_module("contracts")
database = importlib.import_module("database")
entrypoint = importlib.import_module("entrypoint")

SCRATCH = Path("/scratch")
SECRET = "p%40ss:/@?#[]&=+ \"'\\$`;é€"
ADMIN = "app-runner-secret"

ECS_DEMO = {
    "MLFLOW_BACKEND_STORE_URI": "postgresql://writer@db.example.com:6432/tracking",
    "MLFLOW_DEFAULT_ARTIFACT_ROOT": "s3://bucket/artifacts",
    "MLFLOW_HOST": "0.0.0.0",
    "MLFLOW_PORT": "5000",
    "PGPASSWORD": SECRET,
}
APP_RUNNER = {
    "PORT": "8080",
    "MLFLOW_ARTIFACT_URI": "s3://bucket",
    "MLFLOW_DB_DIALECT": "mysql+pymysql",
    "MLFLOW_DB_USERNAME": "writer",
    "MLFLOW_DB_PASSWORD": SECRET,
    "MLFLOW_DB_HOST": "db.example.com",
    "MLFLOW_DB_PORT": "3306",
    "MLFLOW_DB_DATABASE": "tracking",
    "MLFLOW_TRACKING_USERNAME": "runner",
    "MLFLOW_TRACKING_PASSWORD": ADMIN,
}
CDK = {
    "BUCKET": "s3://bucket",
    "HOST": "db.example.com",
    "PORT": "3307",
    "DATABASE": "tracking",
    "USERNAME": "writer",
    "PASSWORD": SECRET,
}
OWN = {
    "MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/own",
    "MLFLOW_BACKEND_STORE_URI": "postgresql://writer@db.example.com/tracking",
    "MLFLOW_DB_PASSWORD": SECRET,
    "MLFLOW_SERVER_ALLOWED_HOSTS": "a.example",
    "MLFLOW_AUTH": "none",
}
MARKS = {
    "own": {"MLFLOW_ARTIFACTS_DESTINATION": "s3://marked"},
    "ecs_demo": {"MLFLOW_DEFAULT_ARTIFACT_ROOT": "s3://marked"},
    "app_runner": {"MLFLOW_ARTIFACT_URI": "s3://marked"},
    "cdk": {"BUCKET": "s3://marked"},
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "rds-ca.pem").write_text("bundle")
    return tmp_path


def plan(environ: dict[str, str], home: Path) -> Any:
    return entrypoint.make_plan(environ, home, SCRATCH, "/opt/python")


def option(made: Any, name: str) -> str:
    return str(made.argv[made.argv.index(name) + 1])


# One line for each cell of the table: contract, setting, the variables that may give it in order, the default.
ROWS = """
own        MLFLOW_ARTIFACTS_DESTINATION   MLFLOW_ARTIFACTS_DESTINATION
ecs_demo   MLFLOW_ARTIFACTS_DESTINATION   MLFLOW_DEFAULT_ARTIFACT_ROOT
app_runner MLFLOW_ARTIFACTS_DESTINATION   MLFLOW_ARTIFACT_URI
cdk        MLFLOW_ARTIFACTS_DESTINATION   BUCKET
own        MLFLOW_HOST                    MLFLOW_HOST                                         0.0.0.0
ecs_demo   MLFLOW_HOST                    MLFLOW_HOST                                         0.0.0.0
app_runner MLFLOW_HOST                    MLFLOW_HOST                                         0.0.0.0
cdk        MLFLOW_HOST                    MLFLOW_HOST                                         0.0.0.0
own        MLFLOW_PORT                    MLFLOW_PORT                                         5000
ecs_demo   MLFLOW_PORT                    MLFLOW_PORT                                         5000
app_runner MLFLOW_PORT                    MLFLOW_PORT,PORT                                    5000
cdk        MLFLOW_PORT                    MLFLOW_PORT                                         5000
own        MLFLOW_BACKEND_STORE_URI       MLFLOW_BACKEND_STORE_URI
ecs_demo   MLFLOW_BACKEND_STORE_URI       MLFLOW_BACKEND_STORE_URI
app_runner MLFLOW_BACKEND_STORE_URI       MLFLOW_BACKEND_STORE_URI,MLFLOW_BACKEND_URI,DATABASE_URL
cdk        MLFLOW_BACKEND_STORE_URI       MLFLOW_BACKEND_STORE_URI
own        MLFLOW_DB_DIALECT              MLFLOW_DB_DIALECT
ecs_demo   MLFLOW_DB_DIALECT              MLFLOW_DB_DIALECT
app_runner MLFLOW_DB_DIALECT              MLFLOW_DB_DIALECT                                   postgresql
cdk        MLFLOW_DB_DIALECT              MLFLOW_DB_DIALECT                                   mysql
own        MLFLOW_DB_HOST                 MLFLOW_DB_HOST
ecs_demo   MLFLOW_DB_HOST                 MLFLOW_DB_HOST
app_runner MLFLOW_DB_HOST                 MLFLOW_DB_HOST
cdk        MLFLOW_DB_HOST                 MLFLOW_DB_HOST,HOST
own        MLFLOW_DB_PORT                 MLFLOW_DB_PORT
ecs_demo   MLFLOW_DB_PORT                 MLFLOW_DB_PORT
app_runner MLFLOW_DB_PORT                 MLFLOW_DB_PORT
cdk        MLFLOW_DB_PORT                 MLFLOW_DB_PORT,PORT
own        MLFLOW_DB_DATABASE             MLFLOW_DB_DATABASE
ecs_demo   MLFLOW_DB_DATABASE             MLFLOW_DB_DATABASE
app_runner MLFLOW_DB_DATABASE             MLFLOW_DB_DATABASE                                  mlflow
cdk        MLFLOW_DB_DATABASE             MLFLOW_DB_DATABASE,DATABASE
own        MLFLOW_DB_USERNAME             MLFLOW_DB_USERNAME
ecs_demo   MLFLOW_DB_USERNAME             MLFLOW_DB_USERNAME
app_runner MLFLOW_DB_USERNAME             MLFLOW_DB_USERNAME                                  mlflow
cdk        MLFLOW_DB_USERNAME             MLFLOW_DB_USERNAME,USERNAME
own        MLFLOW_DB_PASSWORD             MLFLOW_DB_PASSWORD
ecs_demo   MLFLOW_DB_PASSWORD             MLFLOW_DB_PASSWORD,PGPASSWORD
app_runner MLFLOW_DB_PASSWORD             MLFLOW_DB_PASSWORD
cdk        MLFLOW_DB_PASSWORD             MLFLOW_DB_PASSWORD,PASSWORD
own        MLFLOW_AUTH                    MLFLOW_AUTH
ecs_demo   MLFLOW_AUTH                    MLFLOW_AUTH                                         none
app_runner MLFLOW_AUTH                    MLFLOW_AUTH                                         basic
cdk        MLFLOW_AUTH                    MLFLOW_AUTH                                         none
own        MLFLOW_AUTH_ADMIN_USERNAME     MLFLOW_AUTH_ADMIN_USERNAME                          admin
ecs_demo   MLFLOW_AUTH_ADMIN_USERNAME     MLFLOW_AUTH_ADMIN_USERNAME                          admin
app_runner MLFLOW_AUTH_ADMIN_USERNAME     MLFLOW_AUTH_ADMIN_USERNAME,MLFLOW_TRACKING_USERNAME mlflow
cdk        MLFLOW_AUTH_ADMIN_USERNAME     MLFLOW_AUTH_ADMIN_USERNAME                          admin
own        MLFLOW_AUTH_ADMIN_PASSWORD     MLFLOW_AUTH_ADMIN_PASSWORD
ecs_demo   MLFLOW_AUTH_ADMIN_PASSWORD     MLFLOW_AUTH_ADMIN_PASSWORD
app_runner MLFLOW_AUTH_ADMIN_PASSWORD     MLFLOW_AUTH_ADMIN_PASSWORD,MLFLOW_TRACKING_PASSWORD
cdk        MLFLOW_AUTH_ADMIN_PASSWORD     MLFLOW_AUTH_ADMIN_PASSWORD
own        MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_FLASK_SERVER_SECRET_KEY
ecs_demo   MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_FLASK_SERVER_SECRET_KEY
app_runner MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_FLASK_SERVER_SECRET_KEY
cdk        MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_FLASK_SERVER_SECRET_KEY
own        MLFLOW_SERVER_ALLOWED_HOSTS    MLFLOW_SERVER_ALLOWED_HOSTS
ecs_demo   MLFLOW_SERVER_ALLOWED_HOSTS    MLFLOW_SERVER_ALLOWED_HOSTS                         *
app_runner MLFLOW_SERVER_ALLOWED_HOSTS    MLFLOW_SERVER_ALLOWED_HOSTS                         *
cdk        MLFLOW_SERVER_ALLOWED_HOSTS    MLFLOW_SERVER_ALLOWED_HOSTS                         *
"""
CELLS = [(*line.split(), "")[:4] for line in ROWS.strip().splitlines()]


def test_every_cell_of_the_table_is_tested() -> None:
    assert {cell[:2] for cell in CELLS} == {
        (c.name, row.setting) for c in contracts.CONTRACTS for row in contracts.TABLE
    }


@pytest.mark.parametrize(("contract", "setting", "names", "default"), CELLS, ids=lambda value: value or "-")
def test_cell(contract: str, setting: str, names: str, default: str) -> None:
    """Each variable wins over those after it; without any there is the default, or nothing."""
    wanted = names.split(",")
    everything = {
        name: f"s3://{name.lower()}" for row in contracts.TABLE for name in contracts.candidates(row, contracts.CDK)
    }
    everything |= {"DATABASE_URL": "x", "MLFLOW_BACKEND_URI": "x", "MLFLOW_TRACKING_USERNAME": "x", "PGPASSWORD": "x"}
    for position, winner in enumerate(wanted):
        others = {name: value for name, value in everything.items() if name not in wanted and setting != "-"}
        environ = {**others, **{name: f"s3://of-{name}" for name in wanted[position:]}}
        environ = {name: value for name, value in environ.items() if name not in marks_before(contract)} | MARKS[
            contract
        ]
        environ[winner] = f"s3://of-{winner}"
        given = contracts.translate(environ)
        assert given.contract.name == contract
        assert (given.values[setting], given.name(setting)) == (f"s3://of-{winner}", winner)
    if setting != "MLFLOW_ARTIFACTS_DESTINATION":
        given = contracts.translate(MARKS[contract])
        assert (given.values.get(setting, ""), given.name(setting)) == (default, wanted[-1])


def marks_before(contract: str) -> set[str]:
    names = list(MARKS)
    return {mark for name in names[: names.index(contract)] for mark in MARKS[name]}


def test_ecs_demo(home: Path) -> None:
    made = plan(ECS_DEMO, home)
    assert made.database.uri == "postgresql+psycopg://writer@db.example.com:6432/tracking"
    assert (option(made, "--host"), option(made, "--port")) == ("0.0.0.0", "5000")
    assert option(made, "--artifacts-destination") == "s3://bucket/artifacts"
    assert option(made, "--app-name") == "no-auth"
    assert made.environment["PGPASSWORD"] == SECRET
    assert made.environment["PGSSLMODE"] == "verify-full"
    assert made.environment["MLFLOW_SERVER_ALLOWED_HOSTS"] == "*"
    assert made.environment["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == "*"


def test_app_runner(home: Path) -> None:
    made = plan(APP_RUNNER, home)
    assert made.database.uri.startswith("mysql+pymysql://writer@db.example.com:3306/tracking?")
    assert (option(made, "--port"), option(made, "--app-name")) == ("8080", "basic-auth")
    assert option(made, "--artifacts-destination") == "s3://bucket"
    key = hmac.new(ADMIN.encode(), b"mlflow forms", hashlib.sha256).hexdigest()
    expected = {
        "MLFLOW_AUTH_ADMIN_USERNAME": "runner",
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": key,
    }
    assert {name: made.environment[name] for name in expected} == expected


def test_cdk(home: Path) -> None:
    made = plan(CDK, home)
    assert made.database.uri.startswith("mysql+pymysql://writer@db.example.com:3307/tracking?")
    assert (option(made, "--host"), option(made, "--port")) == ("0.0.0.0", "5000")
    assert option(made, "--app-name") == "no-auth"


@pytest.mark.parametrize("name", ["ECS_DEMO", "APP_RUNNER", "CDK", "OWN"])
def test_nothing_that_was_read_is_handed_on(name: str, home: Path) -> None:
    given = globals()[name]
    ambient = {"PGPASSWORD": SECRET, "PASSWORD": SECRET, "DATABASE": SECRET, "MLFLOW_TRACKING_PASSWORD": ADMIN}
    made = plan(ambient | given, home)
    kept = {"MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_AUTH_ADMIN_PASSWORD"}
    assert [key for key in (*ambient, *given) if key in made.environment and key not in kept | {"PGPASSWORD"}] == []
    holders = [key for key, value in made.environment.items() if SECRET in value]
    assert holders == (["PGPASSWORD"] if made.database.uri.startswith("postgresql") else [])
    assert not [
        word for word in (*made.argv, *made.warnings, *made.database.warnings) if SECRET in word or ADMIN in word
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (ECS_DEMO, ["MLFLOW_DEFAULT_ARTIFACT_ROOT is set", "MLFLOW_AUTH is not", "MLFLOW_SERVER_ALLOWED_HOSTS is not"]),
        (
            APP_RUNNER,
            [
                "MLFLOW_ARTIFACT_URI is set",
                "MLFLOW_AUTH is not",
                "MLFLOW_FLASK_SERVER_SECRET_KEY is not",
                "MLFLOW_SERVER_ALLOWED_HOSTS is not",
            ],
        ),
        (CDK, ["BUCKET is set", "MLFLOW_AUTH is not", "MLFLOW_SERVER_ALLOWED_HOSTS is not"]),
        (CDK | {"MLFLOW_AUTH": "none", "MLFLOW_SERVER_ALLOWED_HOSTS": "a.example"}, ["BUCKET is set"]),
        (OWN, []),
        (OWN | {"BUCKET": "x"}, ["BUCKET is ignored: MLFLOW_ARTIFACTS_DESTINATION wins"]),
        (
            ECS_DEMO | {"MLFLOW_AUTH": "none", "MLFLOW_SERVER_ALLOWED_HOSTS": "a", "MLFLOW_DB_PASSWORD": "x"},
            ["MLFLOW_DEFAULT_ARTIFACT_ROOT is set", "PGPASSWORD is ignored: MLFLOW_DB_PASSWORD wins"],
        ),
    ],
)
def test_what_is_missing_is_said_once_each(given: dict[str, str], words: list[str], home: Path) -> None:
    made = plan(given, home)
    assert len(made.warnings) == len(words)
    for warning, word in zip(made.warnings, words, strict=True):
        assert warning.startswith(word) and warning.endswith(".")


def test_several_users(home: Path) -> None:
    lists = {"MLFLOW_TRACKING_USERNAME": "first,second", "MLFLOW_TRACKING_PASSWORD": f"{ADMIN},other"}
    made = plan(APP_RUNNER | lists, home)
    assert made.environment["MLFLOW_AUTH_ADMIN_USERNAME"] == "first"
    assert made.environment["MLFLOW_AUTH_ADMIN_PASSWORD"] == ADMIN
    assert "only the first" in made.warnings[-1]
    with_comma = APP_RUNNER | {"MLFLOW_TRACKING_PASSWORD": "with,comma,inside"}
    assert plan(with_comma, home).environment["MLFLOW_AUTH_ADMIN_PASSWORD"] == "with,comma,inside"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bucket", "s3://bucket"),
        ("bucket/", "s3://bucket"),
        ("s3://bucket", "s3://bucket"),
        ("s3://b-1/p/q", "s3://b-1/p/q"),
    ],
)
@pytest.mark.parametrize(
    ("given", "name"),
    [(ECS_DEMO, "MLFLOW_DEFAULT_ARTIFACT_ROOT"), (APP_RUNNER, "MLFLOW_ARTIFACT_URI"), (CDK, "BUCKET")],
)
def test_bucket(given: dict[str, str], name: str, value: str, expected: str, home: Path) -> None:
    assert option(plan(given | {name: value}, home), "--artifacts-destination") == expected


@pytest.mark.parametrize(
    ("given", "change", "words"),
    [
        (CDK, {"BUCKET": "./mlruns"}, ["BUCKET='./mlruns'", "s3://"]),
        (CDK, {"HOST": ""}, ["HOST is missing"]),
        (CDK, {"HOST": "0.0.0.0:1"}, ["HOST='0.0.0.0:1'", "the port is PORT"]),
        (CDK, {"PORT": "tcp"}, ["PORT='tcp'", "3306"]),
        (CDK, {"DATABASE": ""}, ["DATABASE is missing"]),
        (CDK, {"DATABASE": "a/b"}, ["DATABASE='a/b'"]),
        (CDK, {"USERNAME": ""}, ["USERNAME is missing"]),
        (CDK, {"PASSWORD": ""}, ["PASSWORD is missing"]),
        (CDK, {"PASSWORD": "a\nb"}, ["PASSWORD contains a line break"]),
        (CDK, {"MLFLOW_DATA_DIR": "/tmp"}, ["MLFLOW_DATA_DIR and HOST are both set"]),
        (CDK, {"MLFLOW_AUTH": "basic"}, ["MLFLOW_AUTH_ADMIN_PASSWORD is missing"]),
        (APP_RUNNER, {"PORT": "http"}, ["PORT='http'", "5000"]),
        (APP_RUNNER, {"MLFLOW_ARTIFACT_URI": "/data"}, ["MLFLOW_ARTIFACT_URI='/data'", "s3://"]),
        (APP_RUNNER, {"MLFLOW_TRACKING_PASSWORD": ""}, ["MLFLOW_TRACKING_PASSWORD is missing"]),
        (APP_RUNNER, {"MLFLOW_TRACKING_PASSWORD": "short"}, ["MLFLOW_TRACKING_PASSWORD has 5", "12 or more"]),
        (APP_RUNNER, {"MLFLOW_TRACKING_PASSWORD": "password1234"}, ["MLFLOW_TRACKING_PASSWORD", "default"]),
        (APP_RUNNER, {"MLFLOW_TRACKING_USERNAME": "a,b"}, ["2 names", "1 passwords"]),
        (APP_RUNNER, {"MLFLOW_DB_DIALECT": "mssql"}, ["MLFLOW_DB_DIALECT='mssql'"]),
        (APP_RUNNER, {"MLFLOW_BACKEND_URI": "./mlruns"}, ["MLFLOW_BACKEND_URI", "file store"]),
        (APP_RUNNER, {"DATABASE_URL": "oracle://u:pw-pw@h/d"}, ["DATABASE_URL", "'oracle'"]),
        (ECS_DEMO, {"MLFLOW_DEFAULT_ARTIFACT_ROOT": "file:/x"}, ["MLFLOW_DEFAULT_ARTIFACT_ROOT='file:/x'"]),
        (ECS_DEMO, {"MLFLOW_HOST": "localhost"}, ["MLFLOW_HOST='localhost'"]),
        (ECS_DEMO, {"MLFLOW_PORT": "http"}, ["MLFLOW_PORT='http'"]),
        (ECS_DEMO, {"PGPASSWORD": ""}, ["PGPASSWORD is missing"]),
        (ECS_DEMO, {"MLFLOW_BACKEND_STORE_URI": ""}, ["MLFLOW_DB_HOST and MLFLOW_BACKEND_STORE_URI are all"]),
        (ECS_DEMO, {"MLFLOW_BACKEND_STORE_URI": "file:///mlruns"}, ["MLFLOW_BACKEND_STORE_URI", "file store"]),
        (ECS_DEMO, {"MLFLOW_BACKEND_STORE_URI": "/mlruns"}, ["file store"]),
        (ECS_DEMO, {"MLFLOW_BACKEND_STORE_URI": "sqlite:///mlflow.db"}, ["without an absolute path"]),
        (ECS_DEMO, {"MLFLOW_BACKEND_STORE_URI": "sqlite:////none/x.db"}, ["'/none'", "no folder"]),
        (ECS_DEMO, {"MLFLOW_BACKEND_STORE_URI": "postgresql://u:p@w@h/d"}, ["host", "not shown", "%40"]),
        (
            ECS_DEMO,
            {"MLFLOW_BACKEND_STORE_URI": "postgresql://h/d"},
            ["MLFLOW_BACKEND_STORE_URI (its username) is missing"],
        ),
        (
            ECS_DEMO,
            {"MLFLOW_BACKEND_STORE_URI": "postgresql://u:p@h"},
            ["MLFLOW_BACKEND_STORE_URI (its database) is missing"],
        ),
        (ECS_DEMO, {"MLFLOW_BACKEND_STORE_URI": "postgresql://u:p@h:x/d"}, ["(its port)='x'"]),
        (ECS_DEMO, {"MLFLOW_BACKEND_STORE_URI": "postgresql://u:p@h/d?sslpassword=s3cr3t"}, ["option sslpassword"]),
        (ECS_DEMO, {"MLFLOW_BACKEND_STORE_URI": "mysql://u:p@h/d?read_default_file=/x"}, ["option read_default_file"]),
        (ECS_DEMO, {"MLFLOW_SERVER_ALLOWED_HOSTS": "https://x"}, ["MLFLOW_SERVER_ALLOWED_HOSTS"]),
    ],
)
def test_refusal_names_the_operators_own_variable(
    given: dict[str, str], change: dict[str, str], words: list[str], home: Path
) -> None:
    environ = given | change
    with pytest.raises(contracts.Refusal) as caught:
        plan(environ, home)
    sentence = str(caught.value)
    assert caught.value.code == 2
    assert sentence.endswith(".") and "\n" not in sentence
    assert [word for word in words if word not in sentence] == []
    secrets = [SECRET, ADMIN, "s3cr3t", "pw-pw", "with,comma"]
    assert [secret for secret in secrets if secret in sentence] == []


CHARACTERS = [*string.printable.replace("\n", "").replace("\r", ""), "é", "€", "ü", "\u0085", "\u00a0", "漢", "\udcff"]


def of_option_file(text: str) -> str:
    """The password that PyMySQL would send, read as it reads: configparser's raw values, one pair of quotes off."""
    parser = configparser.RawConfigParser(allow_no_value=True)
    parser.read_string(text)
    value = parser["client"]["password"]
    assert value[0] == value[-1] == '"'
    return value[1:-1].encode("latin-1").decode("utf-8", "surrogateescape")


@pytest.mark.parametrize("character", CHARACTERS)
def test_any_character_reaches_the_driver(character: str, home: Path) -> None:
    for password in (character, f"{character}q8{character}", f"q8{character}q8"):
        escaped = quote(password, safe="", errors="surrogateescape")
        for dialect in ("postgresql", "mysql"):
            parts = APP_RUNNER | {"MLFLOW_DB_DIALECT": dialect, "MLFLOW_DB_PASSWORD": password}
            uri = {
                "MLFLOW_BACKEND_URI": f"{dialect}://writer:{escaped}@db.example.com/tracking",
                "MLFLOW_DB_PASSWORD": "",
            }
            query = {"MLFLOW_BACKEND_URI": f"{dialect}://writer@db.example.com/tracking?password={escaped}"}
            for environ in (parts, APP_RUNNER | uri, APP_RUNNER | uri | query):
                found = plan(environ, home).database
                if dialect == "postgresql":
                    assert found.environment["PGPASSWORD"] == password
                else:
                    assert of_option_file(found.files[SCRATCH / "my.cnf"]) == password
                assert "password" not in found.uri
                assert len(password) < 3 or (password not in found.uri and escaped not in found.uri)


def test_password_as_it_is_in_a_uri(home: Path) -> None:
    """What SQLAlchemy takes without escapes is taken: everything but an @ and a percent sign."""
    uri = "postgresql://writer:p:/?#[]&=+ w@db.example.com:6432/tracking"
    made = plan(ECS_DEMO | {"MLFLOW_BACKEND_STORE_URI": uri}, home)
    assert made.environment["PGPASSWORD"] == "p:/?#[]&=+ w"
    assert made.database.uri == "postgresql+psycopg://writer@db.example.com:6432/tracking"


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+psycopg", "mysql", "mysql+pymysql"]
)
def test_schemes(scheme: str, home: Path) -> None:
    uri = f"{scheme}://a%40b@db.example.com/tracking"
    found = plan(ECS_DEMO | {"MLFLOW_BACKEND_STORE_URI": uri}, home).database
    driver, port = ("mysql+pymysql", 3306) if scheme.startswith("mysql") else ("postgresql+psycopg", 5432)
    assert found.uri.partition("?")[0] == f"{driver}://a%40b@db.example.com:{port}/tracking"


def test_sqlite_by_uri(home: Path) -> None:
    environ = OWN | {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{home}/my.db"}
    assert plan(environ, home).database.uri == f"sqlite:///{home}/my.db"
    with pytest.raises(contracts.Refusal, match="set 1"):
        plan(environ | {"MLFLOW_WORKERS": "2"}, home)


@pytest.mark.parametrize(
    ("tls", "query", "environment", "loud"),
    [
        ("", "", {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "bundle"}, False),
        ("verify", "", {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "bundle"}, False),
        ("require", "", {"PGSSLMODE": "require"}, True),
        ("off", "", {"PGSSLMODE": "disable"}, True),
        ("", "sslmode=require", {}, True),
        ("off", "sslmode=verify-full", {"PGSSLROOTCERT": "bundle"}, False),
        ("", "sslmode=verify-ca", {"PGSSLROOTCERT": "bundle"}, True),
        ("", "sslrootcert=/other.pem", {"PGSSLMODE": "verify-full"}, False),
        ("", "application_name=x", {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "bundle"}, False),
    ],
)
def test_tls_postgresql(tls: str, query: str, environment: dict[str, str], loud: bool, home: Path) -> None:
    uri = f"postgresql://writer@db.example.com/tracking{'?' if query else ''}{query}"
    ambient = {"PGSSLMODE": "prefer", "PGSSLROOTCERT": "/ambient"}
    made = plan(ECS_DEMO | ambient | {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_DB_TLS": tls}, home)
    found = {name: value for name, value in made.environment.items() if name.startswith("PGSSL")}
    assert found == {name: value.replace("bundle", str(home / "rds-ca.pem")) for name, value in environment.items()}
    assert made.database.uri.partition("?")[2] == query.replace("/", "%2F")
    assert len(made.database.warnings) == loud


@pytest.mark.parametrize(
    ("tls", "query", "options", "loud"),
    [
        ("", "", "ssl_ca=bundle", False),
        ("require", "", "ssl_check_hostname=false", True),
        ("off", "", "ssl_disabled=1", True),
        ("", "ssl_disabled=true", "ssl_disabled=true", True),
        ("off", "ssl_ca=/other.pem", "ssl_ca=%2Fother.pem", False),
        ("", "ssl_ca=/other.pem&ssl_check_hostname=false", "ssl_ca=%2Fother.pem&ssl_check_hostname=false", True),
        ("", "charset=utf8mb4", "charset=utf8mb4&ssl_ca=bundle", False),
    ],
)
def test_tls_mysql(tls: str, query: str, options: str, loud: bool, home: Path) -> None:
    uri = f"mysql://writer:x@db.example.com/tracking{'?' if query else ''}{query}"
    made = plan(ECS_DEMO | {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_DB_TLS": tls}, home)
    wanted = options.replace("bundle", quote(str(home / "rds-ca.pem"), safe=""))
    assert made.database.uri.partition("?")[2] == f"{wanted}&read_default_file=%2Fscratch%2Fmy.cnf"
    assert len(made.database.warnings) == loud


def test_relaxed_tls_needs_no_bundle(tmp_path: Path) -> None:
    plan(CDK | {"MLFLOW_DB_TLS": "require"}, tmp_path)
    with pytest.raises(contracts.Refusal, match="MLFLOW_DB_CA_FILE"):
        plan(CDK, tmp_path)


def test_uri_wins_over_parts(home: Path) -> None:
    made = plan(APP_RUNNER | {"MLFLOW_BACKEND_URI": "postgresql://a:b@other.example.com/x"}, home)
    assert made.database.uri == "postgresql+psycopg://a@other.example.com:5432/x"
    assert made.database.warnings == ("MLFLOW_DB_HOST is ignored: MLFLOW_BACKEND_URI wins.",)
