#!/usr/bin/python
"""Keep one public NAT gateway with its own address; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nat_gateway
short_description: Keep one public NAT gateway with its own address
description:
  - Finds the gateway and its Elastic IP by their Name tags, and by their Stack tags where O(tags) names one.
    Unlike C(amazon.aws.ec2_vpc_nat_gateway) it tags the
    address, so that an interrupted run leaks none and O(state=absent) releases it.
  - AWS cannot move a gateway to another subnet; that is refused.
options:
  name:
    description: Name tag of the gateway and of its address.
    type: str
    required: true
  subnet_id:
    description: Public subnet of the gateway. Required with O(state=present).
    type: str
  tags:
    description: The exact tags beside Name of the gateway and of its address. Without them tags are left alone.
    type: dict
  state:
    description: V(absent) deletes the gateway and, once it is gone, releases the address.
    type: str
    choices: [present, absent]
    default: present
  wait:
    description:
      - Whether to wait until the gateway is available, or gone. Without it O(state=absent) leaves the address of a
        gateway that is still being deleted to a later call.
    type: bool
    default: false
  wait_timeout:
    description: Seconds after which waiting, also for the deletion, fails.
    type: int
    default: 600
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
- name: Start the NAT gateway
  nat_gateway:
    name: team-a-nat-a
    subnet_id: "{{ network_public_subnet_ids[0] }}"
    tags: "{{ network_tags }}"
"""

RETURN = r"""
nat_gateway_id:
  description: Identifier of the gateway; null when it is absent or would be created by a check.
  returned: always
  type: str
  sample: nat-0a1b2c3d4e5f60718
allocation_id:
  description: Identifier of the address; null likewise.
  returned: always
  type: str
  sample: eipalloc-0a1b2c3d4e5f60718
"""

import time  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import diff, doing, retag_ec2, tag_dict, tag_list  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

POLL_SECONDS = 5.0
STANDING = ("pending", "available")


