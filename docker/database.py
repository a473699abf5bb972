"""The database's URI for SQLAlchemy, without a password, and what its driver needs beside it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

from contracts import Given, Refusal

# By MLFLOW_DB_DIALECT or a URI's scheme. The image has one driver for each.
DIALECTS = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "postgresql+psycopg": "postgresql",
    "postgresql+psycopg2": "postgresql",
    "mysql": "mysql",
    "mysql+pymysql": "mysql",
}
PORTS = {"postgresql": 5432, "mysql": 3306}

# SQLAlchemy's grammar, whose password may hold /, #, ? and : as they are.
_URI = re.compile(
    r"(?P<scheme>[\w+.-]+):(?://(?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?(?P<host>[^/:?]*)(?::(?P<port>[^/?]*))?)?"
    r"(?:/(?P<name>[^?]*))?(?:\?(?P<query>.*))?",
    re.DOTALL,
)
_USE = "use postgresql://, mysql:// or sqlite:////folder/mlflow.db"


@dataclass(frozen=True)
class Database:
    """`uri` has no password; `environment` and `files` (path: text) are what the driver reads it from."""

    uri: str
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def sqlite(self) -> Path | None:
        """The file, where the database is one."""
        return Path(self.uri.removeprefix("sqlite:///")) if self.uri.startswith("sqlite:") else None


class Server(NamedTuple):
    """A database server; `options` are those of a URI's query, `source` the variable that named it."""

    dialect: str
    host: str
    port: int
    name: str
    user: str
    password: str
    options: Mapping[str, str]
    source: str


def needed(given: Given, setting: str, remedy: str) -> str:
    """The setting's value. Raises Refusal where it is missing."""
    if setting not in given.values:
        raise Refusal(f"{given.name(setting)} is missing: {remedy}")
    return given.values[setting]


