#!/usr/bin/python
"""Manage one security group with exact rules; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vpc_security_group
short_description: Manage one security group with exact rules
description:
  - Manages a group with one read and one call for each kind of difference. Unlike C(amazon.aws.ec2_security_group) it
    does not pause after it has made a group, and sees every rule that somebody can add, for any protocol, to ranges,
    prefix lists and groups.
  - A group is found by its name in the VPC, whatever its tags are. One without rules lets nothing through, also
    not outwards.
options:
  name:
    description: Name of the group.
    type: str
    required: true
  vpc_id:
    description: The VPC.
    type: str
    required: true
  description:
    description: What a new group is for. AWS cannot change it. Required with O(state=present).
    type: str
  ingress: &rules
    description: The exact rules for TCP that comes in.
    type: list
    elements: dict
    default: []
    suboptions:
      ports:
        description: Ports, or ranges of them such as C(1-65535).
        type: list
        elements: str
        required: true
      cidrs:
        description: IPv4 ranges on the other side.
        type: list
        elements: str
        default: []
      group_id:
        description: Security group on the other side.
        type: str
      description:
        description: Who is on the other side.
        type: str
        required: true
  egress:
    <<: *rules
    description: The exact rules for TCP that goes out.
  tags:
    description: The exact tags. Without them tags are left alone.
    type: dict
  state:
    description: Whether the group shall be there. AWS refuses to delete one that something uses.
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
- name: Let the service reach the database
  vpc_security_group:
    name: team-a-database
    vpc_id: "{{ rds_vpc_id }}"
    description: Database of the tracking server
    ingress:
      - ports: [5432]
        group_id: "{{ rds_client_security_group_id }}"
        description: Tracking server
    tags: "{{ rds_tags }}"
"""

RETURN = r"""
group_id:
  description: Identifier of the group; null when it is absent or a check would create it.
  returned: always
  type: str
  sample: sg-0a1b2c3d4e5f60718
"""

from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import (  # noqa: E402
    ClientError,
    create,
    diff,
    doing,
    error_code,
    filters,
    found,
    patiently,
    retag_ec2,
    tag_dict,
    tag_list,
)
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
# EC2 may not know for a moment what it has just made.
NOT_YET = ("InvalidGroup.NotFound", "InvalidGroupId.NotFound", "InvalidSecurityGroupID.NotFound")
# Where the other side of a rule stands: (list, key).
SIDES = (
    ("IpRanges", "CidrIp"),
    ("Ipv6Ranges", "CidrIpv6"),
    ("PrefixListIds", "PrefixListId"),
    ("UserIdGroupPairs", "GroupId"),
)
DIRECTIONS = ("ingress", "egress")
EVERYTHING = "-1 -1 -1 CidrIp 0.0.0.0/0"


