"""Start-up logic of the MLflow container; the local stand-in for Fargate runs the same file.

    entrypoint.py serve     check the environment and the schema, then become `mlflow server`
    entrypoint.py migrate   bring the schema of experiments and users to this image's; back the database up before
    entrypoint.py check     exit 0 when the database answers and its schema is this image's, else 1
    entrypoint.py health    exit 0 when the server on this machine answers GET /health, else 1
    entrypoint.py version   print the versions of MLflow and Python

Variables of `serve`, `migrate` and `check` (an empty value counts as missing):

    MLFLOW_HOST, MLFLOW_PORT, MLFLOW_WORKERS   0.0.0.0, 5000 and 1 when missing
    MLFLOW_ARTIFACTS_DESTINATION               s3://bucket[/prefix], proxied to the clients
    MLFLOW_SERVER_ALLOWED_HOSTS                comma-separated Host headers to answer, "name:*" for any port
    MLFLOW_PUBLIC_SCHEME=https|http            how clients reach the server; https: HSTS, secure cookies, pages by HTTPS
    FORWARDED_ALLOW_IPS                        addresses and networks whose X-Forwarded-For is believed; 127.0.0.1
    MLFLOW_DATA_DIR                            SQLite: folder of mlflow.db; one worker only
    MLFLOW_DB_DIALECT=postgresql|mysql, MLFLOW_DB_HOST, MLFLOW_DB_PORT (5432 or 3306), MLFLOW_DB_DATABASE,
    MLFLOW_DB_USERNAME, MLFLOW_DB_PASSWORD     a database server
    MLFLOW_BACKEND_STORE_URI                   instead of them: postgresql://, mysql:// or sqlite:////folder/file
    MLFLOW_DB_TLS=verify|require|off           verify, the default, checks the server's certificate and name
    MLFLOW_DB_CA_FILE                          the CA for that; rds-ca.pem beside this file when missing
    MLFLOW_DB_WAIT_SECONDS                     how long `serve` and `migrate` wait while it does not answer; 120
    MLFLOW_AUTH=basic|none                     basic also needs the next two
    MLFLOW_AUTH_ADMIN_PASSWORD                 12+ characters; used once, to make MLFLOW_AUTH_ADMIN_USERNAME (admin)
    MLFLOW_FLASK_SERVER_SECRET_KEY             16+ characters, the same in every task
    MLFLOW_DEFAULT_PERMISSION                  what every user may do with what no right names: READ, or one of
                                               NO_PERMISSIONS, USE, EDIT, MANAGE
    MLFLOW_AUTH_CACHE_SECONDS                  how long a worker remembers a login that was right; 60, and 0 is off
    MLFLOW_LOG_FORMAT=text|json                json: every line on stdout and stderr is one object
    MLFLOW_PROMETHEUS=true|false               true: metrics at /metrics
    MLFLOW_MAX_BODY_MIB                        the largest request but an artifact's, 32 when missing

Other systems' variables are understood, too: contracts.py has the table, docs/moving.md the words.

Exit codes: 2 for an environment that is refused, 1 for a failure outside it; both with one sentence on stderr.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NoReturn

import contracts
import database_wait
import door
import front
import jsonlog
import schema
from contracts import Given, Refusal
from database import Database, choice, locate, needed, number, secret

COMMANDS = ("serve", "migrate", "check", "health", "version")

# Keep-alive above the load balancer's 60 s idle timeout, or it sends requests into connections that the server has
# just closed (502). The graceful stop must end before ECS kills the task (30 s by default).
UVICORN_OPTIONS = "--timeout-keep-alive 75 --timeout-graceful-shutdown 20 --no-server-header"

# A check of a password costs 160 ms of CPU, and MLflow makes up to four in a request.
AUTH_CACHE_SECONDS = 60

# Long enough for a database that restarts or wakes up, and over before ECS takes the task for unhealthy (180 s).
DATABASE_WAIT_SECONDS = 120

# MLflow's, from nothing to all; DENY is no default, for no right would lift it.
PERMISSIONS = ("NO_PERMISSIONS", "READ", "USE", "EDIT", "MANAGE")

# The password that older MLflow versions shipped; MLflow refuses it, with a traceback.
_KNOWN_PASSWORD = "password1234"

_LOGIN = ("MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY")

# Secrets of drivers that the server may not need, and MLflow's own way to a MySQL server, which forgets to check names.
_NOT_HANDED_ON = ("PGPASSWORD", "MYSQL_PWD", "PGSSLMODE", "PGSSLROOTCERT")
_MYSQL_TLS = ("MLFLOW_MYSQL_SSL_CA", "MLFLOW_MYSQL_SSL_CERT", "MLFLOW_MYSQL_SSL_KEY")


@dataclass(frozen=True)
class Plan:
    """What `serve` is going to do, as a value.

    `argv` and `environment` are those of the server process, `files` maps a path to its text (written with mode 0600),
    `folders` are made beside them, `users` says whether the database has users, too. `wait_seconds` is how long the
    database may take to answer.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    files: Mapping[Path, str]
    database: Database
    users: bool
    wait_seconds: int = DATABASE_WAIT_SECONDS
    folders: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()


