#!/usr/bin/python
"""Keep subnets of one VPC; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vpc_subnets
short_description: Keep the subnets of one VPC
description:
  - Converges all subnets it is given with one look at the VPC and one call for each difference. A subnet is found by
    its IPv4 range; those that are not named are left alone.
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

from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import diff, doing, filters, retag_ec2, tag_dict, tag_list  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]


class Subnets:
    """The subnets of one VPC; after `read`, `standing` has those that are named, by their range."""

    def __init__(self, module: Any) -> None:
        """Take the parameters and make the client; nothing is read yet."""
        self.module = module
        self.params: dict[str, Any] = module.params
        self.ec2 = module.client("ec2")
        self.ranges = [subnet["cidr"] for subnet in module.params["subnets"]]
        self.standing: dict[str, dict[str, Any]] = {}

    def read(self) -> None:
        """Find the subnets."""
        vpc = self.params["vpc_id"]
        with doing(self.module, f"read the subnets of {vpc}"):
            pages = self.ec2.get_paginator("describe_subnets").paginate(Filters=filters(**{"vpc-id": vpc}))
            subnets = [subnet for page in pages for subnet in page["Subnets"] if subnet["VpcId"] == vpc]
        self.standing = {subnet["CidrBlock"]: subnet for subnet in subnets if subnet["CidrBlock"] in self.ranges}

    def properties(self) -> dict[str, Properties]:
        """Return what stands, in the form of `wanted`."""
        return {
            cidr: {
                "az": subnet["AvailabilityZone"],
                "public_addresses": subnet.get("MapPublicIpOnLaunch", False),
                "tags": tag_dict(subnet.get("Tags")),
            }
            for cidr, subnet in self.standing.items()
        }

    def wanted(self) -> dict[str, Properties]:
        """Return what the parameters ask for."""
        return {
            subnet["cidr"]: {
                "az": subnet["az"],
                "public_addresses": False,
                "tags": {**self.params["tags"], **subnet["tags"]},
            }
            for subnet in self.params["subnets"]
        }

    def apply(self, before: dict[str, Properties], after: dict[str, Properties]) -> None:
        """Create what is missing, and repair what differs."""
        for cidr, subnet in after.items():
            if cidr in before:
                self._repair(cidr, before[cidr], subnet)
                continue
            # EC2 refuses a specification without tags.
            specification = [{"ResourceType": "subnet", "Tags": tag_list(subnet["tags"])}] if subnet["tags"] else []
            with doing(self.module, f"create the subnet {cidr}"):
                self.standing[cidr] = self.ec2.create_subnet(
                    VpcId=self.params["vpc_id"],
                    CidrBlock=cidr,
                    AvailabilityZone=subnet["az"],
                    TagSpecifications=specification,
                )["Subnet"]

    def delete(self) -> None:
        """Delete the subnets that stand."""
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
            if before["public_addresses"] != after["public_addresses"]:
                self.ec2.modify_subnet_attribute(
                    SubnetId=subnet, MapPublicIpOnLaunch={"Value": after["public_addresses"]}
                )
            retag_ec2(self.ec2, subnet, before["tags"], after["tags"])


def refusal(before: dict[str, Properties], after: dict[str, Properties]) -> str | None:
    """Return the sentence on the first difference that AWS cannot change, or None."""
    for cidr, subnet in before.items():
        if cidr in after and subnet["az"] != after[cidr]["az"]:
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
    if sentence := refusal(before, after):
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
