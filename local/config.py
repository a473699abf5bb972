"""Where things lie, what they are called, and the environment that other programs get."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import secrets
import socket
import string
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STATE = Path(os.environ.get("LOCAL_STATE") or ROOT / ".local")
RUN = STATE / "run"
LOGS = STATE / "logs"
TLS = STATE / "tls"
IMAGES = STATE / "images"
CURRENT = STATE / "current.json"
PORTS = STATE / "ports.json"
TOOL_PYTHON = ROOT / ".venv" / "bin" / "python"
SERVER_PYTHON = ROOT / ".venv-server" / "bin" / "python"

HOST = "127.0.0.1"
REGION = "eu-west-1"
ACCOUNT = "000000000000"
IMAGE_NAME = "local/mlflow"
PUBLIC_DOMAIN = "mlflow.local.test"
STORAGES = ("rds", "efs")
EXPOSURES = ("internal", "public")
# The empty one is none: processes instead of containers.
ENGINES = ("", "docker", "podman")
NO_PROFILE = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}


class Trouble(Exception):
    """Something the person at the keyboard can act on: one sentence, shown without a traceback."""


@dataclass(frozen=True)
class Stack:
    """One of the deployments that the local AWS can hold."""

    storage: str
    exposure: str
    engine: str = ""

    @property
    def name(self) -> str:
        """The stack's name, which prefixes everything it creates; `engine_of` reads the engine back from it.

        So a stack never changes its engine: the data of one lies where the other would not find it.
        """
        return f"{self.engine or 'local'}-{self.storage}-{self.exposure}"

    @classmethod
    def wanted(cls, env: Mapping[str, str]) -> Stack:
        """The stack asked for by STORAGE, EXPOSURE and ENGINE (defaults rds, internal, none).

        Raises Trouble for other values.
        """
        chosen = []
        for name, allowed in (("STORAGE", STORAGES), ("EXPOSURE", EXPOSURES), ("ENGINE", ENGINES)):
            value = env.get(name) or allowed[0]
            if value not in allowed:
                choice = ", ".join(one for one in allowed if one)
                raise Trouble(f"{name}={value} is not one of {choice}: choose one of these.")
            chosen.append(value)
        return cls(*chosen)


def engine_of(stack: str) -> str:
    """The container engine of the stack with this name, or "" where it runs as processes."""
    first = stack.partition("-")[0]
    return first if first in ENGINES else ""


def write_atomic(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace `path` with `text` so that no reader ever sees half of it; by default it is its owner's alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, staging = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as out:
            out.write(text)
        os.chmod(staging, mode)
        os.replace(staging, path)
    except BaseException:
        Path(staging).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """The object in `path`, or an empty one where the file is absent or broken."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` to `path` atomically."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback interface now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As every server here does it: connections in TIME_WAIT must not count as a stranger.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port(taken: Collection[int] = ()) -> int:
    """A port that nobody listens on and that is not in `taken`."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port


class Ports:
    """Ports by purpose, chosen once and kept in a file so that URLs survive `down` and `up`."""

    def __init__(self, path: Path = PORTS) -> None:
        self.path = path

    @contextlib.contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            ports = read_json(self.path)
            before = dict(ports)
            yield ports
            if ports != before:
                write_json(self.path, ports)

    def get(self, purpose: str) -> int:
        """The port for `purpose`; a free one is chosen and remembered at the first call."""
        with self._locked() as ports:
            if purpose not in ports:
                ports[purpose] = free_port({int(port) for port in ports.values()})
            return int(ports[purpose])

    def set(self, purpose: str, port: int) -> None:
        """Remember `port` for `purpose`. Raises Trouble where another purpose has it."""
        with self._locked() as ports:
            owner = next((name for name, value in ports.items() if value == port and name != purpose), None)
            if owner:
                raise Trouble(f"PORT={port} is already used here for {owner}: choose another one.")
            ports[purpose] = port


def wanted_port(env: Mapping[str, str]) -> int | None:
    """The port asked for by PORT, or None. Raises Trouble where it is no port a person may take."""
    value = env.get("PORT", "")
    if not value:
        return None
    if not value.isdigit() or not 1024 <= int(value) <= 65535:
        raise Trouble(f"PORT={value} is not a port number from 1024 to 65535: choose such a one.")
    return int(value)


def root_keys() -> tuple[str, str]:
    """Access key and secret of the local AWS's root user, made at the first call.

    They are long and random because Ansible censors a secret wherever its text occurs in the output.
    """
    path = STATE / "keys.json"
    keys = read_json(path)
    if not keys:
        letters = string.ascii_uppercase + string.digits
        keys = {
            "access_key": "AKIALOCAL" + "".join(secrets.choice(letters) for _ in range(11)),
            "secret_key": secrets.token_hex(20),
        }
        write_json(path, keys)
    return str(keys["access_key"]), str(keys["secret_key"])


def aws_url() -> str:
    """The endpoint of the local AWS."""
    return f"https://{HOST}:{Ports().get('aws')}"


def front_url(stack: str) -> str:
    """The address a browser opens for `stack`."""
    scheme = "https" if stack.endswith("-public") else "http"
    return f"{scheme}://{HOST}:{Ports().get('front/' + stack)}"


def network_environment(bundle: str = str(TLS / "ca-bundle.pem")) -> dict[str, str]:
    """What any program needs to find and trust the local AWS; no credentials. `bundle` is where it sees our CA."""
    return {
        "AWS_ENDPOINT_URL": aws_url(),
        "AWS_ENDPOINT_URL_APPLICATION_AUTO_SCALING": f"https://{HOST}:{Ports().get('scaling')}",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CA_BUNDLE": bundle,
        "REQUESTS_CA_BUNDLE": bundle,
        "CURL_CA_BUNDLE": bundle,
        "SSL_CERT_FILE": bundle,
    }


def no_proxy(env: Mapping[str, str]) -> dict[str, str]:
    """NO_PROXY in both spellings, the caller's own entries kept."""
    entries = (env.get("NO_PROXY") or env.get("no_proxy") or "").split(",")
    for name in (HOST, "localhost"):
        if name not in entries:
            entries.append(name)
    value = ",".join(entry for entry in entries if entry)
    return {"NO_PROXY": value, "no_proxy": value}