def make_plan(environ: Mapping[str, str], home: Path, scratch: Path, python: str) -> Plan:
    """Return the plan for `serve`; reads the file system, changes nothing.

    `home` is the folder of this program, `scratch` a folder that `write` may create, `python` the interpreter
    that has MLflow. Raises `Refusal` for the first variable that is missing or wrong.
    """
    given = contracts.translate(environ)
    hosts = _allowed_hosts(given)
    workers = number(given, "MLFLOW_WORKERS", 1, 1, 64)
    database = locate(given, home, scratch, workers)
    server = _environment(given, hosts, database, home, scratch)

    argv = [python, "-m", "mlflow", "server"]
    argv += ["--host", _address(given), "--port", str(_port(given))]
    argv += ["--workers", str(workers), "--uvicorn-opts", UVICORN_OPTIONS]
    argv += ["--backend-store-uri", database.uri]
    argv += ["--serve-artifacts", "--artifacts-destination", _artifacts(given)]
    files = {scratch / "door-1.dist-info" / name: text for name, text in door.entry_points()} | dict(database.files)
    users = _auth(given)
    # MLflow's own apps are not used: these two are in door.py.
    argv += ["--app-name", "basic-auth" if users else "no-auth"]
    if users:
        file = scratch / "basic_auth.ini"
        files[file] = _users_ini(
            database.uri,
            choice(given, "MLFLOW_DEFAULT_PERMISSION", "READ", PERMISSIONS),
            number(given, "MLFLOW_AUTH_CACHE_SECONDS", AUTH_CACHE_SECONDS, 0, 3600),
        )
        server |= {name: given.values[name] for name in _LOGIN} | {"MLFLOW_AUTH_CONFIG_PATH": str(file)}
    folders = []
    if choice(given, "MLFLOW_PROMETHEUS", "false", ("true", "false")) == "true":
        folders = [scratch / "metrics"]
        argv += ["--expose-prometheus", str(folders[0])]
        # Its library reads both and calls the name that MLflow sets a thing of the past, once a worker.
        server["PROMETHEUS_MULTIPROC_DIR"] = str(folders[0])
    wait = number(given, "MLFLOW_DB_WAIT_SECONDS", DATABASE_WAIT_SECONDS, 0, 3600)
    return Plan(tuple(argv), server, files, database, users, wait, tuple(folders), given.warnings)


