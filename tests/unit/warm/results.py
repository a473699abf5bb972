"""Writes every result as JSON, for a comparison."""

from __future__ import annotations

DOCUMENTATION = r"""
name: results
type: notification
short_description: Write every result as JSON
description: One line for each result, in the file that RESULTS names.
"""

import json  # noqa: E402
import os  # noqa: E402
from typing import Any  # noqa: E402

from ansible.plugins.callback import CallbackBase  # noqa: E402


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """The callback."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "results"

    def _write(self, kind: str, result: Any) -> None:
        line = {"kind": kind, "task": result._task.get_name(), "result": result._result}
        with open(os.environ["RESULTS"], "a") as out:
            out.write(json.dumps(line, default=repr) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        """Called by Ansible."""
        self._write("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Called by Ansible."""
        self._write("failed", result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Called by Ansible."""
        self._write("item ok", result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Called by Ansible."""
        self._write("item failed", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Called by Ansible."""
        self._write("skipped", result)
