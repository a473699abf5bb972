#!/usr/bin/python
"""Manage the subnets of one VPC; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vpc_subnets
short_description: Manage the subnets of one VPC
description:
  - Manages all subnets it is given with one read of the VPC and one call for each difference. A subnet is found by its
    IPv4 range, whatever its tags are.
  - AWS cannot move a subnet to another zone; that is refused.
options:
  vpc_id:
    description: The VPC.
    type: str
    required: true
  subnets:
    description: The subnets. Addresses are public only where something asks for one.
    type: list
    elements: dict
    required: true
    suboptions:
      cidr:
        description: IPv4 range.
        type: str
        required: true
      az:
        description: Availability zone. Required with O(state=present).
        type: str
      tags:
        description: Tags of this one beside O(tags).
        type: dict
        default: {}
  purge:
    description:
      - Whether the VPC's other subnets, and its ranges beside the first, are removed. One in which something is, is
        refused before anything is changed.
    type: bool
    default: false
  tags:
    description: Tags of every subnet. With O(subnets[].tags) they are the exact tags.
    type: dict
    default: {}
  state:
    description: Whether the subnets shall be there.
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
- name: Create two subnets
  vpc_subnets:
    vpc_id: "{{ __network_vpc.vpc.id }}"
    subnets:
      - {cidr: 10.20.0.0/24, az: eu-west-1a, tags: {Name: team-a-private-eu-west-1a}}
      - {cidr: 10.20.1.0/24, az: eu-west-1b, tags: {Name: team-a-private-eu-west-1b}}
    purge: true
    tags: "{{ network_tags }}"
"""

RETURN = r"""
subnet_ids:
  description: Identifier of each subnet, in the order of O(subnets); null when it is absent or would be created by a
    check.
  returned: always
  type: list
  elements: str
  sample: [subnet-0a1b2c3d4e5f60718]
"""

import functools  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import (  # noqa: E402
    create,
    diff,
    doing,
    filters,
    retag_ec2,
    tag_dict,
    tag_list,
)
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
# What AWS lets somebody turn on, and nobody here asks for: (property, key of the subnet, attribute of the call).
SWITCHES = (
    ("public_addresses", "MapPublicIpOnLaunch", "MapPublicIpOnLaunch"),
    ("ipv6_addresses", "AssignIpv6AddressOnCreation", "AssignIpv6AddressOnCreation"),
    ("dns64", "EnableDns64", "EnableDns64"),
)
GONE = ("disassociating", "disassociated", "failed", "failing")


