"""Remembers what a check run says it would change, for plugins/lookup/planned_changes.py; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
name: plan
type: notification
short_description: Remember what a check run would change
description:
  - The lookup C(planned_changes) gives them to the play, for its workers inherit what is remembered here.
"""

from typing import Any  # noqa: E402

from ansible.plugins.callback import CallbackBase  # noqa: E402
from ansible.plugins.loader import lookup_loader  # noqa: E402


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """The callback."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "plan"

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Called by Ansible before it forks its first worker."""
        self._changes: dict[str, list[str]] = {}
        lookup = lookup_loader.get("planned_changes", class_only=True)
        if lookup is not None:
            lookup.changes = self._changes

    def v2_runner_on_ok(self, result: Any) -> None:
        """Called by Ansible in its own process for every result that did not fail, before the host's next task."""
        if result._task.check_mode and result.is_changed():
            names = self._changes.setdefault(result._host.get_name(), [])
            if result._task.get_name() not in names:
                names.append(result._task.get_name())
