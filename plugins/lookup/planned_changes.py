"""Says what this check run would change so far; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
name: planned_changes
short_description: Name the tasks of this check run that would change something
description:
  - Returns the names of the tasks, with their role, that have said so for this host until now, in order.
  - Fails without the callback C(plan), which hears of them, so that nothing heard never reads as nothing to do.
"""

EXAMPLES = r"""
- name: Show what would change
  ansible.builtin.debug:
    msg: "{{ query('planned_changes') }}"
"""

RETURN = r"""
_raw:
  description: Names of tasks.
  type: list
  elements: str
"""

from typing import Any, ClassVar  # noqa: E402

from ansible.errors import AnsibleLookupError  # noqa: E402
from ansible.plugins.lookup import LookupBase  # noqa: E402


class LookupModule(LookupBase):  # type: ignore[misc]
    """The lookup."""

    # By host; set by the callback of Ansible's process, from which the workers are forked.
    changes: ClassVar[dict[str, list[str]] | None] = None

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """Raises AnsibleLookupError when nobody has listened."""
        if self.changes is None:
            raise AnsibleLookupError("The callback plan is not loaded: callback_plugins lacks beside the playbook.")
        return self.changes.get((variables or {})["inventory_hostname"], [])
