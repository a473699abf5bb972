"""Runs AWS modules warm: in a fork of plugins/warm_server.py, which has loaded what they need; docs/fast.md.

Ansible runs every module that has no action plugin of its own through the one called `normal`, and takes this one,
for it is in the configured path. Only how a module's process is made is replaced: arguments, checks, the reading of
the result and all else stay Ansible's. What is not known to be safe here takes Ansible's way.

What AWS refuses with a sentence that does not help (a quota, a right that is missing) gets one that does, whichever
module was refused.
"""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ansible import constants as C
from ansible.executor.module_common import _BuiltModule
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.module_utils.common.text.converters import to_text
from ansible.plugins import action as stock_actions
from ansible.utils.display import Display

# Not by import: Ansible has given this file the stock one's name.
_stock = importlib.util.spec_from_file_location("stock_normal", Path(stock_actions.__file__).with_name("normal.py"))
assert _stock is not None
assert _stock.loader is not None
_stock_normal = importlib.util.module_from_spec(_stock)
_stock.loader.exec_module(_stock_normal)

# Ansible finds module_utils for modules only, and an action plugin runs outside of any package.
sys.path.append(str(Path(__file__).resolve().parents[2]))
from plugins.module_utils.mlflow_aws import explained  # noqa: E402

OWN = Path(__file__).resolve().parents[1] / "modules"
COLLECTIONS = ("amazon.aws", "community.aws", "awx.awx")
# What an interpreter reads at its start; a fork would not see it.
READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG")
PROFILE = "legacy"


class ServerGone(Exception):
    """There is nobody to run the module, and it did not run."""


class Module(NamedTuple):
    """A module that can run warm: its Python name, its file, and whether it is one of the repository's own."""

    name: str
    path: str
    own: bool