def number(given: Given, setting: str, default: int, low: int, high: int) -> int:
    """The setting as a whole number. Raises Refusal for anything but `low` to `high`."""
    text = given.values.get(setting, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise Refusal(
            f"{given.name(setting)}={text!r} is not a whole number from {low} to {high}: "
            f"correct or remove it (then {default})."
        )
    return int(text)


def choice(given: Given, setting: str, default: str, choices: tuple[str, ...]) -> str:
    """The setting as one of `choices`. Raises Refusal for anything else."""
    value = given.values.get(setting, default)
    if value not in choices:
        raise Refusal(f"{given.name(setting)}={value!r} is unknown: set it to {' or '.join(choices)}.")
    return value


def secret(given: Given, setting: str, shortest: int, remedy: str) -> str:
    """The setting, of one line and at least `shortest` characters. Raises Refusal, which does not show it."""
    value, name = needed(given, setting, remedy), given.name(setting)
    if "\n" in value or "\r" in value:
        raise Refusal(f"{name} contains a line break (value not shown): store the secret without one.")
    if len(value) < shortest:
        raise Refusal(f"{name} has {len(value)} characters (value not shown): use {shortest} or more.")
    return value


def locate(given: Given, home: Path, scratch: Path, workers: int) -> Database:
    """Return the database that the settings name. Raises Refusal for the first of them that is missing or wrong.

    `home` is the folder of the CA bundle, `scratch` the one for files with passwords.
    """
    values = given.values
    named = [name for name in ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_DB_HOST") if name in values]
    if "MLFLOW_DATA_DIR" in values:
        if named:
            raise Refusal(
                f"MLFLOW_DATA_DIR and {given.name(named[0])} are both set: "
                "keep one, SQLite in a folder or a database server."
            )
        return sqlite("MLFLOW_DATA_DIR", values["MLFLOW_DATA_DIR"], "mlflow.db", workers)
    if "MLFLOW_BACKEND_STORE_URI" in values:
        return from_uri(given, home, scratch, workers)
    if any(f"MLFLOW_DB_{part}" in values for part in ("DIALECT", "HOST", "PORT", "DATABASE", "USERNAME")):
        return of_server(from_parts(given), given, home, scratch)
    raise Refusal(
        f"MLFLOW_DATA_DIR, MLFLOW_DB_HOST and {given.name('MLFLOW_BACKEND_STORE_URI')} are all missing: "
        "set one, SQLite in a folder or a database server."
    )


def sqlite(source: str, folder: str, name: str, workers: int) -> Database:
    if not folder.startswith("/") or re.search(r"[?#%]", folder + name):
        raise Refusal(
            f"{source}={folder!r} is not an absolute path free of ?, # and %: set it to the mount of the volume."
        )
    if not Path(folder).is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise Refusal(f"{source}={folder!r} is no folder that uid {os.getuid()} may write: mount the volume there.")
    if workers != 1:
        raise Refusal(
            f"MLFLOW_WORKERS={workers} with {source}: SQLite on a network file system bears one worker, set 1."
        )
    return Database(f"sqlite:///{os.path.normpath(folder).rstrip('/')}/{name}")


def from_uri(given: Given, home: Path, scratch: Path, workers: int) -> Database:
    setting = "MLFLOW_BACKEND_STORE_URI"
    source, text = given.name(setting), given.values[setting]
    found = _URI.fullmatch(text)
    if found is None or found["scheme"] == "file":
        raise Refusal(f"{source} names a file store, which MLflow no longer has: {_USE}; docs/moving.md says how.")
    if found["scheme"] == "sqlite":
        folder, _, name = text.removeprefix("sqlite:///").rpartition("/")
        if not text.startswith("sqlite:////") or not name:
            raise Refusal(f"{source} is SQLite without an absolute path: {_USE}, on a mounted volume.")
        return sqlite(source, folder or "/", name, workers)
    if found["scheme"] not in DIALECTS:
        raise Refusal(f"{source} has the scheme {found['scheme']!r} (value not shown): {_USE}.")
    options = dict(parse_qsl(found["query"] or "", keep_blank_values=True, errors="surrogateescape"))
    in_options = options.pop("password", None) or options.pop("passwd", None)
    password = unquote(found["password"] or "", errors="surrogateescape") or in_options
    values = {
        "MLFLOW_DB_DIALECT": found["scheme"],
        "MLFLOW_DB_HOST": found["host"],
        "MLFLOW_DB_PORT": found["port"],
        "MLFLOW_DB_DATABASE": found["name"],
        "MLFLOW_DB_USERNAME": unquote(found["user"] or "", errors="surrogateescape"),
        "MLFLOW_DB_PASSWORD": password or given.values.get("MLFLOW_DB_PASSWORD"),
    }
    refuse_options(source, options)
    shown = {part: f"{source} (its {part.removeprefix('MLFLOW_DB_').lower()})" for part in values}
    if not password:
        shown["MLFLOW_DB_PASSWORD"] = given.name("MLFLOW_DB_PASSWORD")
    parts = Given(given.contract, {name: value for name, value in values.items() if value}, shown)
    server = from_parts(parts)._replace(options=options, source=source)
    made = of_server(server, given, home, scratch)
    if "MLFLOW_DB_HOST" not in given.values:
        return made
    return replace(made, warnings=(f"{given.name('MLFLOW_DB_HOST')} is ignored: {source} wins.", *made.warnings))


def refuse_options(source: str, options: Mapping[str, str]) -> None:
    """Raise Refusal for options that hold a secret or would take the password's way."""
    for name in ("sslpassword", "ssl_key_password", "read_default_file", "read_default_group", "passfile", "service"):
        if name in options:
            raise Refusal(f"{source} has the option {name} (value not shown), which is not supported: remove it.")


def from_parts(given: Given) -> Server:
    dialect = needed(given, "MLFLOW_DB_DIALECT", "set it to postgresql or mysql.")
    if dialect not in DIALECTS:
        raise Refusal(f"{given.name('MLFLOW_DB_DIALECT')}={dialect!r} is not supported: set it to postgresql or mysql.")
    dialect = DIALECTS[dialect]
    host = needed(given, "MLFLOW_DB_HOST", "set it to the database's host name.")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", host):
        raise Refusal(
            f"{given.name('MLFLOW_DB_HOST')}={host!r} is not a host name: give the name alone, "
            f"the port is {given.name('MLFLOW_DB_PORT')}."
            if given.name("MLFLOW_DB_HOST").isidentifier()
            else f"{given.name('MLFLOW_DB_HOST')} is not a host name (value not shown): in a password, "
            "write @ as %40, / as %2F and % as %25."
        )
    port = number(given, "MLFLOW_DB_PORT", PORTS[dialect], 1, 65535)
    name = needed(given, "MLFLOW_DB_DATABASE", "set it to the database's name.")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", name):
        raise Refusal(
            f"{given.name('MLFLOW_DB_DATABASE')}={name!r} is not a database name: use 1 to 63 letters, digits, _ and -."
        )
    user = needed(given, "MLFLOW_DB_USERNAME", "set it to the database user.")
    password = secret(given, "MLFLOW_DB_PASSWORD", 1, "hand it over as an ECS secret.")
    return Server(dialect, host, port, name, user, password, {}, given.name("MLFLOW_DB_HOST"))


def of_server(server: Server, given: Given, home: Path, scratch: Path) -> Database:
    tls = choice(given, "MLFLOW_DB_TLS", "verify", ("verify", "require", "off"))
    authority = Path(given.values.get("MLFLOW_DB_CA_FILE", home / "rds-ca.pem"))
    if tls == "verify" and not authority.is_file():
        raise Refusal(
            f"MLFLOW_DB_CA_FILE={str(authority)!r} is no file: point it to the CA bundle (PEM) of the database."
        )
    build = postgresql if server.dialect == "postgresql" else mysql
    return build(server, tls, authority.absolute(), scratch)


def address(server: Server) -> str:
    return f"{quote(server.user, safe='', errors='surrogateescape')}@{server.host}:{server.port}/{server.name}"


def encoded(options: Mapping[str, str]) -> str:
    return urlencode(options, quote_via=quote, errors="surrogateescape")


def relaxed(source: str, what: str) -> tuple[str, ...]:
    return (f"{source} relaxes TLS to the database ({what}): whoever is on the way can read the password.",)


def postgresql(server: Server, tls: str, authority: Path, scratch: Path) -> Database:
    """libpq reads the password and its settings from the environment; options of a URI go before those."""
    environment = {"PGPASSWORD": server.password, "PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "mlflow"}
    mode = {"verify": "verify-full", "require": "require", "off": "disable"}[tls]
    warnings = () if tls == "verify" else relaxed(f"MLFLOW_DB_TLS={tls}", f"sslmode={mode}")
    if "sslmode" in server.options:
        mode = server.options["sslmode"]
        warnings = () if mode == "verify-full" else relaxed(server.source, "its option sslmode")
    else:
        environment["PGSSLMODE"] = mode
    if mode.startswith("verify") and "sslrootcert" not in server.options:
        environment["PGSSLROOTCERT"] = str(authority)
    query = f"?{encoded(server.options)}" if server.options else ""
    return Database(f"postgresql+psycopg://{address(server)}{query}", environment, {}, warnings)


def mysql(server: Server, tls: str, authority: Path, scratch: Path) -> Database:
    """PyMySQL reads the password from an option file, the only way it has beside its caller and the URI."""
    ours = {
        "verify": {"ssl_ca": str(authority)},
        "require": {"ssl_check_hostname": "false"},
        "off": {"ssl_disabled": "1"},
    }
    warnings = () if tls == "verify" else relaxed(f"MLFLOW_DB_TLS={tls}", next(iter(ours[tls])))
    theirs = [name for name in server.options if name.startswith("ssl")]
    if theirs:
        checked = {"ssl_ca", "ssl_capath"} & set(theirs) and not {"ssl_check_hostname", "ssl_disabled"} & set(theirs)
        warnings = () if checked else relaxed(server.source, f"its option {theirs[0]}")
    file = scratch / "my.cnf"
    options = {**server.options, **({} if theirs else ours[tls]), "read_default_file": str(file)}
    # PyMySQL sends the password's characters as Latin-1: these are the ones that become its UTF-8 bytes. Quotes keep
    # blanks at the ends; it takes off one pair and knows no escapes.
    password = server.password.encode("utf-8", "surrogateescape").decode("latin-1")
    text = f'[client]\npassword = "{password}"\n'
    uri = f"mysql+pymysql://{address(server)}?{encoded(options)}"
    # The option file is read in the locale's encoding.
    return Database(uri, {"PYTHONUTF8": "1"}, {file: text}, warnings)
