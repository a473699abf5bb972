#!/usr/bin/python
"""Let one run at a time change a stack; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_lock
short_description: Let one run at a time change a stack
description:
  - The lock is an SSM parameter, which AWS creates for one of several runs only. Its value says whose it is.
  - A lock is taken over from a run on this machine whose process has ended, and from any run after three hours.
options:
  name:
    description: Name of the stack. The parameter is C(/mlflow-drift/<name>/run).
    type: str
    required: true
  holder:
    description:
      - Who takes the lock, C({who, host, process, target}). Equal ones are one run. Given by the action plugin of this
        name.
    type: dict
    default: {}
  tags:
    description: Tags of the parameter.
    type: dict
    default: {}
  state:
    description: V(absent) releases the lock if this run has it.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Take the lock
  stack_lock:
    name: team-a

- name: Release the lock
  stack_lock:
    name: team-a
    state: absent
"""

RETURN = r"""
taken_over_from:
  description: The holder of a lock that was left behind.
  returned: when there was one
  type: dict
"""

import json  # noqa: E402
import os  # noqa: E402
import time  # noqa: E402
from collections.abc import Mapping  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import ClientError, doing, error_code, found, tag_list  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

# Two runs that take over one lock have both written it by then; the later one has it.
SETTLE_SECONDS = 2.0
# How long a lock counts.
HOURS = 3
Holder = Mapping[str, Any]


def parameter(stack: str) -> str:
    """Name of the parameter."""
    return f"/mlflow-drift/{stack}/run"


def read(ssm: Any, path: str) -> dict[str, Any] | None:
    """The lock as {holder, since}, since in seconds since 1970; None without one, {} for what nobody can read."""
    answer = found(ssm.get_parameter, "ParameterNotFound", Name=path)
    if answer is None:
        return None
    try:
        lock = json.loads(answer["Parameter"]["Value"])
        return {"holder": dict(lock["holder"]), "since": float(lock["since"])}
    except (ValueError, TypeError, KeyError):
        return {}


def ended(process: Any) -> bool:
    """Whether no process of this machine has that number."""
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, TypeError):
        pass
    return False


def left_behind(lock: Mapping[str, Any], holder: Holder, now: float) -> bool:
    """Whether the run that has the lock will not release it any more."""
    if not lock or lock["since"] + HOURS * 3600 < now:
        return True
    other = lock["holder"]
    return bool(other.get("host") == holder.get("host") and ended(other.get("process")))


def refusal(stack: str, lock: Mapping[str, Any]) -> str:
    """The sentence for a lock of another run."""
    other = lock["holder"]
    who = f"{other.get('who')} (host {other.get('target')} of its inventory)"
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(lock["since"]))
    return (
        f"{stack} is being changed by {who} since {since}; this run has changed nothing. Run again when that one has "
        f"ended. If it was killed, delete the SSM parameter {parameter(stack)} first, or wait until {HOURS} hours have "
        "passed."
    )


def write(ssm: Any, path: str, holder: Holder, **arguments: Any) -> None:
    """Put the parameter."""
    value = json.dumps({"holder": dict(holder), "since": round(time.time(), 3)}, sort_keys=True)
    ssm.put_parameter(Name=path, Value=value, Type="String", **arguments)


def take(module: Any, ssm: Any) -> dict[str, Any]:
    """Take the lock; what the module returns. Fails the module where another run has it."""
    stack, holder = module.params["name"], module.params["holder"]
    path = parameter(stack)
    try:
        write(ssm, path, holder, Tags=tag_list(module.params["tags"]))
    except ClientError as error:
        if error_code(error) != "ParameterAlreadyExists":
            raise
    # Read in any case: after a lost answer botocore repeats the call, and "already there" may be this run's own.
    lock = read(ssm, path)
    if lock and lock["holder"] == holder:
        return {}
    if lock is not None and not left_behind(lock, holder, time.time()):
        module.fail_json(msg=refusal(stack, lock))
    write(ssm, path, holder, Overwrite=True)
    time.sleep(SETTLE_SECONDS)
    now = read(ssm, path)
    if not now or now["holder"] != holder:
        module.fail_json(msg=refusal(stack, now or {"holder": {}, "since": time.time()}))
    return {"taken_over_from": lock["holder"]} if lock else {}


def release(module: Any, ssm: Any) -> None:
    """Delete the lock of this run."""
    path = parameter(module.params["name"])
    lock = read(ssm, path)
    if lock and lock["holder"] == module.params["holder"]:
        ssm.delete_parameters(Names=[path])


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "holder": {"type": "dict", "default": {}},
            "tags": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    result: dict[str, Any] = {}
    if not module.check_mode:
        ssm = module.client("ssm")
        absent = module.params["state"] == "absent"
        with doing(module, f"{'release' if absent else 'take'} the lock of {module.params['name']}"):
            if absent:
                release(module, ssm)
            else:
                result = take(module, ssm)
    # The lock is no part of the stack.
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
