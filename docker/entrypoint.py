"""Start-up logic of the MLflow container; the local stand-in for Fargate runs the same file.

    entrypoint.py serve     check the environment, then become `mlflow server`
    entrypoint.py health    exit 0 when the server on this machine answers GET /health, else 1
    entrypoint.py version   print the versions of MLflow and Python

Variables of `serve` (an empty value counts as missing):

    MLFLOW_HOST, MLFLOW_PORT, MLFLOW_WORKERS   0.0.0.0, 5000 and 1 when missing
    MLFLOW_ARTIFACTS_DESTINATION               s3://bucket[/prefix], proxied to the clients
    MLFLOW_SERVER_ALLOWED_HOSTS                comma-separated Host headers to answer, "name:*" for any port
    MLFLOW_DATA_DIR                            SQLite: folder of mlflow.db; one worker only
    MLFLOW_DB_DIALECT=postgresql, MLFLOW_DB_HOST, MLFLOW_DB_PORT (5432), MLFLOW_DB_DATABASE,
    MLFLOW_DB_USERNAME, MLFLOW_DB_PASSWORD     PostgreSQL, TLS with the server's name verified
    MLFLOW_DB_CA_FILE                          its CA; rds-ca.pem beside this file when missing
    MLFLOW_AUTH=basic|none                     basic also needs the next two
    MLFLOW_AUTH_ADMIN_PASSWORD                 12+ characters; used once, when the user `admin` is created
    MLFLOW_FLASK_SERVER_SECRET_KEY             16+ characters, the same in every task

Exit codes: 2 for an environment that is refused, 1 for a failure outside it; both with one sentence on stderr.
"""

from __future__ import annotations

import http.client
import importlib
import ipaddress
import os
import re
import secrets
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

COMMANDS = ("serve", "health", "version")

# Keep-alive above the load balancer's 60 s idle timeout, or it sends requests into connections that the server has
# just closed (502). The graceful stop must end before ECS kills the task (30 s by default).
UVICORN_OPTIONS = "--timeout-keep-alive 75 --timeout-graceful-shutdown 20"

# Where a load balancer in a VPC can speak from. Not "*": with it the first X-Forwarded-For entry, which every client
# can write as it likes, would become the address in the access log.
PROXY_NETWORKS = "127.0.0.1,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,198.18.0.0/15,fc00::/7"

# The password that older MLflow versions shipped; MLflow refuses it, with a traceback.
_KNOWN_PASSWORD = "password1234"

# Any constant does, as long as all tasks on one database agree.
_MIGRATION_LOCK = 0x6D6C666C6F77