def _environment(given: Given, hosts: list[str], database: Database, home: Path, scratch: Path) -> dict[str, str]:
    """Return the server's environment: what was given but what the entrypoint itself has read, and our defaults."""
    ours = contracts.consumed().union(_NOT_HANDED_ON)
    server = {name: value for name, value in given.values.items() if name not in ours}
    if database.uri.startswith("mysql"):
        for name in _MYSQL_TLS:
            if name in server:
                raise Refusal(
                    f"{name} is set, with which MLflow checks no name: use MLFLOW_DB_CA_FILE, or options in a URI."
                )
    server.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    # A private subnet has no way out to the telemetry service, and nobody asked the operator.
    server.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    _lift_pool_limit(server)
    server.setdefault("PYTHONUNBUFFERED", "1")
    if "AWS_REGION" in server:
        # boto3 reads only the other name, and without a region presigned URLs are not regional.
        server.setdefault("AWS_DEFAULT_REGION", server["AWS_REGION"])
    server["MLFLOW_SERVER_ALLOWED_HOSTS"] = ",".join(hosts)
    schemes: tuple[str, ...] = ("https", "http")
    if front.SCHEME in given.values:
        schemes = (choice(given, front.SCHEME, "", schemes),)
    server.setdefault("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", _origins(hosts, schemes))
    server[door.LIMIT] = str(number(given, door.LIMIT, door.DEFAULT_LIMIT, 1, 1024))
    # Before all else on the path, so that MLflow's name for its app with logins is ours; and the folder in which the
    # server was started, in the container one that it writes to, is none of Python's.
    server["PYTHONPATH"] = os.pathsep.join(filter(None, (str(scratch), str(home), server.get("PYTHONPATH"))))
    server["PYTHONSAFEPATH"] = "1"
    return {**server, **database.environment}


