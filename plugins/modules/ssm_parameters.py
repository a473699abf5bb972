#!/usr/bin/python
"""Keep the SSM parameters below one path; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ssm_parameters
short_description: Keep many SSM parameters below one path
description:
  - Reads everything below the path at once and writes only what differs.
  - Parameters are of type C(String), so nothing secret may go there.
options:
  path:
    description: Path of all parameters, with a slash at both ends, such as V(/mlflow/team-a/).
    type: str
    required: true
  values:
    description: Name below the path to value. Required with O(state=present).
    type: dict
  purge:
    description: Whether to delete parameters below the path that O(values) does not name.
    type: bool
    default: false
  tags:
    description: Tags for parameters that are created; those of existing parameters are left alone.
    type: dict
  state:
    description: V(absent) deletes everything below the path.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Write the outputs
  ssm_parameters:
    path: /mlflow/team-a/
    values: "{{ outputs }}"
    tags: "{{ mlflow.tags }}"
"""

RETURN = r"""
written:
  description: Names below the path that were, or in a check would be, created or changed.
  returned: always
  type: list
  elements: str
deleted:
  description: Names below the path that were, or in a check would be, deleted.
  returned: always
  type: list
  elements: str
"""

from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import diff, doing, tag_list  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

DELETE_BATCH = 10  # names a DeleteParameters call takes, by the SSM API reference


def current(ssm: Any, path: str) -> dict[str, str]:
    """Return what stands below `path` as {"name below the path": "value"}."""
    pages = ssm.get_paginator("get_parameters_by_path").paginate(Path=path.rstrip("/"), Recursive=True)
    return {
        parameter["Name"].removeprefix(path): parameter["Value"] for page in pages for parameter in page["Parameters"]
    }


def problem(path: str, values: dict[str, Any]) -> str | None:
    """Return the sentence that refuses `path` or `values`, or None when both can be written."""
    if len(path) < 3 or not (path.startswith("/") and path.endswith("/")):
        return f"path is {path!r}; it must begin and end with a slash, such as /mlflow/team-a/."
    for name, value in values.items():
        if not isinstance(value, str) or not value:
            return f"values.{name} is {value!r}; SSM stores only strings that are not empty."
    return None


def write(module: Any, ssm: Any, name: str, value: str, exists: bool) -> None:
    """Put the parameter `name` (full path) as a String."""
    request: dict[str, Any] = {"Name": name, "Value": value, "Type": "String"}
    if exists:
        request["Overwrite"] = True
    elif module.params["tags"]:
        request["Tags"] = tag_list(module.params["tags"])
    with doing(module, f"write the parameter {name}"):
        ssm.put_parameter(**request)


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "path": {"type": "str", "required": True},
            "values": {"type": "dict"},
            "purge": {"type": "bool", "default": False},
            "tags": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["values"])],
        supports_check_mode=True,
    )
    path = module.params["path"]
    absent = module.params["state"] == "absent"
    values: dict[str, str] = {} if absent else module.params["values"]
    sentence = problem(path, values)
    if sentence:
        module.fail_json(msg=sentence)
    ssm = module.client("ssm")
    with doing(module, f"read the parameters below {path}"):
        before = current(ssm, path)
    written = sorted(name for name, value in values.items() if before.get(name) != value)
    deleted = sorted(set(before) - set(values)) if absent or module.params["purge"] else []
    after = {name: value for name, value in {**before, **values}.items() if name not in deleted}
    if not module.check_mode:
        for name in written:
            write(module, ssm, path + name, values[name], exists=name in before)
        for start in range(0, len(deleted), DELETE_BATCH):
            with doing(module, f"delete the parameters below {path}"):
                ssm.delete_parameters(Names=[path + name for name in deleted[start : start + DELETE_BATCH]])
    module.exit_json(changed=before != after, written=written, deleted=deleted, diff=diff(before, after))


if __name__ == "__main__":
    main()
