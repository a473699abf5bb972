#!/usr/bin/python
"""Manage one parameter group of RDS; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: db_parameter_group
short_description: Manage one parameter group of RDS with exactly its parameters
description:
  - A parameter that somebody else has set in the group goes back to the default of its engine, which
    C(amazon.aws.rds_instance_param_group) leaves as it is.
  - A parameter that the engine reads only when it starts is set for the next start, and the module warns of it.
options:
  name:
    description: Name of the group, in lower case.
    type: str
    required: true
  family:
    description: Engine with its major version, such as V(postgres16). AWS cannot change it. Required with
      O(state=present).
    type: str
  description:
    description: Description, which AWS cannot change later. Required with O(state=present).
    type: str
  parameters:
    description: The exact parameters that differ from the engine's defaults.
    type: dict
    default: {}
  tags:
    description: The exact tags. Without them tags are left alone.
    type: dict
  state:
    description: Whether there is such a group.
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
- name: Refuse plain connections
  db_parameter_group:
    name: team-a-postgres16
    family: postgres16
    description: Parameters of team-a
    parameters: {rds.force_ssl: "1"}
    tags: "{{ rds_tags }}"
"""

RETURN = r"""
parameter_group_arn:
  description: ARN of the group; null when it is absent or would be created by a check.
  returned: always
  type: str
"""

from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import create, diff, doing, found, tag_dict, tag_list  # noqa: E402
from ansible.module_utils.mlflow_rds import retag, with_service_role  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
MISSING = ("DBParameterGroupNotFound", "DBParameterGroupNotFoundFault")
# RDS takes so many parameters in one call.
BATCH = 20


class ParameterGroup:
    """One parameter group. After `read`, `standing` is RDS's description or None, `static` what needs a restart."""

    def __init__(self, module: Any) -> None:
        """Take the parameters and make the client; nothing is read yet."""
        self.module = module
        self.name: str = module.params["name"]
        self.rds = module.client("rds")
        self.standing: Properties | None = None
        self.static: set[str] = set()

    def read(self) -> Properties | None:
        """Find the group."""
        answer = found(self.rds.describe_db_parameter_groups, *MISSING, DBParameterGroupName=self.name) or {}
        self.standing = next(iter(answer.get("DBParameterGroups", [])), None)
        return self.standing

    def properties(self) -> Properties:
        """Return what the group is like, in the form of `wanted`."""
        if self.standing is None:
            return {}
        pages = self.rds.get_paginator("describe_db_parameters").paginate(DBParameterGroupName=self.name, Source="user")
        rows = [row for page in pages for row in page["Parameters"] if row.get("Source", "user") == "user"]
        self.static = {row["ParameterName"] for row in rows if row.get("ApplyType") == "static"}
        tags = self.rds.list_tags_for_resource(ResourceName=self.standing["DBParameterGroupArn"])["TagList"]
        return {
            "family": self.standing["DBParameterGroupFamily"],
            "parameters": {row["ParameterName"]: row["ParameterValue"] for row in rows if "ParameterValue" in row},
            "tags": tag_dict(tags),
        }

    def create(self, after: Properties) -> None:
        """Create the group, or take the one that an earlier attempt has made."""
        with_service_role(
            self.module,
            lambda: create(
                self.module,
                "rds",
                "create_db_parameter_group",
                self.read,
                already=["DBParameterGroupAlreadyExists"],
                DBParameterGroupName=self.name,
                DBParameterGroupFamily=after["family"],
                Description=self.module.params["description"],
                Tags=tag_list(after["tags"]),
            ),
        )
        self.read()

    def apply(self, before: Properties, after: Properties) -> None:
        """Set the parameters that differ, and have the others follow the engine's defaults again."""
        setting = {
            name: value for name, value in after["parameters"].items() if before["parameters"].get(name) != value
        }
        resetting = sorted(set(before["parameters"]) - set(after["parameters"]))
        for batch in batches([{**self._method(name), "ParameterValue": setting[name]} for name in sorted(setting)]):
            self.rds.modify_db_parameter_group(DBParameterGroupName=self.name, Parameters=batch)
        for batch in batches([self._method(name) for name in resetting]):
            self.rds.reset_db_parameter_group(DBParameterGroupName=self.name, Parameters=batch)
        assert self.standing is not None
        retag(self.rds, self.standing["DBParameterGroupArn"], before["tags"], after["tags"])
        later = ", ".join(sorted(self.static & {*setting, *resetting}))
        if later:
            self.module.warn(f"{later} of the parameter group {self.name} follows when the database starts next.")

    def delete(self) -> None:
        """Delete the group."""
        found(self.rds.delete_db_parameter_group, *MISSING, DBParameterGroupName=self.name)
        self.standing = None

    def _method(self, name: str) -> dict[str, str]:
        return {"ParameterName": name, "ApplyMethod": "pending-reboot" if name in self.static else "immediate"}


def batches(rows: list[dict[str, str]]) -> list[list[dict[str, str]]]:
    """Return `rows` in lists that RDS takes."""
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


def wanted(params: Properties, before: Properties) -> Properties:
    """Return the properties that `params` ask for; tags that they leave open are as in `before`."""
    return {
        "family": params["family"],
        "parameters": {name: str(value) for name, value in params["parameters"].items()},
        "tags": before.get("tags", {}) if params["tags"] is None else params["tags"],
    }


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "family": {"type": "str"},
            "description": {"type": "str"},
            "parameters": {"type": "dict", "default": {}},
            "tags": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["family", "description"])],
        supports_check_mode=True,
    )
    group, present = ParameterGroup(module), module.params["state"] == "present"
    with doing(module, f"read the parameter group {group.name}"):
        group.read()
        before = group.properties()
    after = wanted(module.params, before) if present else {}
    if before and after and before["family"] != after["family"]:
        module.fail_json(
            msg=f"The parameter group {group.name} is of {before['family']} instead of {after['family']}, which AWS "
            "cannot change; delete it, or give the new one another name."
        )
    changed = before != after
    if changed and not module.check_mode:
        with doing(module, f"{'converge' if present else 'delete'} the parameter group {group.name}"):
            if not present:
                group.delete()
            else:
                if not before:
                    group.create(after)
                group.apply(before or group.properties(), after)
    arn = group.standing["DBParameterGroupArn"] if group.standing else None
    module.exit_json(changed=changed, diff=diff(before, after), parameter_group_arn=arn)


if __name__ == "__main__":
    main()