class Refusal(Exception):
    """A sentence for the operator that ends the program; `code` is the exit code."""

    def __init__(self, sentence: str, code: int = 2) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Plan:
    """What `serve` is going to do, as a value.

    `argv` and `environment` are those of the server process, `files` maps a path to its text (written with mode 0600),
    `database` is the SQLAlchemy URI of tracking, registry and users, without a password.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    files: Mapping[Path, str]
    database: str


def make_plan(environ: Mapping[str, str], home: Path, scratch: Path, python: str) -> Plan:
    """Return the plan for `serve`; reads the file system, changes nothing.

    `home` is the folder of this program, `scratch` a folder that `execute` may create, `python` the interpreter
    that has MLflow. Raises `Refusal` for the first variable that is missing or wrong.
    """
    given = {name: value for name, value in environ.items() if value != ""}
    server = dict(given)
    server.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    # A private subnet has no way out to the telemetry service, and nobody asked the operator.
    server.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    server.setdefault("FORWARDED_ALLOW_IPS", PROXY_NETWORKS)
    server.setdefault("PYTHONUNBUFFERED", "1")
    if "AWS_REGION" in given:
        # boto3 reads only the other name, and without a region presigned URLs are not regional.
        server.setdefault("AWS_DEFAULT_REGION", given["AWS_REGION"])
    hosts = _allowed_hosts(given)
    server.setdefault("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", _origins(hosts))

    workers = _number(given, "MLFLOW_WORKERS", 1, 1, 64)
    database, settings = _backend(given, home, workers)
    server.pop("MLFLOW_DB_PASSWORD", None)
    server.update(settings)

    argv = [python, "-m", "mlflow", "server"]
    argv += ["--host", _address(given), "--port", str(_port(given))]
    argv += ["--workers", str(workers), "--uvicorn-opts", UVICORN_OPTIONS]
    argv += ["--backend-store-uri", database]
    argv += ["--serve-artifacts", "--artifacts-destination", _artifacts(given)]
    files: dict[Path, str] = {}
    if _auth(given):
        users = scratch / "basic_auth.ini"
        files[users] = _users_ini(database)
        server["MLFLOW_AUTH_CONFIG_PATH"] = str(users)
        argv += ["--app-name", "basic-auth"]
    return Plan(tuple(argv), server, files, database)


def _needed(given: Mapping[str, str], name: str, remedy: str) -> str:
    if name not in given:
        raise Refusal(f"{name} is missing: {remedy}")
    return given[name]


def _number(given: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = given.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise Refusal(
            f"{name}={text!r} is not a whole number from {low} to {high}: correct or remove it (then {default})."
        )
    return int(text)


def _port(given: Mapping[str, str]) -> int:
    return _number(given, "MLFLOW_PORT", 5000, 1, 65535)


def _address(given: Mapping[str, str]) -> str:
    value = given.get("MLFLOW_HOST", "0.0.0.0")
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as error:
        raise Refusal(f"MLFLOW_HOST={value!r} is not an IP address: correct or remove it (then 0.0.0.0).") from error


def _secret(given: Mapping[str, str], name: str, shortest: int, remedy: str) -> str:
    value = _needed(given, name, remedy)
    if "\n" in value or "\r" in value:
        raise Refusal(f"{name} contains a line break (value not shown): store the secret without one.")
    if len(value) < shortest:
        raise Refusal(f"{name} has {len(value)} characters (value not shown): use {shortest} or more.")
    return value


def _allowed_hosts(given: Mapping[str, str]) -> list[str]:
    name = "MLFLOW_SERVER_ALLOWED_HOSTS"
    remedy = "list every name the load balancer answers to, each as name,name:* (all other hosts get 403)."
    hosts = [host.strip() for host in _needed(given, name, remedy).split(",")]
    for host in hosts:
        if host == "*" or not re.fullmatch(r"[A-Za-z0-9.*_:\[\]-]+", host):
            raise Refusal(f"{name}={given[name]!r} has the entry {host!r}, which is not a host name: {remedy}")
    return hosts


def _origins(hosts: list[str]) -> str:
    """Return the origins of the server's own pages: MLflow answers a browser's POST from any other with 403."""
    return ",".join(f"{scheme}://{host}" for host in hosts for scheme in ("https", "http"))


def _artifacts(given: Mapping[str, str]) -> str:
    name = "MLFLOW_ARTIFACTS_DESTINATION"
    remedy = "set it to s3://<bucket> or s3://<bucket>/<prefix>."
    value = _needed(given, name, remedy)
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#]*)?", value):
        raise Refusal(f"{name}={value!r} is not an S3 location: {remedy}")
    return value


def _backend(given: Mapping[str, str], home: Path, workers: int) -> tuple[str, dict[str, str]]:
    """Return the database's URI and the environment that its driver needs."""
    fields = [name for name in sorted(given) if name.startswith("MLFLOW_DB_")]
    if "MLFLOW_DATA_DIR" in given and fields:
        raise Refusal(
            f"MLFLOW_DATA_DIR and {fields[0]} are both set: keep one, SQLite in a folder or a database server."
        )
    if "MLFLOW_DATA_DIR" in given:
        return _sqlite(given, workers), {}
    if fields:
        return _postgresql(given, home)
    raise Refusal(
        "MLFLOW_DATA_DIR and MLFLOW_DB_HOST are both missing: set one, SQLite in a folder or a database server."
    )