class Subnets:
    """The subnets of one VPC.

    After `read`, `standing` has those that are named, by their range; with `purge`, `surplus` has the others and
    `ranges_beside` the VPC's further ranges, both {identifier: range}.
    """

    def __init__(self, module: Any) -> None:
        """Take the parameters and make the client; nothing is read yet."""
        self.module = module
        self.params: dict[str, Any] = module.params
        self.ec2 = module.client("ec2")
        self.ranges = [subnet["cidr"] for subnet in module.params["subnets"]]
        self.standing: dict[str, dict[str, Any]] = {}
        self.surplus: dict[str, str] = {}
        self.ranges_beside: dict[str, str] = {}

    def read(self) -> None:
        """Find the subnets."""
        vpc = self.params["vpc_id"]
        with doing(self.module, f"read the subnets of {vpc}"):
            subnets = self._subnets()
            if self.params["purge"]:
                vpcs = self.ec2.describe_vpcs(Filters=filters(**{"vpc-id": vpc}))["Vpcs"]
                self.ranges_beside = _ranges_beside(next((each for each in vpcs if each["VpcId"] == vpc), {}))
        self.standing = {subnet["CidrBlock"]: subnet for subnet in subnets if subnet["CidrBlock"] in self.ranges}
        if self.params["purge"]:
            mine = [subnet["SubnetId"] for subnet in self.standing.values()]
            self.surplus = {each["SubnetId"]: each["CidrBlock"] for each in subnets if each["SubnetId"] not in mine}

    def _subnets(self) -> list[dict[str, Any]]:
        vpc = self.params["vpc_id"]
        pages = self.ec2.get_paginator("describe_subnets").paginate(Filters=filters(**{"vpc-id": vpc}))
        return [subnet for page in pages for subnet in page["Subnets"] if subnet["VpcId"] == vpc]

    def used(self) -> str | None:
        """Return the sentence on the first surplus subnet in which something is, or None."""
        if not self.surplus:
            return None
        with doing(self.module, "read what is in the surplus subnets"):
            inside = filters(**{"subnet-id": sorted(self.surplus)})
            interfaces = self.ec2.describe_network_interfaces(Filters=inside)["NetworkInterfaces"]
        for interface in interfaces:
            if interface["SubnetId"] in self.surplus:
                return (
                    f"The subnet {interface['SubnetId']} ({self.surplus[interface['SubnetId']]}) is none that git asks "
                    f"for, and the network interface {interface['NetworkInterfaceId']} is in it: delete what uses it, "
                    "then run again."
                )
        return None

    def properties(self) -> dict[str, Properties]:
        """Return what stands, in the form of `wanted`."""
        found: dict[str, Properties] = {
            cidr: {
                "az": subnet["AvailabilityZone"],
                **{name: bool(subnet.get(key, False)) for name, key, _ in SWITCHES},
                "ipv6": sorted(_ipv6(subnet).values()),
                "tags": tag_dict(subnet.get("Tags")),
            }
            for cidr, subnet in self.standing.items()
        }
        surplus = {"subnets": self.surplus, "ranges": self.ranges_beside}
        return {**found, **({"surplus": surplus} if self.surplus or self.ranges_beside else {})}

    def wanted(self) -> dict[str, Properties]:
        """Return what the parameters ask for."""
        return {
            subnet["cidr"]: {
                "az": subnet["az"],
                **{name: False for name, _, _ in SWITCHES},
                "ipv6": [],
                "tags": {**self.params["tags"], **subnet["tags"]},
            }
            for subnet in self.params["subnets"]
        }

    def apply(self, before: dict[str, Properties], after: dict[str, Properties]) -> None:
        """Remove what is surplus, create what is missing, and repair what differs."""
        self.remove_surplus()
        for cidr, subnet in after.items():
            if cidr in before:
                self._repair(cidr, before[cidr], subnet)
                continue
            # EC2 refuses a specification without tags.
            specification = [{"ResourceType": "subnet", "Tags": tag_list(subnet["tags"])}] if subnet["tags"] else []
            with doing(self.module, f"create the subnet {cidr}"):
                self.standing[cidr] = create(
                    self.module,
                    "ec2",
                    "create_subnet",
                    functools.partial(self._made, cidr),
                    already=("InvalidSubnet.Conflict",),
                    VpcId=self.params["vpc_id"],
                    CidrBlock=cidr,
                    AvailabilityZone=subnet["az"],
                    TagSpecifications=specification,
                )["Subnet"]

    def _made(self, cidr: str) -> dict[str, Any] | None:
        return next(({"Subnet": subnet} for subnet in self._subnets() if subnet["CidrBlock"] == cidr), None)

    def remove_surplus(self) -> None:
        """Delete the subnets that nobody names, then the VPC's ranges in which they may have been."""
        for subnet, cidr in sorted(self.surplus.items()):
            with doing(self.module, f"delete the subnet {subnet} ({cidr}), which git does not ask for"):
                self.ec2.delete_subnet(SubnetId=subnet)
        for association, cidr in sorted(self.ranges_beside.items()):
            with doing(self.module, f"take the range {cidr} off the VPC, which git does not ask for"):
                self.ec2.disassociate_vpc_cidr_block(AssociationId=association)

    def delete(self) -> None:
        """Delete the subnets, and what is surplus."""
        self.remove_surplus()
        for cidr, subnet in list(self.standing.items()):
            with doing(self.module, f"delete the subnet {cidr}"):
                self.ec2.delete_subnet(SubnetId=subnet["SubnetId"])
            del self.standing[cidr]

    def ids(self) -> list[str | None]:
        """Return the identifiers in the order of the parameters."""
        return [self.standing[cidr]["SubnetId"] if cidr in self.standing else None for cidr in self.ranges]

    def _repair(self, cidr: str, before: Properties, after: Properties) -> None:
        subnet = self.standing[cidr]["SubnetId"]
        with doing(self.module, f"repair the subnet {cidr}"):
            for name, _, attribute in SWITCHES:
                if before[name] != after[name]:
                    self.ec2.modify_subnet_attribute(SubnetId=subnet, **{attribute: {"Value": after[name]}})
            for association in _ipv6(self.standing[cidr]):
                self.ec2.disassociate_subnet_cidr_block(AssociationId=association)
            retag_ec2(self.ec2, subnet, before["tags"], after["tags"])


def _ipv6(subnet: dict[str, Any]) -> dict[str, str]:
    """Return {association: range} of a subnet's IPv6 ranges."""
    return {
        each["AssociationId"]: each["Ipv6CidrBlock"]
        for each in subnet.get("Ipv6CidrBlockAssociationSet", [])
        if each.get("Ipv6CidrBlockState", {}).get("State") not in GONE
    }


def _ranges_beside(vpc: dict[str, Any]) -> dict[str, str]:
    """Return {association: range} of a VPC's ranges, IPv4 and IPv6, beside its first."""
    ranges = {}
    for family in ("", "Ipv6"):
        block = f"{family}CidrBlock"
        for each in vpc.get(f"{block}AssociationSet", []):
            if each[block] != vpc["CidrBlock"] and each.get(f"{block}State", {}).get("State") not in GONE:
                ranges[each["AssociationId"]] = each[block]
    return ranges


def refusal(before: dict[str, Properties], after: dict[str, Properties]) -> str | None:
    """Return the sentence on the first difference that AWS cannot change, or None."""
    for cidr, subnet in before.items():
        if cidr != "surplus" and cidr in after and subnet["az"] != after[cidr]["az"]:
            return (
                f"The subnet {cidr} is in {subnet['az']} instead of {after[cidr]['az']}, which AWS cannot change; "
                "delete it first."
            )
    return None


def main() -> None:
    """Run the module."""
    subnet = {
        "cidr": {"type": "str", "required": True},
        "az": {"type": "str"},
        "tags": {"type": "dict", "default": {}},
    }
    module = AnsibleAWSModule(
        argument_spec={
            "vpc_id": {"type": "str", "required": True},
            "subnets": {"type": "list", "elements": "dict", "required": True, "options": subnet},
            "purge": {"type": "bool", "default": False},
            "tags": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    present = module.params["state"] == "present"
    if present and not all(each["az"] for each in module.params["subnets"]):
        module.fail_json(msg="Every subnet needs its az.")
    subnets = Subnets(module)
    subnets.read()
    before = subnets.properties()
    after = subnets.wanted() if present else {}
    if sentence := refusal(before, after) or subnets.used():
        module.fail_json(msg=sentence)
    changed = before != after
    if changed and not module.check_mode:
        if present:
            subnets.apply(before, after)
        else:
            subnets.delete()
    module.exit_json(changed=changed, diff=diff(before, after), subnet_ids=subnets.ids())


if __name__ == "__main__":
    main()
