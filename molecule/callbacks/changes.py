"""Writes down what each run changed, so that a test can compare a prediction with what came true."""

from __future__ import annotations

DOCUMENTATION = r"""
name: changes
type: notification
short_description: Append every changed result to a file
description:
  - One JSON line for each result that a module, or an item of a loop, reports as changed, in the file that
    MOLECULE_CHANGES names. Without that variable nothing is written.
"""

import json  # noqa: E402
import os  # noqa: E402
from typing import Any  # noqa: E402

from ansible.plugins.callback import CallbackBase  # noqa: E402


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """The callback; `check` tells a prediction from a run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "changes"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_ok(self, result: Any) -> None:
        """Called by Ansible for every result that did not fail; that of a loop only sums up its items."""
        if "results" not in result._result:
            self._write(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Called by Ansible for every item of a loop that did not fail."""
        self._write(result)

    def _write(self, result: Any) -> None:
        path = os.environ.get("MOLECULE_CHANGES")
        if not path or not result.is_changed():
            return
        task = result._task
        line = {
            "run": os.getpid(),
            "check": bool(task.check_mode),
            "host": result._host.get_name(),
            "role": task._role.get_name() if task._role else "",
            "task": task.get_name().split(" : ")[-1],
        }
        with open(path, "a") as out:
            out.write(json.dumps(line) + "\n")