class ActionModule(_stock_normal.ActionModule):  # type: ignore[misc, name-defined]
    """Ansible's `normal`, with another way to make the process of an AWS module."""

    # (socket to the server, folder of the collections it has loaded), set by the callback of that name.
    warm: tuple[socket.socket, str] | None = None
    _module: Module | None = None
    _environment: dict[str, str]

    def run(self, tmp: Any = None, task_vars: Any = None) -> Any:
        """Run the task's module."""
        self._module = self._warm_module(task_vars or {})
        return with_remedy(super().run(tmp, task_vars))

    def _warm_module(self, task_vars: Mapping[str, Any]) -> Module | None:
        """The task's module if it may run warm."""
        if self.warm is None or self._connection.transport != "local" or self._connection.become:
            return None
        if self._task.async_val or self._task.delegate_to or C.DEFAULT_KEEP_REMOTE_FILES:
            return None
        if C.config.get_config_value("PYTHON_MODULE_RLIMIT_NOFILE", variables=dict(task_vars)):
            return None
        # With sys.executable the module's interpreter is the one that the server runs.
        if self._templar.template(task_vars.get("ansible_python_interpreter")) != sys.executable:
            return None
        self._environment = {}
        self._compute_environment_string(self._environment)
        if any(name.startswith(READ_AT_START) for name in self._environment):
            return None
        return find(self._shared_loader_obj.module_loader, self._task, self.warm[1])

    def _execute_module(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._execute_module(*args, **kwargs)
        except ServerGone:
            Display().warning("The process that runs AWS modules warm has ended; they run the slow way.")
            self._module = None
            return super()._execute_module(*args, **kwargs)

    def _is_pipelining_enabled(self, module_style: str, wrap_async: bool = False) -> bool:
        # Like a pipelined one, a warm module needs no file on the target.
        return self._module is not None or super()._is_pipelining_enabled(module_style, wrap_async)

    def _configure_module(self, module_name: str, module_args: Any, task_vars: Any) -> Any:
        if self._module is None:
            return super()._configure_module(module_name, module_args, task_vars)
        encoder = get_module_encoder(PROFILE, Direction.CONTROLLER_TO_MODULE)
        request = {
            "module": self._module.name,
            "path": self._module.path,
            "own": self._module.own,
            "parameters": json.dumps({"ANSIBLE_MODULE_ARGS": module_args}, cls=encoder),
            "folder": self._loader.get_basedir(),
            "environment": {**os.environ, **{name: str(value) for name, value in self._environment.items()}},
        }
        built = _BuiltModule(
            b_module_data=json.dumps(request).encode(errors="surrogateescape"),
            module_style="new",
            shebang=f"#!{sys.executable}",
            serialization_profile=PROFILE,
        )
        return built, self._module.path

    def _low_level_execute_command(self, cmd: str, *args: Any, in_data: bytes | None = None, **kwargs: Any) -> Any:
        if self._module is None or self.warm is None or in_data is None:
            return super()._low_level_execute_command(cmd, *args, in_data=in_data, **kwargs)
        Display().vvv(f"WARM {self._module.name}", host=self._play_context.remote_addr)
        code, out, error = ask(self.warm[0], in_data)
        if code < 0:
            # As the shell, through which Ansible starts a module, puts it.
            code, error = 128 - code, error + f"{signal.strsignal(-code)}\n".encode()
        stdout, stderr = (to_text(part, errors="surrogate_then_replace") for part in (out, error))
        return {
            "rc": code,
            "stdout": stdout,
            "stdout_lines": stdout.splitlines(),
            "stderr": stderr,
            "stderr_lines": stderr.splitlines(),
        }


def with_remedy(result: dict[str, Any]) -> dict[str, Any]:
    """The result of a module, with what helps in the sentence of one that AWS has refused."""
    if result.get("failed") and isinstance(result.get("msg"), str):
        error = result.get("error")
        code = str(error.get("code") or "") if isinstance(error, Mapping) else ""
        result["msg"] = explained(result["msg"], code)
    return result


def find(loader: Any, task: Any, root: str) -> Module | None:
    """The task's module if it is an AWS module of the collections in `root`, or one of the repository's own."""
    found = loader.find_plugin_with_context(task.action, "", collection_list=task.collections)
    if not found.resolved or not str(found.plugin_resolved_path).endswith(".py"):
        return None
    path = Path(found.plugin_resolved_path)
    if path.resolve().parent == OWN:
        return Module(f"ansible.modules.{path.stem}", str(path), own=True)
    folder = path.parent.relative_to(root).parts if path.is_relative_to(root) else ()
    if len(folder) != 5 or ".".join(folder[1:3]) not in COLLECTIONS or folder[3:] != ("plugins", "modules"):
        return None
    return Module(".".join((*folder, path.stem)), str(path), own=False)


def ask(server: socket.socket, request: bytes) -> tuple[int, bytes, bytes]:
    """Have `request` run; (exit code, standard output, standard error). Interrupted, it ends the module, too.

    Raises ServerGone when nothing was run.
    """
    pairs = [os.pipe() for _ in range(3)]
    memory = os.memfd_create("request")
    try:
        os.write(memory, request)
        os.lseek(memory, 0, os.SEEK_SET)
        socket.send_fds(server, [b"run"], [memory, *(writing for _, writing in pairs)])
    except OSError as error:
        for reading, _ in pairs:
            os.close(reading)
        raise ServerGone from error
    finally:
        os.close(memory)
        for _, writing in pairs:
            os.close(writing)
    received = {reading: bytearray() for reading, _ in pairs}
    out, error, status = received
    try:
        receive(received)
    except BaseException:
        if len(received[status]) == struct.calcsize("i"):
            os.kill(struct.unpack("i", received[status])[0], signal.SIGTERM)
        raise
    finally:
        for reading in received:
            os.close(reading)
    numbers = struct.unpack(f"{len(received[status]) // struct.calcsize('i')}i", received[status])
    if not numbers:
        raise ServerGone
    # Without a second number the server has ended while the module ran.
    return numbers[1] if len(numbers) == 2 else -signal.SIGKILL, bytes(received[out]), bytes(received[error])


def receive(received: dict[int, bytearray]) -> None:
    """Read from all descriptors in `received` until each has ended."""
    with selectors.DefaultSelector() as selector:
        for descriptor in received:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, 65536)
                received[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
