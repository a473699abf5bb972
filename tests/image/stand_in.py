"""Make the images that a registry would give, from Debian packages: `python -m tests.image.stand_in`.

For machines that reach a Debian mirror and no image registry. What is there already, pulled or made, is left alone.
Root and mmdebstrap make a root file system a name, kept where the builder keeps wheels (~/.cache/mlflow-fargate), and
whichever engine answers makes an image of it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.image.engine import MARIADB, POSTGRES, Engine, Failed, Unavailable, find_engine

SUITE = "bookworm"
PYTHON = "stand-in/python:3.11"

# Both do what the official images' entrypoints do as far as this project asks them to: initialize an empty data folder
# from the environment, let nobody in before that is done, and run the server as its own user.
_POSTGRES_ENTRYPOINT = r"""#!/bin/bash
set -euo pipefail
if [ "${1:0:1}" = - ]; then set -- postgres "$@"; fi
if [ "$1" != postgres ]; then exec "$@"; fi
export PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
as_postgres=(setpriv --reuid=postgres --regid=postgres --init-groups --)
mkdir -p "$PGDATA" /run/postgresql
chown postgres:postgres "$PGDATA" /run/postgresql
chmod 0700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  : "${POSTGRES_PASSWORD:?is missing}"
  user=${POSTGRES_USER:-postgres}
  password=/run/postgresql/password
  install -o postgres -m 0600 /dev/null "$password"
  printf '%s\n' "$POSTGRES_PASSWORD" > "$password"
  "${as_postgres[@]}" initdb --pgdata="$PGDATA" --username="$user" --pwfile="$password" \
    --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
  rm "$password"
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
  database=${POSTGRES_DB:-$user}
  if [ "$database" != postgres ]; then
    echo "CREATE DATABASE \"${database//\"/\"\"}\"" | "${as_postgres[@]}" postgres --single -D "$PGDATA" postgres
  fi