def stack_environment(current: Mapping[str, Any]) -> dict[str, str]:
    """The MLFLOW_LOCAL_* variables that inventories/local reads; `current` is current.json's content."""
    return {
        "MLFLOW_LOCAL_STACK": current["stack"],
        "MLFLOW_LOCAL_STORAGE": current["storage"],
        "MLFLOW_LOCAL_EXPOSURE": current["exposure"],
        "MLFLOW_LOCAL_ENGINE": engine_of(current["stack"]),
        "MLFLOW_LOCAL_IMAGE": current["image"],
        "MLFLOW_LOCAL_IMAGE_BASE": current.get("base", ""),
        "MLFLOW_LOCAL_CA": str(TLS / "ca.pem"),
        "MLFLOW_LOCAL_ARCHITECTURE": "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64",
        "MLFLOW_LOCAL_DATABASE_PORT": str(Ports().get("database/" + current["stack"])),
        "MLFLOW_LOCAL_URL": front_url(current["stack"]),
        "MLFLOW_LOCAL_CERTIFICATE_ARN": current.get("certificate", ""),
    }


def own_environment(env: Mapping[str, str]) -> dict[str, str]:
    """`env` without anything that could lead a child to another AWS, MLflow or Python than ours."""
    mine = ("AWS_", "MLFLOW_", "PYTHON", "MINISTACK_", "MOTO_")
    return {**{name: value for name, value in env.items() if not name.startswith(mine)}, **NO_PROFILE}


def forget_other_aws() -> None:
    """Keep this process, too, from any other AWS: a profile that is missing, or asks for FIPS, would stop it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(NO_PROFILE)


def keep_new_files_to_owner() -> int:
    """Let nobody else read what this process and its children make from now on; the umask from before."""
    return os.umask(0o077)


def say(text: str) -> None:
    """One line for the person, at once."""
    print(text, flush=True)


def complain(text: str) -> None:
    """One line on stderr, at once."""
    print(text, file=sys.stderr, flush=True)