def _sqlite(given: Mapping[str, str], workers: int) -> str:
    name, folder = "MLFLOW_DATA_DIR", given["MLFLOW_DATA_DIR"]
    if not folder.startswith("/") or re.search(r"[?#%]", folder):
        raise Refusal(
            f"{name}={folder!r} is not an absolute path free of ?, # and %: set it to the mount of the volume."
        )
    if not Path(folder).is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise Refusal(f"{name}={folder!r} is no folder that uid {os.getuid()} may write: mount the volume there.")
    if workers != 1:
        raise Refusal(f"MLFLOW_WORKERS={workers} with {name}: SQLite on a network file system bears one worker, set 1.")
    return f"sqlite:///{os.path.normpath(folder)}/mlflow.db"


def _postgresql(given: Mapping[str, str], home: Path) -> tuple[str, dict[str, str]]:
    dialect = _needed(given, "MLFLOW_DB_DIALECT", "set it to postgresql.")
    if dialect != "postgresql":
        raise Refusal(f"MLFLOW_DB_DIALECT={dialect!r} is not supported: set it to postgresql.")
    host = _needed(given, "MLFLOW_DB_HOST", "set it to the database's host name.")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", host):
        raise Refusal(f"MLFLOW_DB_HOST={host!r} is not a host name: give the name alone, the port is MLFLOW_DB_PORT.")
    port = _number(given, "MLFLOW_DB_PORT", 5432, 1, 65535)
    name = _needed(given, "MLFLOW_DB_DATABASE", "set it to the database's name.")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", name):
        raise Refusal(f"MLFLOW_DB_DATABASE={name!r} is not a database name: use 1 to 63 letters, digits, _ and -.")
    user = _needed(given, "MLFLOW_DB_USERNAME", "set it to the database user.")
    password = _secret(given, "MLFLOW_DB_PASSWORD", 1, "hand it over as an ECS secret.")
    authority = Path(given.get("MLFLOW_DB_CA_FILE", home / "rds-ca.pem"))
    if not authority.is_file():
        raise Refusal(
            f"MLFLOW_DB_CA_FILE={str(authority)!r} is no file: point it to the CA bundle (PEM) of the database."
        )
    settings = {
        "PGPASSWORD": password,
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(authority.absolute()),
        "PGCONNECT_TIMEOUT": "10",
        "PGAPPNAME": "mlflow",
    }
    return f"postgresql+psycopg://{quote(user, safe='', errors='surrogateescape')}@{host}:{port}/{name}", settings


def _auth(given: Mapping[str, str]) -> bool:
    mode = _needed(given, "MLFLOW_AUTH", "set it to basic (logins) or none.")
    if mode not in ("basic", "none"):
        raise Refusal(f"MLFLOW_AUTH={mode!r} is unknown: set it to basic (logins) or none.")
    if mode == "none":
        return False
    remedy = "MLFLOW_AUTH=basic needs it, as an ECS secret."
    _secret(given, "MLFLOW_FLASK_SERVER_SECRET_KEY", 16, remedy)
    if _secret(given, "MLFLOW_AUTH_ADMIN_PASSWORD", 12, remedy) == _KNOWN_PASSWORD:
        raise Refusal(
            "MLFLOW_AUTH_ADMIN_PASSWORD is the publicly known default of old MLflow versions: choose another."
        )
    return True


