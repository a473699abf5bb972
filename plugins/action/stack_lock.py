"""Action plugin of role lock: tells the module of its name which run it is that asks."""

from __future__ import annotations

import getpass
import os
import socket
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

# An action plugin runs outside of any package.
sys.path.append(str(Path(__file__).resolve().parents[2]))
from plugins.plugin_utils.as_task import run_as_task


def user() -> str:
    """Who is logged in; a container may have no name for its user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def holder(variables: Mapping[str, Any], process: int) -> dict[str, Any]:
    """The run of `process`, Ansible's number on this machine, for one host of the inventory.

    Returns {who, host, process, target}: who in words, host as no other machine is called.
    """
    name = socket.gethostname()
    who = f"{user()} on {name}, process {process}"
    if job := variables.get("awx_job_id"):
        who = f"job {job} of AWX, launched by {variables.get('awx_user_name') or 'a schedule'}"
    return {
        "who": who,
        # Names like localhost are many machines'.
        "host": f"{name} {uuid.getnode():012x}",
        "process": process,
        "target": str(variables.get("inventory_hostname", "")),
    }


class ActionModule(ActionBase):  # type: ignore[misc]
    """Run the module with what it cannot know by itself."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns what the module returns."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        task = self._task.copy()
        # A worker's parent is the playbook.
        task.args = task.args | {"holder": holder(variables, os.getppid())}
        return result | run_as_task(self, task, variables)
