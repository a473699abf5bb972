"""Starts the process that runs AWS modules without their start-up cost; see DOCUMENTATION and docs/fast.md."""

from __future__ import annotations

DOCUMENTATION = r"""
name: warm
type: notification
short_description: Start the process that runs AWS modules warm
description:
  - Starts plugins/warm_server.py with the playbook, and hands its socket to plugins/action/normal.py, whose workers
    inherit it. It ends by itself when the playbook and all its workers have ended.
  - With the environment variable MLFLOW_FAST=0, or on a system that is not Linux, every module runs as Ansible runs it.
"""

import os  # noqa: E402
import socket  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ansible.plugins.callback import CallbackBase  # noqa: E402
from ansible.plugins.loader import action_loader, module_loader  # noqa: E402

SERVER = Path(__file__).resolve().parents[1] / "warm_server.py"


def collections_root() -> str | None:
    """The folder that holds `ansible_collections` with amazon.aws, or None without that collection."""
    found = module_loader.find_plugin_with_context("amazon.aws.aws_caller_info")
    return str(Path(found.plugin_resolved_path).parents[5]) if found.resolved and found.plugin_resolved_path else None


def start(root: str) -> socket.socket:
    """Start the server; the returned end of the pair is what keeps it alive."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        subprocess.Popen(
            [sys.executable, str(SERVER), str(theirs.fileno()), root],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            # The keyboard's interrupt is for the playbook, which then lets go of the socket.
            start_new_session=True,
        )
    return ours


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """The callback."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "warm"

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Called by Ansible before it forks its first worker."""
        if sys.platform != "linux" or os.environ.get("MLFLOW_FAST") == "0":
            return
        action = action_loader.get("ansible.legacy.normal", class_only=True)
        root = collections_root()
        if hasattr(action, "warm") and root:
            action.warm = (start(root), root)