def _users_ini(database: str) -> str:
    """Return MLflow's basic-auth file: users live beside the experiments, in tables of their own.

    Everybody who can log in may read everything and creates what they then manage alone; the administrator widens
    or narrows that per user. The administrator's first password stays in the environment, out of this file.
    """
    return (
        "[mlflow]\n"
        "default_permission = READ\n"
        # MLflow reads the file with configparser, to which a percent sign is syntax.
        f"database_uri = {database.replace('%', '%%')}\n"
        "admin_username = admin\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )


def execute(plan: Plan) -> NoReturn:
    """Write the plan's files, prepare the database and replace this process by the server.

    The server keeps this process's id, so that in a container it is the one that gets SIGTERM.
    """
    for path, text in plan.files.items():
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.touch(mode=0o600, exist_ok=False)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise Refusal(f"cannot write {path} ({error.strerror}): point TMPDIR to a writable folder.", 1) from error
    if plan.database.startswith("sqlite:///"):
        leave_wal(Path(plan.database.removeprefix("sqlite:///")))
    else:
        create_schema(plan)
    os.execve(plan.argv[0], plan.argv, dict(plan.environment))


def leave_wal(database: Path) -> None:
    """Take an existing SQLite file out of WAL mode, in which MLflow's own import from a file store leaves it.

    WAL needs shared memory, which a network file system does not have. Bytes 18 and 19 of the file tell the mode
    (https://www.sqlite.org/fileformat.html).
    """
    try:
        with database.open("rb") as file:
            header = file.read(20)
        if header[18:20] == b"\x02\x02":
            connection = sqlite3.connect(database, timeout=20)
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.close()
    except FileNotFoundError:
        return
    except (OSError, sqlite3.Error) as error:
        raise Refusal(f"cannot use the database {database} ({error}): check its owner.", 1) from error


def create_schema(plan: Plan) -> None:
    """Create the tables in an empty PostgreSQL database, one task at a time.

    Two servers that meet an empty database both try to create the same tables, and one of them dies of it. A schema
    that exists is left alone: upgrading it is a release step. Raises `Refusal` when the database cannot be reached
    or the tables cannot be made.
    """
    psycopg = importlib.import_module("psycopg")
    os.environ.update({name: value for name, value in plan.environment.items() if name.startswith("PG")})
    uri = plan.database.replace("postgresql+psycopg:", "postgresql:", 1)
    python = plan.argv[0]
    steps = [("alembic_version", [python, "-m", "mlflow", "db", "upgrade", plan.database])]
    if plan.files:
        users = [python, "-m", "mlflow.server.auth", "db", "upgrade", "--url", plan.database]
        steps.append(("alembic_version_auth", users))
    try:
        with psycopg.connect(uri, autocommit=True) as connection:

            def missing(table: str) -> bool:
                row = connection.execute("SELECT to_regclass(%s) IS NULL", (table,)).fetchone()
                return bool(row and row[0])

            if not any(missing(table) for table, _ in steps):
                return
            connection.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
            for table, command in steps:
                if missing(table):
                    subprocess.run(command, env=dict(plan.environment), check=True)
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        raise Refusal(f"cannot use the database {plan.database}: {reason}", 1) from error
    except subprocess.CalledProcessError as error:
        raise Refusal(f"cannot create the tables in {plan.database}: see the messages above.", 1) from error


def health(port: int) -> None:
    """Raise `Refusal` unless GET /health on this machine answers 200 within 5 seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Refusal(f"no answer from http://127.0.0.1:{port}/health: {error}", 1) from error
    finally:
        connection.close()
    if status != 200:
        raise Refusal(f"http://127.0.0.1:{port}/health answered {status}.", 1)


def version() -> str:
    """Return the versions in one line."""
    try:
        installed = metadata.version("mlflow")
    except metadata.PackageNotFoundError as error:
        raise Refusal(f"MLflow is not installed for {sys.executable}.", 1) from error
    return f"mlflow {installed}, python {sys.version.split()[0]}"


def scratch_folder() -> Path:
    """A new name for this start in a folder that can be written. Raises Refusal where there is none."""
    try:
        return Path(tempfile.gettempdir(), f"mlflow-{secrets.token_hex(8)}")
    except FileNotFoundError:
        raise Refusal("No folder for temporary files can be written: mount one at /tmp or set TMPDIR.") from None


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Run one sub-command and return the exit code."""
    try:
        if len(arguments) != 1 or arguments[0] not in COMMANDS:
            raise Refusal(f"unknown command {' '.join(arguments)!r}: use one of {', '.join(COMMANDS)}.")
        if arguments[0] == "health":
            health(_port({name: value for name, value in environ.items() if value}))
        elif arguments[0] == "version":
            print(version())
        else:
            scratch = scratch_folder()
            execute(make_plan(environ, Path(__file__).resolve().parent, scratch, sys.executable))
    except Refusal as refusal:
        print(f"entrypoint: {refusal}", file=sys.stderr)
        return refusal.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
