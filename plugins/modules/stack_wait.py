"""Documentation of the action plugin of this name, where ansible-doc and ansible-lint look for it."""

from __future__ import annotations

DOCUMENTATION = """
module: stack_wait
short_description: Wait for one thing of a stack
description:
  - Looks with M(stack_info), at once and then every few seconds, and ends as soon as it is as wanted. Every 15 seconds
    a line says what is waited for, how it is, and for how long already.
  - Fails with a sentence that names the remedy when waiting does not help, or when time is out.
  - A check run looks once and does not wait.
options:
  name:
    description: Name of the stack.
    type: str
    required: true
  what:
    description: What is waited for. C(service) is its deployment, C(interfaces) are the network interfaces in the VPC,
      and what begins with C(old_) are those that are being deleted.
    type: str
    required: true
    choices:
      - database
      - endpoints
      - file_system
      - interfaces
      - mount_targets
      - nat_gateways
      - old_endpoints
      - old_nat_gateways
      - service
  state:
    description: Whether it shall be ready, or gone. The choices for C(interfaces), C(mount_targets) and what begins
      with C(old_) are only to be gone; the choice for C(file_system) is only to be ready.
    type: str
    choices: [present, absent]
    default: present
  wait:
    description: Whether to wait at all; without it this is one look.
    type: bool
    default: true
  timeout:
    description: Seconds after which waiting fails. Each thing has a time of its own.
    type: int
author: The MLflow on Fargate team
"""

EXAMPLES = """
- name: Wait until the database answers
  stack_wait:
    name: team-a
    what: database
  register: __rds_found
"""

RETURN = """
stack:
  description: The last answer of M(stack_info).
  returned: success
  type: dict
missing:
  description: Likewise.
  returned: success
  type: list
  elements: str
waited_seconds:
  description: How long it took.
  returned: always
  type: int
"""


def main() -> None:
    """Never runs: the action plugin answers alone."""


if __name__ == "__main__":
    main()