fi
unset POSTGRES_PASSWORD
exec "${as_postgres[@]}" "$@"
"""
_MARIADB_ENTRYPOINT = r"""#!/bin/bash
set -euo pipefail
if [ "${1:0:1}" = - ]; then set -- mariadbd "$@"; fi
if [ "$1" != mariadbd ]; then exec "$@"; fi
data=/var/lib/mysql
mkdir -p "$data" /run/mysqld
chown mysql:mysql "$data" /run/mysqld
first=()
if [ ! -d "$data/mysql" ]; then
  : "${MARIADB_USER:?is missing}" "${MARIADB_PASSWORD:?is missing}" "${MARIADB_DATABASE:?is missing}"
  mariadb-install-db --user=mysql --datadir="$data" --skip-test-db --auth-root-authentication-method=socket >/dev/null
  quoted=${MARIADB_PASSWORD//\\/\\\\}
  quoted=${quoted//\'/\\\'}
  install -o mysql -m 0600 /dev/null /run/mysqld/first.sql
  cat > /run/mysqld/first.sql <<SQL
CREATE DATABASE \`$MARIADB_DATABASE\`;
CREATE USER '$MARIADB_USER'@'%' IDENTIFIED BY '$quoted';
GRANT ALL ON \`$MARIADB_DATABASE\`.* TO '$MARIADB_USER'@'%';
SQL
  first=(--init-file=/run/mysqld/first.sql)
fi
unset MARIADB_PASSWORD
exec "$@" --user=mysql "${first[@]}"
"""


@dataclass(frozen=True)
class StandIn:
    """One image: its name, what it really is, the Debian packages in it, and what a Dockerfile adds to them."""

    name: str
    truth: str
    packages: tuple[str, ...]
    instructions: str
    entrypoint: str = ""
    # Shell commands at the end of mmdebstrap, $1 is the tree.
    hooks: tuple[str, ...] = ()

    def key(self) -> str:
        """Name of the tree's file in the cache, which changes with its content."""
        content = "\0".join((SUITE, *self.packages, *self.hooks))
        return f"{self.packages[0]}-{hashlib.sha256(content.encode()).hexdigest()[:12]}.tar"


STAND_INS = (
    StandIn(PYTHON, "Debian's Python 3.11", ("python3", "python3-venv", "ca-certificates"), 'CMD ["python3"]\n'),
    StandIn(
        POSTGRES,
        "Debian's PostgreSQL 15, whatever its name says",
        ("postgresql-15",),
        "ENV PGDATA=/var/lib/postgresql/data\nVOLUME /var/lib/postgresql/data\nEXPOSE 5432\n"
        'STOPSIGNAL SIGINT\nENTRYPOINT ["docker-entrypoint.sh"]\nCMD ["postgres"]\n',
        _POSTGRES_ENTRYPOINT,
        # The package makes a cluster of its own. The just-in-time compiler, which can be missing, is a third of it all.
        (
            'rm -rf "$1"/var/lib/postgresql/15 "$1"/etc/postgresql/15',
            'rm -rf "$1"/usr/lib/postgresql/15/lib/bitcode "$1"/usr/lib/postgresql/15/lib/llvmjit*',
            'rm -f "$1"/usr/lib/*/libLLVM*',
        ),
    ),
    StandIn(
        MARIADB,
        "Debian's MariaDB 10.11",
        ("mariadb-server",),
        'VOLUME /var/lib/mysql\nEXPOSE 3306\nENTRYPOINT ["docker-entrypoint.sh"]\nCMD ["mariadbd"]\n',
        _MARIADB_ENTRYPOINT,
        # So does this one, and it would listen on the container's own loopback interface alone.
        ('rm -rf "$1"/var/lib/mysql/* "$1"/etc/mysql/mariadb.conf.d/50-server.cnf',),
    ),
)


def cache() -> Path:
    """The folder of the root file systems."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "mlflow-fargate" / "stand-in"


def make_tree(wanted: StandIn) -> Path:
    """The tar of the root file system of `wanted`, made unless the cache has it. Raises Unavailable."""
    folder = cache()
    tar = folder / wanted.key()
    if tar.exists():
        return tar
    if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
        raise Unavailable(f"{wanted.name} is missing, and to make it from Debian packages takes root and mmdebstrap")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = ["mmdebstrap", "--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io"]
        command += [f"--include={','.join(wanted.packages)}"]
        command += [f"--customize-hook={hook}" for hook in wanted.hooks]
        done = subprocess.run(
            [*command, SUITE, f"{scratch}/tree.tar"],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise Unavailable(f"mmdebstrap cannot make {wanted.name}: {done.stderr.strip()[-400:]}")
        # Whole or not at all: half a file would look like a finished one.
        os.replace(f"{scratch}/tree.tar", tar)
    return tar


def make_image(engine: Engine, wanted: StandIn, tar: Path) -> None:
    """Build `wanted` from its tree. Raises Failed."""
    with tempfile.TemporaryDirectory(dir=tar.parent) as folder:
        context = Path(folder)
        os.link(tar, context / "tree.tar")
        instructions = "FROM scratch\nADD tree.tar /\n" + wanted.instructions
        if wanted.entrypoint:
            script = context / "docker-entrypoint.sh"
            script.write_text(wanted.entrypoint)
            script.chmod(0o755)
            instructions += "COPY docker-entrypoint.sh /usr/local/bin/\n"
        (context / "Dockerfile").write_text(instructions)
        engine.run("build", "--quiet", "--tag", wanted.name, folder)


def main() -> int:
    """Make what is missing; 0, or 1 after a sentence on stderr."""
    try:
        engine = find_engine()
        missing = [wanted for wanted in STAND_INS if not engine.has(wanted.name)]
        with ThreadPoolExecutor(2) as pool:
            for wanted, tar in zip(missing, pool.map(make_tree, missing), strict=True):
                make_image(engine, wanted, tar)
                print(f"stand-in: {wanted.name} is {wanted.truth}", flush=True)
    except (Unavailable, Failed) as trouble:
        print(f"stand-in: {trouble}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