class Group:
    """One security group; after `read`, `standing` is how EC2 describes it (None = missing)."""

    def __init__(self, module: Any) -> None:
        """Take the parameters and make the client; nothing is read yet."""
        self.module = module
        self.params: dict[str, Any] = module.params
        self.name: str = module.params["name"]
        self.ec2 = module.client("ec2")
        self.standing: dict[str, Any] | None = None

    def read(self) -> None:
        """Find the group."""
        with doing(self.module, f"read the security group {self.name}"):
            self.standing = self._described()

    def _described(self) -> dict[str, Any] | None:
        vpc = self.params["vpc_id"]
        named = filters(**{"vpc-id": vpc, "group-name": self.name})
        groups = self.ec2.describe_security_groups(Filters=named)["SecurityGroups"]
        mine = (group for group in groups if (group.get("VpcId"), group["GroupName"]) == (vpc, self.name))
        return next(mine, None)

    def properties(self) -> Properties:
        """Return what stands, in the form of `wanted`: each rule by its key, with its description."""
        if self.standing is None:
            return {}
        return {
            "ingress": _rules(self.standing.get("IpPermissions", [])),
            "egress": _rules(self.standing.get("IpPermissionsEgress", [])),
            "tags": tag_dict(self.standing.get("Tags")),
        }

    def wanted(self, before: Properties) -> Properties:
        """Return what the parameters ask for; tags they leave open are as in `before`."""
        tags = self.params["tags"]
        return {
            "ingress": _asked(self.params["ingress"]),
            "egress": _asked(self.params["egress"]),
            "tags": before.get("tags", {}) if tags is None else tags,
        }

    def apply(self, before: Properties, after: Properties) -> None:
        """Create the group where it is missing, then bring tags and rules to `after`."""
        if self.standing is None:
            before = self._create(after["tags"])
        with doing(self.module, f"tag the security group {self.name}"):
            retag_ec2(self.ec2, str(self.id), before["tags"], after["tags"])
        for direction in DIRECTIONS:
            with doing(self.module, f"set the {direction} rules of the security group {self.name}"):
                self._set(direction, before[direction], after[direction])

    def delete(self) -> None:
        """Delete the group."""
        with doing(self.module, f"delete the security group {self.name}"):
            found(self.ec2.delete_security_group, *NOT_YET, GroupId=self.id)
        self.standing = None

    @property
    def id(self) -> str | None:
        """Identifier of the group."""
        return str(self.standing["GroupId"]) if self.standing else None

    def _create(self, tags: dict[str, str]) -> Properties:
        request: dict[str, Any] = {
            "GroupName": self.name,
            "Description": self.params["description"],
            "VpcId": self.params["vpc_id"],
        }
        if tags:
            request["TagSpecifications"] = [{"ResourceType": "security-group", "Tags": tag_list(tags)}]
        with doing(self.module, f"create the security group {self.name}"):
            self.standing = create(
                self.module,
                "ec2",
                "create_security_group",
                self._described,
                already=("InvalidGroup.Duplicate",),
                **request,
            )
        # A new group lets everything out.
        return {"ingress": {}, "egress": {EVERYTHING: ""}, "tags": tags}

    def _set(self, direction: str, before: dict[str, str], after: dict[str, str]) -> None:
        gone = [key for key in before if key not in after]
        new = {key: text for key, text in after.items() if key not in before}
        renamed = {key: text for key, text in after.items() if before.get(key, text) != text}
        # What is let through stays so until its successor does: first the new rules, then the old ones go.
        self._call(f"authorize_security_group_{direction}", new)
        self._call(f"update_security_group_rule_descriptions_{direction}", renamed)
        self._call(f"revoke_security_group_{direction}", dict.fromkeys(gone, ""))

    def _call(self, operation: str, rules: dict[str, str]) -> None:
        if not rules:
            return
        call = patiently(getattr(self.ec2, operation), *NOT_YET)
        try:
            call(GroupId=self.id, IpPermissions=[_permission(key, text) for key, text in rules.items()])
        except ClientError as error:
            # Somebody else was faster.
            late = {"authorize": "InvalidPermission.Duplicate", "revoke": "InvalidPermission.NotFound"}
            if error_code(error) != late.get(operation.partition("_")[0]):
                raise


def _rules(permissions: list[dict[str, Any]]) -> dict[str, str]:
    """Return {key: description} of EC2's permissions, one for each other side."""
    return {
        f"{each['IpProtocol']} {each.get('FromPort', -1)} {each.get('ToPort', -1)} {side} {entry[side]}": entry.get(
            "Description", ""
        )
        for each in permissions
        for sides, side in SIDES
        for entry in each.get(sides, [])
    }


def _asked(rules: list[dict[str, Any]]) -> dict[str, str]:
    """Return the same of the module's parameters."""
    asked = {}
    for rule in rules:
        sides = [f"CidrIp {cidr}" for cidr in rule["cidrs"]]
        sides += [f"GroupId {rule['group_id']}"] if rule["group_id"] else []
        for ports in rule["ports"]:
            first, _, last = ports.partition("-")
            asked.update({f"tcp {first} {last or first} {side}": rule["description"] for side in sides})
    return asked


def _permission(key: str, description: str) -> dict[str, Any]:
    """Return the permission of one key, as EC2 takes it."""
    protocol, first, last, side, other = key.split(" ")
    sides = next(sides for sides, name in SIDES if name == side)
    permission: dict[str, Any] = {
        "IpProtocol": protocol,
        sides: [{side: other, **({"Description": description} if description else {})}],
    }
    if protocol != "-1":
        permission |= {"FromPort": int(first), "ToPort": int(last)}
    return permission


def main() -> None:
    """Run the module."""
    rules = {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "ports": {"type": "list", "elements": "str", "required": True},
            "cidrs": {"type": "list", "elements": "str", "default": []},
            "group_id": {"type": "str"},
            "description": {"type": "str", "required": True},
        },
    }
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "vpc_id": {"type": "str", "required": True},
            "description": {"type": "str"},
            "ingress": rules,
            "egress": rules,
            "tags": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["description"])],
        supports_check_mode=True,
    )
    group = Group(module)
    group.read()
    before = group.properties()
    present = module.params["state"] == "present"
    after = group.wanted(before) if present else {}
    changed = before != after
    if changed and not module.check_mode:
        if present:
            group.apply(before, after)
        else:
            group.delete()
    module.exit_json(changed=changed, diff=diff(before, after), group_id=group.id)


if __name__ == "__main__":
    main()