class Gateway:
    """The gateway and the address of one Name tag, as they stand after `read` (None = missing)."""

    def __init__(self, module: Any) -> None:
        """Take the parameters and make the client; nothing is read yet."""
        self.module = module
        self.params: dict[str, Any] = module.params
        self.name: str = module.params["name"]
        self.ec2 = module.client("ec2")
        self.gateway: dict[str, Any] | None = None
        self.address: dict[str, Any] | None = None

    def read(self) -> None:
        """Find the gateway, also one that is being deleted, and the address."""
        named = {"Name": "tag:Name", "Values": [self.name]}
        states = {"Name": "state", "Values": [*STANDING, "deleting"]}
        with doing(self.module, f"read the NAT gateway {self.name}"):
            gateways = self.ec2.describe_nat_gateways(Filters=[named, states])["NatGateways"]
            addresses = self.ec2.describe_addresses(Filters=[named])["Addresses"]
        gateways = sorted(self._mine(gateways), key=lambda gateway: str(gateway["State"]) == "deleting")
        self.gateway = next(iter(gateways), None)
        self.address = next(iter(self._mine(addresses)), None)

    def _mine(self, resources: list[dict[str, Any]]) -> list[dict[str, Any]]:
        # Not every API that calls itself EC2 honours a filter, and what is found here may be deleted.
        wanted = {"Name": self.name}
        if "Stack" in (self.params["tags"] or {}):
            wanted["Stack"] = self.params["tags"]["Stack"]
        return [each for each in resources if wanted.items() <= tag_dict(each.get("Tags")).items()]

    def stands(self) -> bool:
        """Return whether there is a gateway that is not being deleted."""
        return self.gateway is not None and self.gateway["State"] in STANDING

    def properties(self) -> dict[str, Any]:
        """Return what stands, in the form of `wanted`."""
        values: dict[str, Any] = {}
        if self.gateway is not None and self.stands():
            values["gateway"] = {"subnet_id": self.gateway["SubnetId"], "tags": tag_dict(self.gateway.get("Tags"))}
        if self.address:
            values["address"] = {"tags": tag_dict(self.address.get("Tags"))}
        return values

    def wanted(self, before: dict[str, Any]) -> dict[str, Any]:
        """Return what the parameters ask for; tags they leave open are as in `before`."""
        tags = None if self.params["tags"] is None else {**self.params["tags"], "Name": self.name}

        def tags_of(resource: str) -> dict[str, str]:
            return before.get(resource, {}).get("tags", {"Name": self.name}) if tags is None else tags

        return {
            "gateway": {"subnet_id": self.params["subnet_id"], "tags": tags_of("gateway")},
            "address": {"tags": tags_of("address")},
        }

    def apply(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Create what is missing and repair the tags of what stands."""
        if self.address is None:
            with doing(self.module, f"allocate the address of the NAT gateway {self.name}"):
                self.address = self.ec2.allocate_address(
                    Domain="vpc", TagSpecifications=_specification("elastic-ip", after["address"]["tags"])
                )
        else:
            self._retag(self.address["AllocationId"], before["address"]["tags"], after["address"]["tags"])
        if self.gateway is not None and self.stands():
            self._retag(self.gateway["NatGatewayId"], before["gateway"]["tags"], after["gateway"]["tags"])
            return
        with doing(self.module, f"create the NAT gateway {self.name}"):
            self.gateway = self.ec2.create_nat_gateway(
                SubnetId=after["gateway"]["subnet_id"],
                AllocationId=self.address["AllocationId"],
                TagSpecifications=_specification("natgateway", after["gateway"]["tags"]),
            )["NatGateway"]

    def delete(self) -> None:
        """Delete the gateway and, when it is gone, release the address."""
        if self.gateway is not None and self.stands():
            with doing(self.module, f"delete the NAT gateway {self.name}"):
                self.ec2.delete_nat_gateway(NatGatewayId=self.gateway["NatGatewayId"])
            self.read()
        if self.params["wait"]:
            self.until("deleted")
        if self.address and not self.gateway:
            with doing(self.module, f"release the address of the NAT gateway {self.name}"):
                self.ec2.release_address(AllocationId=self.address["AllocationId"])
            self.address = None

    def until(self, state: str) -> None:
        """Wait until the gateway is `state` (available or deleted), or fail with a sentence."""
        deadline = time.monotonic() + self.params["wait_timeout"]
        while True:
            self.read()
            actual = self.gateway["State"] if self.gateway else "deleted"
            if actual == state:
                return
            if state == "available" and actual not in STANDING:
                self.module.fail_json(msg=f"The NAT gateway {self.name} failed to start; repeat the run.")
            if time.monotonic() > deadline:
                seconds = self.params["wait_timeout"]
                self.module.fail_json(msg=f"The NAT gateway {self.name} is {actual}, not {state}, after {seconds} s.")
            time.sleep(POLL_SECONDS)

    def facts(self) -> dict[str, str | None]:
        """Return the module's result."""
        return {
            "nat_gateway_id": self.gateway["NatGatewayId"] if self.gateway and self.stands() else None,
            "allocation_id": self.address["AllocationId"] if self.address else None,
        }

    def _retag(self, resource: str, before: dict[str, str], after: dict[str, str]) -> None:
        with doing(self.module, f"tag {resource}"):
            retag_ec2(self.ec2, resource, before, after)


def _specification(kind: str, tags: dict[str, str]) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": tag_list(tags)}]


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "subnet_id": {"type": "str"},
            "tags": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "wait": {"type": "bool", "default": False},
            "wait_timeout": {"type": "int", "default": 600},
        },
        required_if=[("state", "present", ["subnet_id"])],
        supports_check_mode=True,
    )
    gateway = Gateway(module)
    gateway.read()
    before = gateway.properties()
    present = module.params["state"] == "present"
    after = gateway.wanted(before) if present else {}
    if present and gateway.stands() and before["gateway"]["subnet_id"] != after["gateway"]["subnet_id"]:
        module.fail_json(
            msg=f"The NAT gateway {gateway.name} is in {before['gateway']['subnet_id']} instead of "
            f"{after['gateway']['subnet_id']}, which AWS cannot change; delete it first."
        )
    changed = before != after
    if not module.check_mode:
        if not present and (changed or gateway.gateway):
            gateway.delete()
            changed = before != gateway.properties()
        if present and changed:
            gateway.apply(before, after)
        if present and module.params["wait"]:
            gateway.until("available")
    module.exit_json(changed=changed, diff=diff(before, after), **gateway.facts())


if __name__ == "__main__":
    main()