def _lift_pool_limit(server: dict[str, str]) -> None:
    """Let the pools open as many connections as there are threads that ask for one, 40 a worker, in place of 15.

    A thread that waits 30 s for a connection in vain answers 400, which no client repeats, and a write is lost. Of
    those beyond the pool's own five, a connection is closed again when it comes back.
    """
    if server.get("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "QueuePool") == "QueuePool":
        # Another pool takes no such option.
        server.setdefault("MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW", "-1")


def log_format(given: Given) -> str:
    return choice(given, "MLFLOW_LOG_FORMAT", "text", ("text", "json"))


def _port(given: Given) -> int:
    return number(given, "MLFLOW_PORT", 5000, 1, 65535)


def _address(given: Given) -> str:
    value = given.values["MLFLOW_HOST"]
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as error:
        raise Refusal(f"MLFLOW_HOST={value!r} is not an IP address: correct or remove it (then 0.0.0.0).") from error


def _allowed_hosts(given: Given) -> list[str]:
    name = "MLFLOW_SERVER_ALLOWED_HOSTS"
    remedy = "list every name the load balancer answers to, each as name,name:* (all other hosts get 403)."
    text = needed(given, name, remedy)
    if text == "*" and given.contract is not contracts.OWN:
        return ["*"]
    # In the one spelling to which front.py brings the Host header.
    hosts = list(dict.fromkeys(host.strip().lower() for host in text.split(",")))
    for host in hosts:
        if host == "*" or not re.fullmatch(r"[A-Za-z0-9.*_:\[\]-]+", host):
            raise Refusal(f"{name}={text!r} has the entry {host!r}, which is not a host name: {remedy}")
    return hosts


def _origins(hosts: list[str], schemes: tuple[str, ...]) -> str:
    """Return the origins of the server's own pages: MLflow answers a browser's POST from any other with 403."""
    return "*" if hosts == ["*"] else ",".join(f"{each}://{host}" for host in hosts for each in schemes)


def _artifacts(given: Given) -> str:
    name = "MLFLOW_ARTIFACTS_DESTINATION"
    remedy = "set it to s3://<bucket> or s3://<bucket>/<prefix>."
    value = needed(given, name, remedy)
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#]*)?", value):
        raise Refusal(f"{given.name(name)}={value!r} is not an S3 location: {remedy}")
    return value


def _auth(given: Given) -> bool:
    needed(given, "MLFLOW_AUTH", "set it to basic (logins) or none.")
    if choice(given, "MLFLOW_AUTH", "", ("basic", "none")) == "none":
        return False
    remedy = "MLFLOW_AUTH=basic needs it, as an ECS secret."
    if secret(given, "MLFLOW_AUTH_ADMIN_PASSWORD", 12, remedy) == _KNOWN_PASSWORD:
        name = given.name("MLFLOW_AUTH_ADMIN_PASSWORD")
        raise Refusal(f"{name} is the publicly known default of old MLflow versions: choose another.")
    secret(given, "MLFLOW_FLASK_SERVER_SECRET_KEY", 16, remedy)
    return True


def _users_ini(uri: str, permission: str, cache_seconds: int) -> str:
    """Return MLflow's basic-auth file: users live beside the experiments, in tables of their own.

    Everybody who can log in has `permission` for everything and creates what they then manage alone; the administrator
    widens or narrows that per user. The administrator stays in the environment, out of this file. A worker takes a
    password that was right as right for `cache_seconds`; docs/login.md says what may be stale so long.
    """
    return (
        "[mlflow]\n"
        f"default_permission = {permission}\n"
        # MLflow reads the file with configparser, to which a percent sign is syntax.
        f"database_uri = {uri.replace('%', '%%')}\n"
        f"auth_cache_ttl_seconds = {cache_seconds}\n"
        "authorization_function = door:authorize\n"
    )


def write(plan: Plan) -> None:
    """Write the plan's files and let the database's driver in this process read what the server's will."""
    for path in (*plan.files, *plan.folders):
        try:
            for folder in (path.parent.parent, path.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
            if path in plan.folders:
                path.mkdir(mode=0o700)
            else:
                path.touch(mode=0o600, exist_ok=False)
                path.write_text(plan.files[path], encoding="utf-8")
        except OSError as error:
            raise Refusal(f"cannot write {path} ({error.strerror}): point TMPDIR to a writable folder.", 1) from error
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
    os.environ.update({name: value for name, value in plan.environment.items() if name.startswith("PG")})
    if plan.database.sqlite is not None:
        schema.leave_wal(plan.database.sqlite)


def execute(plan: Plan) -> NoReturn:
    """Prepare the database and replace this process by the server, whose log is all on stdout.

    The server keeps this process's id, so that in a container it is the one that gets SIGTERM.
    """
    write(plan)
    database_wait.wait(plan.database, plan.wait_seconds, say)
    schema.prepare(plan.database, plan.users, plan.argv[0], plan.environment, say)
    sys.stdout.flush()
    os.dup2(1, 2)
    os.execve(plan.argv[0], plan.argv, dict(plan.environment))


def say(sentence: str, level: str = "INFO") -> None:
    """Write one line of log, to stderr when it is an error."""
    as_json = os.environ.get("MLFLOW_LOG_FORMAT") == "json"
    loud = "WARNING: " if level == "WARNING" else ""
    text = jsonlog.line(level, "entrypoint", sentence) if as_json else f"entrypoint: {loud}{sentence}"
    print(text, file=sys.stderr if level == "ERROR" else sys.stdout, flush=True)


def health(port: int, prefix: str = "") -> None:
    """Raise `Refusal` unless GET <prefix>/health on this machine answers 200 within 5 seconds."""
    path = f"/{prefix.strip('/')}/health" if prefix.strip("/") else "/health"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Refusal(f"no answer from http://127.0.0.1:{port}{path}: {error}", 1) from error
    finally:
        connection.close()
    if status != 200:
        raise Refusal(f"http://127.0.0.1:{port}{path} answered {status}.", 1)


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


def run(command: str, environ: Mapping[str, str]) -> None:
    """Run one sub-command. Raises Refusal."""
    if command == "version":
        print(version())
        return
    given = contracts.translate(environ)
    log_format(given)
    if command == "health":
        health(_port(given), given.values.get("MLFLOW_STATIC_PREFIX", ""))
        return
    scratch = scratch_folder()
    plan = make_plan(environ, Path(__file__).resolve().parent, scratch, sys.executable)
    for warning in (*(plan.warnings if command == "serve" else ()), *plan.database.warnings):
        say(warning, "WARNING")
    if command == "serve":
        execute(plan)
    try:
        write(plan)
        if command == "migrate":
            database_wait.wait(plan.database, plan.wait_seconds, say)
            schema.migrate(plan.database, plan.users, plan.argv[0], plan.environment, say)
        else:
            say(schema.check(plan.database, plan.users))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Run one sub-command and return the exit code."""
    try:
        if len(arguments) != 1 or arguments[0] not in COMMANDS:
            raise Refusal(f"unknown command {' '.join(arguments)!r}: use one of {', '.join(COMMANDS)}.")
        run(arguments[0], environ)
    except Refusal as refusal:
        say(str(refusal), "ERROR")
        return refusal.code
    return 0


if __name__ == "__main__":
    if os.environ.get("MLFLOW_LOG_FORMAT") == "json":
        jsonlog.install()
    sys.exit(main(sys.argv[1:], os.environ))
