"""What runs a task: the interface, and processes, which need no container engine."""

from __future__ import annotations

import abc
import http.client
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import boto3

from local import config, image, processes, taskdef

RECORD = "process.json"


class CannotStart(Exception):
    """Why a task did not start; the text holds no secret."""


@dataclass(frozen=True)
class Order:
    """What is to run: a task's id and definition, the port it gets on this machine, and a folder of its own."""

    id: str
    definition: Mapping[str, Any]
    port: int
    scratch: Path

    @property
    def spec(self) -> Mapping[str, Any]:
        """The definition of the one container."""
        return taskdef.container(self.definition)


class Runner(abc.ABC):
    """Runs one order, once."""

    # Seconds between two looks at the health of one that starts, and of one that is healthy.
    pace = (1.0, 5.0)

    def __init__(self, order: Order) -> None:
        self.order = order
        self._process: subprocess.Popen[bytes] | None = None

    @abc.abstractmethod
    def pull(self, execution: boto3.Session) -> None:
        """Get the image with the execution role's rights. Raises CannotStart."""

    @abc.abstractmethod
    def start(self, credentials: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        """Start it with what leads it to its role's credentials, and with its secrets. Raises CannotStart."""

    @abc.abstractmethod
    def healthy(self) -> bool | None:
        """Whether its health check passes; None while that is being found out."""

    @abc.abstractmethod
    def terminate(self) -> None:
        """Send SIGTERM."""

    @abc.abstractmethod
    def kill(self) -> None:
        """End what is left of it at once; also after its end."""

    @abc.abstractmethod
    def where(self) -> str:
        """Where a person finds it, for `make status`."""

    @property
    def output(self) -> IO[bytes]:
        """What it writes."""
        assert self._process
        assert self._process.stdout
        return self._process.stdout

    def exit_code(self) -> int | None:
        """Its exit code, negative where a signal ended it; None while it runs."""
        assert self._process
        return self._process.poll()

    def _spawn(self, command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                list(command),
                cwd=self.order.scratch,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise CannotStart(f"{command[0]}: {error.strerror}") from None


class Process(Runner):
    """The entrypoint of an image of `local.image`, as a process of ours."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self._image = Path()

    def pull(self, execution: boto3.Session) -> None:
        """Find the image's folder; no right is needed for it."""
        try:
            self._image = image.pull(self.order.spec["image"])
        except config.Trouble as error:
            raise CannotStart(str(error)) from None

    def start(self, credentials: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        """Start the entrypoint."""
        order = self.order
        folders = taskdef.mounts(order.definition, config.STATE / "efs", order.scratch)
        for path in (*folders.values(), order.scratch / "tmp"):
            path.mkdir(parents=True, exist_ok=True)
        environment = {
            **config.network_environment(),
            **config.no_proxy({}),
            **credentials,
            "PATH": f"{config.SERVER_PYTHON.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(order.scratch),
            "TMPDIR": str(order.scratch / "tmp"),
            "PYTHONUNBUFFERED": "1",
            "MLFLOW_HOST": config.HOST,
            **taskdef.environment(order.definition, order.port, folders),
            **secrets,
        }
        words = order.spec.get("command") or []
        command = [str(config.SERVER_PYTHON), str(self._image / "entrypoint.py"), *words]
        self._process = self._spawn(command, environment)
        # The entrypoint becomes the server by exec, so its command line is no part of its identity.
        record = {**processes.settled_identity(self._process), "command": None}
        config.write_json(order.scratch / RECORD, record)

    def healthy(self) -> bool:
        """Whether /health answers 200, which is what the definition's command asks for."""
        connection = http.client.HTTPConnection(config.HOST, self.order.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def terminate(self) -> None:
        """Send SIGTERM to the server alone, which ends its workers."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the whole group: workers that outlived their parent would keep the port and the log pipe."""
        assert self._process
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return

    def where(self) -> str:
        """The process."""
        return f"process {self._process.pid}" if self._process else ""
