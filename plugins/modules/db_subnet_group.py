#!/usr/bin/python
"""Manage one subnet group of RDS; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: db_subnet_group
short_description: Manage one subnet group of RDS
description:
  - Unlike C(amazon.aws.rds_subnet_group) it says in a check what would change, and survives a lost answer.
  - In an account that has never used RDS it waits until RDS has made its service-linked role.
options:
  name:
    description: Name of the subnet group.
    type: str
    required: true
  description:
    description: Description. Required with O(state=present).
    type: str
  subnet_ids:
    description: The exact subnets, of at least two zones. Required with O(state=present).
    type: list
    elements: str
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
- name: Give the database its subnets
  db_subnet_group:
    name: team-a
    description: Database subnets of team-a
    subnet_ids: "{{ rds_subnet_ids }}"
    tags: "{{ rds_tags }}"
"""

RETURN = r"""
subnet_group_arn:
  description: ARN of the group; null when it is absent or would be created by a check.
  returned: always
  type: str
"""

from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import create, diff, doing, found, tag_dict, tag_list  # noqa: E402
from ansible.module_utils.mlflow_rds import retag, with_service_role  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
MISSING = ("DBSubnetGroupNotFoundFault", "DBSubnetGroupNotFound")


def read(rds: Any, name: str) -> Properties | None:
    """Return the group `name` as RDS describes it, or None."""
    answer = found(rds.describe_db_subnet_groups, *MISSING, DBSubnetGroupName=name) or {}
    return next(iter(answer.get("DBSubnetGroups", [])), None)


def properties(rds: Any, group: Properties | None) -> Properties:
    """Return what can be set of `group`, in the form of `wanted`."""
    if group is None:
        return {}
    return {
        "description": group["DBSubnetGroupDescription"],
        "subnet_ids": sorted(subnet["SubnetIdentifier"] for subnet in group["Subnets"]),
        "tags": tag_dict(rds.list_tags_for_resource(ResourceName=group["DBSubnetGroupArn"])["TagList"]),
    }


def wanted(params: Properties, before: Properties) -> Properties:
    """Return the properties that `params` ask for; tags that they leave open are as in `before`."""
    return {
        "description": params["description"],
        "subnet_ids": sorted(set(params["subnet_ids"])),
        "tags": before.get("tags", {}) if params["tags"] is None else params["tags"],
    }


def make(module: Any, rds: Any, after: Properties) -> Properties:
    """Create the group, or take the one that an earlier attempt has made; return it as RDS describes it."""
    name = module.params["name"]
    with_service_role(
        module,
        lambda: create(
            module,
            "rds",
            "create_db_subnet_group",
            lambda: read(rds, name),
            already=["DBSubnetGroupAlreadyExists"],
            DBSubnetGroupName=name,
            DBSubnetGroupDescription=after["description"],
            SubnetIds=after["subnet_ids"],
            Tags=tag_list(after["tags"]),
        ),
    )
    return read(rds, name) or {}


def apply(rds: Any, group: Properties, before: Properties, after: Properties) -> None:
    """Bring `group` from `before` to `after`."""
    if any(before[key] != after[key] for key in ("description", "subnet_ids")):
        rds.modify_db_subnet_group(
            DBSubnetGroupName=group["DBSubnetGroupName"],
            DBSubnetGroupDescription=after["description"],
            SubnetIds=after["subnet_ids"],
        )
    retag(rds, group["DBSubnetGroupArn"], before["tags"], after["tags"])


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "description": {"type": "str"},
            "subnet_ids": {"type": "list", "elements": "str"},
            "tags": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["description", "subnet_ids"])],
        supports_check_mode=True,
    )
    name, present = module.params["name"], module.params["state"] == "present"
    rds = module.client("rds")
    with doing(module, f"read the subnet group {name} of RDS"):
        group = read(rds, name)
        before = properties(rds, group)
    after = wanted(module.params, before) if present else {}
    changed = before != after
    if changed and not module.check_mode:
        with doing(module, f"{'converge' if present else 'delete'} the subnet group {name} of RDS"):
            if not present:
                found(rds.delete_db_subnet_group, *MISSING, DBSubnetGroupName=name)
                group = None
            elif group is None:
                group = make(module, rds, after)
                apply(rds, group, properties(rds, group), after)
            else:
                apply(rds, group, before, after)
    module.exit_json(
        changed=changed, diff=diff(before, after), subnet_group_arn=group["DBSubnetGroupArn"] if group else None
    )


if __name__ == "__main__":
    main()
